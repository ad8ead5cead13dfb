// Search box, wrap, copy and download: what a reader does with the lines.
// It drives the search and calls back for the rest; the list is the panel's.

import { button, element, setText } from "./dom";
import { icon } from "./icons";
import type { Search } from "./search";

export interface Actions {
  go(direction: 1 | -1): void;
  wrap(on: boolean): void;
  copy(): void;
  download(): void;
  leave(): void;
}

export class Toolbar {
  readonly root = element("div", "bxl-toolbar");
  readonly #input = element("input", "bxl-input");
  readonly #count = element("span", "bxl-count");
  readonly #regex: HTMLButtonElement;
  readonly #case: HTMLButtonElement;
  #typing = 0;

  constructor(
    private readonly search: Search,
    actions: Actions,
  ) {
    this.#input.type = "search";
    this.#input.placeholder = "Search";
    this.#input.spellcheck = false;
    this.#input.setAttribute("aria-label", "Search the log");
    this.#input.addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = window.setTimeout(() => this.#submit(), 120);
    });
    this.#input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") {
        this.#submit();
        actions.go(event.shiftKey ? -1 : 1);
      } else if (event.key === "Escape") actions.leave();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    this.#count.setAttribute("role", "status");
    this.#regex = this.#toggle("Regular expression", ".*", () => this.#submit());
    this.#case = this.#toggle("Match case", "Aa", () => this.#submit());
    const wrap = this.#toggle("Wrap long lines", "wrap", (on) => actions.wrap(on));
    const field = element("label", "bxl-field", icon("search"), this.#input, this.#count);
    this.root.append(
      field,
      this.#regex,
      this.#case,
      button("Previous match", "up", () => actions.go(-1)),
      button("Next match", "down", () => actions.go(1)),
      element("span", "bxl-gap"),
      wrap,
      button("Copy the selection, or all lines", "copy", actions.copy),
      button("Download all lines as text", "download", actions.download),
    );
  }

  destroy(): void {
    clearTimeout(this.#typing);
  }

  focus(): void {
    this.#input.focus();
    this.#input.select();
  }

  /** Show how the search stands; `current` is the row last gone to. */
  update(current: number | null): void {
    const { query, error, count } = this.search;
    let text = "";
    if (query && error) text = error;
    else if (query && count === 0) text = "no match";
    else if (query) {
      const at =
        current === null ? "" : `${(this.search.position(current) + 1).toLocaleString("en")}/`;
      text = at + count.toLocaleString("en");
    }
    setText(this.#count, text);
    this.#count.title = text;
    this.#count.classList.toggle("bxl-bad", Boolean(query && error));
  }

  #submit(): void {
    clearTimeout(this.#typing);
    const query = {
      text: this.#input.value,
      regex: this.#regex.getAttribute("aria-pressed") === "true",
      caseSensitive: this.#case.getAttribute("aria-pressed") === "true",
    };
    const now = this.search.query;
    const same = now
      ? now.text === query.text &&
        now.regex === query.regex &&
        now.caseSensitive === query.caseSensitive
      : query.text === "";
    if (!same) this.search.set(query);
  }

  #toggle(label: string, face: "wrap" | ".*" | "Aa", changed: (on: boolean) => void) {
    const made = button(label, face === "wrap" ? face : { text: face }, () => {
      const on = made.getAttribute("aria-pressed") !== "true";
      made.setAttribute("aria-pressed", String(on));
      changed(on);
    });
    made.setAttribute("aria-pressed", "false");
    return made;
  }
}
