// Search the items of a story in the worker: each is asked about once, and again when it has changed.

import { Asker } from "./asker";
import type { Query } from "./matching";
import { fields, type Item, type Story, type TaskSession } from "./story";

const SLICE = 100_000; // characters of one question

/** A match: the n-th of an item. */
export interface Match {
  item: Item;
  n: number;
}

interface Hits {
  stamp: number;
  /** [start, end, …] in each of the item's fields. */
  ranges: number[][];
  count: number;
}

export class StorySearch {
  query: Query | null = null;
  /** Why the search ended early, for the user; empty while all is well. */
  error = "";
  /** Matches in the items that are shown. */
  count = 0;
  readonly #hits = new Map<number, Hits>();
  readonly #asker: Asker;
  readonly #story: Story;

  constructor(
    { store, later }: Pick<TaskSession, "store" | "later">,
    private readonly shown: () => Item[],
    private readonly changed: () => void,
  ) {
    this.#story = store;
    this.#asker = new Asker(later, (error) => {
      if (error) this.error = error;
      this.recount();
      this.changed();
      this.update();
    });
  }

  set(query: Query): void {
    this.stop();
    this.query = query.text === "" ? null : query;
    this.error = "";
    this.#hits.clear();
    this.recount();
    this.changed();
    this.update();
  }

  /** Go on with what is new or has changed. */
  update(): void {
    if (!this.query || this.error || this.#asker.busy) return;
    const items: Item[] = [];
    const lines: string[] = [];
    const lengths: number[] = [];
    let size = 0;
    for (const item of this.#story.items) {
      if (!item || this.#hits.get(item.i)?.stamp === item.stamp) continue;
      const texts = fields(item);
      items.push(item);
      lines.push(...texts);
      lengths.push(texts.length);
      size += texts.reduce((sum, text) => sum + text.length + 20, 0);
      if (size > SLICE) break;
    }
    if (items.length === 0) return;
    this.#asker.ask({ kind: "highlight", query: this.query, lines }, (reply) => {
      if (reply.kind !== "highlight") return;
      let at = 0;
      items.forEach(({ i, stamp }, k) => {
        const ranges = reply.ranges.slice(at, at + lengths[k]);
        at += lengths[k];
        const count = ranges.reduce((sum, range) => sum + range.length / 2, 0);
        this.#hits.set(i, { stamp, ranges, count });
      });
    });
  }

  /** Ranges to mark in an item's fields; undefined where there are none. */
  ranges(item: Item): number[][] | undefined {
    const hits = this.#hits.get(item.i);
    return hits && hits.count > 0 ? hits.ranges : undefined;
  }

  /** Changes when an item's marks do. */
  stamp(item: Item): string {
    const hits = this.#hits.get(item.i);
    return hits && hits.count > 0 ? `${hits.stamp}/${hits.count}` : "";
  }

  /** The field that holds the n-th match of an item. */
  field({ item, n }: Match): number {
    let left = n;
    const ranges = this.#hits.get(item.i)?.ranges ?? [];
    return ranges.findIndex((range) => {
      left -= range.length / 2;
      return left < 0;
    });
  }

  /** How many matches there are before one. */
  position({ item, n }: Match): number {
    let before = n;
    for (const other of this.shown()) {
      if (other.i >= item.i) break;
      before += this.#count(other);
    }
    return before;
  }

  /** The match at a position, which wraps around; null if there is none. */
  at(position: number): Match | null {
    if (this.count === 0) return null;
    let left = (position + this.count) % this.count;
    for (const item of this.shown()) {
      const count = this.#count(item);
      if (left < count) return { item, n: left };
      left -= count;
    }
    return null;
  }

  stop(): void {
    this.#asker.stop();
  }

  #count(item: Item): number {
    return this.#hits.get(item.i)?.count ?? 0;
  }

  /** Count again: other items are shown, or other marks known. */
  recount(): void {
    this.count = this.shown().reduce((sum, item) => sum + this.#count(item), 0);
  }
}
