// What shows a whole log at a glance, beside its lines: the histogram over the run and the marks at the
// scroll bar. Both are drawn a few times a second at most, from counts that grow as rows arrive.

import { button } from "./dom";
import type { LogSession } from "./header";
import { Histogram } from "./histogram";
import { MarkLane } from "./marks";
import { remember, remembered } from "./remembered";
import { type Places, RowSet } from "./row-set";
import { Tallying } from "./tallying";

const EVERY = 200; // milliseconds
const MANY = 200; // lines, and milliseconds they take, from which on the histogram is shown by itself
const LONG = 2000;

interface Actions {
  /** The filter's term for time, and how to have another one there; an empty one takes it away. */
  time(): string;
  pick(term: string): void;
  go(place: number): void;
  /** The histogram is shown now, or not. */
  shown(on: boolean): void;
}

export class Seeing {
  readonly button = button("Lines over time (h)", "bars", () => this.toggle());
  readonly histogram: Histogram;
  readonly lane: MarkLane;
  readonly #tallying: Tallying;
  #draw = (): void => {};
  #timer = 0;

  constructor(
    private readonly session: LogSession,
    scroller: HTMLElement,
    private readonly actions: Actions,
  ) {
    this.#tallying = new Tallying(session, () => this.#schedule());
    this.histogram = new Histogram((term) => actions.pick(term));
    this.lane = new MarkLane(scroller, (place) => actions.go(place));
    this.#show(remembered("histogram") === "on");
  }

  destroy(): void {
    clearTimeout(this.#timer);
    this.#tallying.stop();
  }

  /** Rows that are errors or gaps; all are looked for from now on. */
  get troubles(): RowSet {
    this.#tallying.wanted = true;
    return this.#tallying.troubles;
  }

  toggle(): void {
    const on = this.histogram.root.hidden === true;
    this.#tallying.wanted ||= on;
    remember("histogram", on ? "on" : "off");
    this.#show(on);
    this.#schedule();
  }

  /** Show the log as it is now, soon; `shown` are the rows in the list. */
  look(pinned: boolean, shown: Places, matches: Places, current: number | null): void {
    this.#draw = () => {
      const { tally, troubles, gaps, left } = this.#tallying;
      const { root } = this.histogram;
      // Not while the reader is somewhere else in the log: the lines would move.
      const worth = pinned && tally.timed > MANY && tally.span > LONG;
      if (root.hidden && worth && remembered("histogram") === null) this.#show(true);
      if (!root.hidden) this.histogram.draw(tally, left, this.actions.time());
      const here = new RowSet();
      if (current !== null) here.add(0, Uint32Array.of(current));
      this.lane.draw({ error: troubles, gap: gaps, match: matches, current: here }, shown);
      if (!this.#tallying.update() && this.session.complete) this.#tallying.stop();
    };
    this.#schedule();
  }

  #schedule(): void {
    this.#timer ||= window.setTimeout(() => {
      this.#timer = 0;
      this.#draw();
    }, EVERY);
  }

  #show(on: boolean): void {
    this.histogram.root.hidden = !on;
    this.button.ariaPressed = String(on);
    this.actions.shown(on);
  }
}
