// Keep the items of an agent's story: text as it grows, tool calls and other events as they stand.
// It knows nothing of the DOM; views see by an item's stamp that it changed.

import { type Span, spans, visibleText } from "./ansi";
import type { Incoming, Session, Store, Verb } from "./session";

export type Group =
  | "text"
  | "reasoning"
  | "tool"
  | "files"
  | "result"
  | "end"
  | "error"
  | "other"
  | "unknown";

/** [label, form, text, characters left out, what stands after them]. */
export type Section = [
  label: string,
  form: "text" | "error" | "json" | "event",
  text: string,
  cut: number,
  tail: string,
];

/** An item as it travels: a text brings what is new from character `at` on, all else comes whole. */
export interface Entry {
  i: number;
  kind: Group;
  at?: number;
  text?: string;
  closed?: boolean;
  cut?: number;
  id?: string;
  parent?: string;
  depth?: number;
  name?: string;
  state?: string;
  summary?: string;
  failed?: boolean | null;
  outcome?: string;
  ms?: number | null;
  sections?: Section[];
}

export interface Item extends Entry {
  /** Grows with each change. */
  stamp: number;
  /** Of a text: where each of its parts ends, but for the last. */
  ends: number[];
}

export interface TaskHeader {
  verbs?: Verb[];
  run_id: string;
  status: string;
  source: string | null;
  error: string | null;
  prompt: string | null;
  target: string;
  model: string | null;
  started: number | null;
  ended: number | null;
  events: number;
  tool_calls: number;
  tool_errors: number;
  unfinished: number;
  input_tokens: number | null;
  output_tokens: number | null;
  total_cost_usd: number | null;
  warnings: number;
  local: boolean;
  final: boolean;
  message: string | null;
}

export type TaskSession = Session<Story, TaskHeader>;

const PART = 1500; // characters after which a text is cut at its next line break,
const LONGEST_PART = 4000; // or at a space: what grows is laid out again with each piece

export class Story implements Store {
  length = 0;
  readonly items: Item[] = [];
  /** Calls by the tools' names. */
  tools = new Map<string, number>();
  #stamps = 0;
  readonly #versions = new Map<number, number>();

  take(message: Incoming, [packed]: DataView[]): boolean {
    if (message.from > this.length) return false;
    const version = (message as Incoming & { v: number }).v;
    const entries = unpacked(packed, version);
    if (entries === null) return false;
    let whole = true;
    for (const entry of entries) {
      if (version < (this.#versions.get(entry.i) ?? 0)) continue; // older than what is here
      whole = this.#put(entry) && whole;
      this.#versions.set(entry.i, version);
    }
    this.length = whole ? Math.max(this.length, message.from + message.n) : 0;
    return whole;
  }

  clear(): void {
    this.length = 0;
    this.items.length = 0;
    this.tools = new Map();
    this.#versions.clear();
  }

  /** Take an entry over; false if text before it is missing: then all is asked for again. */
  #put(entry: Entry): boolean {
    const before = this.items[entry.i];
    const item: Item = { ...entry, stamp: ++this.#stamps, ends: [] };
    if (entry.text !== undefined) {
      const have = before?.text ?? "";
      const at = entry.at ?? 0;
      if (at > have.length) return false;
      item.text = have.slice(0, at) + entry.text;
      item.ends = partition(item.text, before?.ends.filter((end) => end < at) ?? []);
    }
    this.items[entry.i] = item;
    if (entry.kind === "tool" && before?.name !== entry.name) this.#count(before?.name, entry.name);
    return true;
  }

  #count(before: string | undefined, name = ""): void {
    const fewer = before === undefined ? 0 : (this.tools.get(before) ?? 0) - 1;
    if (before !== undefined && fewer > 0) this.tools.set(before, fewer);
    else if (before !== undefined) this.tools.delete(before);
    this.tools.set(name, (this.tools.get(name) ?? 0) + 1);
  }
}

/** The entries of a batch, of items below `end`; null if it is damaged. */
function unpacked(packed: DataView, end: number): Entry[] | null {
  try {
    const entries: Entry[] = JSON.parse(new TextDecoder().decode(packed));
    return entries.every(({ i }) => Number.isInteger(i) && i >= 0 && i < end) ? entries : null;
  } catch {
    return null;
  }
}

/** Where the parts of a text end, the last one aside; `ends` holds those that are known to stay. */
export function partition(text: string, ends: number[]): number[] {
  const found = [...ends];
  let start = found.at(-1) ?? 0;
  while (text.length - start > PART) {
    const feed = text.indexOf("\n", start + PART);
    const limit = start + LONGEST_PART;
    if (feed !== -1 && feed < limit) start = feed + 1;
    else if (text.length > limit) start = text.lastIndexOf(" ", limit) + 1 || limit;
    else break;
    if (start <= (found.at(-1) ?? 0)) start = limit; // no space in all of it
    found.push(start);
  }
  return found;
}

/** One part of a text as it is shown: no empty lines around the whole. */
export function partText(item: Item, part: number): string {
  const text = item.text ?? "";
  const raw = text.slice(item.ends[part - 1] ?? 0, item.ends[part] ?? text.length);
  const begun = part === 0 ? raw.replace(/^[\s]*\n|^ +/, "") : raw;
  return part < item.ends.length ? begun.replace(/\n$/, "") : begun.replace(/\n+$/, "");
}

/** Terminal output as spans: carriage returns leave their last state, line breaks are spans' text. */
export function styled(text: string): Span[] {
  const out: Span[] = [];
  const lines = text.split("\n");
  lines.forEach((line, i) => {
    out.push(...spans(lastState(line)));
    if (i < lines.length - 1) out.push({ text: "\n", style: {} });
  });
  return out;
}

/** The same without styles: what search and copy see. */
export function styledText(text: string): string {
  return text
    .split("\n")
    .map((line) => visibleText(lastState(line)))
    .join("\n");
}

export function lastState(line: string): string {
  const end = line.replace(/\r+$/, "");
  return end.slice(end.lastIndexOf("\r") + 1);
}

/** A section's parts of text, around what is left out. */
export function sectionTexts([, , text, cut, tail]: Section): string[] {
  return cut > 0 ? [text.replace(/\n$/, ""), tail.replace(/\n$/, "")] : [text.replace(/\n$/, "")];
}

/** Fields of an item before those of its sections: name, summary, outcome. */
export const HEAD_FIELDS = 3;

/** The texts that an item shows, in order; marks of a search are counted in them. */
export function fields(item: Item): string[] {
  if (item.text !== undefined) {
    return Array.from({ length: item.ends.length + 1 }, (_, part) =>
      styledText(partText(item, part)),
    );
  }
  const head = [item.name ?? "", item.summary ?? "", item.outcome ?? ""].map(visibleText);
  return head.concat((item.sections ?? []).flatMap(sectionTexts).map(styledText));
}

/** How a tool call stands. */
export function toolState(item: Item, final: boolean): "running" | "unfinished" | "failed" | "ok" {
  if (item.failed === null || item.failed === undefined) return final ? "unfinished" : "running";
  return item.failed ? "failed" : "ok";
}

export const FILTERS = ["text", "reasoning", "tools", "results", "other"] as const;
export type Filter = (typeof FILTERS)[number];

const FILTER_OF: Record<Group, Filter> = {
  text: "text",
  reasoning: "reasoning",
  tool: "tools",
  files: "results",
  result: "results",
  end: "results",
  error: "results",
  other: "other",
  unknown: "other",
};

/** Whether an item is shown; `tool` is the one tool whose calls are, null for all. */
export function passes(item: Item, off: ReadonlySet<Filter>, tool: string | null): boolean {
  if (off.has(FILTER_OF[item.kind])) return false;
  if (item.kind === "tool") return tool === null || item.name === tool;
  return item.text === undefined || /\S/.test(item.text);
}

/** The story as text: what copy and download give. */
export function plainText(items: Item[]): string {
  return items
    .map((item) => {
      const shown = fields(item);
      if (item.text !== undefined) return shown.join("\n");
      const head = shown.slice(0, HEAD_FIELDS).filter(Boolean).join(" · ");
      const rest = shown.slice(HEAD_FIELDS).filter(Boolean);
      return [`> ${head}`, ...rest.map((text) => text.replace(/^/gm, "    "))].join("\n");
    })
    .join("\n");
}
