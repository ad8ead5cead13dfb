// Make elements: text is always text, never markup.

import { type Icon, icon } from "./icons";

export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className: string,
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

export function button(label: string, content: Icon | { text: string }, click: () => void) {
  const face = typeof content === "string" ? icon(content) : content.text;
  const made = element("button", "bxl-button", face);
  made.type = "button";
  made.title = label;
  made.ariaLabel = label;
  made.addEventListener("click", click);
  return made;
}

/** Set text only where it differs, so that an unchanged part is not painted or read out again. */
export function setText(node: HTMLElement, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

/** A number as it is read: 12,345. */
export function grouped(n: number): string {
  return n.toLocaleString("en");
}

/** How many lines, in words: 1 line, 12,345 lines. */
export function lines(n: number): string {
  return `${grouped(n)} ${n === 1 ? "line" : "lines"}`;
}
