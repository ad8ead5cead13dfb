// One view of an agent's run: header, toolbar with filters, and the story as a timeline that follows its tail.

import { button, element, setText } from "./dom";
import { Filters } from "./filters";
import { claimKeys, isChord, saveText, say, selected } from "./page";
import { HEAD_FIELDS, type Item, passes, plainText, type TaskSession } from "./story";
import { fillItem } from "./story-rows";
import { type Match, StorySearch } from "./story-search";
import { TaskHeaderView } from "./task-header";
import { Timeline } from "./timeline";
import { Toolbar } from "./toolbar";

const FILE_NAME = "task.txt";
const PARTS = 1024; // more than a text that is shown has

interface Row {
  item: Item;
  part: number;
}

export class TaskView {
  readonly root = element("div", "bxl-panel bxl-task");
  readonly #scroller = element("div", "bxl-body bxl-timeline");
  readonly #badge = element("button", "bxl-badge");
  readonly #timeline: Timeline;
  readonly #header: TaskHeaderView;
  readonly #filters: Filters;
  readonly #toolbar: Toolbar;
  readonly #search: StorySearch;
  readonly #unsubscribe: () => void;
  readonly #unclaim: () => void;
  readonly #open = new Map<number, boolean>();
  #shown: Item[] = [];
  #rows: Row[] = [];
  #current: Match | null = null;
  #searched = "";
  #seen = 0; // events there were when the view left the tail
  #failed = -1; // the failed call last gone to

  constructor(private readonly session: TaskSession) {
    this.#search = new StorySearch(
      session,
      () => this.#shown,
      () => this.#searchChanged(),
    );
    this.#header = new TaskHeaderView(session, () => this.#nextFailed());
    this.#filters = new Filters(() => this.#filtered());
    this.#toolbar = new Toolbar(this.#search, {
      go: (direction) => this.#go(direction),
      leave: () => this.#scroller.focus(),
      place: "the story",
      more: [
        button("Copy the selection, or all events", "copy", () => void this.#copy()),
        button("Download all events as text", "download", () =>
          saveText([plainText(session.store.items), "\n"], FILE_NAME),
        ),
      ],
    });
    this.#toolbar.middle.append(this.#filters.root);
    this.#scroller.tabIndex = 0;
    this.#scroller.setAttribute("role", "log");
    this.#scroller.setAttribute("aria-label", "The run's story");
    this.#scroller.setAttribute("aria-live", "off"); // the header's status speaks, not every event
    this.#scroller.addEventListener("keydown", (event) => this.#key(event));
    this.#unclaim = claimKeys(
      this.root,
      ({ key, target }) => key !== "Enter" || target !== this.#scroller,
    );
    this.#badge.type = "button";
    this.#badge.hidden = true;
    this.#timeline = new Timeline(
      this.#scroller,
      {
        length: () => this.#rows.length,
        key: (row) => this.#rows[row].item.i * PARTS + this.#rows[row].part,
        stamp: (row) => this.#stamp(this.#rows[row]),
        fill: (node, row) => this.#fill(node, this.#rows[row]),
      },
      () => this.#painted(),
      () => {
        this.#seen = this.#events;
      },
    );
    this.#badge.addEventListener("click", () => {
      this.#timeline.toEnd();
      this.#scroller.focus();
    });
    const body = element("div", "bxl-frame", this.#scroller, this.#badge);
    this.root.append(this.#header.root, this.#toolbar.root, body);
    this.#unsubscribe = session.subscribe(() => this.#changed());
    this.#changed();
  }

  destroy(): void {
    this.#unsubscribe();
    this.#unclaim();
    this.#search.stop();
    this.#toolbar.destroy();
    this.#header.destroy();
    this.#timeline.destroy();
  }

  get #events(): number {
    return this.session.header?.events ?? 0;
  }

  get #final(): boolean {
    return this.session.header?.final ?? false;
  }

  #isOpen(item: Item): boolean {
    return this.#open.get(item.i) ?? (item.kind === "files" || item.kind === "result");
  }

  #stamp({ item, part }: Row): string {
    const now = this.#current?.item.i === item.i ? this.#current.n : "";
    const marks = `${this.#search.stamp(item)}:${now}`;
    if (item.kind !== "text") return `${item.stamp}:${this.#isOpen(item)}:${this.#final}:${marks}`;
    const end = item.ends[part] ?? item.text?.length;
    return `${end}:${part < item.ends.length || item.cut}:${marks}`;
  }

  #fill(node: HTMLElement, { item, part }: Row): void {
    fillItem(node, item, part, {
      open: this.#isOpen(item),
      final: this.#final,
      ranges: this.#search.ranges(item),
      current: this.#current?.item.i === item.i ? this.#current.n : null,
      toggle: () => this.#toggle(item.i),
    });
  }

  #toggle(i: number): void {
    this.#open.set(i, !this.#isOpen(this.session.store.items[i]));
    this.#timeline.hold(i * PARTS);
    this.#timeline.schedule();
  }

  #changed(): void {
    this.#header.update();
    this.#filters.update(this.session.store.tools);
    this.#layOut();
    this.#search.recount();
    this.#search.update();
    this.#timeline.schedule();
    this.root.classList.toggle("bxl-empty", this.#rows.length === 0);
    this.root.classList.toggle("bxl-final", this.session.complete);
    this.root.dataset.events = String(this.session.store.length);
  }

  #filtered(): void {
    this.#layOut();
    this.#search.recount();
    this.#searchChanged();
    this.root.classList.toggle("bxl-empty", this.#rows.length === 0);
  }

  /** List the rows of the items that pass the filters. */
  #layOut(): void {
    const { off, tool } = this.#filters;
    this.#shown = this.session.store.items.filter((item) => item && passes(item, off, tool));
    this.#rows = [];
    for (const item of this.#shown) {
      const parts = item.kind === "text" ? item.ends.length : 0;
      for (let part = 0; part <= parts; part++) this.#rows.push({ item, part });
    }
  }

  #painted(): void {
    const fresh = Math.max(0, this.#events - this.#seen);
    this.#badge.hidden = this.#timeline.pinned || fresh === 0;
    setText(this.#badge, `${fresh.toLocaleString("en")} new ${fresh === 1 ? "event" : "events"} ↓`);
  }

  #searchChanged(): void {
    const { query, count } = this.#search;
    const key = query ? JSON.stringify(query) : "";
    if (key !== this.#searched) {
      this.#searched = key;
      this.#current = null;
    }
    if (query && this.#current === null && count > 0) this.#go(1);
    this.#showCount();
    this.#timeline.schedule();
  }

  #showCount(): void {
    this.#toolbar.update(this.#current ? this.#search.position(this.#current) : null);
  }

  /** Go to the next or previous match; the first time, to the first one from the top of the screen. */
  #go(direction: 1 | -1): void {
    if (this.#search.count === 0) return;
    let position: number;
    if (this.#current) position = this.#search.position(this.#current) + direction;
    else {
      const top = this.#rows[this.#timeline.first]?.item;
      const from = this.#timeline.pinned || !top ? 0 : this.#search.position({ item: top, n: 0 });
      position = Math.min(from, this.#search.count - 1);
    }
    this.#current = this.#search.at(position);
    if (this.#current) this.#visit(this.#current);
    this.#showCount();
  }

  /** Show a match: open the row that hides it, and scroll to it. */
  #visit(match: Match): void {
    const { item } = match;
    const at = this.#search.field(match);
    const inside = item.kind === "reasoning" || (item.kind !== "text" && at >= HEAD_FIELDS);
    if (inside) this.#open.set(item.i, true);
    const part = item.kind === "text" ? at : 0;
    const row = this.#rows.findIndex((r) => r.item.i === item.i && r.part === part);
    if (row === -1) return;
    this.#timeline.reveal(row);
    this.#timeline.paint();
    const node = this.#timeline.element(item.i * PARTS + part)?.querySelector(".bxl-now");
    if (!node) return;
    const out = node.closest<HTMLElement>(".bxl-out");
    if (out) {
      const above = node.getBoundingClientRect().top - out.getBoundingClientRect().top;
      if (above < 0 || above > out.clientHeight - 20) out.scrollTop += above - out.clientHeight / 3;
    }
    this.#timeline.nudge(node);
  }

  /** Go to the failed call after the one last gone to, and round. */
  #nextFailed(): void {
    const failed = this.#rows.filter(({ item }) => item.kind === "tool" && item.failed === true);
    if (failed.length === 0) {
      say(this.root, "the failed calls are filtered out");
      return;
    }
    const next = failed.find(({ item }) => item.i > this.#failed) ?? failed[0];
    this.#failed = next.item.i;
    this.#timeline.reveal(this.#rows.indexOf(next));
    this.#timeline.paint();
    const node = this.#timeline.element(next.item.i * PARTS);
    node?.querySelector<HTMLElement>(".bxl-head")?.focus({ preventScroll: true });
  }

  #key(event: KeyboardEvent): void {
    if (isChord(event)) return;
    const height = this.#scroller.clientHeight * 0.9;
    const inside = (event.target as HTMLElement).classList.contains("bxl-head");
    const act = {
      "/": () => this.#toolbar.focus(),
      n: () => this.#go(1),
      N: () => this.#go(-1),
      ArrowDown: inside ? () => this.#step(1) : undefined,
      ArrowUp: inside ? () => this.#step(-1) : undefined,
      End: () => this.#timeline.toEnd(),
      Home: () => this.#timeline.toStart(),
      PageUp: () => this.#timeline.scrollBy(-height),
      PageDown: () => this.#timeline.scrollBy(height),
    }[event.key];
    if (!act) return;
    act();
    event.preventDefault();
    event.stopPropagation();
  }

  /** Move the focus from one row that opens to the next. */
  #step(direction: 1 | -1): void {
    const heads = [...this.#scroller.querySelectorAll<HTMLElement>(".bxl-head")];
    const at = heads.findIndex((head) => head.parentElement?.matches(":focus-within"));
    const next = heads[at + direction];
    if (at === -1 || !next) return;
    next.focus({ preventScroll: true });
    this.#timeline.nudge(next);
  }

  async #copy(): Promise<void> {
    const text = selected(this.#scroller)?.toString() ?? `${plainText(this.#shown)}\n`;
    try {
      await navigator.clipboard.writeText(text);
      say(this.root, "copied");
    } catch {
      say(this.root, "the browser refused the clipboard");
    }
  }
}
