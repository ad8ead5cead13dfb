// One view of a process's log: header, toolbar, and the lines near the scroll position.

import { visibleText } from "./ansi";
import { button, element, setText } from "./dom";
import { FilterBar } from "./filter-bar";
import { Filtering } from "./filtering";
import { HeaderView, type LogSession } from "./header";
import { VirtualList } from "./list";
import { claimKeys, isChord, saveText, say } from "./page";
import type { RowSet } from "./row-set";
import { fillPartial, fillRow, rowText } from "./rows";
import { Search } from "./search";
import { KIND } from "./store";
import { Toolbar } from "./toolbar";

const COPY_BYTES = 16_000_000; // more than this belongs in a file
const MAX_STEPS = 10_000; // matches looked at for one that the filter keeps
const FILE_NAME = "log.txt";

export class LogView {
  readonly root = element("div", "bxl-panel");
  readonly #scroller = element("div", "bxl-body");
  readonly #badge = element("button", "bxl-badge");
  readonly #list: VirtualList;
  readonly #header: HeaderView;
  readonly #toolbar: Toolbar;
  readonly #search: Search;
  readonly #filtering: Filtering;
  readonly #bar: FilterBar;
  readonly #funnel: HTMLButtonElement;
  readonly #unsubscribe: () => void;
  readonly #unclaim: () => void;
  #current: number | null = null;
  #searched = "";
  #partial: [string, string][] = [];
  #partialKey = "";
  /** The rows in the list, where not all are. */
  #map: RowSet | null = null;
  /** A row to come back to once the filter has got that far. */
  #anchor: number | null = null;
  #catchingUp = false;

  constructor(private readonly session: LogSession) {
    const { store } = session;
    this.#search = new Search(store, () => this.#searchChanged());
    this.#filtering = new Filtering(
      store,
      () => [session.header?.process ?? ""],
      (other) => this.#filterChanged(other),
    );
    this.#header = new HeaderView(session, (row) => this.#context(row));
    this.#toolbar = new Toolbar(this.#search, {
      go: (direction) => this.#go(direction),
      wrap: (on) => this.#list.wrap(on),
      copy: () => void this.#copy(),
      download: () => download(session),
      leave: () => this.#scroller.focus(),
      things: "lines",
      place: "the log",
    });
    this.#bar = new FilterBar(this.#filtering, {
      changed: () => this.#filterChanged(true),
      leave: () => this.#scroller.focus(),
      variable: () => session.header?.variable ?? "run",
    });
    this.#funnel = button("Filter the lines (f)", "filter", () => this.#openFilter());
    this.#funnel.setAttribute("aria-expanded", "false");
    this.#toolbar.middle.append(this.#funnel);
    this.#scroller.tabIndex = 0;
    this.#scroller.setAttribute("role", "log");
    this.#scroller.setAttribute("aria-label", "Log lines");
    this.#scroller.setAttribute("aria-live", "off"); // the header's status speaks, not every line
    this.#scroller.addEventListener("keydown", (event) => this.#key(event));
    this.#unclaim = claimKeys(this.#scroller, (event) => event.key !== "Enter");
    this.#badge.type = "button";
    this.#badge.hidden = true;
    this.#list = new VirtualList(
      this.#scroller,
      {
        length: () => this.#count + this.#partial.length,
        fill: (node, row) => this.#fill(node, row),
      },
      () => this.#painted(),
    );
    this.#badge.addEventListener("click", () => {
      this.#list.toEnd();
      this.#scroller.focus();
    });
    const body = element("div", "bxl-frame", this.#scroller, this.#badge);
    this.root.append(this.#header.root, this.#toolbar.root, this.#bar.root, body);
    this.#unsubscribe = session.subscribe(() => this.#changed());
    this.#changed();
  }

  destroy(): void {
    this.#unsubscribe();
    this.#unclaim();
    this.#search.stop();
    this.#filtering.stop();
    this.#bar.destroy();
    this.#toolbar.destroy();
    this.#header.destroy();
    this.#list.destroy();
  }

  /** How many rows are in the list, without lines that have not ended. */
  get #count(): number {
    return this.#map ? this.#map.count : this.session.store.length;
  }

  /** The row at a place of the list, and the place of a row, or of the next one that is there. */
  #row(place: number): number {
    return this.#map ? this.#map.at(place) : place;
  }

  #place(row: number): number {
    return this.#map ? this.#map.position(row) : row;
  }

  #fill(node: HTMLElement, place: number): void {
    const { store } = this.session;
    if (place >= this.#count) {
      fillPartial(node, this.#partial[place - this.#count]);
      return;
    }
    const row = this.#row(place);
    const context = this.#map ? () => this.#context(row) : null;
    fillRow(node, store, row, this.#search.ranges(row), row === this.#current, context);
    const { expression, scanned, kept } = this.#filtering;
    const out = !this.#map && expression !== "" && row < scanned && !kept.has(row);
    node.classList.toggle("bxl-out", out);
  }

  /** Take over the lines that have not ended; the rows they stood in are other ones when they change. */
  #takePartial(): void {
    const { header } = this.session;
    const partial = header?.partial ?? [];
    const key = partial.length > 0 ? JSON.stringify([this.#count, partial]) : "";
    if (key === this.#partialKey) return;
    if (this.#partialKey) this.#list.drop(JSON.parse(this.#partialKey)[0]);
    this.#partialKey = key;
    this.#partial = partial;
  }

  #changed(): void {
    this.#header.update();
    this.#takePartial();
    this.#search.update();
    this.#filtering.update();
    this.#bar.update(this.session.store.length);
    this.#list.schedule();
    const empty = this.#count + this.#partial.length === 0;
    this.root.classList.toggle("bxl-empty", empty);
    this.root.classList.toggle("bxl-none", this.#map !== null);
    this.root.classList.toggle("bxl-final", this.session.complete);
  }

  #painted(): void {
    const count = this.#count;
    this.root.dataset.rows = String(this.session.store.length);
    this.root.dataset.shown = String(count);
    const fresh = Math.max(0, count - this.#list.seen);
    this.#badge.hidden = this.#list.pinned || fresh === 0;
    setText(this.#badge, `${fresh.toLocaleString("en")} new ${fresh === 1 ? "line" : "lines"} ↓`);
    if (this.#search.query) {
      const [first, last] = this.#list.range;
      const places = Array.from({ length: Math.min(last, count) - first }, (_, i) => first + i);
      const matching = places.map((place) => this.#row(place));
      this.#search.highlight(
        matching.filter((row) => this.#search.rows.has(row)),
        (row) => rowText(this.session.store, row),
      );
    }
  }

  #openFilter(on = this.#bar.root.hidden !== false): void {
    this.#funnel.setAttribute("aria-expanded", String(on));
    this.#bar.open(on);
  }

  /** Show what the filter keeps now; the row at the top of the screen stays near it. */
  #filterChanged(other: boolean): void {
    const { expression, kept, scanned } = this.#filtering;
    const { store } = this.session;
    if (other) {
      if (!this.#list.pinned) this.#anchor ??= this.#row(this.#list.visible()[0]) ?? 0;
      this.#map = expression && this.#bar.hides ? kept : null;
      this.#catchingUp = true;
      this.#list.refresh();
    } else if (!this.#map) this.#list.refresh();
    if (this.#catchingUp) this.#list.seen = this.#count; // old lines found are no new lines
    const done = expression === "" || scanned >= store.length;
    if (this.#anchor !== null && (done || scanned > this.#anchor)) {
      this.#goTo(this.#anchor, "top");
      this.#anchor = null;
    }
    this.#catchingUp &&= !done;
    this.#changed();
  }

  /** Bring a row on screen, or the next one that the filter keeps. */
  #goTo(row: number, where: "top" | "near"): void {
    this.#list.paint(); // it counts from what it painted last
    const place = this.#place(row);
    if (where === "top") this.#list.show(place);
    else this.#list.reveal(place);
  }

  /** Leave the filter and stay at a row, marked. */
  #context(row: number): void {
    this.#anchor = null;
    this.#list.pinned = false;
    this.#current = row;
    if (this.#filtering.expression) this.#bar.write("");
    this.#anchor = null;
    this.#goTo(row, "near");
    this.#list.refresh();
    this.#scroller.focus();
  }

  #searchChanged(): void {
    const { query, count } = this.#search;
    const key = query ? JSON.stringify(query) : "";
    if (key !== this.#searched) {
      this.#searched = key;
      this.#current = null;
    }
    if (query && this.#current === null && count > 0) this.#go(1);
    this.#toolbar.update(this.#position());
    this.#list.refresh();
  }

  #position(): number | null {
    const { rows } = this.#search;
    return this.#current !== null && rows.has(this.#current) ? rows.position(this.#current) : null;
  }

  /** Go to the next or previous match; the first time, to the nearest one from the top of the screen. */
  #go(direction: 1 | -1): void {
    const { rows } = this.#search;
    if (rows.count === 0) return;
    const at = this.#current ?? this.#row(this.#list.visible()[0]) ?? 0;
    let position = rows.position(at);
    if (this.#current !== null && (direction < 0 || rows.has(at))) position += direction;
    const found = nextShown(rows, this.#map, (position + rows.count) % rows.count, direction);
    if (found === null) return;
    this.#current = found;
    this.#list.reveal(this.#place(found));
    this.#toolbar.update(this.#position());
    this.#list.refresh();
  }

  #key(event: KeyboardEvent): void {
    if (isChord(event)) return;
    const act = {
      "/": () => this.#toolbar.focus(),
      n: () => this.#go(1),
      N: () => this.#go(-1),
      f: () => this.#openFilter(true),
      c: () => this.#context(this.#current ?? this.#row(this.#list.visible()[0])),
      End: () => this.#list.toEnd(),
      Home: () => this.#list.show(0),
      PageUp: () => this.#list.page(-1),
      PageDown: () => this.#list.page(1),
    }[event.key];
    if (!act) return;
    act();
    event.preventDefault();
    event.stopPropagation();
  }

  async #copy(): Promise<void> {
    const { store } = this.session;
    const selection = document.getSelection();
    let text: string;
    if (selection && !selection.isCollapsed && this.#scroller.contains(selection.anchorNode)) {
      text = selection.toString();
    } else if (store.bytes > COPY_BYTES) {
      say(this.root, "too much to copy: use download");
      return;
    } else {
      const lines = Array.from({ length: this.#count }, (_, at) => rowText(store, this.#row(at)));
      lines.push(...this.#partial.map(([, line]) => visibleText(line)));
      text = `${lines.join("\n")}\n`;
    }
    try {
      await navigator.clipboard.writeText(text);
      say(this.root, "copied");
    } catch {
      say(this.root, "the browser refused the clipboard");
    }
  }
}

/** The match at a position, or the next one in a direction that is in the list; null if there is none. */
export function nextShown(
  matches: RowSet,
  shown: RowSet | null,
  position: number,
  direction: 1 | -1,
): number | null {
  let at = position;
  for (let tries = 0; tries < MAX_STEPS; tries++) {
    const row = matches.at(at);
    if (!shown || shown.has(row)) return row;
    const place = shown.position(row) + (direction < 0 ? -1 : 0); // the one shown next
    if (direction > 0) at = place < shown.count ? matches.position(shown.at(place)) : 0;
    else at = place >= 0 ? matches.position(shown.at(place) + 1) - 1 : -1;
    at = (at + matches.count) % matches.count;
  }
  return null;
}

/** Save the rows as received; gaps and notices are marked, output is untouched. */
function download(session: LogSession): void {
  const { store } = session;
  const parts: BlobPart[] = [];
  for (let row = 0; row < store.length; ) {
    const block = store.block(row);
    if (block.flags.every((flags) => (flags & KIND) === 0)) {
      parts.push(block.text as Uint8Array<ArrayBuffer>, "\n");
      row += block.n;
      continue;
    }
    for (const end = row + block.n; row < end; row++) {
      if (store.flags(row) & KIND) parts.push(`-- ${rowText(store, row)} --`);
      else parts.push(store.raw(row) as Uint8Array<ArrayBuffer>);
      parts.push("\n");
    }
  }
  saveText(parts, FILE_NAME);
}
