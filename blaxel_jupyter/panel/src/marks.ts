// Mark where matches, errors and gaps are in the list, in a thin lane beside its scroll bar: one mark a
// few pixels high however many rows it stands for. A click goes there; keys do the same elsewhere.

import { element } from "./dom";
import { shape } from "./icons";
import type { Places } from "./row-set";

const HIGH = 2; // pixels
const NEAR = 4; // pixels that a click may miss a mark by
const MAX_STEPS = 64; // hidden rows looked at in one line for one that is shown

export class MarkLane {
  readonly root = element("div", "bxl-lane");
  readonly #svg = shape("svg", {});
  #marks: [line: number, place: number][] = [];
  #count = 0;

  constructor(
    private readonly scroller: HTMLElement,
    go: (place: number) => void,
  ) {
    this.root.ariaHidden = "true"; // keys go to the same rows
    this.root.append(this.#svg);
    this.root.addEventListener("click", ({ offsetY }) => {
      const off = ([line]: [number, number]) => Math.abs(line * HIGH + HIGH / 2 - offsetY);
      const nearest = this.#marks.sort((a, b) => off(a) - off(b))[0];
      const near = nearest && off(nearest) <= NEAR;
      go(near ? nearest[1] : Math.floor((offsetY / scroller.clientHeight) * this.#count));
    });
  }

  /** Draw marks for kinds of rows, a later one above an earlier; `shown` are those in the list. */
  draw(kinds: Record<string, Places>, shown: Places): void {
    const { clientHeight, clientWidth, offsetWidth, scrollHeight } = this.scroller;
    const { root } = this;
    root.hidden = scrollHeight <= clientHeight;
    root.style.height = `${clientHeight}px`;
    root.style.right = `${offsetWidth - clientWidth}px`;
    this.#count = shown.count;
    this.#marks = [];
    const paths = Object.entries(kinds).map(([name, rows]) => {
      const at = places(rows, shown, Math.floor(clientHeight / HIGH));
      this.#marks.push(...at);
      const d = at.map(([line]) => `M0 ${line * HIGH}h8v${HIGH}h-8z`).join("");
      return shape("path", { class: `bxl-at-${name}`, d });
    });
    this.#svg.replaceChildren(...paths);
  }
}

/** Which of `lines` lines that stand for all places have a marked row: [line, its first place]. */
export function places(
  rows: Places,
  shown: Places,
  lines: number,
): [line: number, place: number][] {
  const { count } = shown;
  const found: [number, number][] = [];
  let steps = 0;
  for (let next = 0; next < count; ) {
    const position = rows.position(shown.at(next));
    if (position >= rows.count) break;
    const row = rows.at(position);
    const place = shown.position(row);
    if (place >= count) break;
    const line = Math.floor((place * lines) / count);
    const hit = shown.at(place) === row;
    if (hit) found.push([line, place]);
    steps = hit ? 0 : (steps + 1) % MAX_STEPS;
    next = steps > 0 ? place : Math.ceil(((line + 1) * count) / lines);
  }
  return found;
}
