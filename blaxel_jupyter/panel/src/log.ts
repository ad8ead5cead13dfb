// One view of a process's log: header, toolbar, and the lines near the scroll position.

import { visibleText } from "./ansi";
import { button, element, grouped, setText } from "./dom";
import { FilterBar } from "./filter-bar";
import { Filtering } from "./filtering";
import { HeaderView, type LogSession } from "./header";
import { VirtualList } from "./list";
import { claimKeys, isChord, saveText, say } from "./page";
import { type Reading, reading } from "./reading";
import type { RowSet } from "./row-set";
import { fillBlank, fillPartial, fillRow, rowText } from "./rows";
import { Search } from "./search";
import { called, Sources } from "./sources";
import { KIND, type LineStore } from "./store";
import { Toolbar } from "./toolbar";
import { type Block, walk } from "./walk";

const COPY_BYTES = 16_000_000; // more than this belongs in a file
const MAX_STEPS = 10_000; // matches looked at for one that the filter keeps
const FILE_NAME = "log.txt";
const NOBODY = { process: "", sandbox: "" };

export class LogView {
  readonly root = element("div", "bxl-panel");
  readonly #scroller = element("div", "bxl-body");
  readonly #badge = element("button", "bxl-badge");
  readonly #list: VirtualList;
  readonly #header: HeaderView;
  readonly #sources: Sources;
  readonly #toolbar: Toolbar;
  readonly #search: Search;
  readonly #filtering: Filtering;
  readonly #bar: FilterBar;
  readonly #reading: Reading;
  readonly #funnel: HTMLButtonElement;
  readonly #unsubscribe: () => void;
  readonly #unclaim: () => void;
  #current: number | null = null;
  #searched = "";
  #marked = 0;
  #partial: [string, string, number?][] = [];
  #partialKey = "";
  /** The rows in the list, where not all are. */
  #map: RowSet | null = null;
  /** A row to come back to once the filter has got that far. */
  #anchor: number | null = null;
  #catchingUp = false;
  /** Whether rows on screen are still being fetched. */
  #blank = false;

  constructor(private readonly session: LogSession) {
    const { store } = session;
    this.#search = new Search(store, () => this.#searchChanged());
    this.#filtering = new Filtering(
      store,
      () => (session.header?.sources ?? [session.header ?? NOBODY]).map(called),
      (other) => this.#filterChanged(other),
    );
    this.#header = new HeaderView(session, (row) => this.#context(row));
    this.#reading = reading({
      session,
      scroller: this.#scroller,
      list: () => this.#list,
      here: () => this.#here(),
      go: (row) => this.#goAt(row),
    });
    this.#toolbar = new Toolbar(this.#search, {
      go: (direction) => this.#go(direction),
      looks: this.#reading.looks,
      copy: () => void this.#copy(),
      download: () => void this.#download(),
      leave: () => this.#scroller.focus(),
      things: "lines",
      place: "the log",
    });
    this.#bar = new FilterBar(this.#filtering, {
      changed: () => this.#filterChanged(true),
      leave: () => this.#scroller.focus(),
      variable: () => session.header?.variable ?? "run",
    });
    this.#sources = new Sources(session, {
      text: () => this.#bar.text,
      write: (expression) => {
        this.#showBar(true);
        this.#bar.write(expression);
      },
    });
    this.#funnel = button("Filter the lines (f)", "filter", () => this.#openFilter());
    this.#funnel.ariaExpanded = "false";
    this.#toolbar.middle.append(this.#funnel);
    this.#scroller.tabIndex = 0;
    this.#scroller.role = "log";
    this.#scroller.ariaLabel = "Log lines";
    this.#scroller.ariaLive = "off"; // the header's status speaks, not every line
    this.#scroller.addEventListener("keydown", (event) => this.#key(event));
    this.#unclaim = claimKeys(this.root, () => true);
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
    this.root.append(
      this.#header.root,
      this.#sources.root,
      this.#toolbar.root,
      this.#bar.root,
      body,
      this.#reading.drawer,
    );
    this.#reading.apply();
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
    return this.#reading.folds.count;
  }

  /** The row at a place of the list, and the place of a row, or of the next one that is there. */
  #row(place: number): number {
    return this.#reading.folds.at(place);
  }

  #place(row: number): number {
    return this.#reading.folds.position(row);
  }

  /** The row that keys are about: the one gone to last, or the first on screen. */
  #here(): number {
    return this.#current ?? this.#row(this.#list.visible()[0]) ?? 0;
  }

  #fill(node: HTMLElement, place: number): void {
    const { store } = this.session;
    if (place >= this.#count) {
      const [stream, line, source] = this.#partial[place - this.#count];
      fillPartial(node, [stream, line]);
      if (source !== undefined) this.#sources.mark(node, source);
      return;
    }
    const row = this.#row(place);
    if (!store.held(row)) {
      this.#blank = true;
      fillBlank(node, row);
      return;
    }
    const context = this.#map ? () => this.#context(row) : null;
    fillRow(node, store, row, this.#search.ranges(row), row === this.#current, context);
    const { expression, scanned, kept } = this.#filtering;
    const out = !this.#map && expression !== "" && row < scanned && !kept.has(row);
    node.classList.toggle("bxl-out", out);
    this.#reading.dress(node, row);
    this.#sources.mark(node, store.source(row));
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
    if (this.#blank) this.#fillBlanks();
    this.#search.update();
    this.#filtering.update();
    this.#bar.update(this.session.store.length);
    this.#reading.update();
    this.#sources.update();
    this.#list.schedule();
    const empty = this.#count + this.#partial.length === 0;
    this.root.classList.toggle("bxl-empty", empty);
    this.root.classList.toggle("bxl-none", this.#map !== null);
    this.root.classList.toggle("bxl-final", this.session.complete);
  }

  /** Fill the rows on screen that have come. */
  #fillBlanks(): void {
    this.#blank = false;
    this.#list.renew((place, node) => {
      if (!node.classList.contains("bxl-blank")) return false;
      const here = this.session.store.held(this.#row(place));
      if (!here) this.#blank = true;
      return here;
    });
  }

  /** The rows on screen, without lines that have not ended. */
  #onScreen(): number[] {
    const [first, last] = this.#list.range;
    const count = Math.max(0, Math.min(last, this.#count) - first);
    return Array.from({ length: count }, (_, i) => this.#row(first + i));
  }

  #painted(): void {
    const count = this.#count;
    const { store, lost } = this.session;
    const rows = this.#onScreen();
    const here = rows.filter((row) => store.held(row)); // which keeps them, too
    if (this.#blank) for (const row of rows) store.want(row, true);
    this.root.dataset.rows = String(store.length - lost);
    this.root.dataset.shown = String(count);
    const fresh = Math.max(0, count - this.#list.seen);
    this.#badge.hidden = this.#list.pinned || fresh === 0;
    setText(this.#badge, `${grouped(fresh)} new ${fresh === 1 ? "line" : "lines"} ↓`);
    if (this.#search.query) {
      this.#search.highlight(
        here.filter((row) => this.#search.rows.has(row)),
        (row) => rowText(store, row),
      );
    }
  }

  #openFilter(on = this.#bar.root.hidden !== false): void {
    this.#showBar(on);
    this.#bar.open(on);
  }

  #showBar(on: boolean): void {
    this.#funnel.ariaExpanded = String(on);
    this.#bar.root.hidden = !on;
  }

  /** Show what the filter keeps now; the row at the top of the screen stays near it. */
  #filterChanged(other: boolean): void {
    const { expression, kept, scanned } = this.#filtering;
    const { store } = this.session;
    if (other) {
      if (!this.#list.pinned) this.#anchor ??= this.#row(this.#list.visible()[0]) ?? 0;
      this.#map = this.#reading.folds.base = expression && this.#bar.hides ? kept : null;
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
    this.#reading.reveal(row);
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
    if (this.#marked !== this.#search.marked) this.#list.refresh();
    this.#marked = this.#search.marked;
    this.#list.schedule();
  }

  #position(): number | null {
    const { rows } = this.#search;
    return this.#current !== null && rows.has(this.#current) ? rows.position(this.#current) : null;
  }

  /** Go to the next or previous match; the first time, to the nearest one from the top of the screen. */
  #go(direction: 1 | -1): void {
    const { rows } = this.#search;
    if (rows.count === 0) return;
    const at = this.#here();
    let position = rows.position(at);
    if (this.#current !== null && (direction < 0 || rows.has(at))) position += direction;
    const found = nextShown(rows, this.#map, (position + rows.count) % rows.count, direction);
    if (found === null) return;
    this.#goAt(found);
  }

  /** Bring a row on screen, marked. */
  #goAt(row: number): void {
    this.#current = row;
    this.#reading.reveal(row);
    this.#list.reveal(this.#place(row));
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
      c: () => this.#context(this.#here()),
      ...this.#reading.keys,
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

  /** Save the rows as received; gaps and notices are marked, output is untouched. */
  async #download(): Promise<void> {
    const { store } = this.session;
    const { length } = store;
    const parts: Blob[] = [];
    const note = element("div", "bxl-toast");
    note.role = "status";
    this.root.append(note);
    try {
      for await (const block of walk(this.session)) {
        parts.push(new Blob(asReceived(store, block))); // the browser's to keep, not the page's
        const percent = Math.floor((100 * (block.from + block.n)) / length);
        setText(note, `fetching the lines: ${percent} %`);
      }
      saveText(parts, FILE_NAME);
    } catch (error) {
      say(this.root, `nothing was saved: ${(error as Error).message}`);
    }
    note.remove();
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
      try {
        for await (const _ of walk(this.session)); // what is small enough to be copied is held then
      } catch (error) {
        say(this.root, (error as Error).message);
        return;
      }
      const length = this.#map?.count ?? store.length; // folded lines as well
      const lines = Array.from({ length }, (_, at) => rowText(store, this.#map?.at(at) ?? at));
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

function asReceived(store: LineStore, { from, n, text, flags }: Block): BlobPart[] {
  if (flags.every((flags) => (flags & KIND) === 0)) {
    return [text as Uint8Array<ArrayBuffer>, "\n"];
  }
  const parts: BlobPart[] = [];
  for (let row = from; row < from + n; row++) {
    if (store.flags(row) & KIND) parts.push(`-- ${rowText(store, row)} --`);
    else parts.push(store.raw(row) as Uint8Array<ArrayBuffer>);
    parts.push("\n");
  }
  return parts;
}
