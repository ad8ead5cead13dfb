// Count lines by arrival time, stream and level as they come, in buckets of one width, which doubles when
// there would be too many. Rows whose time is not known are counted apart, never placed.

import { LEVELS } from "./level-names";
import { GAP, KIND, STREAM } from "./store";

/** What is counted in a bucket: four streams, as in a row's flags, then the levels, then gaps. */
export const STREAMS = ["no stream", "stdout", "stderr", "system"];
export const FIRST_LEVEL = STREAMS.length;
export const GAPS = FIRST_LEVEL + LEVELS.length;
export const COUNTS = GAPS + 1;

const MOST = 1024; // buckets: more than a strip of three thousand pixels shows
const FINEST = 100; // milliseconds: rows arrive in batches some 30 ms apart

/** Counts side by side, `COUNTS` a bar. */
export interface Bars {
  /** Milliseconds since the epoch of the first bar's start, and of each bar's width. */
  start: number;
  width: number;
  n: number;
  counts: Uint32Array;
}

export class Tally {
  /** Rows with a time, and without one. */
  timed = 0;
  untimed = 0;
  #start = 0;
  #width = FINEST;
  #n = 0;
  readonly #counts = new Uint32Array(MOST * COUNTS);

  /** Milliseconds from the first row to the last, about. */
  get span(): number {
    return this.#n * this.#width;
  }

  /** Count the rows of a block. */
  add(flags: Uint8Array, levels: Uint8Array, received: DataView): void {
    for (let i = 0; i < flags.length; i++) {
      const time = received.getFloat64(i * 8, true);
      if (!Number.isFinite(time)) {
        this.untimed += 1;
        continue;
      }
      const at = this.#bucket(time) * COUNTS;
      this.timed += 1;
      if ((flags[i] & KIND) === GAP) this.#counts[at + GAPS] += 1;
      else {
        this.#counts[at + (flags[i] & STREAM)] += 1;
        this.#counts[at + FIRST_LEVEL + (levels[i] ?? 0)] += 1;
      }
    }
  }

  /** At most so many bars; their width is a power of two of buckets, so that they stand still. */
  bars(most: number): Bars {
    let each = 1;
    while (this.#n / each > most) each *= 2;
    const n = Math.ceil(this.#n / each);
    const counts = new Uint32Array(n * COUNTS);
    for (let i = 0; i < this.#n; i++) {
      const bar = Math.floor(i / each) * COUNTS;
      for (let c = 0; c < COUNTS; c++) counts[bar + c] += this.#counts[i * COUNTS + c];
    }
    return { start: this.#start, width: this.#width * each, n, counts };
  }

  #bucket(time: number): number {
    if (this.#n === 0) this.#start = Math.floor(time / FINEST) * FINEST;
    for (;;) {
      const at = Math.floor((time - this.#start) / this.#width);
      const before = Math.max(0, -at);
      if (Math.max(at + 1, this.#n + before) > MOST) this.#halve();
      else if (before > 0) {
        this.#counts.copyWithin(before * COUNTS, 0, this.#n * COUNTS);
        this.#counts.fill(0, 0, before * COUNTS);
        this.#start -= before * this.#width;
        this.#n += before;
      } else {
        this.#n = Math.max(this.#n, at + 1);
        return at;
      }
    }
  }

  #halve(): void {
    const half = Math.ceil(this.#n / 2);
    for (let i = 0; i < half * COUNTS; i++) {
      const pair = Math.floor(i / COUNTS) * 2 * COUNTS + (i % COUNTS);
      this.#counts[i] = this.#counts[pair] + (this.#counts[pair + COUNTS] ?? 0);
    }
    this.#counts.fill(0, half * COUNTS);
    this.#n = half;
    this.#width *= 2;
  }
}
