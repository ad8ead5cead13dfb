// Take lines away: copy or download what is selected, what the list shows, or all, in the style chosen
// from a menu. Rows are written by the worker, block by block, so that a large log never stands in one text.

import { visibleText } from "./ansi";
import { Asker } from "./asker";
import { button, element, grouped, setText } from "./dom";
import type { LogSession } from "./header";
import { lineLink } from "./line-link";
import type { Reply } from "./matching";
import { openMenu } from "./menu";
import { fileName, saveText, say, selected } from "./page";
import { type Places, RowSet } from "./row-set";
import { KIND } from "./store";
import type { Style } from "./taking";
import { walk } from "./walk";

const COPY_BYTES = 16_000_000; // more than this belongs in a file
const CHANGED = "the log has become another one";
const HEADS: Partial<Record<Style, string>> = { numbers: "\t", times: "-\t" }; // of a line not ended yet

/** What may be taken: its rows (null for all), and its text if it may be part of rows. */
interface Scope {
  rows: Places | null;
  text?: string;
}

interface View {
  root: HTMLElement;
  scroller: HTMLElement;
  /** The rows that the filter leaves; null for all. */
  filtered(): Places | null;
  /** Whether the filter has yet to judge some. */
  filtering(): boolean;
  /** Lines that have not ended yet, as they stand. */
  partial(): string[];
  /** The row that a link would lead to. */
  here(): number;
}

export class TakeAway {
  readonly copy = button("Copy lines (y)", "copy", () => {
    const { header } = this.session;
    const line = this.view.here() + 1;
    const link = lineLink(location.href, header?.process ?? "", line);
    this.#offer(this.copy, {
      "Copy as text": (scope) => this.#copy(scope, "text"),
      "Copy with line numbers": (scope) => this.#copy(scope, "numbers"),
      "Copy with arrival times": (scope) => this.#copy(scope, "times"),
      [`Copy a link to line ${grouped(line)}`]: () => this.#put(Promise.resolve([link])),
    });
  });
  readonly download = button("Download lines (s)", "download", () =>
    this.#offer(this.download, {
      "Download as text": (scope) => this.#save(scope, "raw", "log"),
      "Download as JSON lines": (scope) => this.#save(scope, "json", "jsonl"),
    }),
  );

  constructor(
    private readonly session: LogSession,
    private readonly view: View,
  ) {
    for (const made of [this.copy, this.download]) {
      made.ariaHasPopup = "menu";
      made.onmousedown = (event) => event.preventDefault(); // what is selected stays so
    }
  }

  #offer(anchor: HTMLElement, actions: Record<string, (scope: Scope) => Promise<void>>): void {
    const scopes = this.#scopes();
    let [scope] = scopes;
    const choices = scopes.map((one) => {
      const count = one.rows?.count ?? this.session.store.length;
      const label = `${one.name}: ${grouped(count)} line${count === 1 ? "" : "s"}`;
      const act = () => {
        scope = one;
      };
      return { label, checked: one === scope, act };
    });
    const items = Object.entries(actions).map(([label, act]) => {
      return { label, act: () => void act(scope) };
    });
    openMenu(anchor, [...(scopes[1] ? choices : []), ...items]);
  }

  /** What may be taken now, the likeliest first. */
  #scopes(): (Scope & { name: string })[] {
    const { scroller, filtered, filtering } = this.view;
    const all = { name: "All", rows: null };
    const kept = filtered();
    const scopes = kept
      ? [{ name: filtering() ? "Filtered so far" : "Filtered", rows: kept }, all]
      : [all];
    const selection = selected(scroller);
    if (!selection) return scopes;
    const numbers = [...scroller.querySelectorAll<HTMLElement>("[data-n]")]
      .filter(({ parentNode }) => parentNode && selection.containsNode(parentNode, true))
      .map((gutter) => Number(gutter.dataset.n) - 1);
    const rows = new RowSet();
    rows.add(0, Uint32Array.from(numbers));
    return [{ name: "Selected", rows, text: selection.toString() }, ...scopes];
  }

  async #copy({ rows, text }: Scope, style: Style): Promise<void> {
    const lines = async (): Promise<BlobPart[]> => {
      if (text !== undefined && style === "text") return [text];
      const parts = await this.#written(rows, style, COPY_BYTES);
      const rest = text === undefined ? this.view.partial() : [];
      return [...parts, ...rest.map((line) => `${HEADS[style] ?? ""}${visibleText(line)}\n`)];
    };
    await this.#put(lines());
  }

  async #save({ rows }: Scope, style: Style, ending: string): Promise<void> {
    try {
      const parts = await this.#written(rows, style);
      saveText(parts, fileName(this.session.header?.process ?? "", ending));
    } catch (error) {
      say(this.view.root, `nothing was saved: ${(error as Error).message}`);
    }
  }

  /** Put text on the clipboard; asked for at once, while the browser knows that the user wants it. */
  async #put(parts: Promise<BlobPart[]>): Promise<void> {
    let said = "the browser refused the clipboard";
    const text = parts.then(
      (known) => new Blob(known, { type: "text/plain" }),
      (error: Error) => {
        said = error.message;
        throw error;
      },
    );
    try {
      await navigator.clipboard.write([new ClipboardItem({ "text/plain": text })]);
      said = "copied";
    } catch {
      // as said
    }
    say(this.view.root, said);
  }

  /** Rows in a style, block by block; rejected when they would be more bytes than `limit`. */
  async #written(
    rows: Places | null,
    style: Style,
    limit = Number.POSITIVE_INFINITY,
  ): Promise<Blob[]> {
    const { session, view } = this;
    const count = rows?.count ?? session.store.length; // what arrives meanwhile is not part of it
    const parts: Blob[] = [];
    const note = element("div", "bxl-toast");
    let size = 0;
    let failed = (_error: Error): void => {};
    const asker = new Asker(session.later, (message) => message && failed(new Error(message)));
    view.root.append(note);
    try {
      for (let done = 0; done < count; ) {
        const block = (await walk(session, rows ? rows.at(done) : done).next()).value;
        if (!block) throw new Error(CHANGED);
        const { from, text, flags, received, n, sources } = block;
        const last = rows ? Math.min(count, rows.position(from + n)) : Math.min(count, from + n);
        const kept = Uint32Array.from({ length: last - done }, (_, i) =>
          rows ? rows.at(done + i) - from : i,
        );
        const missing = new Map<number, number | undefined>();
        for (const i of kept) {
          if (flags[i] & KIND) missing.set(i, session.store.missing(from + i));
        }
        const reply = await new Promise<Reply>((resolve, reject) => {
          failed = reject;
          asker.ask(
            {
              kind: "take",
              style,
              from,
              text: text.slice(),
              flags: flags.slice(),
              received: new DataView(
                received.buffer.slice(received.byteOffset, received.byteOffset + n * 8),
              ),
              missing,
              names: session.header?.sources?.map(({ sandbox, process }) => ({ sandbox, process })),
              sources: sources?.slice(),
              rows: kept,
            },
            resolve,
          );
        });
        if (reply.kind !== "take") throw new Error(CHANGED);
        parts.push(new Blob([reply.bytes])); // the browser may keep it on disk
        size += reply.bytes.length;
        if (size > limit) throw new Error("too much to copy: use download");
        done = last;
        if (done < count) setText(note, `${Math.floor((100 * done) / count)} %`);
      }
    } finally {
      asker.stop();
      note.remove();
    }
    return parts;
  }
}
