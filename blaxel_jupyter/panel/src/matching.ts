// Find lines that match, inside the search worker: decode a block, collapse, sanitise, test each line.
// It shares no state with the page, so a regular expression that never ends costs a worker, not the tab.

import { visibleText } from "./ansi";
import { FALSE, FilterError, parse, Row } from "./filter";
import { level } from "./levels";
import { KIND, SHOWN_BYTES } from "./store";
import { type Taking, written } from "./taking";

export interface Query {
  text: string;
  regex: boolean;
  caseSensitive: boolean;
}

/** Rows to be filtered: `text` and the rest as in a store's block, from the position `from` on. */
export interface Rows {
  expression: string;
  /** The names of the sources that `sources` counts. */
  names: string[];
  from: number;
  n: number;
  text: Uint8Array;
  flags: Uint8Array;
  received: DataView;
  sources?: Uint8Array;
}

export type Request =
  | ({ kind: "filter" } & Rows)
  | ({ kind: "take" } & Taking)
  | { kind: "levels"; text: Uint8Array; flags: Uint8Array }
  | { kind: "scan"; query: Query; text: Uint8Array; n: number }
  | { kind: "highlight"; query: Query; lines: string[] };

export type Reply =
  | { kind: "scan"; rows: Uint32Array }
  | { kind: "take"; bytes: Uint8Array<ArrayBuffer> }
  | { kind: "levels"; levels: Uint8Array }
  | { kind: "highlight"; ranges: number[][] }
  | { kind: "error"; message: string };

const MAX_RANGES = 100; // highlights of one line

export function answer(request: Request): Reply {
  try {
    if (request.kind === "filter") return { kind: "scan", rows: filtered(request) };
    if (request.kind === "take") return { kind: "take", bytes: written(request) };
    if (request.kind === "levels") return { kind: "levels", levels: levels(request) };
    const pattern = compiled(request.query);
    if (request.kind === "highlight") {
      return { kind: "highlight", ranges: request.lines.map((line) => ranges(pattern, line)) };
    }
    return { kind: "scan", rows: scan(pattern, request.text, request.n) };
  } catch (error) {
    const { message } = error as Error;
    const place = error instanceof FilterError ? ` (character ${error.at + 1})` : "";
    return { kind: "error", message: message + place };
  }
}

/** Positions, from 0, of the rows of a block that a filter keeps. */
export function filtered(rows: Rows): Uint32Array {
  const term = parse(rows.expression);
  const lines = shownLines(rows.text);
  let line = "";
  const { names, sources } = rows;
  const row = new Row(() => visibleText(line));
  const found = new Uint32Array(rows.n);
  let count = 0;
  for (let i = 0; i < rows.n; i++) {
    line = lines[i];
    row.next(
      rows.from + i,
      rows.flags[i],
      Math.round(rows.received.getFloat64(i * 8, true) * 1000),
      names[sources ? sources[i] : 0] ?? "",
    );
    if (term(row) !== FALSE) found[count++] = i;
  }
  return found.slice(0, count);
}

/** The level of each row of a block, as a place in `LEVELS`; gaps and notices have none. */
export function levels({ text, flags }: { text: Uint8Array; flags: Uint8Array }): Uint8Array {
  const lines = shownLines(text);
  return flags.map((flag, i) => (flag & KIND ? 0 : level(visibleText(lines[i]))));
}

/** The lines of a block as carriage returns leave them. */
function shownLines(block: Uint8Array): string[] {
  const lines = new TextDecoder("utf-8", { ignoreBOM: true }).decode(block).split("\n");
  return block.includes(13) ? lines.map(lastShown) : lines;
}

/** What is left of a line after its carriage returns, as `lastState` of its bytes. */
function lastShown(line: string): string {
  const text = line.replace(/\r+$/, "");
  return text.slice(text.lastIndexOf("\r") + 1);
}

export function compiled(query: Query): RegExp {
  const source = query.regex ? query.text : query.text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
  return new RegExp(source, query.caseSensitive ? "gu" : "giu");
}

/** Positions, from 0, of the lines of a block that match as they are shown. */
export function scan(pattern: RegExp, block: Uint8Array, n: number): Uint32Array {
  const lines = shownLines(block);
  const found = new Uint32Array(n);
  let count = 0;
  for (let row = 0; row < n; row++) {
    pattern.lastIndex = 0;
    if (pattern.test(visibleText(beginning(lines[row])))) found[count++] = row;
  }
  return found.slice(0, count);
}

/** As much of a line as a row shows. */
function beginning(line: string): string {
  if (line.length * 3 <= SHOWN_BYTES) return line;
  return new TextDecoder().decode(new TextEncoder().encode(line).subarray(0, SHOWN_BYTES));
}

/** [start, end, start, end, …] of the matches in one shown line. */
export function ranges(pattern: RegExp, line: string): number[] {
  const found: number[] = [];
  pattern.lastIndex = 0;
  for (let match = pattern.exec(line); match; match = pattern.exec(line)) {
    if (match[0] === "") pattern.lastIndex += 1;
    else found.push(match.index, match.index + match[0].length);
    if (found.length >= MAX_RANGES * 2 || pattern.lastIndex > line.length) break;
  }
  return found;
}
