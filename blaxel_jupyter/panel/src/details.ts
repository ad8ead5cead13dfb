// Show one row at length in a drawer under the list: its fields, the states it went through, its whole
// text. Nothing in the list moves. One row at a time.

import { visibleText } from "./ansi";
import { button, element, grouped } from "./dom";
import { type Field, fields } from "./fields";
import { size } from "./header";
import { rowTitle, SHOWN_CHARACTERS } from "./rows";
import { ends } from "./states";
import { type LineStore, lastState } from "./store";

const FIELDS = 200;
const STATES = 100; // at each end of a history
const STEP = 65_536; // bytes of a long line shown at once
const PARSED = 1 << 20; // bytes of a line that is read for fields

export type Details = ReturnType<typeof details>;

/** Make the drawer; `changed` is told when it shows another row, or none. */
export function details(store: LineStore, changed: () => void) {
  const root = element("section", "bxl-details");
  let shown: number | null = null;
  root.hidden = true;
  root.ariaLabel = "Details of a line";
  root.addEventListener("keydown", ({ key }) => {
    if (key === "Escape") close();
  });

  const close = () => {
    shown = null;
    root.hidden = true;
    changed();
  };

  const open = (row: number) => {
    if (!store.held(row)) return; // it is on its way
    shown = row;
    const raw = store.raw(row);
    const state = lastState(raw);
    const found = state.length > PARSED ? null : fields(decoded(state));
    const { n, shown: kept } = ends(raw, STATES);
    const title = element("span", "", rowTitle(store, row));
    const body = element("div", "bxl-whole");
    body.tabIndex = 0;
    if (found) body.append(pairs(found.slice(0, FIELDS), found.length, FIELDS));
    if (n > 1) {
      const history = kept.map(([i, part]): Field => [grouped(i), decoded(part.slice(0, STEP))]);
      body.append(pairs(history, n, STATES));
    }
    if (!body.firstChild || state.length > SHOWN_CHARACTERS) body.append(...pieces(state, 0));
    const shut = button("Close (Esc)", { text: "✕" }, close);
    root.replaceChildren(element("div", "bxl-details-head", title, shut), body);
    root.hidden = false;
    root.scrollIntoView({ block: "nearest" });
    changed();
  };

  /** Show a row, or shut the drawer where it shows that row already. */
  const toggle = (row: number) => (row === shown ? close() : open(row));

  /** The row that is shown; null while the drawer is shut. */
  const row = () => shown;

  return { root, row, toggle, open, close };
}

/** Names and values under one another: of `n` those that are kept, and how many are left out, and where. */
function pairs(kept: Field[], n: number, at: number): HTMLElement {
  const left = n - kept.length;
  const rows = left > 0 ? kept.toSpliced(at, 0, ["…", `${grouped(left)} more`]) : kept;
  const items = rows.flatMap(([name, value]) => [
    element("dt", "", name),
    element("dd", "", value),
  ]);
  return element("dl", "bxl-pairs", ...items);
}

/** A part of a long line, and a button for the next. */
function pieces(state: Uint8Array, from: number): (Node | string)[] {
  let end = Math.min(from + STEP, state.length);
  while ((state[end] & 0xc0) === 0x80) end -= 1; // never inside a character
  const text = decoded(state.subarray(from, end));
  if (end === state.length) return [text];
  const face = `… ${size(state.length - end)} more`;
  const more = button("Show more", { text: face }, () => {
    more.parentElement?.focus(); // the button goes
    more.replaceWith(...pieces(state, end));
  });
  more.className = "bxl-more";
  return [text, more];
}

function decoded(bytes: Uint8Array): string {
  return visibleText(new TextDecoder().decode(bytes));
}
