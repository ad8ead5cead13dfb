// Show a menu, or another small thing, above the page at an element: focus goes in, Esc and a click
// elsewhere close it, and focus returns. Keys are those of any menu.

import { element } from "./dom";

export interface Item {
  label: string;
  act(): void;
  /** Whether it is the one chosen of its kind; undefined where there is nothing to choose. */
  checked?: boolean;
}

/** Offer some items; those that are one of a choice leave the menu open. */
export function openMenu(anchor: HTMLElement, items: Item[]): void {
  const menu = element("div", "bxl-popup");
  menu.role = "menu";
  const made = items.map(({ label, act, checked }) => {
    const choice = checked !== undefined;
    const item = element("button", "bxl-offer", label);
    item.type = "button";
    item.tabIndex = -1;
    item.role = choice ? "menuitemradio" : "menuitem";
    if (choice) item.ariaChecked = String(checked);
    item.addEventListener("click", () => {
      if (choice) for (const one of made) if (one.ariaChecked) one.ariaChecked = "false";
      if (choice) item.ariaChecked = "true";
      else menu.hidePopover();
      act();
    });
    return item;
  });
  menu.append(...made);
  menu.addEventListener("keydown", ({ key }) => {
    const at = made.findIndex((item) => item.matches(":focus"));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[key];
    if (to !== undefined) made.at(to % made.length)?.focus();
    if (key === "Tab") menu.hidePopover();
  });
  popUp(menu, anchor);
  made[0].focus();
}

/** Show a node at an element, named as it is. */
export function popUp(node: HTMLElement, anchor: HTMLElement): void {
  node.popover = "auto";
  node.ariaLabel = anchor.ariaLabel;
  anchor.after(node);
  anchor.ariaExpanded = "true";
  node.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape") node.hidePopover();
    if (["Escape", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key)) {
      event.preventDefault();
    }
  });
  node.addEventListener("toggle", (event) => {
    if ((event as ToggleEvent).newState === "open") return;
    anchor.ariaExpanded = "false";
    node.remove();
  });
  node.showPopover();
  const { right, top, bottom } = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = node;
  const below = bottom + height < innerHeight;
  node.style.left = `${Math.max(4, Math.min(right, innerWidth - 4) - width)}px`;
  node.style.top = `${Math.max(4, below ? bottom + 2 : top - height - 2)}px`;
}
