// Write rows as text or as JSON lines, inside the search worker: what a reader takes away.

import { visibleText } from "./ansi";
import { GAP, KIND, STREAM } from "./store";

/** `raw` is the text as received, `json` an object a row; the others are what the panel shows. */
export type Style = "raw" | "json" | "text" | "numbers" | "times";

/** A block of a store from the row `from` on. */
export interface Taking {
  style: Style;
  from: number;
  text: Uint8Array;
  flags: Uint8Array;
  received: DataView;
  /** How many bytes are missing at rows of the block, counted from 0, that are gaps or notices. */
  missing: Map<number, number | undefined>;
  /** Of several runs: what each is called, and which each row is from. */
  names?: { sandbox: string; process: string }[];
  sources?: Uint8Array;
  /** Rows of the block to write, counted from 0. */
  rows: Uint32Array;
}

const STREAMS = [null, "stdout", "stderr", "system"];
const KINDS = ["line", "gap", "notice"];

/** The rows as UTF-8, a line feed after each. */
export function written(taking: Taking): Uint8Array<ArrayBuffer> {
  const lines = new TextDecoder("utf-8", { ignoreBOM: true }).decode(taking.text).split("\n");
  let out = "";
  for (const i of taking.rows) {
    out += `${line(taking, i, lines[i], taking.missing.get(i) ?? null)}\n`;
  }
  return new TextEncoder().encode(out);
}

function line(taking: Taking, i: number, text: string, missing: number | null): string {
  const { style, from, flags } = taking;
  const received = time(taking.received.getFloat64(i * 8, true));
  const kind = flags[i] & KIND;
  if (style === "json") {
    return JSON.stringify({
      seq: from + i,
      ...taking.names?.[taking.sources?.[i] ?? 0],
      stream: STREAMS[flags[i] & STREAM],
      kind: KINDS[kind / GAP],
      text,
      received,
      missing_bytes: missing,
    });
  }
  if (style === "raw" && kind === 0) return text;
  const shown = visibleText(text.replace(/\r+$/, "").replace(/^.*\r/s, ""));
  const told = kind === 0 ? ofLog(shown) : `-- ${said(kind, shown, missing)} --`;
  if (style === "raw") return told;
  const head = { text: "", numbers: `${from + i + 1}\t`, times: `${received ?? "-"}\t` }[style];
  return head + told;
}

/** A line that reads like a row of ours gets a backslash: it cannot be taken for one (frames.py). */
function ofLog(line: string): string {
  return /^\s*\\*-- .* --$/.test(line) ? `\\${line}` : line;
}

/** A line in words, where it stands for output that is not there. */
function said(kind: number, text: string, missing: number | null): string {
  if (kind !== GAP) return text;
  const what = missing === null ? "output" : `${missing.toLocaleString("en")} bytes`;
  return `${what} missing here${text && ": "}${text}`;
}

/** Milliseconds since the epoch as ISO text in UTC, to the microsecond; null if not known. */
export function time(milliseconds: number): string | null {
  if (Number.isNaN(milliseconds)) return null;
  const micro = Math.round(milliseconds * 1000);
  const start = new Date(Math.floor(micro / 1000)).toISOString().slice(0, -1);
  return `${start}${String(micro % 1000).padStart(3, "0")}Z`;
}
