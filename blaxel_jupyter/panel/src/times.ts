// Write when a line arrived: as the time of day here, or as the time since the process began.

/** The local time of day of milliseconds since the epoch: 09:05:01.042. */
export function clock(ms: number): string {
  const zone = new Date(ms).getTimezoneOffset() * 60_000;
  return new Date(ms - zone).toISOString().slice(11, 23);
}

/** Milliseconds since the beginning: +3.042, +2:03.042, +1:02:03.042; nothing for NaN. */
export function elapsed(ms: number): string {
  if (Number.isNaN(ms)) return "";
  const whole = Math.abs(ms);
  const text = `${Math.floor(whole / 3_600_000)}${new Date(whole).toISOString().slice(13, 23)}`;
  return (ms < 0 ? "−" : "+") + text.replace(/^[0:]+(?=\d)/, "");
}
