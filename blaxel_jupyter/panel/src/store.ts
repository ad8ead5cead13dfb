// Keep the rows of one model as bytes: text chunks with an index of line starts, decoded when shown.
// A million lines cost their bytes and no JavaScript strings. It knows nothing of the DOM.

import type { Incoming, Store } from "./session";

/** Rows as they travel: `text` holds `n` lines joined by `\n`, the other buffers one value a row. */
export interface Batch {
  from: number;
  n: number;
  text: Uint8Array;
  flags: Uint8Array;
  /** Float64, little endian, milliseconds since the epoch or NaN; eight bytes a row. */
  received: DataView;
  /** Which of several sources each row is from, one byte a row; without it all are from the first. */
  sources?: Uint8Array;
  /** Rows of kind gap or notice that know their size: [row, bytes]. */
  missing: [number, number][];
}

export const STREAM = 3; // 0 none, 1 stdout, 2 stderr, 3 system
export const KIND = 12; // 0 line, 4 gap, 8 notice
export const GAP = 4;
export const NOTICE = 8;
export const STDERR = 2;

interface Chunk extends Batch {
  /** Where each line starts; one more entry, one past the last line's newline. */
  starts: Uint32Array;
}

/** What a row shows: its last `\r` state, at most `SHOWN_BYTES` of it. */
export interface Shown {
  text: string;
  /** Bytes of the row that are not in `text` because it is too long. */
  cut: number;
}

export const SHOWN_BYTES = 16_384;
const MERGE_BYTES = 262_144; // small live batches are joined up to this size: few chunks, cheap copies
const CR = 13;
const LF = 10;

export class LineStore implements Store {
  length = 0;
  bytes = 0;
  readonly #chunks: Chunk[] = [];
  readonly #missing = new Map<number, number>();
  readonly #decoder = new TextDecoder();

  take(message: Incoming, [text, flags, received, sources]: DataView[]): boolean {
    if (received === undefined) return false;
    return this.append({
      ...(message as Incoming & Pick<Batch, "missing">),
      text: bytesOf(text, text.byteLength),
      flags: bytesOf(flags, flags.byteLength),
      received,
      sources: sources && bytesOf(sources, sources.byteLength),
    });
  }

  clear(): void {
    this.length = this.bytes = 0;
    this.#chunks.length = 0;
    this.#missing.clear();
  }

  /**
   * Append what is new in a batch; rows the store has already are skipped.
   * Returns false, and keeps nothing, when rows before the batch are missing or the batch is damaged.
   */
  append(batch: Batch): boolean {
    if (batch.from > this.length) return false;
    if (batch.from + batch.n <= this.length) return true;
    let chunk = indexed(batch);
    if (chunk === null) return false;
    if (batch.from < this.length) chunk = sliced(chunk, this.length - batch.from);
    for (const [row, bytes] of batch.missing) this.#missing.set(row, bytes);
    this.length += chunk.n;
    this.bytes += chunk.text.length + 1;
    const last = this.#chunks.at(-1);
    if (last && last.text.length + chunk.text.length < MERGE_BYTES) {
      this.#chunks[this.#chunks.length - 1] = joined(last, chunk);
    } else {
      this.#chunks.push(chunk);
    }
    return true;
  }

  flags(row: number): number {
    const chunk = this.#chunk(row);
    return chunk.flags[row - chunk.from];
  }

  received(row: number): number {
    const chunk = this.#chunk(row);
    return chunk.received.getFloat64((row - chunk.from) * 8, true);
  }

  /** Which source the row is from, counted from 0. */
  source(row: number): number {
    const chunk = this.#chunk(row);
    return chunk.sources?.[row - chunk.from] ?? 0;
  }

  missing(row: number): number | undefined {
    return this.#missing.get(row);
  }

  /** The row's bytes as received. */
  raw(row: number): Uint8Array {
    const chunk = this.#chunk(row);
    const i = row - chunk.from;
    return chunk.text.subarray(chunk.starts[i], chunk.starts[i + 1] - 1);
  }

  shown(row: number): Shown {
    const state = lastState(this.raw(row));
    if (state.length <= SHOWN_BYTES) return { text: this.#decoder.decode(state), cut: 0 };
    let end = SHOWN_BYTES; // never inside a character
    while (end > 0 && (state[end] & 0xc0) === 0x80) end -= 1;
    return { text: this.#decoder.decode(state.subarray(0, end)), cut: state.length - end };
  }

  /** Rows from `from` to the end of the chunk that holds it: how a scan walks the store. */
  block(from: number): Omit<Batch, "from" | "missing"> {
    const chunk = this.#chunk(from);
    const i = from - chunk.from;
    const { buffer, byteOffset } = chunk.received;
    return {
      n: chunk.n - i,
      text: chunk.text.subarray(chunk.starts[i]),
      flags: chunk.flags.subarray(i),
      received: new DataView(buffer, byteOffset + i * 8, (chunk.n - i) * 8),
      sources: chunk.sources?.subarray(i),
    };
  }

  #chunk(row: number): Chunk {
    let low = 0;
    let high = this.#chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#chunks[middle].from <= row) low = middle;
      else high = middle - 1;
    }
    return this.#chunks[low];
  }
}

/** What is left of a line after its carriage returns: the text after the last one that has any. */
export function lastState(line: Uint8Array): Uint8Array {
  let end = line.length;
  while (end > 0 && line[end - 1] === CR) end -= 1;
  const start = end === 0 ? 0 : line.lastIndexOf(CR, end - 1) + 1;
  return line.subarray(start, end);
}

function indexed(batch: Batch): Chunk | null {
  const { n, text, sources } = batch;
  if (n < 1 || batch.flags.length !== n || batch.received.byteLength !== n * 8) return null;
  if (sources && sources.length !== n) return null;
  const starts = new Uint32Array(n + 1);
  let at = 0;
  for (let i = 1; i < n; i++) {
    at = text.indexOf(LF, at) + 1;
    if (at === 0) return null;
    starts[i] = at;
  }
  if (text.indexOf(LF, at) !== -1) return null;
  starts[n] = text.length + 1;
  return { ...batch, missing: [], starts };
}

function sliced(chunk: Chunk, skip: number): Chunk {
  const offset = chunk.starts[skip];
  return {
    from: chunk.from + skip,
    n: chunk.n - skip,
    text: chunk.text.subarray(offset),
    flags: chunk.flags.subarray(skip),
    received: new DataView(chunk.received.buffer, chunk.received.byteOffset + skip * 8),
    sources: chunk.sources?.subarray(skip),
    missing: [],
    starts: chunk.starts.subarray(skip).map((start) => start - offset),
  };
}

function joined(a: Chunk, b: Chunk): Chunk {
  const text = new Uint8Array(a.text.length + 1 + b.text.length);
  text.set(a.text);
  text[a.text.length] = LF;
  text.set(b.text, a.text.length + 1);
  const flags = new Uint8Array(a.n + b.n);
  flags.set(a.flags);
  flags.set(b.flags, a.n);
  const received = new Uint8Array((a.n + b.n) * 8);
  received.set(bytesOf(a.received, a.n * 8));
  received.set(bytesOf(b.received, b.n * 8), a.n * 8);
  const sources = a.sources || b.sources ? new Uint8Array(a.n + b.n) : undefined;
  if (a.sources) sources?.set(a.sources);
  if (b.sources) sources?.set(b.sources, a.n);
  const starts = new Uint32Array(a.n + b.n + 1);
  starts.set(a.starts);
  for (let i = 0; i <= b.n; i++) starts[a.n + i] = b.starts[i] + a.text.length + 1;
  return {
    from: a.from,
    n: a.n + b.n,
    text,
    flags,
    received: new DataView(received.buffer),
    sources,
    missing: [],
    starts,
  };
}

function bytesOf(view: DataView, length: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, length);
}
