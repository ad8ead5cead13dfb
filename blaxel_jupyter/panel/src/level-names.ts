// Name the levels that a line may have, from the least grave on.

export const LEVELS = ["unknown", "trace", "debug", "info", "warning", "error", "fatal"];
export const ERROR = LEVELS.indexOf("error");
