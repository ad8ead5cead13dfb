// Show the rows near the scroll position and no others, in a layer that stays put while the page scrolls.
// The place is a fraction of the whole: row fraction * rows is drawn at fraction * height of the viewport.
// For rows of one height that is ordinary scrolling; it also holds for wrapped rows and for more rows than
// the browser's largest element has pixels.

const MAX_PIXELS = 16_000_000; // Chromium stops near 33.5 million, Firefox near half of that
const AT_END = 2; // pixels

export interface Rows {
  length(): number;
  /** Fill an empty row element. */
  fill(element: HTMLElement, row: number): void;
}

/** Where a painted row stands: its number, its top in the viewport, its height; pixels. */
export type Place = [row: number, top: number, height: number];

export class VirtualList {
  /** Whether the view follows the tail. */
  pinned = true;
  /** Rows there were when the view left the tail. */
  seen = 0;
  /** The first and one past the last row in the document. */
  range: [number, number] = [0, 0];
  readonly #spacer = document.createElement("div");
  readonly #layer = document.createElement("div");
  readonly #body = document.createElement("div");
  readonly #elements = new Map<number, HTMLElement>();
  readonly #observer = new ResizeObserver(() => this.schedule());
  #rowHeight = 18;
  #stretch = 1; // how many times the row height a wrapped row is, about
  #count = 0; // rows there were when last painted
  #wrapped = false;
  #held: Place[] = []; // where rows stood before some of them became other ones
  #frame = 0;
  #width = 0;
  #top = 0; // where the scroller was left, by us or by the reader

  constructor(
    readonly scroller: HTMLElement,
    private readonly rows: Rows,
    private readonly painted: () => void,
  ) {
    this.#spacer.className = "bxl-spacer";
    this.#layer.className = "bxl-layer";
    this.#body.className = "bxl-rows";
    this.#layer.append(this.#body);
    this.#spacer.append(this.#layer);
    scroller.append(this.#spacer);
    scroller.addEventListener("scroll", this.#scrolled, { passive: true });
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

  /** Fill the rows again: their look has changed. */
  refresh(): void {
    this.#elements.clear();
    this.#body.replaceChildren();
    this.schedule();
  }

  /** Fill the rows from `first` on again: they are other ones now. */
  drop(first: number): void {
    for (const [row, element] of this.#elements) {
      if (row < first) continue;
      element.remove();
      this.#elements.delete(row);
    }
    this.schedule();
  }

  /** Fill those rows again that have become other ones; what is being read stays where it is. */
  renew(other: (row: number, element: HTMLElement) => boolean): void {
    const places = this.#wrapped && !this.pinned ? this.#places() : [];
    for (const [row, element] of this.#elements) {
      if (!other(row, element)) continue;
      this.#held = places;
      element.remove();
      this.#elements.delete(row);
      this.schedule();
    }
  }

  wrap(on: boolean): void {
    this.#wrapped = on;
    this.#stretch = 1;
    this.scroller.classList.toggle("bxl-wrap", on);
    this.refresh();
  }

  /** Change the rows, and leave one on screen where it stands; `change` returns its place then. */
  keep(place: number, change: () => number): void {
    const top = this.#places().find(([one]) => one === place)?.[1] ?? 0;
    const fresh = this.pinned ? 0 : this.#count - this.seen;
    const after = change();
    this.pinned = false;
    this.refresh();
    this.paint();
    const { clientHeight } = this.scroller;
    const perRow = this.#rowHeight * this.#stretch;
    this.#move((after * perRow - top) / (this.#count * perRow - clientHeight));
    const there = this.#places();
    const moved = top - (there.find(([one]) => one === after)?.[1] ?? top);
    if (this.#wrapped && there.length > 0 && moved !== 0) {
      const places = there.map(([row, at, height]): Place => [row, at + moved, height]);
      this.#move(heldFraction(places, this.#count, clientHeight));
    }
    this.seen = this.#count - fresh;
    this.pinned = this.scroller.scrollTop >= this.#scrollRange() - AT_END;
  }

  #move(fraction: number): void {
    this.scroller.scrollTop = Math.max(0, Math.min(1, fraction)) * this.#scrollRange();
    this.#top = this.scroller.scrollTop;
    this.paint();
  }

  toEnd(): void {
    this.pinned = true;
    this.#toTail(); // now: a scroll event that is still under way must find it there
    this.schedule();
  }

  /** Scroll so that a row is a third down the viewport, unless it is on screen already. */
  reveal(row: number): void {
    const [first, last] = this.visible();
    if (row < first + 1 || row > last - 3) this.show(row - Math.floor(this.#perView() / 3));
    else this.#leave();
  }

  /** Scroll so that a row is at the top. */
  show(row: number): void {
    this.#leave();
    const range = this.#count - this.#perView();
    const fraction = range > 0 ? Math.max(0, Math.min(1, row / range)) : 0;
    this.scroller.scrollTop = fraction * this.#scrollRange();
    this.schedule();
  }

  /** The rows on screen: first, and one past the last. */
  visible(): [number, number] {
    const perView = this.#perView();
    const top = this.#fraction() * Math.max(0, this.#count - perView);
    return [Math.floor(top), Math.min(this.#count, Math.ceil(top + perView))];
  }

  /** Scroll by a screen, up (-1) or down (1). */
  page(direction: 1 | -1): void {
    const rows = Math.max(1, Math.floor(this.#perView()) - 1);
    const target = this.visible()[0] + direction * rows;
    if (target + this.#perView() >= this.#count) this.toEnd();
    else this.show(Math.max(0, target));
  }

  paint(): void {
    this.#frame = 0;
    const count = this.rows.length();
    if (this.scroller.clientHeight === 0) {
      watchAgain(this.#observer, this.scroller);
      this.painted();
      return;
    }
    const lineHeight = Number.parseFloat(getComputedStyle(this.scroller).lineHeight);
    if (lineHeight > 0) this.#rowHeight = lineHeight;
    this.scroller.style.setProperty("--bxl-count", String(Math.min(count, 1000)));
    const moved = this.#wrapped && !this.pinned && count !== this.#count;
    const places = this.#held.length > 0 ? this.#held : moved ? this.#places() : [];
    this.#held = [];
    this.#count = count;
    this.#resize(places);
    this.#draw();
    if (this.#wrapped && this.#stretched()) {
      this.#resize(this.#places());
      this.#draw();
    }
    if (this.pinned) {
      this.#toTail(); // drawing may have brought a scroll bar, and with it a longer way to the end
      this.seen = count;
    }
    this.painted();
  }

  /** Make the scroll range fit the rows, keeping the tail or the places where they are. */
  #resize(places: Place[]): void {
    const height = Math.min(this.#count * this.#rowHeight * this.#stretch, MAX_PIXELS);
    this.#spacer.style.height = `${height}px`;
    this.#layer.style.height = `${this.scroller.clientHeight}px`;
    if (this.pinned) this.#toTail();
    else if (places.length > 0) {
      const fraction = heldFraction(places, this.#count, this.scroller.clientHeight);
      this.scroller.scrollTop = fraction * this.#scrollRange();
    }
  }

  #draw(): void {
    const height = this.scroller.clientHeight;
    const fraction = this.#fraction();
    const place = fraction * this.#count;
    const screen = height / this.#rowHeight;
    const top = this.#wrapped ? place - screen : place - fraction * screen;
    const first = Math.max(0, Math.floor(top));
    const last = Math.min(this.#count, Math.ceil(this.#wrapped ? place + screen : top + screen));
    this.#fill(first, last);
    this.range = [first, last];
    let above = (place - first) * this.#rowHeight;
    if (this.#wrapped && last > first) {
      const anchor = Math.min(Math.floor(place), last - 1);
      const element = this.#elements.get(anchor) as HTMLElement;
      above = element.offsetTop + (place - anchor) * element.offsetHeight;
    }
    this.#body.style.transform = `translateY(${fraction * height - above}px)`;
    this.#widen();
  }

  #fill(first: number, last: number): void {
    for (const [row, element] of this.#elements) {
      if (row >= first && row < last) continue;
      element.remove();
      this.#elements.delete(row);
    }
    let next: Element | null = this.#body.firstElementChild;
    for (let row = first; row < last; row++) {
      const there = this.#elements.get(row);
      if (there) {
        next = there.nextElementSibling;
        continue;
      }
      const element = document.createElement("div");
      this.rows.fill(element, row);
      this.#elements.set(row, element);
      this.#body.insertBefore(element, next);
    }
  }

  /** Keep the horizontal range as wide as the widest row painted so far: it must not flicker. */
  #widen(): void {
    const width = this.#wrapped ? 0 : Math.max(this.#width, this.#body.scrollWidth);
    if (width === this.#width) return;
    this.#width = width;
    this.#spacer.style.minWidth = width > this.scroller.clientWidth ? `${width}px` : "";
  }

  /** Take over the height that wrapped rows have, where it is well above what was assumed. */
  #stretched(): boolean {
    const rows = this.#elements.size;
    if (rows === 0) return false;
    const stretch = this.#body.offsetHeight / (rows * this.#rowHeight);
    if (stretch < this.#stretch * 1.5) return false;
    this.#stretch = stretch;
    return true;
  }

  #places(): Place[] {
    const layer = this.#layer.getBoundingClientRect().top;
    return [...this.#elements]
      .sort(([a], [b]) => a - b)
      .map(([row, element]) => {
        const box = element.getBoundingClientRect();
        return [row, box.top - layer, box.height];
      });
  }

  #perView(): number {
    return this.scroller.clientHeight / (this.#rowHeight * this.#stretch);
  }

  #scrollRange(): number {
    return Math.max(0, this.scroller.scrollHeight - this.scroller.clientHeight);
  }

  #fraction(): number {
    const range = this.#scrollRange();
    if (range === 0) return 0;
    return this.pinned ? 1 : Math.min(1, this.scroller.scrollTop / range);
  }

  #leave(): void {
    if (this.pinned) this.seen = this.#count;
    this.pinned = false;
  }

  #toTail(): void {
    this.scroller.scrollTop = this.#scrollRange();
    this.#top = this.scroller.scrollTop;
  }

  // Only a move up leaves the tail: the way to the end may have grown since the last paint by itself.
  readonly #scrolled = (): void => {
    const top = this.scroller.scrollTop;
    if (top >= this.#scrollRange() - AT_END) this.pinned = true;
    else if (top < this.#top - AT_END || !this.pinned) this.#leave();
    this.#top = top;
    this.schedule();
  };
}

/** What has no size just now, hidden or between two themes, is to be told of when it has one again. */
export function watchAgain(observer: ResizeObserver, node: HTMLElement): void {
  observer.unobserve(node); // it would say nothing of the size that it told last
  observer.observe(node);
}

/**
 * The fraction at which `count` rows are drawn just where they stand now.
 * Used while rows arrive below wrapped ones that are being read and must not move.
 */
export function heldFraction(places: Place[], count: number, viewport: number): number {
  const perRow = viewport / count; // the line every anchor lies on: row r at pixel r * perRow
  for (const [row, top, height] of places) {
    const within = (row * perRow - top) / (height - perRow);
    if (within >= 0 && within < 1) return (row + within) / count;
  }
  return places[0][0] / count;
}
