// Walk the store for what is shown of a whole log: lines by time and level, and where errors and gaps are.
// Levels are guessed in the worker, block by block; the page only counts.

import { Asker } from "./asker";
import type { LogSession } from "./header";
import { ERROR } from "./level-names";
import { RowSet } from "./row-set";
import { GAP, KIND, type LineStore } from "./store";
import { Tally } from "./tally";

export class Tallying {
  tally = new Tally();
  /** Rows that say of themselves that they are errors or worse, and gaps; and gaps alone. */
  troubles = new RowSet();
  gaps = new RowSet();
  /** Whether rows that are not held are fetched for this: a large log is not, unless it is asked for. */
  wanted = false;
  /** Rows that wait to be fetched, and those after them. */
  left = 0;
  #scanned = 0;
  #count = (_levels: Uint8Array): void => {};
  readonly #asker: Asker;
  readonly #store: LineStore;

  constructor(
    { store, later }: Pick<LogSession, "store" | "later">,
    private readonly changed: () => void,
  ) {
    this.#store = store;
    this.#asker = new Asker(later, (error) => {
      if (error) this.#count(new Uint8Array()); // not judged, but there
      this.update();
      this.changed();
    });
  }

  /** Go on with the rows that have arrived since; false if there are none. */
  update(): boolean {
    const store = this.#store;
    const from = this.#scanned;
    if (from > store.length) this.#again();
    if (this.#asker.busy) return true;
    if (from >= store.length) return false;
    const block = store.block(from);
    this.left = block ? 0 : store.length - from;
    if (!block) {
      if (this.wanted) store.want(from);
      return true;
    }
    const { text, flags, received } = block;
    this.#count = (levels) => {
      this.tally.add(flags, levels, received);
      const gaps: number[] = [];
      const troubles: number[] = [];
      flags.forEach((flag, i) => {
        const gap = (flag & KIND) === GAP;
        if (gap) gaps.push(i);
        if (gap || levels[i] >= ERROR) troubles.push(i);
      });
      this.gaps.add(from, Uint32Array.from(gaps));
      this.troubles.add(from, Uint32Array.from(troubles));
      this.#scanned = from + flags.length;
    };
    // Copies: posting a view would clone the whole message it points into.
    this.#asker.ask({ kind: "levels", text: text.slice(), flags: flags.slice() }, (reply) => {
      if (reply.kind === "levels") this.#count(reply.levels);
    });
    return true;
  }

  stop(): void {
    this.#asker.stop();
  }

  /** Begin anew: so did the log. */
  #again(): void {
    this.stop();
    this.tally = new Tally();
    this.troubles = new RowSet();
    this.gaps = new RowSet();
    this.#scanned = 0;
  }
}
