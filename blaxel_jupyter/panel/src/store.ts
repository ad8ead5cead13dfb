// Keep the rows of one model as bytes, in blocks with an index of line starts, decoded when shown. A million
// lines cost their bytes and no JavaScript strings; of more than fits, the end and what was read last are
// held, and the rest is asked for again when it is wanted. It knows nothing of the DOM.

import type { Incoming, Piece, Store } from "./session";

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

/** Rows that follow one another, held or not. */
interface Block {
  from: number;
  n: number;
  /** Bytes that holding it takes, or 0 when it has never been here. */
  cost: number;
  /** When it was last looked at, on a clock of its own. */
  used: number;
  held: Chunk | null;
}

/** What a row shows: its last `\r` state, at most `SHOWN_BYTES` of it. */
export interface Shown {
  text: string;
  /** Bytes of the row that are not in `text` because it is too long. */
  cut: number;
}

export const SHOWN_BYTES = 16_384;
const MERGE_BYTES = 131_072; // small live batches are joined up to this size: few blocks, cheap copies
const HELD_BYTES = 128 << 20; // a page of JupyterLab takes about 260 MB without us
const ROW_BYTES = 13; // held beside a row's text: flags, time, start
const PIECE_BYTES = 1 << 18; // what a page of the kernel holds
const PIECE_ROWS = 1 << 13;
const NEAR_ROWS = 1 << 10; // sent once more rather than asking twice
const AHEAD = 4; // blocks looked at from the one that is wanted
const USUAL_BYTES = 100; // of a line, before there is one
const CR = 13;
const LF = 10;

export class LineStore implements Store {
  /** Rows there are, held or not. */
  length = 0;
  /** Asks for rows that are not held; set by the session. */
  ask: (from: number, n: number, urgent: boolean) => void = () => {};
  readonly #blocks: Block[] = [];
  readonly #missing = new Map<number, number>();
  readonly #decoder = new TextDecoder();
  #held = 0;
  #clock = 0;
  /** Rows that have been here, and the bytes of their text. */
  #seen = [0, 0];

  /** `limit` is how many bytes are held at most; of seven eighths of it the end of the log is sure. */
  constructor(private readonly limit = HELD_BYTES) {}

  /** Bytes of all rows' text, as far as is known. */
  get bytes(): number {
    return this.length * this.#usual;
  }

  take(message: Incoming, [text, flags, received, sources]: DataView[]): boolean {
    if (received === undefined) return false;
    return this.append({
      missing: [],
      ...(message as Incoming & Partial<Batch>),
      text: bytesOf(text),
      flags: bytesOf(flags),
      received,
      sources: sources && bytesOf(sources),
    });
  }

  clear(): void {
    this.length = this.#held = 0;
    this.#seen = [0, 0];
    this.#blocks.length = 0;
    this.#missing.clear();
  }

  /**
   * Take the rows of a batch that are not held; rows before it that never came are left out for now.
   * Returns false, and keeps nothing, when the batch is damaged.
   */
  append(batch: Batch): boolean {
    const chunk = indexed(batch);
    if (chunk === null) return false;
    for (const [row, bytes] of batch.missing) this.#missing.set(row, bytes);
    this.#extend(batch.from);
    const end = batch.from + batch.n;
    this.#fill(chunk, Math.min(end, this.length));
    if (end > this.length) this.#push(sliced(chunk, Math.max(batch.from, this.length), end));
    this.#evict();
    return true;
  }

  /**
   * Rows near the end, of `total` that there are, that should be held and are not: how many, and the
   * last pieces of those that are not `asked` for. What is close together is one piece.
   */
  lost(total: number, asked: (row: number) => boolean): { count: number; pieces: Piece[] } {
    this.#extend(total);
    for (let last = this.#blocks.at(-1); last && !last.held && this.length > total; ) {
      this.length = Math.max(total, last.from); // the kernel does not know of these rows
      last.n = this.length - last.from;
      if (last.n === 0) this.#blocks.pop();
      last = this.#blocks.at(-1);
    }
    const pieces: Piece[] = [];
    let count = 0;
    const tail = this.#tail();
    for (let i = this.#blocks.length - 1; i >= 0; i--) {
      const { held, from, n } = this.#blocks[i];
      if (from + n <= tail) break;
      if (held) continue;
      const first = Math.max(from, tail);
      count += from + n - first;
      for (let end = from + n; end > first && pieces.length < AHEAD; ) {
        const start = Math.max(first, end - this.#piece);
        const after = pieces.at(-1);
        if (asked(start)) {
          // on its way
        } else if (after && after[0] - end < NEAR_ROWS && sum(after) - start <= this.#piece) {
          pieces[pieces.length - 1] = [start, sum(after) - start];
        } else pieces.push([start, end - start]);
        end = start;
      }
    }
    return { count, pieces };
  }

  /** Whether a row is here to be read; what is looked at is held longest. */
  held(row: number): boolean {
    return this.#chunk(row) !== null;
  }

  /** Ask for a row that is not held, and for some after it: once here, the session tells its views. */
  want(row: number, urgent = false): void {
    const at = this.#find(row);
    for (const { held, from, n } of this.#blocks.slice(at, at + (urgent ? 1 : AHEAD))) {
      if (held) continue;
      const first = n > this.#piece ? Math.max(from, row) : from; // lines are longer than was thought
      this.ask(first, Math.min(from + n - first, this.#piece), urgent);
    }
  }

  flags(row: number): number {
    const chunk = this.#chunk(row);
    return chunk ? chunk.flags[row - chunk.from] : 0;
  }

  received(row: number): number {
    const chunk = this.#chunk(row);
    return chunk ? chunk.received.getFloat64((row - chunk.from) * 8, true) : Number.NaN;
  }

  /** Which source the row is from, counted from 0. */
  source(row: number): number {
    const chunk = this.#chunk(row);
    return chunk?.sources?.[row - chunk.from] ?? 0;
  }

  missing(row: number): number | undefined {
    return this.#missing.get(row);
  }

  /** The row's bytes as received; none while it is not held. */
  raw(row: number): Uint8Array {
    const chunk = this.#chunk(row);
    if (!chunk) return new Uint8Array();
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

  /** Rows from `from` to the end of the block that holds it, or null while they are not held. */
  block(from: number): Omit<Batch, "from" | "missing"> | null {
    const chunk = this.#chunk(from);
    return chunk && sliced(chunk, from, chunk.from + chunk.n);
  }

  #chunk(row: number): Chunk | null {
    const block = this.#blocks[this.#find(row)];
    if (!block) return null;
    block.used = ++this.#clock;
    return block.held;
  }

  #find(row: number): number {
    let low = 0;
    let high = this.#blocks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#blocks[middle].from <= row) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  get #usual(): number {
    return this.#seen[0] > 0 ? this.#seen[1] / this.#seen[0] : USUAL_BYTES;
  }

  /** Rows of a page, about. */
  get #piece(): number {
    return Math.max(1, Math.min(PIECE_ROWS, Math.floor(PIECE_BYTES / this.#usual)));
  }

  /** Leave rows out up to `total`, in pieces as large as a page. */
  #extend(total: number): void {
    const piece = this.#piece;
    while (this.length < total) {
      let last = this.#blocks.at(-1);
      if (!last || last.held || last.n >= piece) {
        last = { from: this.length, n: 0, cost: 0, used: 0, held: null };
        this.#blocks.push(last);
      }
      const more = Math.min(piece - last.n, total - this.length);
      last.n += more;
      this.length += more;
    }
  }

  /** Put rows up to `end` where such are left out. */
  #fill(chunk: Chunk, end: number): void {
    for (let row = chunk.from; row < end; ) {
      const at = this.#find(row);
      const { from, n, cost, held } = this.#blocks[at];
      const until = Math.min(end, from + n);
      if (!held) {
        const left = (first: number, last: number): Block[] => {
          if (first === last) return [];
          const part = Math.ceil((cost * (last - first)) / n);
          return [{ from: first, n: last - first, cost: part, used: 0, held: null }];
        };
        const rows = this.#counted(sliced(chunk, row, until), cost > 0);
        this.#blocks.splice(at, 1, ...left(from, row), rows, ...left(until, from + n));
      }
      row = until;
    }
  }

  #push(chunk: Chunk): void {
    this.length += chunk.n;
    const block = this.#counted(chunk, false);
    const last = this.#blocks.at(-1);
    if (last?.held && last.cost + block.cost < MERGE_BYTES) {
      last.held = joined(last.held, chunk);
      last.n += chunk.n;
      last.cost += block.cost;
      last.used = block.used;
    } else {
      this.#blocks.push(block);
    }
  }

  #counted(chunk: Chunk, known: boolean): Block {
    const { from, n, text } = chunk;
    const cost = text.length + n * ROW_BYTES;
    this.#held += cost;
    if (!known) this.#seen = [this.#seen[0] + n, this.#seen[1] + text.length + 1];
    return { from, n, cost, used: ++this.#clock, held: chunk };
  }

  /** The first of the rows at the end that are always held. */
  #tail(): number {
    let room = (this.limit * 7) / 8;
    for (let i = this.#blocks.length - 1; i >= 0; i--) {
      const { from, n, cost } = this.#blocks[i];
      const each = cost / n || this.#usual + ROW_BYTES;
      if (each * n > room) return from + n - Math.floor(room / each);
      room -= each * n;
    }
    return 0;
  }

  /** Let go of what was looked at longest ago. */
  #evict(): void {
    while (this.#held > this.limit) {
      const tail = this.#tail();
      let old: Block | null = null;
      for (const block of this.#blocks) {
        if (block.from + block.n > tail) break;
        if (block.held && (!old || block.used < old.used)) old = block;
      }
      if (!old) return;
      old.held = null;
      this.#held -= old.cost;
    }
  }
}

const sum = ([from, n]: Piece): number => from + n;

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

/** The rows of a chunk from `first` up to `end`. */
function sliced(chunk: Chunk, first: number, end: number): Chunk {
  const i = first - chunk.from;
  const n = end - first;
  if (n === chunk.n) return chunk;
  const offset = chunk.starts[i];
  const { buffer, byteOffset } = chunk.received;
  return {
    from: first,
    n,
    text: chunk.text.subarray(offset, chunk.starts[i + n] - 1),
    flags: chunk.flags.subarray(i, i + n),
    received: new DataView(buffer, byteOffset + i * 8, n * 8),
    sources: chunk.sources?.subarray(i, i + n),
    missing: [],
    starts: chunk.starts.subarray(i, i + n + 1).map((start) => start - offset),
  };
}

function joined(a: Chunk, b: Chunk): Chunk {
  const sources = (chunk: Chunk) => chunk.sources ?? new Uint8Array(chunk.n);
  return indexed({
    from: a.from,
    n: a.n + b.n,
    text: concatenated(a.text, new Uint8Array([LF]), b.text),
    flags: concatenated(a.flags, b.flags),
    received: new DataView(concatenated(bytesOf(a.received), bytesOf(b.received)).buffer),
    sources: a.sources || b.sources ? concatenated(sources(a), sources(b)) : undefined,
    missing: [],
  }) as Chunk;
}

function concatenated(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function bytesOf({ buffer, byteOffset, byteLength }: DataView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
