// Search the store block by block in a worker, so that the page never waits: matches are counted as they
// come, new rows are searched as they arrive, and an expression that takes too long is given up.

import { Asker } from "./asker";
import type { Query } from "./matching";
import { RowSet } from "./row-set";
import type { LineStore } from "./store";

const HIGHLIGHT_CACHE = 500;

export class Search {
  query: Query | null = null;
  /** Why the search ended early, for the user; empty while all is well. */
  error = "";
  /** Rows searched so far. */
  scanned = 0;
  rows = new RowSet();
  #highlights = new Map<number, number[]>();
  #asked = new Set<number>();
  readonly #asker = new Asker((message) => {
    if (message) this.error = message;
    this.changed();
  });

  constructor(
    private readonly store: LineStore,
    private readonly changed: () => void,
  ) {}

  /** Begin a new search; an empty text ends it. */
  set(query: Query): void {
    this.stop();
    this.query = query.text === "" ? null : query;
    this.error = "";
    this.scanned = 0;
    this.rows = new RowSet();
    this.#highlights.clear();
    this.update();
    this.changed();
  }

  /** Go on with the rows that have arrived since. */
  update(): void {
    if (!this.query || this.error || this.#asker.busy || this.scanned >= this.store.length) return;
    const from = this.scanned;
    const block = this.store.block(from);
    if (!block) {
      this.store.want(from); // and go on once it is here
      return;
    }
    const { n, text } = block;
    // A copy: posting a view would clone the whole message it points into.
    this.#asker.ask({ kind: "scan", query: this.query, text: text.slice(), n }, (reply) => {
      if (reply.kind === "scan") this.rows.add(from, reply.rows);
      this.scanned = from + n;
      this.update();
    });
  }

  get count(): number {
    return this.rows.count;
  }

  /** Ranges to mark in a shown row, or undefined until the worker has answered. */
  ranges(row: number): number[] | undefined {
    return this.#highlights.get(row);
  }

  /** Ask for the ranges of rows that are on screen and match. */
  highlight(rows: number[], textOf: (row: number) => string): void {
    if (!this.query || this.error || this.#asker.busy) return;
    const wanted = rows.filter((row) => !this.#highlights.has(row) && !this.#asked.has(row));
    if (wanted.length === 0) return;
    if (this.#highlights.size > HIGHLIGHT_CACHE) this.#highlights.clear();
    for (const row of wanted) this.#asked.add(row);
    const lines = wanted.map(textOf);
    this.#asker.ask({ kind: "highlight", query: this.query, lines }, (reply) => {
      this.#asked.clear();
      if (reply.kind !== "highlight") return;
      wanted.forEach((row, i) => {
        this.#highlights.set(row, reply.ranges[i]);
      });
      this.update();
    });
  }

  stop(): void {
    this.#asker.stop();
    this.#asked.clear();
  }
}
