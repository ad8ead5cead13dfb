// Draw lines a second over the run, by level or by stream; errors and gaps stand out. Dragging, or the
// arrow keys, select a time range, which becomes a term of the filter.

import { button, element, grouped } from "./dom";
import { shape } from "./icons";
import { ERROR, LEVELS } from "./level-names";
import { remember, remembered } from "./remembered";
import { type Bars, COUNTS, FIRST_LEVEL, GAPS, STREAMS, Tally } from "./tally";

const HIGH = 32; // pixels
const PER_BAR = 3; // pixels
const LEAST = 2; // pixels: what there is can be seen
const DRAG = 4; // pixels
const NAMES = [...STREAMS, ...LEVELS, "gaps"];
const ERRORS = [FIRST_LEVEL + ERROR, FIRST_LEVEL + ERROR + 1];
const STDERR = STREAMS.indexOf("stderr");
/** What is told apart, from below: a look, and the counts that have it. */
const BY: Record<string, [look: string, counts: number[]][]> = {
  level: [
    ["bad", ERRORS],
    ["warn", [ERRORS[0] - 1]],
  ],
  stream: [["bad", [STDERR]]],
};

/** Milliseconds since the epoch: from, and up to. */
export type Range = [low: number, high: number];

export class Histogram {
  readonly root = element("div", "bxl-strip");
  readonly #slider = element("div", "bxl-bars");
  readonly #svg = shape("svg", { preserveAspectRatio: "none" });
  readonly #picked = element("div", "bxl-picked");
  readonly #pending = element("div", "bxl-picked bxl-pending");
  readonly #tip = element("div", "bxl-tip");
  readonly #clear = button("Remove the time range (Esc)", { text: "×" }, () => this.select(""));
  readonly #by = button("Tell levels or streams apart", { text: "" }, () => {
    remember("by", this.#kind === "level" ? "stream" : "level");
    this.#paint();
  });
  #bars = new Tally().bars(1);
  /** What is not in the bars, in words. */
  #rest: string[] = [];
  /** Where the keys or the pointer are, and where a range began. */
  #cursor = 0;
  #anchor: number | null = null;
  #range: Range | null = null;
  #drawn = "";

  /** `select` is given a term for the filter; an empty one takes the range away. */
  constructor(private readonly select: (term: string) => void) {
    const slider = this.#slider;
    slider.tabIndex = 0;
    slider.role = "slider";
    slider.ariaLabel = "Lines over time: select a range";
    slider.ariaValueMin = "0";
    slider.onpointerdown =
      slider.onpointermove =
      slider.onpointerup =
        (event) => this.#point(event);
    slider.onpointerleave = slider.onpointercancel = slider.onblur = () => this.#leave();
    slider.onfocus = () => this.#say(slider.matches(":focus-visible"));
    slider.onkeydown = (event) => this.#key(event);
    slider.append(this.#svg, this.#picked, this.#pending);
    this.#tip.hidden = true;
    this.root.append(slider, this.#tip, this.#clear, this.#by);
  }

  /** Draw what was counted, all but `left` rows; `term` is the filter's for a time range. */
  draw(tally: Tally, left: number, term: string): void {
    const most = Math.max(1, this.#slider.clientWidth / PER_BAR);
    const key = [tally.timed, tally.untimed, left, most, term].join();
    if (key === this.#drawn) return;
    this.#drawn = key;
    this.#bars = tally.bars(most);
    this.#rest = [say(tally.untimed, "without a time"), say(left, "not looked at")];
    this.#range = timeRange(term);
    this.#paint();
  }

  get #kind(): string {
    return remembered("by") === "stream" ? "stream" : "level";
  }

  #paint(): void {
    this.#svg.setAttribute("viewBox", `0 0 ${this.#bars.n} ${HIGH}`);
    this.#by.textContent = `by ${this.#kind}`;
    const paths = Object.entries(drawn(this.#bars, BY[this.#kind]));
    this.#svg.replaceChildren(
      ...paths.map(([look, d]) => shape("path", { class: `bxl-bar-${look}`, d })),
    );
    this.#place();
  }

  /** Show the ranges, and say what the one under the cursor holds. */
  #place(): void {
    const { start, width, n } = this.#bars;
    const put = (node: HTMLElement, range: Range | null): void => {
      node.hidden = range === null;
      if (range === null) return;
      const [left, right] = range.map((time) =>
        Math.max(0, Math.min(100, ((time - start) * 100) / (width * n))),
      );
      node.style.left = `${left}%`;
      node.style.width = `${right - left}%`;
    };
    put(this.#picked, this.#range);
    put(this.#pending, this.#tip.hidden ? null : this.#chosen);
    this.#clear.disabled = this.#range === null;
    const slider = this.#slider;
    slider.ariaValueMax = String(Math.max(0, n - 1));
    slider.ariaValueNow = String(this.#index(this.#cursor));
    slider.ariaValueText = this.#tip.textContent = told(this.#bars, this.#chosen, this.#rest);
  }

  /** The bars between where a range began and the cursor. */
  get #chosen(): Range {
    const { start, width } = this.#bars;
    const ends = [this.#cursor, this.#anchor ?? this.#cursor].map((time) => this.#index(time));
    return [start + Math.min(...ends) * width, start + (Math.max(...ends) + 1) * width];
  }

  #index(time: number): number {
    const { start, width, n } = this.#bars;
    return Math.max(0, Math.min(n - 1, Math.floor((time - start) / width)));
  }

  #say(on: boolean): void {
    this.#tip.hidden = !on;
    this.#place();
  }

  #leave(): void {
    this.#anchor = null;
    this.#say(false);
  }

  #point({ type, buttons, clientX, pointerId }: PointerEvent): void {
    const { left, width } = this.#slider.getBoundingClientRect();
    const { start, width: each, n } = this.#bars;
    const perPixel = (each * n) / width;
    this.#cursor = start + (clientX - left) * perPixel;
    const dragged = Math.abs(this.#cursor - (this.#anchor ?? this.#cursor)) / perPixel;
    if (type === "pointerdown") {
      this.#slider.setPointerCapture(pointerId);
      this.#anchor = this.#cursor;
    } else if (type === "pointerup" && dragged >= DRAG) this.#apply();
    else if (buttons !== 1) this.#anchor = null;
    this.#say(true);
  }

  #apply(): void {
    const term = timeTerm(this.#chosen);
    this.#anchor = null;
    this.select(term);
  }

  #key(event: KeyboardEvent): void {
    const { start, width, n } = this.#bars;
    const from = start + this.#index(this.#cursor) * width;
    const to = {
      ArrowLeft: from - width,
      ArrowRight: from + width,
      Home: start,
      End: start + n * width,
    }[event.key];
    if (to !== undefined) {
      this.#anchor = event.shiftKey ? (this.#anchor ?? from) : null;
      this.#cursor = start + this.#index(to) * width;
    } else if (event.key === "Enter") this.#apply();
    else if (event.key !== "Escape") return;
    else if (this.#anchor !== null) this.#anchor = null;
    else this.select("");
    this.#say(true);
    event.preventDefault();
    event.stopPropagation();
  }
}

/** The filter's term for a time range. */
export function timeTerm([low, high]: Range): string {
  const iso = (time: number) => new Date(time).toISOString().slice(0, -1);
  return `time:${iso(low)}..${iso(high - 1)}`;
}

/** The range of such a term; null for anything else. */
export function timeRange(term: string): Range | null {
  const [, low, high] = /^time:(\S+)\.\.(\S+)$/.exec(term) ?? [];
  const range: Range = [Date.parse(`${low}Z`), Date.parse(`${high}Z`) + 1];
  return range.some(Number.isNaN) ? null : range;
}

/** A path for each look, one unit a bar, from the top of the strip. */
export function drawn({ n, counts }: Bars, parts: typeof BY.level): Record<string, string> {
  const paths: Record<string, string> = { rest: "" };
  const sum = (i: number, of: number[]) => of.reduce((all, c) => all + counts[i * COUNTS + c], 0);
  const add = (look: string, i: number, y: number, high: number): void => {
    paths[look] = `${paths[look] ?? ""}M${i} ${y.toFixed(1)}h.9v${high.toFixed(1)}h-.9z`;
  };
  const all = [...STREAMS.keys()];
  let most = 1;
  for (let i = 0; i < n; i++) most = Math.max(most, sum(i, all));
  for (let i = 0; i < n; i++) {
    let left = sum(i, all);
    let y = HIGH;
    const stack = (look: string, count: number): void => {
      const high = count && Math.min(y, Math.max(LEAST, (count / most) * HIGH));
      y -= high;
      left -= count;
      if (count) add(look, i, y, high);
    };
    for (const [look, of] of parts) stack(look, sum(i, of));
    stack("rest", left);
    if (sum(i, ERRORS)) add("error", i, 0, LEAST);
    if (sum(i, [GAPS])) add("gap", i, 0, HIGH);
  }
  return paths;
}

/** What a range holds, in words. */
export function told({ start, width, n, counts }: Bars, range: Range, rest: string[]): string {
  const sums = new Uint32Array(COUNTS);
  const [low, high] = range.map((time) => Math.max(0, Math.min(n, (time - start) / width)));
  counts.subarray(low * COUNTS, high * COUNTS).forEach((count, i) => {
    sums[i % COUNTS] += count;
  });
  const lines = STREAMS.reduce((all, _, c) => all + sums[c], 0);
  const each = grouped(Math.round((lines * 1000) / (range[1] - range[0])));
  const parts = [range.map(clock).join("–"), say(lines, "lines"), `${each} a second`];
  sums.forEach((count, c) => {
    if (c !== FIRST_LEVEL) parts.push(say(count, NAMES[c])); // "unknown" says nothing
  });
  return [...parts, ...rest].filter(Boolean).join(" · ");
}

function say(count: number, name: string): string {
  return count ? `${name} ${grouped(count)}` : "";
}

/** A moment on the reader's clock, to a tenth of a second. */
function clock(time: number): string {
  const date = new Date(time);
  return `${date.toTimeString().slice(0, 8)}.${Math.floor(date.getMilliseconds() / 100)}`;
}
