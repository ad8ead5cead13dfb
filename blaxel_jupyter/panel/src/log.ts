// One view of a process's log: header, toolbar, and the lines near the scroll position.

import { visibleText } from "./ansi";
import { element, setText } from "./dom";
import { HeaderView, type LogSession } from "./header";
import { VirtualList } from "./list";
import { claimKeys, isChord, saveText, say } from "./page";
import { fillPartial, fillRow, rowText } from "./rows";
import { Search } from "./search";
import { KIND } from "./store";
import { Toolbar } from "./toolbar";

const COPY_BYTES = 16_000_000; // more than this belongs in a file
const FILE_NAME = "log.txt";

export class LogView {
  readonly root = element("div", "bxl-panel");
  readonly #scroller = element("div", "bxl-body");
  readonly #badge = element("button", "bxl-badge");
  readonly #list: VirtualList;
  readonly #header: HeaderView;
  readonly #toolbar: Toolbar;
  readonly #search: Search;
  readonly #unsubscribe: () => void;
  readonly #unclaim: () => void;
  #current: number | null = null;
  #searched = "";
  #partial: [string, string][] = [];
  #partialKey = "";

  constructor(private readonly session: LogSession) {
    const { store } = session;
    this.#search = new Search(store, () => this.#searchChanged());
    this.#header = new HeaderView(session);
    this.#toolbar = new Toolbar(this.#search, {
      go: (direction) => this.#go(direction),
      wrap: (on) => this.#list.wrap(on),
      copy: () => void this.#copy(),
      download: () => download(session),
      leave: () => this.#scroller.focus(),
      things: "lines",
      place: "the log",
    });
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
        length: () => store.length + this.#partial.length,
        fill: (node, row) => this.#fill(node, row),
      },
      () => this.#painted(),
    );
    this.#badge.addEventListener("click", () => {
      this.#list.toEnd();
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
    this.#list.destroy();
  }

  #fill(node: HTMLElement, row: number): void {
    const { store } = this.session;
    if (row >= store.length) fillPartial(node, this.#partial[row - store.length]);
    else fillRow(node, store, row, this.#search.ranges(row), row === this.#current);
  }

  /** Take over the lines that have not ended; the rows they stood in are other ones when they change. */
  #takePartial(): void {
    const { store, header } = this.session;
    const partial = header?.partial ?? [];
    const key = partial.length > 0 ? JSON.stringify([store.length, partial]) : "";
    if (key === this.#partialKey) return;
    if (this.#partialKey) this.#list.drop(JSON.parse(this.#partialKey)[0]);
    this.#partialKey = key;
    this.#partial = partial;
  }

  #changed(): void {
    this.#header.update();
    this.#takePartial();
    this.#search.update();
    this.#list.schedule();
    const empty = this.session.store.length + this.#partial.length === 0;
    this.root.classList.toggle("bxl-empty", empty);
    this.root.classList.toggle("bxl-final", this.session.complete);
  }

  #painted(): void {
    const count = this.session.store.length;
    this.root.dataset.rows = String(count);
    const fresh = Math.max(0, count - this.#list.seen);
    this.#badge.hidden = this.#list.pinned || fresh === 0;
    setText(this.#badge, `${fresh.toLocaleString("en")} new ${fresh === 1 ? "line" : "lines"} ↓`);
    if (this.#search.query) {
      const [first, last] = this.#list.range;
      const rows = Array.from({ length: last - first }, (_, i) => first + i);
      const matching = rows.filter((row) => this.#search.matches(row));
      this.#search.highlight(matching, (row) => rowText(this.session.store, row));
    }
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
    return this.#current === null ? null : this.#search.position(this.#current);
  }

  /** Go to the next or previous match; the first time, to the nearest one from the top of the screen. */
  #go(direction: 1 | -1): void {
    if (this.#search.count === 0) return;
    const [top] = this.#list.visible();
    const at = this.#current;
    let position: number;
    if (at === null) position = Math.min(this.#search.position(top), this.#search.count - 1);
    else position = this.#search.position(at) + direction;
    this.#current = this.#search.row(position);
    this.#list.reveal(this.#current);
    this.#toolbar.update(this.#position());
    this.#list.refresh();
  }

  #key(event: KeyboardEvent): void {
    if (isChord(event)) return;
    const act = {
      "/": () => this.#toolbar.focus(),
      n: () => this.#go(1),
      N: () => this.#go(-1),
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
      const lines = Array.from({ length: store.length }, (_, row) => rowText(store, row));
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
