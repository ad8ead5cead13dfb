// Fill one row of a story: a part of a text, or the line of anything else and, when open, what came of it.
// Everything is made with text nodes and fixed classes.

import { type Span, visibleText } from "./ansi";
import { element } from "./dom";
import { duration } from "./header";
import { icon } from "./icons";
import { appendMarked } from "./rows";
import {
  HEAD_FIELDS,
  type Item,
  partText,
  type Section,
  sectionTexts,
  styled,
  toolState,
} from "./story";
import { type StoryIcon, storyIcon } from "./story-icons";

/** How a row is to be shown. */
export interface Look {
  open: boolean;
  final: boolean;
  /** Marks in each of the item's fields. */
  ranges: number[][] | undefined;
  /** The match gone to last, if it is in this item. */
  current: number | null;
  toggle(): void;
}

const STATES = {
  ok: "succeeded",
  failed: "failed",
  running: "running",
  unfinished: "never finished",
};
const grown = new WeakMap<HTMLElement, Text>();

export function fillItem(node: HTMLElement, item: Item, part: number, look: Look): void {
  if (item.kind === "text") fillText(node, item, part, look);
  else fillFolding(node, item, look);
}

/** A text that only grew keeps its node: what is selected in it stays selected. */
function fillText(node: HTMLElement, item: Item, part: number, look: Look): void {
  const text = partText(item, part);
  const pieces = joined(styled(text));
  const ranges = look.ranges?.[part] ?? [];
  const left = part === item.ends.length ? leftOut(item.cut ?? 0) : null;
  const plain = ranges.length === 0 && pieces.length === 1 && isPlain(pieces[0]) && !left;
  const before = grown.get(node);
  if (plain && before?.isConnected && pieces[0].text.startsWith(before.data)) {
    before.appendData(pieces[0].text.slice(before.length));
    return;
  }
  node.className = "bxl-item bxl-said";
  if (part > 0) node.classList.add("bxl-more");
  node.replaceChildren();
  grown.delete(node);
  if (plain) {
    const kept = document.createTextNode(pieces[0].text);
    grown.set(node, kept);
    node.append(kept);
    return;
  }
  marked(node, pieces, look, part);
  if (left) node.append(left);
}

/** What stands where a text goes on that is too long to be shown; null if nothing is left out. */
function leftOut(characters: number): HTMLElement | null {
  if (characters === 0) return null;
  const count = characters.toLocaleString("en");
  return element("span", "bxl-left", `… ${count} more characters; the run's tables hold all …`);
}

function fillFolding(node: HTMLElement, item: Item, look: Look): void {
  const onHead = node.querySelector(".bxl-head:focus") !== null;
  const scrolls = [...node.querySelectorAll(".bxl-out")].map((out) => out.scrollTop);
  node.className = `bxl-item bxl-${item.kind}`;
  node.classList.toggle("bxl-open", look.open);
  node.style.setProperty("--bxl-depth", String(item.depth ?? 0));
  const head = headOf(item, look);
  node.replaceChildren(head);
  if (look.open) node.append(bodyOf(item, look));
  [...node.querySelectorAll(".bxl-out")].forEach((out, i) => {
    out.scrollTop = scrolls[i] ?? 0;
  });
  if (onHead) head.focus({ preventScroll: true });
}

function headOf(item: Item, look: Look): HTMLButtonElement {
  const head = element("button", "bxl-head", icon("right"));
  head.type = "button";
  head.setAttribute("aria-expanded", String(look.open));
  head.addEventListener("click", look.toggle);
  if (item.kind === "reasoning") {
    const whole = (item.text ?? "").slice(0, 400).replace(/\s+/g, " ").trim();
    const preview = look.open ? "" : visibleText(whole);
    head.append(sign("thought", "thought"), element("span", "bxl-name", "Reasoning"));
    head.append(element("span", "bxl-summary", preview));
    return head;
  }
  const state = item.kind === "tool" ? toolState(item, look.final) : null;
  if (state) head.append(sign(state, state, STATES[state]));
  else head.append(sign(signOf(item), item.failed ? "failed" : "quiet"));
  if (item.kind === "unknown") head.append(element("span", "bxl-tag", "unknown event"));
  const name = field(head, "bxl-name", item, look, 0);
  if (item.kind === "tool") {
    const nested = item.parent ? ` · nested in ${visibleText(item.parent)}` : "";
    name.title = `${visibleText(item.id ?? "")}${nested}`;
  }
  const summary = field(head, "bxl-summary", item, look, 1);
  summary.title = visibleText(item.summary ?? "");
  const outcome = field(head, "bxl-outcome", item, look, 2);
  outcome.title = visibleText(item.outcome ?? "");
  outcome.hidden = !item.outcome;
  if (state === "unfinished") head.append(element("span", "bxl-quiet", STATES.unfinished));
  if (item.ms !== null && item.ms !== undefined) {
    head.append(element("span", "bxl-took", brief(item.ms)));
  }
  return head;
}

function signOf(item: Item): StoryIcon {
  if (item.kind === "files" || item.kind === "result" || item.kind === "unknown") return item.kind;
  return item.failed ? "failed" : "dot";
}

function sign(name: StoryIcon, state: string, said = ""): HTMLElement {
  const made = element("span", "bxl-sign", storyIcon(name));
  made.dataset.state = state;
  if (said) {
    made.append(element("span", "bxl-hidden", `${said}: `));
    made.title = said;
  }
  return made;
}

function field(
  head: HTMLElement,
  name: string,
  item: Item,
  look: Look,
  at: 0 | 1 | 2,
): HTMLElement {
  const text = visibleText([item.name, item.summary, item.outcome][at] ?? "");
  const made = element("span", name);
  marked(made, text ? [{ text, style: {} }] : [], look, at);
  head.append(made);
  return made;
}

function bodyOf(item: Item, look: Look): HTMLElement {
  const body = element("div", "bxl-inner");
  if (item.kind === "reasoning") {
    for (let part = 0; part <= item.ends.length; part++) {
      const text = element("div", "bxl-thought");
      marked(text, joined(styled(partText(item, part))), look, part);
      body.append(text);
    }
    body.append(leftOut(item.cut ?? 0) ?? "");
    return body;
  }
  let at = HEAD_FIELDS;
  for (const section of item.sections ?? []) {
    body.append(sectionOf(section, look, at));
    at += sectionTexts(section).length;
  }
  if (!item.sections?.length) {
    body.append(element("div", "bxl-quiet", look.final ? "nothing more is known" : "no input yet"));
  }
  return body;
}

function sectionOf(section: Section, look: Look, at: number): HTMLElement {
  const [label, form, , cut] = section;
  const out = element("pre", "bxl-out");
  out.tabIndex = 0;
  out.setAttribute("role", "group"); // no landmark: there are many
  out.setAttribute("aria-label", label);
  if (form === "error") out.classList.add("bxl-err");
  if (form === "json" || form === "event") out.classList.add("bxl-json");
  sectionTexts(section).forEach((text, i) => {
    const left = i > 0 ? leftOut(cut) : null;
    if (left) out.append(left);
    if (text) marked(out, joined(styled(text)), look, at + i);
  });
  if (form === "event") {
    const more = element(
      "details",
      "bxl-more-json",
      element("summary", "", "the event's JSON"),
      out,
    );
    more.open = look.current !== null && out.querySelector(".bxl-now") !== null;
    return more;
  }
  return element("div", "bxl-section", element("div", "bxl-label", label), out);
}

/** Append a field's text with its marks; the one gone to last has a class of its own. */
function marked(node: HTMLElement, pieces: Span[], look: Look, at: number): void {
  const ranges = look.ranges?.[at] ?? [];
  const content = element("span", "");
  appendMarked(content, pieces, ranges);
  const before = look.ranges?.slice(0, at).reduce((sum, range) => sum + range.length / 2, 0) ?? 0;
  const nth = look.current === null ? -1 : look.current - before;
  if (nth >= 0 && nth * 2 < ranges.length) markNow(content, ranges[nth * 2], ranges[nth * 2 + 1]);
  node.append(...content.childNodes);
}

function markNow(content: HTMLElement, start: number, end: number): void {
  let at = 0;
  for (const node of content.childNodes) {
    const length = node.textContent?.length ?? 0;
    if (at >= start && at + length <= end && node instanceof HTMLElement)
      node.classList.add("bxl-now");
    at += length;
  }
}

function isPlain({ style }: Span): boolean {
  return Object.values(style).every((value) => value === undefined || value === false);
}

/** Neighbours in the same style as one span: few nodes. */
function joined(pieces: Span[]): Span[] {
  const out: Span[] = [];
  for (const piece of pieces) {
    const last = out.at(-1);
    if (last && isPlain(last) && isPlain(piece)) last.text += piece.text;
    else out.push({ ...piece });
  }
  return out;
}

/** Milliseconds as words. */
export function brief(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : duration(ms / 1000);
}
