// Keep positions of rows in their order, as they are found: four bytes each, in pages that are never
// copied when there are more; and say how far a walk that finds them is.

const PAGE = 14; // bits of a place in its page
const LAG = 20_000; // rows not looked at yet from which on a count says that it is not the last word

/** How far a walk through `rows` rows is, for the user; empty when it is as good as done. */
export function progress(scanned: number, rows: number): string {
  return rows - scanned > LAG ? `${Math.floor((100 * scanned) / rows)} %` : "";
}

/** Rows in their order, found by row and by position; both count from 0. */
export interface Places {
  readonly count: number;
  at(position: number): number;
  /** The position of the first one at `row` or after it. */
  position(row: number): number;
}

export class RowSet implements Places {
  count = 0;
  readonly #pages: Uint32Array[] = [];

  /** Append rows, each counted from `from`, that come after all there are. */
  add(from: number, rows: Uint32Array): void {
    for (let i = 0; i < rows.length; i++, this.count++) {
      const page = this.count >> PAGE;
      if (page === this.#pages.length) this.#pages.push(new Uint32Array(1 << PAGE));
      this.#pages[page][this.count & ((1 << PAGE) - 1)] = from + rows[i];
    }
  }

  /** The position (from 0) of the first one at `row` or after it. */
  position(row: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.at(middle) < row) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  at(position: number): number {
    return this.#pages[position >> PAGE]?.[position & ((1 << PAGE) - 1)];
  }

  has(row: number): boolean {
    const i = this.position(row);
    return i < this.count && this.at(i) === row;
  }
}
