// Tell a message of the kernel's from one that is damaged: what is not understood is left out, and asked for
// again like one that was lost.

import type { Incoming } from "./session";

const POSITIONS = ["from", "n", "sent", "v"];
const NUMBERS = ["id", "epoch", "answered"];
const MOST = 2 ** 31; // positions that anything we show has at most

export function understood(content: unknown): content is Incoming {
  if (typeof content !== "object" || content === null) return false;
  const said = content as Record<string, unknown>;
  const { kind, now = 0, status = {}, error = "", missing = [] } = said;
  return (
    typeof kind === "string" &&
    POSITIONS.every((name) => isCount(said[name] ?? 0, MOST)) &&
    NUMBERS.every((name) => isCount(said[name] ?? 0, Number.MAX_SAFE_INTEGER)) &&
    Number.isFinite(now) &&
    typeof status === "object" &&
    typeof error === "string" &&
    Array.isArray(missing) &&
    missing.every(isPair)
  );
}

function isPair(value: unknown): boolean {
  return Array.isArray(value) && value.length === 2 && value.every(Number.isFinite);
}

function isCount(value: unknown, most: number): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most;
}
