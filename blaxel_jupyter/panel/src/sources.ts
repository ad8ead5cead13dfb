// Several runs in one panel: a chip for each that shows how it stands, hides and shows its lines through
// the one filter expression, and stops it; and the name that each line carries.

import { visibleText } from "./ansi";
import { element, lines, setText } from "./dom";
import { replaced, tokens } from "./filter-bar";
import { type Header, type LogSession, statusText } from "./header";
import { StopMenu } from "./stop";

const COLOURS = 8;

/** What the chips need of the filter's line. */
export interface Expression {
  text(): string;
  write(expression: string): void;
}

interface Chip {
  root: HTMLElement;
  toggle: HTMLButtonElement;
  name: HTMLElement;
  facts: HTMLElement;
  stop: StopMenu;
}

export class Sources {
  readonly root = element("div", "bxl-sources");
  readonly #live = element("div", "bxl-hidden");
  readonly #chips: Chip[] = [];

  constructor(
    private readonly session: LogSession,
    private readonly expression: Expression,
  ) {
    this.root.role = "group";
    this.root.ariaLabel = "Sources";
    this.#live.role = "status";
    this.root.append(this.#live);
    this.update();
  }

  update(): void {
    const off = this.off();
    this.root.hidden = off.length === 0;
    this.#all.forEach((source, i) => {
      if (!this.#chips[i]) this.root.append(this.#chip(i).root);
      const { root, toggle, name, facts, stop } = this.#chips[i];
      const status = statusText(source);
      const shown = visibleText(source.name);
      root.classList.toggle("bxl-off", off[i]);
      toggle.ariaPressed = String(!off[i]);
      toggle.title = `${off[i] ? "Show" : "Hide"} ${shown} · ${visibleText(source.command)}`;
      setText(name, shown);
      setText(facts, `${status} · ${lines(source.lines)}`);
      stop.update(source, shown);
      const before = facts.dataset.status;
      if (before && before !== source.status) setText(this.#live, `${shown}: ${status}`);
      facts.dataset.status = source.status;
    });
  }

  /** Tell of each source whether the expression hides it. */
  off(): boolean[] {
    return hidden(this.expression.text(), this.#all);
  }

  get #all() {
    return this.session.header?.sources ?? [];
  }

  /** Put a row's source before its line. */
  mark(row: HTMLElement, source: number): void {
    const name = visibleText(this.#all[source]?.name ?? "");
    if (!name) return;
    const label = element("span", `bxl-from bxl-s${source % COLOURS}`, name);
    label.title = name;
    row.prepend(label);
  }

  #chip(i: number): Chip {
    const toggle = element("button", "bxl-button");
    const name = element("span", "bxl-who");
    const facts = element("span", "bxl-status");
    const stop = new StopMenu((verb) => this.session.command(verb, i));
    toggle.type = "button";
    toggle.append(name, facts);
    toggle.addEventListener("click", () => {
      const off = this.off();
      off[i] = !off[i];
      this.expression.write(hiding(this.expression.text(), this.#all, off));
    });
    const root = element("span", `bxl-chip bxl-s${i % COLOURS}`, toggle, stop.root);
    const made = { root, toggle, name, facts, stop };
    this.#chips.push(made);
    return made;
  }
}

type Named = Pick<Header, "process" | "sandbox"> & { name: string };

/** What a source is called in a filter: its process, and that in its sandbox; one a line. */
export function called({ process, sandbox }: Omit<Named, "name">): string {
  return sandbox ? `${process}\n${sandbox}/${process}` : process;
}

const TERM = /^(NOT\s+)?(-?)source:(.+)$/s;

/** Tell of each source whether an expression leaves it out, whatever its lines say. */
export function hidden(expression: string, sources: Named[]): boolean[] {
  const terms = tokens(expression).filter(({ top }) => top);
  const off = sources.map(() => false);
  if (terms.some(({ text }) => text === "OR")) return off;
  for (const { text } of terms) {
    const [, not, minus, value] = TERM.exec(text) ?? [];
    if (!value) continue;
    const wanted = unquoted(value).toLowerCase();
    sources.forEach((source, i) => {
      const is = called(source).toLowerCase().split("\n").includes(wanted);
      off[i] ||= is === (Boolean(not) !== Boolean(minus));
    });
  }
  return off;
}

/** Write an expression anew so that it leaves out these sources, and no others by their names. */
export function hiding(expression: string, sources: Named[], off: boolean[]): string {
  const left = sources.filter((_, i) => off[i]).map(({ name }) => `-source:${quoted(name)}`);
  return replaced(expression, TERM, left);
}

function quoted(name: string): string {
  return /^[^\s()"]+$/.test(name) ? name : `"${name.replace(/["\\]/g, "\\$&")}"`;
}

function unquoted(value: string): string {
  return /^".*"$/s.test(value) ? value.slice(1, -1).replace(/\\(["\\])/g, "$1") : value;
}
