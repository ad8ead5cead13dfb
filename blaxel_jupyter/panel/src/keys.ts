// Show the keys of a view and what each does, as a small table at a button.

import { element } from "./dom";
import { popUp } from "./menu";

/** A key, what it does, and how; without `act` it belongs to one part of the view, which takes it itself. */
export type Key = [key: string, does: string, act?: () => void];

export function showKeys(anchor: HTMLElement, keys: Key[]): void {
  const rows = keys.map(([key, does]) => {
    const face = element("kbd", "bxl-kbd", key);
    return element("tr", "", element("th", "", face), element("td", "", does));
  });
  const list = element("div", "bxl-popup", element("table", "bxl-keys", ...rows));
  list.role = "dialog";
  list.tabIndex = -1;
  popUp(list, anchor);
  list.focus();
}
