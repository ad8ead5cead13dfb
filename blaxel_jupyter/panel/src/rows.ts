// Fill one row element: a gutter mark for the stream, the coloured text, the marks of a search.
// Everything is made with text nodes and fixed classes.

import { type Colour, type Span, type Style, spans } from "./ansi";
import { button, element, grouped } from "./dom";
import { size } from "./header";
import { anchor, links } from "./links";
import { isBasic, readable, rgb } from "./readable";
import { GAP, KIND, type LineStore, NOTICE, STDERR, STREAM } from "./store";

export const SHOWN_CHARACTERS = 4000;
const COLOURED = 400; // pieces of a line that have colours of their own; what is beyond is plain

/** The row's text as it is shown: what search, marks and copy work on. */
export function rowSpans(store: LineStore, row: number): { spans: Span[]; cut: string } {
  const kind = store.flags(row) & KIND;
  if (kind === GAP) {
    const bytes = store.missing(row);
    const what = bytes === undefined ? "output" : `${grouped(bytes)} bytes`;
    const why = spans(store.shown(row).text);
    const text = `${what} missing here${why.length > 0 ? ": " : ""}`;
    return { spans: [{ text, style: {} }, ...why], cut: "" };
  }
  const shown = store.shown(row);
  const all = spans(shown.text);
  const kept = fewer(between(all, 0, SHOWN_CHARACTERS));
  const length = all.reduce((sum, span) => sum + span.text.length, 0);
  const cut = Math.max(0, length - SHOWN_CHARACTERS);
  if (shown.cut > 0) return { spans: kept, cut: `… ${size(shown.cut + cut)} more` };
  return { spans: kept, cut: cut > 0 ? `… ${grouped(cut)} more characters` : "" };
}

function fewer(pieces: Span[]): Span[] {
  if (pieces.length <= COLOURED) return pieces;
  const rest = pieces.slice(COLOURED).map(({ text }) => text);
  return [...pieces.slice(0, COLOURED), { text: rest.join(""), style: {} }];
}

export function rowText(store: LineStore, row: number): string {
  return rowSpans(store, row)
    .spans.map((span) => span.text)
    .join("");
}

export function fillRow(
  node: HTMLElement,
  store: LineStore,
  row: number,
  marks: number[] | undefined,
  current: boolean,
  context: (() => void) | null = null,
): void {
  const flags = store.flags(row);
  const kind = flags & KIND;
  node.className = "bxl-row";
  if (kind === GAP) node.classList.add("bxl-gap-row");
  else if (kind === NOTICE) node.classList.add("bxl-notice-row");
  else if ((flags & STREAM) === STDERR) node.classList.add("bxl-stderr");
  else if ((flags & STREAM) === STREAM) node.classList.add("bxl-system");
  if (current) node.classList.add("bxl-current");
  const gutter = element("span", "bxl-gutter");
  gutter.title = rowTitle(store, row);
  const said = kind === GAP ? "gap: " : kind === NOTICE ? "notice: " : "stderr: ";
  if (kind !== 0 || (flags & STREAM) === STDERR) gutter.append(element("span", "bxl-hidden", said));
  const text = element("span", "bxl-text");
  const { spans: pieces, cut } = rowSpans(store, row);
  appendLinked(text, pieces, marks ?? [], cut !== "");
  if (cut) text.append(element("span", "bxl-cut", cut));
  node.append(gutter, text);
  if (!context) return;
  const show = button("Show in context (c)", { text: "⋯" }, context);
  show.classList.add("bxl-context");
  show.tabIndex = -1; // the key c does it: not one stop for each row
  node.append(show);
}

/** Fill a row that is still being fetched. */
export function fillBlank(node: HTMLElement, row: number): void {
  node.className = "bxl-row bxl-blank";
  const text = element("span", "bxl-text", `… ${grouped(row + 1)}`);
  node.append(element("span", "bxl-gutter"), text);
}

/** Fill a row with a line that has not ended yet: a prompt, or a progress bar that moves. */
export function fillPartial(node: HTMLElement, [stream, line]: [string, string]): void {
  node.className = stream === "stderr" ? "bxl-row bxl-partial bxl-stderr" : "bxl-row bxl-partial";
  const gutter = element("span", "bxl-gutter");
  gutter.title = `${stream} · this line has not ended yet`;
  const text = element("span", "bxl-text");
  appendMarked(text, fewer(spans(line)), []);
  node.append(gutter, text);
}

export function rowTitle(store: LineStore, row: number): string {
  const stream = ["", "stdout", "stderr", "system"][store.flags(row) & STREAM];
  const received = store.received(row);
  const time = Number.isNaN(received) ? "" : new Date(received).toLocaleTimeString();
  return [`row ${grouped(row + 1)}`, stream, time].filter(Boolean).join(" · ");
}

/** Append spans, those of a link inside it; `cut` tells that the line goes on. */
function appendLinked(parent: HTMLElement, pieces: Span[], marks: number[], cut: boolean): void {
  let at = 0;
  for (const link of links(pieces.map((span) => span.text).join(""), cut)) {
    appendMarked(parent, between(pieces, at, link.start), marks, at);
    const inside = anchor(link);
    appendMarked(inside, between(pieces, link.start, link.end), marks, link.start);
    parent.append(inside);
    at = link.end;
  }
  appendMarked(parent, between(pieces, at, Number.POSITIVE_INFINITY), marks, at);
}

/** The spans between two places of their text. */
export function between(pieces: Span[], from: number, to: number): Span[] {
  let at = 0;
  return pieces.flatMap(({ text, style }) => {
    const piece = text.slice(Math.max(0, from - at), Math.max(0, to - at));
    at += text.length;
    return piece ? [{ text: piece, style }] : [];
  });
}

/** Append spans that begin at a place of the line, split where a search mark begins or ends. */
export function appendMarked(parent: HTMLElement, pieces: Span[], marks: number[], at = 0): void {
  for (const { text, style } of pieces) {
    const end = at + text.length;
    let from = at;
    for (let i = 0; i < marks.length; i += 2) {
      const start = Math.max(marks[i], from);
      const stop = Math.min(marks[i + 1], end);
      if (stop <= start) continue;
      append(parent, text.slice(from - at, start - at), style, false);
      append(parent, text.slice(start - at, stop - at), style, true);
      from = stop;
    }
    append(parent, text.slice(from - at), style, false);
    at = end;
  }
}

function append(parent: HTMLElement, text: string, style: Style, marked: boolean): void {
  if (text === "") return;
  if (marked) {
    const mark = element("mark", "bxl-mark");
    const { fg, bg, inverse, ...rest } = style; // a match has colours of its own
    append(mark, text, rest, false);
    parent.append(mark);
    return;
  }
  const { fg, bg, tone } = readable(style);
  const classes = styleClasses(style, fg, bg);
  if (tone) classes.push(tone);
  if (classes.length === 0 && fg === undefined && bg === undefined) {
    parent.append(text);
    return;
  }
  const span = element("span", classes.join(" "), text);
  if (fg !== undefined && !isBasic(fg)) {
    span.style.setProperty(tone ? "--bxl-asked" : "color", `rgb(${rgb(fg).join(", ")})`);
  }
  if (bg !== undefined && !isBasic(bg)) span.style.backgroundColor = `rgb(${rgb(bg).join(", ")})`;
  parent.append(span);
}

function styleClasses(style: Style, fg?: Colour, bg?: Colour): string[] {
  const classes: string[] = [];
  for (const name of ["bold", "dim", "italic", "underline", "strike", "inverse"] as const) {
    if (style[name]) classes.push(`bxl-${name}`);
  }
  if (fg !== undefined && isBasic(fg)) classes.push(`bxl-fg${fg}`);
  if (bg !== undefined && isBasic(bg)) classes.push(`bxl-bg${bg}`, "bxl-on");
  return classes;
}
