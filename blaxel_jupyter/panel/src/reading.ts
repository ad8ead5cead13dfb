// How a reader has the lines: numbers, times, wrapping, folded groups, and the details of one.
// It dresses the rows that the log's view has filled, and says which rows are in the list.

import { visibleText } from "./ansi";
import { details } from "./details";
import { button, element, grouped, lines } from "./dom";
import { hasFields } from "./fields";
import { Folds } from "./folds";
import { Groups } from "./groups";
import type { LogSession } from "./header";
import type { VirtualList } from "./list";
import { load, save } from "./preferences";
import { count } from "./states";
import { KIND, lastState, STREAM } from "./store";
import { clock, elapsed } from "./times";

const HEAD = 400; // bytes of a line that tell whether it belongs to a group
const LONG = 65_536; // bytes; a line with more is not looked through for the state that is shown
const NEAR = 1000; // rows above and below in which all groups are folded at once
const COUNTED = 10_000; // states
const TIMES = { off: "local", local: "relative", relative: "off" } as const; // one after the other

/** The keys, and what each does. */
export const KEYS: [key: string, does: string][] = [
  ["j", "Next line"],
  ["k", "Line before"],
  ["Enter", "Details of the line"],
  ["Escape", "Close the details; from a field, back to the lines"],
  ["z", "Fold or open a group of lines"],
  ["Z", "Fold or open all groups near"],
  ["l", "Line numbers"],
  ["t", "Arrival times: by the clock, since the start, none"],
  ["w", "Wrap long lines"],
];

/** What this needs of the log's view. */
export interface View {
  session: LogSession;
  scroller: HTMLElement;
  list(): VirtualList;
  /** The row gone to last, or the first on screen. */
  here(): number;
  /** Bring a row on screen, marked. */
  go(row: number): void;
}

export type Reading = ReturnType<typeof reading>;

export function reading({ session, scroller, list, here, go }: View) {
  const { store } = session;
  const liked = load();
  const folds = new Folds(() => store.length);
  const decoder = new TextDecoder();
  const groups = new Groups((row) => {
    if (row >= store.length || !store.held(row)) return null;
    const raw = store.raw(row);
    const state = raw.length > LONG ? raw : lastState(raw);
    const line = decoder.decode(state.subarray(0, HEAD));
    const of = store.source(row) * 16 + (store.flags(row) & (KIND | STREAM));
    return { line: visibleText(line), of };
  });
  const focus = () => scroller.focus({ preventScroll: true });
  const drawer = details(store, () => {
    list().refresh(); // the row that is shown has a mark
    focus();
  });
  /** The row that keys are about: the drawer's or the one gone to last, if it is on screen. */
  const at = () => {
    const row = drawer.row() ?? here();
    const [first, last] = list().visible();
    const place = folds.position(row);
    return place >= first && place < last ? row : folds.at(first);
  };
  let known = 0; // rows there were at the last update

  /** Show the lines as the reader likes them. */
  const apply = () => {
    const { numbers, time, wrap } = liked;
    const timed = time !== "off";
    [numbers, timed, wrap].forEach((on, i) => {
      looks[i].ariaPressed = String(on);
    });
    scroller.classList.toggle("bxl-numbers", numbers);
    scroller.classList.toggle("bxl-times", timed);
    list().wrap(wrap);
  };

  /** Return what changes how lines are shown, and remembers it. */
  const change = (how: () => unknown) => () => {
    how();
    save(liked);
    if (list().pinned) apply();
    else keep(folds.at(list().visible()[0]), apply);
  };

  /** Change what is in the list, and leave a row where it stands, or the one that it is folded behind. */
  const keep = (row: number, change: () => unknown) => {
    list().keep(folds.position(row), () => {
      change();
      const first = folds.around(row)?.[0] ?? row;
      return folds.position(folds.behind(first) > 0 ? first : row);
    });
    focus();
  };

  /** Fold or open the group that a row is in. */
  const turn = (row: number) => {
    const group = folds.around(row) ?? groups.around(row);
    if (group) keep(row, () => folds.open(row) || folds.fold(group));
  };

  /** Open what is folded near; where nothing is, fold all groups near. */
  const turnAll = () => {
    const here = at();
    const group = groups.around(here);
    const stays = group && group[0] < here && folds.position(group[1]) < list().visible()[1];
    keep(stays ? group[1] : here, () => {
      if (folds.open(here - 2 * NEAR, here + 2 * NEAR)) return;
      for (let row = Math.max(0, here - NEAR); row < here + NEAR; row++) {
        const group = groups.around(row);
        if (!group) continue;
        folds.fold(group);
        row = group[1] - 1;
      }
    });
  };

  const step = (by: 1 | -1) => {
    const place = Math.min(folds.count - 1, folds.position(at()) + by);
    if (place < 0) return;
    const row = folds.at(place);
    go(row);
    if (drawer.row() !== null) drawer.open(row);
  };

  const keys: Record<string, () => void> = {
    l: change(() => (liked.numbers = !liked.numbers)),
    t: change(() => (liked.time = TIMES[liked.time])),
    w: change(() => (liked.wrap = !liked.wrap)),
    z: () => turn(at()),
    Z: turnAll,
    j: () => step(1),
    k: () => step(-1),
    Enter: () => drawer.toggle(drawer.row() ?? at()),
    Escape: drawer.close,
  };
  const looks = [
    button("Line numbers (l)", { text: "#" }, keys.l),
    button("Arrival times (t)", "clock", keys.t),
    button("Wrap long lines (w)", "wrap", keys.w),
  ];

  const time = (row: number) => {
    const ms = store.received(row);
    if (Number.isNaN(ms) || liked.time === "off") return "";
    if (liked.time === "local") return clock(ms);
    const started = session.header?.started;
    if (started) return elapsed(ms - started * 1000);
    return elapsed(ms - store.received(0));
  };

  return {
    folds,
    drawer: drawer.root,
    keys,
    /** Buttons for the toolbar. */
    looks,
    apply,

    /** Rows may have arrived. */
    update() {
      const before = known;
      known = store.length;
      if (known === before) return;
      scroller.style.setProperty("--bxl-digits", String(Math.max(3, `${known}`.length)));
      const { tail } = folds;
      const grown = tail?.[1] === before && groups.around(tail[0]);
      if (grown) folds.fold(grown);
      const first = [before - 2, before - 1].find((row) => row >= 0 && groups.begins(row));
      if (first !== undefined) list().drop(folds.position(first)); // its sign is new
    },

    /** Put into a filled row what belongs to this log alone. */
    dress(node: HTMLElement, row: number) {
      const [gutter, text] = node.children as unknown as HTMLElement[];
      gutter.dataset.n = String(row + 1);
      gutter.dataset.at = time(row);
      node.classList.toggle("bxl-open", row === drawer.row());
      if ((store.flags(row) & KIND) !== 0) return;
      const open = () => drawer.toggle(row);
      const small = (face: string, act = open, name = "bxl-more") => {
        const made = button(act === open ? "Details (Enter)" : "Fold (z)", { text: face }, act);
        made.className = name;
        made.tabIndex = -1; // keys do it: not one stop for each row
        return made;
      };
      const line = text.textContent ?? "";
      const cut = text.querySelector(".bxl-cut");
      const ends = element("span", "bxl-ends");
      text.append(ends);
      if (cut) ends.append(small(cut.textContent ?? ""));
      cut?.remove();
      const n = count(store.raw(row), COUNTED);
      const some = grouped(n) + (n < COUNTED ? "" : "+");
      if (n > 1) ends.append(small(`⟳ ${some} states`));
      else if (hasFields(line)) ends.append(small("{…}"));
      const folded = folds.behind(row);
      const fold = () => turn(row);
      if (folded > 0) ends.append(small(`+ ${lines(folded)}`, fold));
      else if (!groups.begins(row)) return;
      const sign = small(folded > 0 ? "▸" : "▾", fold, "bxl-fold");
      sign.ariaExpanded = String(folded === 0);
      gutter.append(sign);
    },

    /** Open the fold that hides a row. */
    reveal(row: number) {
      const first = folds.around(row)?.[0] ?? row;
      if (row !== first) keep(first, () => folds.open(row));
    },
  };
}
