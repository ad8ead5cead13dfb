// Show rows of any height, those near the scroll position and no others: heights are guessed until a row was
// seen, and what is being read stays where it is while others turn out to be higher, or are put in.

import { watchAgain } from "./list";

const AT_END = 2; // pixels
const GUESS = 26; // pixels: a closed row
const HIGHEST = 1000; // pixels: more than a view is high without being pulled

export interface TimelineRows {
  length(): number;
  /** What stays the same while rows are put in before it. */
  key(row: number): number;
  /** Changes when the row has to be filled again. */
  stamp(row: number): string;
  fill(element: HTMLElement, row: number): void;
}

export class Timeline {
  /** Whether the view follows the tail. */
  pinned = true;
  /** The first row on screen when last painted. */
  first = 0;
  readonly #spacer = document.createElement("div");
  readonly #body = document.createElement("div");
  readonly #elements = new Map<number, HTMLElement>();
  readonly #stamps = new Map<number, string>();
  readonly #heights = new Map<number, number>();
  readonly #observer = new ResizeObserver(() => this.#resized());
  #tops = new Float64Array(1); // of each row, and the end of the last
  #count = 0;
  #anchor: { key: number; row: number; offset: number } | null = null;
  #frame = 0;
  #width = 0;
  #top = 0; // where the scroller was left, by us or by the reader
  #screen = 0; // its height without borders,
  #padding = 0; // and what of that is no row's
  #total = -1; // the height of all rows
  #shown = "";

  constructor(
    readonly scroller: HTMLElement,
    private readonly rows: TimelineRows,
    private readonly painted: () => void,
    private readonly left: () => void,
  ) {
    this.#spacer.className = "bxl-spacer";
    this.#body.className = "bxl-story";
    this.#spacer.append(this.#body);
    scroller.append(this.#spacer);
    scroller.addEventListener("scroll", this.#scrolled, { passive: true });
    scroller.addEventListener("toggle", () => this.schedule(), { capture: true });
    this.#observer.observe(scroller);
  }

  destroy(): void {
    cancelAnimationFrame(this.#frame);
    this.#observer.disconnect();
    this.scroller.removeEventListener("scroll", this.#scrolled);
  }

  schedule(): void {
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.paint());
  }

  toEnd(): void {
    this.pinned = true;
    this.#anchor = null;
    this.schedule();
  }

  /** Stay where we are, with this row where it is, while it changes its height. */
  hold(key: number): void {
    this.#leave();
    const element = this.#elements.get(key);
    if (!element) return;
    const offset = element.getBoundingClientRect().top - this.#origin();
    this.#anchor = { key, row: 0, offset };
  }

  /** Scroll so that a row is a quarter down the viewport, unless its head is on screen already. */
  reveal(row: number): void {
    const key = this.rows.key(row);
    const element = this.#elements.get(key);
    const height = this.scroller.clientHeight;
    if (element) {
      const top = element.getBoundingClientRect().top - this.#origin();
      if (top >= 0 && top < height * 0.7) {
        this.hold(key);
        return;
      }
    }
    this.#leave();
    this.#anchor = { key, row, offset: height / 4 };
    this.paint();
  }

  /** The element of a row, if it is near the screen. */
  element(key: number): HTMLElement | undefined {
    return this.#elements.get(key);
  }

  /** Scroll a little, so that this part of a row is on screen. */
  nudge(node: Element): void {
    const box = node.getBoundingClientRect();
    const top = box.top - this.#origin();
    const height = this.scroller.clientHeight;
    if (top < 0 || top + box.height > height) this.scrollBy(top - height / 3);
  }

  scrollBy(pixels: number): void {
    this.scroller.scrollTop += pixels;
  }

  toStart(): void {
    this.#leave();
    this.#anchor = null;
    this.scroller.scrollTop = 0;
    this.schedule();
  }

  paint(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#count = this.rows.length();
    this.#screen = this.scroller.clientHeight;
    if (this.#screen === 0) {
      watchAgain(this.#observer, this.scroller);
      return;
    }
    // The first pass places by what is known, the others by what was measured.
    for (let pass = 0; pass < 4; pass++) {
      this.#place();
      if (!this.#draw()) break;
    }
    if (this.scroller.clientHeight !== this.#screen) this.schedule(); // it grows with its rows, at first
    this.#keep();
    this.painted();
  }

  /** Lay the rows out, and scroll to where the reader was. Nothing is asked that needs a layout. */
  #place(): void {
    const tops =
      this.#tops.length > this.#count ? this.#tops : new Float64Array(this.#count * 2 + 1);
    const anchor = this.#anchor;
    let at = 0;
    let anchored = -1;
    for (let row = 0; row < this.#count; row++) {
      const key = this.rows.key(row);
      if (anchor?.key === key) anchored = at;
      tops[row] = at;
      at += this.#heights.get(key) ?? GUESS;
    }
    tops[this.#count] = at;
    this.#tops = tops;
    this.#resize(at);
    const range = Math.max(0, at + this.#padding - this.#screen);
    if (range === 0) this.pinned = true;
    let target = this.#top;
    if (this.pinned) target = range;
    else if (anchored >= 0) target = anchored - (anchor?.offset ?? 0);
    else if (anchor) target = tops[Math.min(anchor.row, this.#count)] - anchor.offset;
    target = Math.max(0, Math.min(range, target));
    if (Math.abs(target - this.#top) >= 1 || this.pinned) this.scroller.scrollTop = target;
    this.#top = target;
    this.#body.style.transform = `translateY(${tops[this.#rowAt(target - this.#overscan())]}px)`;
  }

  #resize(total: number): void {
    if (total === this.#total) return;
    this.#total = total;
    this.#spacer.style.height = `${total}px`;
    const shown = `${Math.min(HIGHEST, Math.ceil(total))}px`;
    if (this.#shown !== shown) this.scroller.style.setProperty("--bxl-height", shown);
    this.#shown = shown;
  }

  /** Put the rows near the screen into the document; true if some have another height than was known. */
  #draw(): boolean {
    const first = this.#rowAt(this.#top - this.#overscan());
    const end = this.#top + this.#screen + this.#overscan();
    const last = Math.min(this.#count, this.#rowAt(end) + 1);
    const wanted = new Map<number, number>();
    for (let row = first; row < last; row++) wanted.set(this.rows.key(row), row);
    for (const [key, element] of this.#elements) {
      if (wanted.has(key)) continue;
      element.remove();
      this.#elements.delete(key);
      this.#stamps.delete(key);
    }
    let next: Element | null = this.#body.firstElementChild;
    for (const [key, row] of wanted) {
      let element = this.#elements.get(key);
      if (!element) {
        element = document.createElement("div");
        this.#elements.set(key, element);
      }
      if (element === next) next = element.nextElementSibling;
      else this.#body.insertBefore(element, next);
      const stamp = this.rows.stamp(row);
      if (this.#stamps.get(key) === stamp) continue;
      this.#stamps.set(key, stamp);
      this.rows.fill(element, row);
    }
    let other = false;
    for (const key of wanted.keys()) {
      const height = (this.#elements.get(key) as HTMLElement).getBoundingClientRect().height;
      if (Math.abs(height - (this.#heights.get(key) ?? GUESS)) < 0.5) continue;
      this.#heights.set(key, height);
      other = true;
    }
    return other;
  }

  /** Remember the first row on screen and where it stands: that is what is being read. */
  #keep(): void {
    this.first = this.#rowAt(this.#top);
    if (this.pinned || this.#count === 0) this.#anchor = null;
    else if (this.#anchor === null) {
      const row = this.first;
      this.#anchor = { key: this.rows.key(row), row, offset: this.#tops[row] - this.#top };
    }
  }

  /** The row at a height, by halving. */
  #rowAt(top: number): number {
    let low = 0;
    let high = Math.max(0, this.#count - 1);
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#tops[middle] <= top) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #overscan(): number {
    return Math.max(200, this.#screen / 2);
  }

  /** Where rows begin on screen while nothing is scrolled. */
  #origin(): number {
    return this.#spacer.getBoundingClientRect().top + this.scroller.scrollTop;
  }

  #scrollRange(): number {
    return Math.max(0, this.scroller.scrollHeight - this.scroller.clientHeight);
  }

  #leave(): void {
    if (this.pinned) this.left();
    this.pinned = false;
  }

  #resized(): void {
    if (this.scroller.clientWidth !== this.#width) this.#heights.clear();
    this.#width = this.scroller.clientWidth;
    const { paddingTop, paddingBottom } = getComputedStyle(this.scroller);
    this.#padding = (Number.parseFloat(paddingTop) || 0) + (Number.parseFloat(paddingBottom) || 0);
    this.schedule();
  }

  // Only a move up leaves the tail: the way to the end may have grown since the last paint by itself.
  readonly #scrolled = (): void => {
    const top = this.scroller.scrollTop;
    if (Math.abs(top - this.#top) < 1) return; // ours
    if (top >= this.#scrollRange() - AT_END) this.pinned = true;
    else if (top < this.#top - AT_END || !this.pinned) this.#leave();
    this.#top = top;
    this.#anchor = null; // where the reader has gone, what is there is kept
    if (!this.pinned) this.#keep();
    this.schedule();
  };
}
