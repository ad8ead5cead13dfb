// Search box, and what else a view offers: what a reader does with what is shown.
// It drives the search and calls back for the rest; the list is the view's.

import { button, element, grouped, setText } from "./dom";
import { icon } from "./icons";
import type { Query } from "./matching";

/** What the toolbar needs of a search. */
export interface Searching {
  query: Query | null;
  error: string;
  count: number;
  /** How far it is, while it is under way. */
  progress?: string;
  set(query: Query): void;
}

export interface Actions {
  /** Where is searched: "the log". */
  place: string;
  go(direction: 1 | -1): void;
  /** Buttons at the end. */
  more: HTMLElement[];
  leave(): void;
  /** Milliseconds after a key until the search begins. */
  patience?: number;
}

export class Toolbar {
  readonly root = element("div", "bxl-toolbar");
  /** Room for what one kind of view has in addition. */
  readonly middle = element("span", "bxl-gap");
  readonly #input = element("input", "bxl-input");
  readonly #count = element("span", "bxl-count");
  readonly #regex: HTMLButtonElement;
  readonly #case: HTMLButtonElement;
  #typing = 0;

  constructor(
    private readonly search: Searching,
    actions: Actions,
  ) {
    this.#input.type = "search";
    this.#input.placeholder = "Search";
    this.#input.spellcheck = false;
    this.#input.ariaLabel = `Search ${actions.place}`;
    this.#input.addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = window.setTimeout(() => this.#submit(), actions.patience ?? 120);
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
    this.#count.role = "status";
    this.#regex = this.#toggle("Regular expression", ".*", () => this.#submit());
    this.#case = this.#toggle("Match case", "Aa", () => this.#submit());
    const field = element("label", "bxl-field", icon("search"), this.#input, this.#count);
    this.root.append(
      field,
      this.#regex,
      this.#case,
      button("Previous match", "up", () => actions.go(-1)),
      button("Next match", "down", () => actions.go(1)),
      this.middle,
      ...actions.more,
    );
  }

  destroy(): void {
    clearTimeout(this.#typing);
  }

  focus(): void {
    this.#input.focus();
    this.#input.select();
  }

  /** Show how the search stands; `position` is that of the match last gone to, from 0. */
  update(position: number | null): void {
    const { query, error, count, progress } = this.search;
    let text = "";
    if (query && error) text = error;
    else if (query && count === 0) text = progress ? "0" : "no match";
    else if (query) {
      const at = position === null ? "" : `${grouped(position + 1)}/`;
      text = at + grouped(count);
    }
    if (query && !error && progress) text += ` · ${progress}`;
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

  #toggle(label: string, text: string, changed: () => void) {
    const made = button(label, { text }, () => {
      made.setAttribute("aria-pressed", String(made.getAttribute("aria-pressed") !== "true"));
      changed();
    });
    made.ariaPressed = "false";
    return made;
  }
}
