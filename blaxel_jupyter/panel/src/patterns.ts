// Read the regular expressions of a filter: those that JavaScript and Python understand alike.
// The twin of patterns.py: what means something else there is refused, with the place.

const COUNT = /\{\d+(?:,\d*)?\}/y;
const HEX = /x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}/y;
const IN_CLASS: Record<string, string> = { d: "0-9", w: "A-Za-z0-9_" };

/** A regular expression that cannot be read, `at` from its start. */
export class PatternError extends Error {
  constructor(
    message: string,
    readonly at: number,
  ) {
    super(message);
  }
}

export function compiled(source: string, flags: string): RegExp {
  const translated = translate(source);
  try {
    return new RegExp(translated, `${flags}u`);
  } catch {
    throw new PatternError("the regular expression cannot be read", 0);
  }
}

function translate(source: string): string {
  const groups: [at: number, repeatable: boolean][] = [];
  let out = "";
  let repeatable = false; // whether the last thing may be repeated
  for (let at = 0; at < source.length; ) {
    const start = at;
    const c = source[at++];
    let piece = c;
    if (c === "\\") {
      [piece, at] = escaped(source, at, false);
      repeatable = piece !== "\\b" && piece !== "\\B";
    } else if (c === "[") {
      [piece, at] = readClass(source, at);
      repeatable = true;
    } else if (c === "(") {
      const kind = /^\?[:=!]/.exec(source.slice(at, at + 2))?.[0] ?? "";
      if (kind === "" && source[at] === "?") {
        throw new PatternError("only (?:, (?= and (?! are read here", start);
      }
      piece += kind;
      at += kind.length;
      groups.push([start, kind === "" || kind === "?:"]);
      repeatable = false;
    } else if (c === ")") {
      const group = groups.pop();
      if (!group) throw new PatternError("no group is open", start);
      repeatable = group[1];
    } else if ("*+?".includes(c) || matched(COUNT, source, start)) {
      if (!repeatable) throw new PatternError("nothing to repeat", start);
      at = start + (matched(COUNT, source, start) || c).length;
      if (source[at] === "?") at += 1;
      piece = source.slice(start, at);
      repeatable = false;
    } else if ("^$|".includes(c)) {
      repeatable = false;
    } else {
      if ("{}]".includes(c)) piece = `\\${c}`;
      repeatable = true;
      const second = source.charCodeAt(at); // a character of two halves is one thing
      if (c >= "\ud800" && c <= "\udbff" && second >= 0xdc00 && second <= 0xdfff) {
        piece += source[at++];
      }
    }
    out += piece;
  }
  const open = groups.pop();
  if (open) throw new PatternError("the group is not closed", open[0]);
  return out;
}

/** Read what follows a backslash: its translation, and where it ends. */
function escaped(source: string, at: number, inClass: boolean): [string, number] {
  const hex = matched(HEX, source, at);
  if (hex) return [`\\${hex}`, at + hex.length];
  const c = source[at] ?? "";
  if (inClass && IN_CLASS[c]) return [IN_CLASS[c], at + 1];
  if (c !== "" && (inClass ? "sStnrfv" : "dDwWbBsStnrfv").includes(c)) return [`\\${c}`, at + 1];
  if (c === "" || /[A-Za-z0-9]/.test(c)) {
    throw new PatternError(`\\${c} is not read ${inClass ? "in a class" : "here"}`, at - 1);
  }
  return [/[\\^$.*+?()[\]{}|/]/.test(c) || (inClass && c === "-") ? `\\${c}` : c, at + 1];
}

/** Read a class from after its `[`: its translation, and where it ends. */
function readClass(source: string, from: number): [string, number] {
  let at = from;
  let out = "[";
  if (source[at] === "^") out += source[at++];
  if (source[at] === "]") throw new PatternError("the class is empty", from - 1);
  const empty = out.length;
  while (at < source.length && source[at] !== "]") {
    const c = source[at++];
    if (c === "\\") {
      let piece: string;
      [piece, at] = escaped(source, at, true);
      out += piece;
    } else if (c === "-" && out.length > empty && source[at] !== "]") out += c;
    else out += "-[^".includes(c) ? `\\${c}` : c;
  }
  if (at >= source.length) throw new PatternError("the class is not closed", from - 1);
  return [`${out}]`, at + 1];
}

function matched(pattern: RegExp, source: string, at: number): string {
  pattern.lastIndex = at;
  return pattern.exec(source)?.[0] ?? "";
}
