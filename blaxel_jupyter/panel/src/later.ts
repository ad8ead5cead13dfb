// The second part of the panel, which the kernel sends once the first shows lines: a whole log at a glance,
// taking lines away, and the worker that searches. The first part imports nothing of it but types.

import worker from "search-worker";

export { Seeing } from "./seeing";
export { TakeAway } from "./take-away";
export { worker };
