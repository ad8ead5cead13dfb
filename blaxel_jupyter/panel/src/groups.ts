// Find lines that belong together: tracebacks, stack traces, panics, and what is indented under a line
// with a level. It looks at rows near those it is asked about, at most LONGEST above and below, and
// remembers; what it says of them later is what it said first.

import type { Range } from "./folds";

/** Rows of one group at most. */
export const LONGEST = 500;
const REMEMBERED = 20_000; // rows

/** The beginning of a row's line as it is shown, and what only rows of one group share; null: not there. */
export type Read = (row: number) => { line: string; of: number } | null;

// What has a level, about: levels.ts, which knows more, is the worker's alone.
const LEVEL =
  /\b(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERR(?:OR)?|CRITICAL|FATAL|SEVERE)\b|^\s*(?:[\w$.]*(?:Error|Exception|Warning)\b|Uncaught |Exception in |thread ')|[[(<](?:trace|debug|info|warn|err|fatal)\w*[\])>]|\blevel=|(?:error|warning)(?:\[\w+\])?: /;
const GRAVE = /warn|err|exce|fat|fail|crit|sev/i;
const TRACE = /^[\s|+]*(?:Exception Group )?Traceback \(most recent call last\):/;
const BAR = /^ +[|+]/; // an exception group's
const FRAME = /^\s+(?:at |File "|\.\.\. \d+ )/;
const CHAIN = /^\s*(?:During handling of the above |The above exception was )/;
const JOINED =
  /^(?:Caused by: |Suppressed: |\.\.\. \d+ |note: run with |stack backtrace:|[}\])]+[,;]?$)/;
const GO = /^(?:panic: |fatal error: |goroutine \d+ \[)/;
const GO_ON =
  /^(?:goroutine \d+ \[|\[signal |created by |exit status |[\w.$/*(){}·…-]+(?:\[.*\])?\(.*\)$)/;
const RUST = /panicked at .*:$/;

interface State {
  /** The first row of the group, or of what may become one; -1 for none. */
  head: number;
  of: number;
  /** How far the first row is indented. */
  base: number;
  /** Whether what is indented belongs to the first row. */
  strong: boolean;
  grave: boolean;
  /** Whether there is a second row. */
  some: boolean;
  /** How far a traceback is indented whose last line has not come; -1 for none. */
  trace: number;
  go: boolean;
  /** What the next line is to be, if it belongs to the group: a chained traceback, or any. */
  next: "trace" | "any" | "";
  /** Whether a blank line is at the end, that belongs to the group only if something follows. */
  blank: boolean;
}

const NONE = { head: -1, blank: true } as State;

export class Groups {
  readonly #states = new Map<number, State>();

  constructor(private readonly read: Read) {}

  /** Whether a group begins at a row. */
  begins(row: number): boolean {
    return this.around(row)?.[0] === row;
  }

  /** The group that a row is in. */
  around(row: number): Range | null {
    const first = this.#state(row).head;
    if (first < 0) return null;
    let end = first + 1;
    for (let at = first; ; at++) {
      const { head, blank } = this.#state(at);
      if (head !== first) break;
      if (!blank) end = at + 1;
    }
    return end - first > 1 && row < end ? [first, end] : null;
  }

  #state(row: number): State {
    const states = this.#states;
    if (states.size > REMEMBERED) states.clear();
    let at = row;
    while (at > 0 && at > row - LONGEST && !states.has(at)) at -= 1;
    let state = states.get(at) ?? NONE;
    for (at += states.has(at) ? 1 : 0; at <= row; at++) {
      const next = this.read(at);
      state = next ? after(state, at, next.line, next.of) : NONE;
      if (next) states.set(at, state);
    }
    return state;
  }
}

function after(state: State, row: number, line: string, of: number): State {
  const indent = line.search(/\S/);
  const one = state.of === of && state.head >= 0 && row - state.head < LONGEST;
  if (indent < 0) return one && !state.blank ? { ...state, blank: true } : NONE;
  const trace = TRACE.test(line) ? indent : -1;
  const begun = state.some || !state.blank;
  const same = { ...state, some: true, blank: false, next: "" as State["next"] };
  if (one) {
    const logged = !state.some && !state.blank && state.grave;
    if (trace >= 0 && (state.next === "trace" || logged)) return { ...same, trace };
    if (CHAIN.test(line)) return { ...same, next: "trace" };
    if (indent === state.trace && !state.blank) {
      return { ...same, trace: BAR.test(line) ? indent : -1 };
    }
    if (indent > state.base && (FRAME.test(line) || (state.strong && begun))) {
      return { ...same, strong: true, trace: trace < 0 ? state.trace : trace };
    }
    const joins = (state.strong && JOINED.test(line)) || (state.go && GO_ON.test(line));
    if (joins || state.next === "any") return same;
  }
  const go = GO.test(line);
  return {
    head: row,
    of,
    base: indent,
    strong: go || trace >= 0 || LEVEL.test(line),
    grave: GRAVE.test(line),
    some: false,
    trace,
    go,
    next: RUST.test(line) ? "any" : "",
    blank: false,
  };
}
