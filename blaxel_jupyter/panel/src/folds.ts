// Say which rows are in the list, and at which place: those that the filter keeps, without folded ones.
// A folded range hides the rows behind its first one. It knows nothing of the DOM, nor why rows are folded.

import type { RowSet } from "./row-set";

/** Rows from the first, which stays, to one past the last. */
export type Range = [first: number, end: number];

/** A place of the base where rows are folded: how many, and how many before it. */
type Hole = [from: number, n: number, before: number];

export class Folds {
  /** What the filter keeps; null while it keeps all. */
  base: RowSet | null = null;
  #ranges: Range[] = []; // in order, none touches another
  #holes: Hole[] = [];
  #hidden = 0; // by all holes
  #known: [RowSet | null, number] | null = null; // what the holes were counted for

  /** `length` returns how many rows there are. */
  constructor(private readonly length: () => number) {}

  /** How many rows are in the list. */
  get count(): number {
    this.#sync();
    return (this.base?.count ?? this.length()) - this.#hidden;
  }

  /** The row at a place of the list. */
  at(place: number): number {
    const [, n, before] = this.#hole(([from, , before]) => from - before <= place);
    const position = place + before + n;
    return this.base?.at(position) ?? position;
  }

  /** The place of a row, or of the next one that is in the list. */
  position(row: number): number {
    const position = this.#position(row);
    const [from, n, before] = this.#hole(([from]) => from <= position);
    return Math.max(from, position - n) - before;
  }

  /** How many rows are folded behind a row of the list. */
  behind(row: number): number {
    const range = this.around(row);
    if (range?.[0] !== row || this.base?.has(row) === false) return 0;
    return this.#position(range[1]) - this.#position(row + 1);
  }

  /** Fold a range, in place of all that it touches. */
  fold(range: Range): void {
    this.open(...range);
    this.#ranges.splice(last(this.#ranges, ([first]) => first < range[0]) + 1, 0, range);
    this.#known = null;
  }

  /** The folded range that a row is in; its first row too. */
  around(row: number): Range | undefined {
    const range = this.#ranges[last(this.#ranges, ([first]) => first <= row)];
    return range && row < range[1] ? range : undefined;
  }

  /** The last range of all. */
  get tail(): Range | undefined {
    return this.#ranges.at(-1);
  }

  /** Open all ranges that touch these rows; tell whether there were any. */
  open(from: number, to = from + 1): boolean {
    const { length } = this.#ranges;
    this.#ranges = this.#ranges.filter(([first, end]) => end <= from || first >= to);
    this.#known = null;
    return this.#ranges.length < length;
  }

  #position(row: number): number {
    return this.base?.position(row) ?? row;
  }

  #hole(holds: (hole: Hole) => boolean): Hole {
    this.#sync();
    return this.#holes[last(this.#holes, holds)] ?? [0, 0, 0];
  }

  /** Count anew what is hidden, where that may have changed. */
  #sync(): void {
    const { base } = this;
    const count = base?.count ?? 0;
    if (this.#known?.[0] === base && this.#known[1] === count) return;
    this.#known = [base, count];
    this.#holes = [];
    this.#hidden = 0;
    for (const [first] of this.#ranges) {
      const n = this.behind(first); // none where the first is not kept: nothing would say so
      if (n > 0) this.#holes.push([this.#position(first + 1), n, this.#hidden]);
      this.#hidden += n;
    }
  }
}

/** The index of the last one that holds, of some that hold first and others that do not; -1 for none. */
function last<T>(sorted: readonly T[], holds: (one: T) => boolean): number {
  let low = -1;
  let high = sorted.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (holds(sorted[middle])) low = middle;
    else high = middle - 1;
  }
  return low;
}
