// One view of a process's log: header, toolbar, and the lines near the scroll position.

import { button, element, grouped, setText } from "./dom";
import { FilterBar, replaced, tokens } from "./filter-bar";
import { Filtering } from "./filtering";
import { HeaderView, type LogSession } from "./header";
import { type Key, showKeys } from "./keys";
import { leaveLink, linkedRow } from "./line-link";
import { VirtualList } from "./list";
import type { Later } from "./loader";
import { claimKeys, isChord } from "./page";
import { KEYS as READING, type Reading, reading } from "./reading";
import { RowSet } from "./row-set";
import { fillBlank, fillPartial, fillRow, rowText } from "./rows";
import { Search } from "./search";
import type { Seeing } from "./seeing";
import { called, Sources } from "./sources";
import type { TakeAway } from "./take-away";
import { Toolbar } from "./toolbar";

const MAX_STEPS = 10_000; // matches looked at for one that the filter keeps
const TIME = /^time[:<>]/;
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
  /** What comes with the second part of the front end. */
  #seeing: Seeing | null = null;
  #take: TakeAway | null = null;
  #gone = false;
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
  /** Whether the page's address may lead to a line that is not here yet. */
  #linked = true;
  /** Every key of the view, for ? to show; those without an action are taken where they are. */
  readonly #keys: Key[] = [
    ["/", "Search", () => this.#toolbar.focus()],
    ["n", "Next match (Enter in the search box)", () => this.#go(1)],
    ["N", "Match before (Shift+Enter)", () => this.#go(-1)],
    ["e", "Next error or gap", () => this.#go(1, this.#troubles)],
    ["E", "Error or gap before", () => this.#go(-1, this.#troubles)],
    ["f", "Filter the lines", () => this.#openFilter(true)],
    ["c", "The line in its context, without the filter", () => this.#context(this.#here())],
    ["h", "Lines over time", () => this.#seeing?.toggle()],
    ["← →", "There: move; with Shift: select; Enter: filter; Escape: all again"],
    ["y", "Copy lines, or a link to the line", () => this.#take?.copy.click()],
    ["s", "Download lines", () => this.#take?.download.click()],
    ...READING.map(([key, does]): Key => [key, does, () => this.#reading.keys[key]()]),
    ["PageUp", "A screen up", () => this.#list.page(-1)],
    ["PageDown", "A screen down", () => this.#list.page(1)],
    ["Home", "First line", () => this.#list.show(0)],
    ["End", "Last line, and follow", () => this.#list.toEnd()],
    ["?", "These keys", () => this.#help.click()],
  ];
  readonly #help = button("Keys (?)", { text: "?" }, () => showKeys(this.#help, this.#keys));

  constructor(private readonly session: LogSession) {
    this.#search = new Search(session, () => this.#searchChanged());
    this.#filtering = new Filtering(
      session,
      () => (session.header?.sources ?? [session.header ?? NOBODY]).map(called),
      (other) => this.#filterChanged(other),
    );
    this.#header = new HeaderView(session, (row) => this.#context(row));
    this.#reading = reading({
      session,
      scroller: this.#scroller,
      list: () => this.#list,
      here: () => this.#here(),
      go: (row) => this.#mark(row),
    });
    this.#toolbar = new Toolbar(this.#search, {
      go: (direction) => this.#go(direction),
      more: [...this.#reading.looks, this.#help],
      leave: () => this.#scroller.focus(),
      place: "the log",
      patience: 15, // the worker searches: the page does not wait
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
    window.addEventListener("hashchange", this.#hashed);
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
    this.root.append(
      this.#header.root,
      this.#sources.root,
      this.#toolbar.root,
      this.#bar.root,
      element("div", "bxl-frame", this.#scroller, this.#badge),
      this.#reading.drawer,
    );
    this.#reading.apply();
    this.#unsubscribe = session.subscribe(() => this.#changed());
    this.#changed();
    session.later.then((parts) => this.#gone || this.#complete(parts));
  }

  /** Add what has come with the second part of the front end. */
  #complete({ Seeing, TakeAway }: Later): void {
    const { session } = this;
    const take = new TakeAway(session, {
      root: this.root,
      scroller: this.#scroller,
      filtered: () => this.#map,
      filtering: () => this.#filtering.scanned < session.store.length,
      partial: () => this.#partial.map(([, line]) => line),
      here: () => this.#here(),
    });
    const seeing = new Seeing(session, this.#scroller, {
      time: () => tokens(this.#bar.text).find(({ text }) => TIME.test(text))?.text ?? "",
      pick: (term) => {
        this.#showBar(true);
        this.#bar.write(replaced(this.#bar.text, TIME, [term]));
      },
      go: (place) => this.#mark(this.#row(place)),
      shown: (on) => this.root.classList.toggle("bxl-seen", on),
    });
    this.#take = take;
    this.#seeing = seeing;
    this.#help.before(take.copy, take.download);
    this.#toolbar.middle.append(seeing.button);
    this.#scroller.after(seeing.lane.root);
    this.#scroller.parentElement?.before(seeing.histogram.root);
    this.#list.schedule();
  }

  destroy(): void {
    this.#gone = true;
    this.#unsubscribe();
    this.#unclaim();
    window.removeEventListener("hashchange", this.#hashed);
    this.#seeing?.destroy();
    this.#search.stop();
    this.#filtering.stop();
    this.#bar.destroy();
    this.#toolbar.destroy();
    this.#header.destroy();
    this.#list.destroy();
  }

  get #troubles(): RowSet {
    return this.#seeing?.troubles ?? new RowSet();
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
    node.classList.toggle("bxl-faint", out);
    this.#reading.dress(node, row);
    this.#sources.mark(node, store.source(row));
  }

  /** Take over the lines that have not ended; the rows they stood in are other ones when they change. */
  #takePartial(): void {
    const { header } = this.session;
    const off = this.#sources.off();
    const partial = (header?.partial ?? []).filter(([, , source]) => !off[source ?? -1]);
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
    if (this.#linked) this.#followLink();
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
    const places = this.#reading.folds;
    this.#seeing?.look(this.#list.pinned, places, this.#search.rows, this.#current);
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
    if (this.#filtering.expression) this.#bar.write("");
    this.#mark(row);
    this.#scroller.focus();
  }

  /** Stay at a row, marked. */
  #mark(row: number): void {
    this.#anchor = null;
    this.#list.pinned = false;
    this.#current = row;
    this.#goTo(row, "near");
    this.#toolbar.update(this.#position());
    this.#list.refresh();
  }

  readonly #hashed = (): void => {
    this.#linked = true;
    this.#followLink();
  };

  /** Go to the line that the page's address leads to, once it is here. */
  #followLink(): void {
    const { header, store, complete } = this.session;
    if (!header) return;
    const row = linkedRow(location.hash, header.process);
    const here = row !== null && row < store.length;
    this.#linked = row !== null && !here && !complete;
    if (!here) return;
    if (this.#filtering.expression) this.#bar.write("");
    this.#mark(row);
    this.root.scrollIntoView({ block: "nearest" });
    leaveLink();
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
  #go(direction: 1 | -1, rows = this.#search.rows): void {
    if (rows.count === 0) return;
    const at = this.#here();
    let position = rows.position(at);
    if (this.#current !== null && (direction < 0 || rows.has(at))) position += direction;
    const found = nextShown(rows, this.#map, (position + rows.count) % rows.count, direction);
    if (found === null) return;
    this.#mark(found);
  }

  #key(event: KeyboardEvent): void {
    if (isChord(event)) return;
    if (event.key === "Enter" && event.target !== this.#scroller) return; // a link's, a button's
    const act = this.#keys.find(([key]) => key === event.key)?.[2];
    if (!act) return;
    act();
    event.preventDefault();
    event.stopPropagation();
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
