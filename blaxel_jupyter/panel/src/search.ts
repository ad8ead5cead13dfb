// Search the store block by block in a worker, so that the page never waits: matches are counted as they
// come, new rows are searched as they arrive, and an expression that takes too long is given up.

import { Asker } from "./asker";
import type { LogSession } from "./header";
import type { Query } from "./matching";
import { progress, RowSet } from "./row-set";
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
  /** Counts changes of the ranges to mark. */
  marked = 0;
  #wanted: [rows: number[], lines: string[]] | null = null;
  readonly #asker: Asker;
  readonly #store: LineStore;

  constructor(
    { store, later }: Pick<LogSession, "store" | "later">,
    private readonly changed: () => void,
  ) {
    this.#store = store;
    this.#asker = new Asker(later, (message) => {
      if (message) this.error = message;
      this.changed();
    });
  }

  /** Begin a new search; an empty text ends it. */
  set(query: Query): void {
    this.stop();
    this.query = query.text === "" ? null : query;
    this.error = "";
    this.scanned = 0;
    this.rows = new RowSet();
    this.#highlights.clear();
    this.marked += 1;
    this.update();
    this.changed();
  }

  /** Go on with the rows that have arrived since. */
  update(): void {
    if (!this.query || this.error || this.#asker.busy) return;
    if (this.#wanted) this.#mark(this.query, ...this.#wanted);
    else if (this.scanned < this.#store.length) this.#scan(this.query);
  }

  #scan(query: Query): void {
    const from = this.scanned;
    const block = this.#store.block(from);
    if (!block) {
      this.#store.want(from); // and go on once it is here
      return;
    }
    const { n, text } = block;
    // A copy: posting a view would clone the whole message it points into.
    this.#asker.ask({ kind: "scan", query, text: text.slice(), n }, (reply) => {
      if (reply.kind === "scan") this.rows.add(from, reply.rows);
      this.scanned = from + n;
      this.update();
    });
  }

  /** How far the search is, while that is worth a word. */
  get progress(): string {
    return progress(this.scanned, this.#store.length);
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
    if (!this.query || this.error) return;
    const wanted = rows.filter((row) => !this.#highlights.has(row));
    this.#wanted = wanted.length > 0 ? [wanted, wanted.map(textOf)] : null;
    this.update();
  }

  #mark(query: Query, rows: number[], lines: string[]): void {
    this.#wanted = null;
    this.#asker.ask({ kind: "highlight", query, lines }, (reply) => {
      if (reply.kind !== "highlight") return;
      if (this.#highlights.size > HIGHLIGHT_CACHE) this.#highlights.clear();
      rows.forEach((row, i) => {
        this.#highlights.set(row, reply.ranges[i]);
      });
      this.marked += 1;
      this.update();
    });
  }

  stop(): void {
    this.#asker.stop();
    this.#wanted = null;
  }
}
