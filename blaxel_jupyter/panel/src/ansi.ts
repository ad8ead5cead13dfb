// Turn one line of terminal output into text with colours, and nothing else it asks a terminal to do.
// SGR becomes a style; every other escape is removed; characters nobody can see become marks that can be
// seen. The Python twin is static.py; both are held to escapes.json.

/** A palette number 0-255, or [red, green, blue]. */
export type Colour = number | [number, number, number];

export interface Style {
  fg?: Colour;
  bg?: Colour;
  bold?: boolean;
  dim?: boolean;
  italic?: boolean;
  underline?: boolean;
  inverse?: boolean;
  strike?: boolean;
}

export interface Span {
  text: string;
  style: Style;
}

const PLAIN: Style = {};
// Anything a line may hold that is not plain text: C0 except tab, DEL, C1, and look-alikes: bidi controls,
// zero-width and other characters that take no space, tags.
const CODES = String.raw`\0-\x08\x0a-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb`;
const SPECIAL = new RegExp(String.raw`[${CODES}\ud82f\ud834\udb40\udb41]`);
export const INVISIBLE = new RegExp(
  String.raw`[${CODES}\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e01ef}]`,
  "gu",
);
/** What a variation selector may follow: an emoji, a letter that has variants; one of each. */
const SELECTED = /[0-9#*\xa9-\ufdff\ufe10-\uffff]/;
const CSI = /[\x30-\x3f]{0,256}[\x20-\x2f]{0,16}([\x40-\x7e])/y;
const SHORT = /[\x20-\x2f]{0,16}[\x30-\x7e]/y;
const STRING_INTRODUCERS = "]PX^_"; // OSC DCS SOS PM APC
const C1_INTRODUCERS: Record<string, string> = {
  "\x90": "P",
  "\x98": "X",
  "\x9b": "[",
  "\x9d": "]",
  "\x9e": "^",
  "\x9f": "_",
};

/** Split a line into styled spans; the state starts plain with each line. */
export function spans(line: string): Span[] {
  if (!SPECIAL.test(line)) return line ? [{ text: line, style: PLAIN }] : [];
  const out: Span[] = [];
  let style = PLAIN;
  const text = (piece: string) => {
    const last = out.at(-1);
    if (last && last.style === style) last.text += piece;
    else out.push({ text: piece, style });
  };
  let endsKnown = true; // false once a search for a string's end found none: never search twice
  let at = 0;
  while (at < line.length) {
    const next = introducer(line, at);
    if (next > at) text(visible(line.slice(at, next)));
    if (next === line.length) break;
    const c1 = C1_INTRODUCERS[line[next]];
    const kind = c1 ?? line[next + 1] ?? "";
    const body = next + (c1 ? 1 : 2);
    at = -1;
    if (kind === "[") {
      CSI.lastIndex = body;
      const match = CSI.exec(line);
      if (match) {
        at = CSI.lastIndex;
        if (match[1] === "m") style = sgr(match[0].slice(0, -1), style);
      }
    } else if (kind !== "" && STRING_INTRODUCERS.includes(kind)) {
      if (endsKnown) {
        at = stringEnd(line, body);
        endsKnown = at !== -1;
      }
    } else if (kind !== "") {
      SHORT.lastIndex = next + 1;
      if (SHORT.test(line)) at = SHORT.lastIndex;
    }
    if (at === -1) {
      text(visible(line[next])); // unfinished: a mark, and what follows is shown as text
      at = next + 1;
    }
  }
  return out;
}

/** The line as it reads on screen, without styles: what search and copy see. */
export function visibleText(line: string): string {
  return SPECIAL.test(line)
    ? spans(line)
        .map((span) => span.text)
        .join("")
    : line;
}

const INTRODUCER = /[\x1b\x90\x98\x9b\x9d\x9e\x9f]/g;

function introducer(line: string, from: number): number {
  INTRODUCER.lastIndex = from;
  const match = INTRODUCER.exec(line);
  return match ? match.index : line.length;
}

const STRING_END = /\x07|\x1b\\|\x9c|[\x18\x1a]/g;

function stringEnd(line: string, from: number): number {
  STRING_END.lastIndex = from;
  return STRING_END.test(line) ? STRING_END.lastIndex : -1;
}

function visible(text: string): string {
  if (!SPECIAL.test(text)) return text;
  return text.replace(INVISIBLE, (c, offset: number) => {
    const code = c.codePointAt(0) as number;
    if (code === 7) return "";
    if (code < 32) return String.fromCharCode(0x2400 + code);
    if (code === 127) return "\u2421";
    if ((code === 0x200c || code === 0x200d) && joins(text, offset)) return c;
    if (code >= 0xfe00 && code <= 0xfe0f && SELECTED.test(text.charAt(offset - 1))) return c;
    return `<U+${code.toString(16).toUpperCase().padStart(4, "0")}>`;
  });
}

/** A zero-width joiner inside a script or an emoji that needs it stays as it is. */
function joins(text: string, at: number): boolean {
  return at > 0 && text.charCodeAt(at - 1) > 0xff && text.charCodeAt(at + 1) > 0xff;
}

const FLAGS: Record<number, Partial<Style>> = {
  1: { bold: true },
  2: { dim: true },
  3: { italic: true },
  4: { underline: true },
  7: { inverse: true },
  9: { strike: true },
  21: { underline: true },
  22: { bold: false, dim: false },
  23: { italic: false },
  24: { underline: false },
  27: { inverse: false },
  29: { strike: false },
  39: { fg: undefined },
  49: { bg: undefined },
};

/** Apply the parameters of one SGR sequence; unknown ones (conceal and blink among them) do nothing. */
export function sgr(parameters: string, before: Style): Style {
  if (/[^0-9;:]/.test(parameters)) return before;
  let style = before;
  const groups = parameters.split(";").map((group) => group.split(":").map(Number)); // "" is 0
  for (let i = 0; i < groups.length; i++) {
    const group = groups[i];
    const code = group[0];
    if (code === 38 || code === 48) {
      let given: number[];
      if (group.length > 1) {
        given = group.slice(1);
        if (given[0] === 2 && given.length > 4) given.splice(1, 1); // 38:2:<colour space>:r:g:b
      } else {
        const mode = groups[i + 1]?.[0];
        const size = mode === 5 ? 3 : mode === 2 ? 5 : 2;
        given = groups.slice(i + 1, i + size).map(([first]) => first);
        i += given.length;
      }
      const colour = extended(given);
      if (colour !== undefined) style = { ...style, [code === 38 ? "fg" : "bg"]: colour };
    } else if (code === 0) style = PLAIN;
    else if (code === 4 && group[1] === 0) style = { ...style, underline: false };
    else if (code in FLAGS) style = { ...style, ...FLAGS[code] };
    else if (code >= 30 && code <= 37) style = { ...style, fg: code - 30 };
    else if (code >= 40 && code <= 47) style = { ...style, bg: code - 40 };
    else if (code >= 90 && code <= 97) style = { ...style, fg: code - 82 };
    else if (code >= 100 && code <= 107) style = { ...style, bg: code - 92 };
  }
  return style;
}

function extended(given: number[]): Colour | undefined {
  const bytes = given.slice(1);
  if (bytes.some((value) => !(value >= 0 && value <= 255))) return undefined;
  if (given[0] === 5 && bytes.length === 1) return bytes[0];
  if (given[0] === 2 && bytes.length === 3) return [bytes[0], bytes[1], bytes[2]];
  return undefined;
}

const CUBE = [0, 95, 135, 175, 215, 255];

/** Red, green and blue of a palette number from 16 to 255. */
export function palette(n: number): [number, number, number] {
  if (n >= 232) return [8 + (n - 232) * 10, 8 + (n - 232) * 10, 8 + (n - 232) * 10];
  const i = n - 16;
  return [CUBE[Math.floor(i / 36)], CUBE[Math.floor(i / 6) % 6], CUBE[i % 6]];
}
