// Choose what of a story is shown: kinds of events, and one tool of those that occur.

import { visibleText } from "./ansi";
import { element } from "./dom";
import { FILTERS, type Filter } from "./story";

const LABELS: Record<Filter, string> = {
  text: "Text",
  reasoning: "Reasoning",
  tools: "Tools",
  results: "Results",
  other: "Other",
};
const HELP: Record<Filter, string> = {
  text: "What the agent said",
  reasoning: "What the agent thought",
  tools: "Tool calls",
  results: "Files, results, errors and the end",
  other: "All other events",
};

export class Filters {
  readonly root = element("span", "bxl-filters");
  /** Kinds that are not shown. */
  readonly off = new Set<Filter>();
  /** The one tool whose calls are shown; null for all. */
  tool: string | null = null;
  readonly #select = element("select", "bxl-select");
  #names: string[] = [];
  #key = "";

  constructor(private readonly changed: () => void) {
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", "Show");
    for (const filter of FILTERS) this.root.append(this.#button(filter));
    this.#select.setAttribute("aria-label", "Show calls of one tool");
    this.#select.addEventListener("change", () => {
      this.tool = this.#names[this.#select.selectedIndex - 1] ?? null;
      this.changed();
    });
    this.root.append(this.#select);
    this.update(new Map());
  }

  /** Offer the tools that occur; the one chosen stays chosen. */
  update(tools: ReadonlyMap<string, number>): void {
    const key = JSON.stringify([...tools]);
    if (key === this.#key) return;
    this.#key = key;
    this.#names = [...tools.keys()].sort((a, b) => a.localeCompare(b));
    if (this.tool !== null && !tools.has(this.tool)) this.#names.push(this.tool);
    const options = this.#names.map((name) => {
      const count = (tools.get(name) ?? 0).toLocaleString("en");
      return element("option", "", `${visibleText(name).slice(0, 60)} (${count})`);
    });
    this.#select.replaceChildren(element("option", "", "all tools"), ...options);
    this.#select.selectedIndex = this.tool === null ? 0 : this.#names.indexOf(this.tool) + 1;
    this.#select.hidden = this.#names.length === 0;
  }

  #button(filter: Filter): HTMLButtonElement {
    const made = element("button", "bxl-button bxl-filter", LABELS[filter]);
    made.type = "button";
    made.title = HELP[filter];
    made.setAttribute("aria-pressed", "true");
    made.addEventListener("click", () => {
      if (!this.off.delete(filter)) this.off.add(filter);
      made.setAttribute("aria-pressed", String(!this.off.has(filter)));
      this.changed();
    });
    return made;
  }
}
