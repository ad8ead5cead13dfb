// The filter's own line: the expression, how much it keeps, what is often wanted as buttons that write
// into it, and the Python code for the same rows. It drives the filtering; the list is the view's.

import { INVISIBLE, visibleText } from "./ansi";
import { button, element, grouped, setText } from "./dom";
import { icon } from "./icons";
import { say } from "./page";
import { progress } from "./row-set";

const QUICK: [face: string, term: string, help: string][] = [
  ["stdout", "stream:stdout", "Only stdout"],
  ["stderr", "stream:stderr", "Only stderr"],
  ["Warnings", "level>=warning", "Only warnings and errors"],
  ["Errors", "level>=error", "Only errors"],
];
const HELP = `Words and "quoted text" must all occur; -word must not; a OR b; /regex/i
level:error  level>=warning  stream:stderr  kind:gap  source:NAME  seq:100..200  time:2026-11-22T10:05`;

/** What the line needs of a filter. */
export interface Filterable {
  expression: string;
  error: string;
  kept: { count: number };
  scanned: number;
  set(expression: string): void;
}

export class FilterBar {
  readonly root = element("div", "bxl-toolbar bxl-filterbar");
  /** Whether lines that do not match are hidden, or shown faintly. */
  hides = true;
  readonly #input = element("input", "bxl-input");
  readonly #count = element("span", "bxl-kept");
  readonly #quick: [HTMLButtonElement, string][];
  #typing = 0;

  constructor(
    private readonly filtering: Filterable,
    private readonly actions: { changed(): void; leave(): void; variable(): string },
  ) {
    const input = this.#input;
    input.type = "search";
    input.placeholder = "Filter: error -retry level>=warning /regex/";
    input.title = HELP;
    input.spellcheck = false;
    input.ariaLabel = "Filter the log";
    input.addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = window.setTimeout(() => this.#submit(), 120);
    });
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.#submit();
      else if (event.key === "Escape") actions.leave();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    this.#count.role = "status";
    const hide = button("Hide lines that do not match", { text: "Hide" }, () => {
      this.hides = !this.hides;
      hide.ariaPressed = String(this.hides);
      actions.changed();
    });
    hide.ariaPressed = "true";
    this.#quick = QUICK.map(([text, term, help]) => {
      const made = button(help, { text }, () => this.write(toggled(input.value, term)));
      return [made, term];
    });
    const field = element("label", "bxl-field", icon("filter"), input, this.#count);
    const copy = button("Copy the Python code for these lines", "code", () => void this.#copy());
    this.root.append(field, hide, ...this.#quick.map(([made]) => made), copy);
    this.root.hidden = true;
    this.update(0);
  }

  destroy(): void {
    clearTimeout(this.#typing);
  }

  /** Show the line and go to its field, or put it away and the filter with it. */
  open(on: boolean): void {
    this.root.hidden = !on;
    if (on) this.#input.focus();
    else this.write("");
  }

  /** What is in the field. */
  get text(): string {
    return this.#input.value;
  }

  /** Put an expression into the field, and into force. */
  write(expression: string): void {
    this.#input.value = expression;
    this.#submit();
  }

  /** Show how the filter stands over `rows` rows. */
  update(rows: number): void {
    const { error, expression, kept, scanned } = this.filtering;
    const more = progress(scanned, rows);
    const count = `${grouped(kept.count)} of ${grouped(rows)} lines`;
    const text = expression ? `${count}${more && ` · ${more}`}` : "";
    setText(this.#count, error || text);
    this.#count.title = error || text;
    this.#count.classList.toggle("bxl-bad", error !== "");
    const terms = this.#input.value.split(/\s+/);
    for (const [made, term] of this.#quick) {
      made.setAttribute("aria-pressed", String(terms.includes(term)));
    }
  }

  #submit(): void {
    clearTimeout(this.#typing);
    this.filtering.set(this.#input.value);
  }

  async #copy(): Promise<void> {
    const { root, actions } = this;
    const code = python(actions.variable(), this.#input.value);
    const parent = root.parentElement ?? root;
    try {
      await navigator.clipboard.writeText(code);
      say(parent, `copied: ${visibleText(code).slice(0, 80)}`);
    } catch {
      say(parent, "the browser refused the clipboard");
    }
  }
}

/** The Python code that gives the rows a filter keeps; a JSON string is a Python string. */
export function python(variable: string, expression: string): string {
  const name = /^([A-Za-z_]\w*|Out\[\d+\])$/.test(variable) ? variable : "run";
  return `${name}.logs.filter(${JSON.stringify(expression).replace(INVISIBLE, escaped)})`;
}

/** A character nobody can see, as Python writes it: code to be copied hides nothing. */
function escaped(c: string): string {
  const code = (c.codePointAt(0) as number).toString(16);
  return code.length > 4 ? `\\U${code.padStart(8, "0")}` : `\\u${code.padStart(4, "0")}`;
}

const TOKENS = /(?:NOT\s+)?(?:-?(?:\w+:)?"(?:[^"\\]|\\.)*"|-?\/(?:[^/\\]|\\.)+\/i?|[()]|[^\s()]+)/g;

/** A piece of an expression: a term, a parenthesis, or a word between them. */
export interface Token {
  text: string;
  /** The same with the space before it. */
  whole: string;
  /** Whether it is in no group. */
  top: boolean;
}

export function tokens(expression: string): Token[] {
  let [depth, end] = [0, 0];
  return [...expression.matchAll(TOKENS)].map(({ 0: text, index }) => {
    if (text === ")") depth -= 1;
    const token = { text, whole: expression.slice(end, index + text.length), top: depth === 0 };
    if (text.endsWith("(")) depth += 1;
    end = index + text.length;
    return token;
  });
}

/** Put terms into an expression, in place of all that say something of a field. */
export function replaced(expression: string, about: RegExp, terms: string[]): string {
  const all = tokens(expression);
  const rest = all.filter(({ text, top }) => !(top && about.test(text)));
  const or = all.some(({ text, top }) => top && text === "OR");
  const kept = or
    ? `(${expression.trim()})`
    : rest
        .map(({ whole }) => whole)
        .join("")
        .trim();
  return [kept, ...terms].filter(Boolean).join(" ");
}

/** Put a term into an expression, in place of another one for its field; take it out if it is there. */
export function toggled(expression: string, term: string): string {
  const there = tokens(expression).some(({ text, top }) => top && text === term);
  const field = /^\w+/.exec(term)?.[0] ?? "";
  return replaced(expression, new RegExp(`^${field}[:<>]`), there ? [] : [term]);
}
