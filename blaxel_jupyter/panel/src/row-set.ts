// Keep positions of rows in their order, as they are found: four bytes each.

export class RowSet {
  count = 0;
  #rows = new Uint32Array(1024);

  /** Append rows, each counted from `from`, that come after all there are. */
  add(from: number, rows: Uint32Array): void {
    if (this.count + rows.length > this.#rows.length) {
      const larger = new Uint32Array(Math.max(this.#rows.length * 2, this.count + rows.length));
      larger.set(this.#rows.subarray(0, this.count));
      this.#rows = larger;
    }
    for (let i = 0; i < rows.length; i++) this.#rows[this.count + i] = from + rows[i];
    this.count += rows.length;
  }

  /** The position (from 0) of the first one at `row` or after it. */
  position(row: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#rows[middle] < row) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  at(position: number): number {
    return this.#rows[position];
  }

  has(row: number): boolean {
    const i = this.position(row);
    return i < this.count && this.#rows[i] === row;
  }
}
