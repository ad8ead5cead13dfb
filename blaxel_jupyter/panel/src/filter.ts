// Read the filter language and tell of each row whether it is kept: the twin of filters.py, whose
// docstring has the grammar; both are held to tests/filter_cases.json. It runs in the search worker.

import { LEVELS } from "./level-names";
import { level, NUMBERS } from "./levels";
import { compiled, type PatternError } from "./patterns";
import { KIND, STREAM } from "./store";

export const FALSE = 0;
export const UNKNOWN = 1;
export const TRUE = 3; // two bits: what holds, and what may; "and" and "or" work on both

/** A filter that cannot be read; `at` is the place, in characters from 0. */
export class FilterError extends Error {
  constructor(
    message: string,
    readonly at: number,
  ) {
    super(message);
  }
}

/** One row; what costs is made when it is asked for. */
export class Row {
  seq = 0;
  flags = 0;
  /** Microseconds since the epoch, or NaN. */
  received = Number.NaN;
  #text: string | null = null;
  #folded: string | null = null;
  #level = -1;

  /** The name of the process. */
  source = "";

  /** `read` returns the row's line as it is shown. */
  constructor(private readonly read: () => string) {}

  next(seq: number, flags: number, received: number, source: string): void {
    this.source = source;
    this.seq = seq;
    this.flags = flags;
    this.received = received;
    this.#text = this.#folded = null;
    this.#level = -1;
  }

  get text(): string {
    this.#text ??= this.read();
    return this.#text;
  }

  get folded(): string {
    this.#folded ??= this.text.toLowerCase();
    return this.#folded;
  }

  get level(): number {
    if (this.#level < 0) this.#level = level(this.text);
    return this.#level;
  }
}

export type Term = (row: Row) => number;

/** Return what tells FALSE, UNKNOWN or TRUE of a row; rows that are not FALSE are kept. */
export function parse(expression: string): Term {
  return new Reader(expression).read();
}

const FIELD = /(level|stream|kind|source|seq|time)(:|[<>]=?)/y;
// What both JavaScript and Python take for space, and nothing else.
const SPACE = String.raw`\t\n\v\f\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000`;
const SPACES = new RegExp(`[${SPACE}]*`, "y");
const BARE = new RegExp(`[^${SPACE}()]*`, "y");
const END_OF_WORD = new RegExp(`^[${SPACE}()]?$`);
const MINUS = new RegExp(`-[^${SPACE}]`, "y");
const QUOTED = /"((?:[^"\\]|\\.)*)"/sy;
const VALUES: Record<string, string[]> = {
  stream: ["stdout", "stderr", "system"],
  kind: ["line", "gap", "notice"],
};
const TIME = /^(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?)?Z?$/;
const END = 2 ** 62;
const DEEPEST = 50; // groups in one another

class Reader {
  #at = 0;
  #depth = 0;

  constructor(private readonly source: string) {}

  read(): Term {
    this.#skip();
    if (this.#at === this.source.length) return () => TRUE;
    const term = this.#any();
    if (this.#at < this.source.length) this.#fail("no group is open", this.#at);
    return term;
  }

  #any(): Term {
    const terms = [this.#all()];
    while (this.#word("OR")) terms.push(this.#all());
    if (terms.length === 1) return terms[0];
    return (row) => {
      let found = FALSE;
      for (const term of terms) found |= term(row);
      return found;
    };
  }

  #all(): Term {
    const terms = [this.#one()];
    while (!["", ")"].includes(this.#peek) && !this.#ahead("OR")) {
      this.#word("AND");
      terms.push(this.#one());
    }
    if (terms.length === 1) return terms[0];
    return (row) => {
      let found = TRUE;
      for (const term of terms) {
        found &= term(row);
        if (found === FALSE) break;
      }
      return found;
    };
  }

  #one(): Term {
    let negative = false;
    while (this.#word("NOT")) negative = !negative;
    const term = this.#withSign();
    return negative ? negated(term) : term;
  }

  #withSign(): Term {
    MINUS.lastIndex = this.#at;
    if (!MINUS.test(this.source)) return this.#plain();
    this.#at += 1;
    return negated(this.#plain());
  }

  #plain(): Term {
    const start = this.#at;
    const c = this.#peek;
    if (c === "" || c === ")" || this.#ahead("OR") || this.#ahead("AND")) {
      this.#fail("a term is missing", start);
    }
    let term: Term;
    FIELD.lastIndex = start;
    const field = FIELD.exec(this.source);
    if (c === "(") {
      this.#at += 1;
      if (++this.#depth > DEEPEST) this.#fail("groups are nested too deep", start);
      this.#skip();
      term = this.#any();
      this.#depth -= 1;
      if (this.#peek !== ")") this.#fail("the group is not closed", start);
      this.#at += 1;
    } else if (c === "/") term = this.#regex();
    else if (field) term = this.#field(field[1], field[2]);
    else {
      const wanted = this.#value().toLowerCase();
      term = said((row) => row.folded.includes(wanted));
    }
    this.#skip();
    return term;
  }

  #regex(): Term {
    const { source } = this;
    const start = this.#at;
    const hint = "a text in quotes may begin with /";
    let end = start + 1;
    for (let inClass = false; end < source.length && (inClass || source[end] !== "/"); end++) {
      if (source[end] === "[") inClass = true;
      else if (source[end] === "]") inClass = false;
      else if (source[end] === "\\") end += 1;
    }
    if (end >= source.length) this.#fail(`the regular expression is not closed; ${hint}`, start);
    this.#at = end + 1;
    const flags = this.#bare();
    if (flags !== "" && flags !== "i") {
      this.#fail(`only i may follow a regular expression; ${hint}`, end + 1);
    }
    try {
      const pattern = compiled(source.slice(start + 1, end), flags);
      return said((row) => pattern.test(row.text));
    } catch (error) {
      const { message, at } = error as PatternError;
      this.#fail(message, start + 1 + at);
    }
  }

  #field(name: string, sign: string): Term {
    const start = this.#at;
    this.#at += name.length + sign.length;
    const at = this.#at;
    const value = this.#value();
    const wanted = value.toLowerCase();
    if (value === "") this.#fail(`${name} needs a value`, at);
    const compared = sign !== ":";
    if (compared && ["stream", "kind", "source"].includes(name)) {
      this.#fail(`${name} is not compared: use ${name}:`, start);
    }
    if (name === "level") return this.#level(sign, wanted, at);
    if (name === "seq" || name === "time") return this.#range(name, sign, value, at);
    if (name === "source") {
      return (row) => (row.source.toLowerCase().split("\n").includes(wanted) ? TRUE : FALSE);
    }
    const place = VALUES[name].indexOf(wanted);
    if (place < 0) this.#fail(`${name} is one of ${VALUES[name].join(", ")}`, at);
    if (name === "kind") return ({ flags }) => ((flags & KIND) === place * 4 ? TRUE : FALSE);
    return ({ flags }) => {
      const stream = flags & STREAM;
      if (stream === place + 1) return TRUE;
      // A notice of ours belongs to both.
      return stream !== 0 && ((flags & KIND) === 0 || stream !== 3) ? FALSE : UNKNOWN;
    };
  }

  #level(sign: string, value: string, at: number): Term {
    const wanted = NUMBERS.get(value);
    if (wanted === undefined || (wanted === 0 && sign !== ":")) {
      const known = LEVELS.slice(1);
      if (sign === ":") known.push(LEVELS[0]);
      this.#fail(`level is one of ${known.join(", ")}`, at);
    }
    if (sign === ":") return said((row) => row.level === wanted);
    const kept = LEVELS.map((_, i) => i > 0 && compares(i, sign, wanted));
    return said((row) => kept[row.level]);
  }

  #range(name: "seq" | "time", sign: string, value: string, at: number): Term {
    let [low, high] = [-1, END];
    if (sign === ":") {
      const [first, last] = value.split(/\.\.(.*)/s);
      if (first) [low, high] = this.#bounds(name, first, at);
      if (last !== undefined) {
        if (!first && !last) this.#fail(`${name} needs a value`, at);
        high = last ? this.#bounds(name, last, at + first.length + 2)[1] : END;
      }
    } else {
      const [one, end] = this.#bounds(name, value, at);
      if (sign.startsWith(">")) low = sign === ">=" ? one : end + 1;
      else high = sign === "<=" ? end : one - 1;
    }
    const field = name === "seq" ? "seq" : "received";
    return ({ [field]: one }) => {
      if (Number.isNaN(one)) return UNKNOWN;
      return low <= one && one <= high ? TRUE : FALSE;
    };
  }

  /** The first and last number, or microsecond, that a value stands for. */
  #bounds(name: string, value: string, at: number): [number, number] {
    if (name === "time") return this.#moment(value, at);
    if (!/^\d{1,15}$/.test(value)) {
      this.#fail("seq is a number or a range such as 100..200", at);
    }
    return [Number(value), Number(value)];
  }

  #moment(value: string, at: number): [number, number] {
    const [, day, minute, second, fraction] = TIME.exec(value) ?? [];
    const start = Date.parse(`${day}T${minute ?? "00:00"}:${second ?? "00"}Z`);
    if (Number.isNaN(start) || day < "0001" || !new Date(start).toISOString().startsWith(day)) {
      this.#fail("time is written as 2026-11-22T10:05:30, in UTC", at);
    }
    let unit = 1e6 * (minute === undefined ? 86_400 : second === undefined ? 60 : 1);
    let first = start * 1000;
    if (fraction) {
      unit = 10 ** (6 - fraction.length);
      first += Number(fraction) * unit;
    }
    return [first, first + unit - 1];
  }

  #value(): string {
    return this.#peek === '"' ? this.#quoted() : this.#bare();
  }

  #bare(): string {
    BARE.lastIndex = this.#at;
    const [word] = BARE.exec(this.source) as RegExpExecArray;
    this.#at += word.length;
    return word;
  }

  #quoted(): string {
    QUOTED.lastIndex = this.#at;
    const found = QUOTED.exec(this.source);
    if (!found) this.#fail("the quote is not closed", this.#at);
    this.#at = QUOTED.lastIndex;
    return found[1].replace(/\\(["\\])/g, "$1");
  }

  get #peek(): string {
    return this.source.charAt(this.#at);
  }

  #ahead(word: string): boolean {
    const end = this.#at + word.length;
    return this.source.startsWith(word, this.#at) && END_OF_WORD.test(this.source.charAt(end));
  }

  #word(word: string): boolean {
    const found = this.#ahead(word);
    if (found) {
      this.#at += word.length;
      this.#skip();
    }
    return found;
  }

  #skip(): void {
    SPACES.lastIndex = this.#at;
    SPACES.test(this.source);
    this.#at = SPACES.lastIndex;
  }

  #fail(message: string, at: number): never {
    throw new FilterError(message, [...this.source.slice(0, at)].length);
  }
}

/** Texts say nothing of gaps and notices. */
function said(holds: (row: Row) => boolean): Term {
  return (row) => {
    if ((row.flags & KIND) !== 0) return UNKNOWN;
    return holds(row) ? TRUE : FALSE;
  };
}

function negated(term: Term): Term {
  return (row) => [TRUE, UNKNOWN, 0, FALSE][term(row)];
}

function compares(one: number, sign: string, other: number): boolean {
  if (one === other) return sign.endsWith("=");
  return sign.startsWith(">") === one > other;
}
