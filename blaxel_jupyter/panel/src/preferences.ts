// How a reader likes lines to be shown, remembered in this browser: never in the notebook.

import { remember, remembered } from "./remembered";

export interface Preferences {
  numbers: boolean;
  time: "off" | "local" | "relative";
  wrap: boolean;
}

const NAME = "reading";

/** Read what was remembered; whatever is not one of ours is as if it were not there. */
export function parsed(text: string): Preferences {
  let found: Record<string, unknown> = {};
  try {
    found = JSON.parse(text) ?? {};
  } catch {
    // another's, or damaged
  }
  const { numbers, time, wrap } = found;
  return {
    numbers: numbers === true,
    time: time === "local" || time === "relative" ? time : "off",
    wrap: wrap === true,
  };
}

export function load(): Preferences {
  return parsed(remembered(NAME) ?? "");
}

export function save(preferences: Preferences): void {
  remember(NAME, JSON.stringify(preferences));
}
