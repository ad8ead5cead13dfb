// How a reader likes lines to be shown, remembered in this browser: never in the notebook.

export interface Preferences {
  numbers: boolean;
  time: "off" | "local" | "relative";
  wrap: boolean;
}

const KEY = "blaxel-jupyter.reading";

/** Read what was remembered; whatever is not one of ours is as if it were not there. */
export function parsed(text: string): Preferences {
  const { numbers, time, wrap } = JSON.parse(text) ?? {};
  return {
    numbers: numbers === true,
    time: time === "local" || time === "relative" ? time : "off",
    wrap: wrap === true,
  };
}

export function load(): Preferences {
  try {
    return parsed(localStorage.getItem(KEY) ?? "{}");
  } catch {
    return parsed("{}"); // damaged, or the browser keeps nothing for this page
  }
}

export function save(preferences: Preferences): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(preferences));
  } catch {
    // the same: it holds while the panel is shown
  }
}
