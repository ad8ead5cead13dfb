// Show what runs and how it stands: names, status, counts, times, integrity, and Stop, then Kill.
// It reads the session's header; it knows nothing of rows or search.

import { visibleText } from "./ansi";
import { button, element, grouped, lines, setText } from "./dom";
import type { Facts, Session, Verb } from "./session";
import { StopMenu, verbs } from "./stop";
import type { LineStore } from "./store";

export interface Header extends Facts {
  sandbox: string;
  process: string;
  command: string;
  exit_code: number | null;
  started: number | null;
  ended: number | null;
  lines: number;
  bytes: number;
  integrity: string;
  local: boolean;
  /** How many values, such as keys, are masked in the lines and the command. */
  masked?: number;
  /** The name of the run in the notebook. */
  variable?: string;
  /** What a bad end means, and where in the log the errors are. */
  digest?: Digest | null;
  /** Lines that have not ended yet, as they stand: [stream, text], and the number of the source. */
  partial?: [string, string, number?][];
  /** Each run of several, with the name that tells it from the others. */
  sources?: (Header & { name: string })[];
}

export interface Digest {
  /** What the exit code says. */
  meaning: string | null;
  /** The row of the first error. */
  first: number | null;
  /** The rows of the last error block: the first, and one past the last. */
  block: [number, number] | null;
}

export const STATUS_SHOWN = 40; // characters: a server may say any word

export type LogSession = Session<LineStore, Header>;

const INTEGRITY: Record<string, string> = {
  following: "",
  complete: "complete",
  repaired: "repaired",
  gap: "gap: output is missing",
};
const INTEGRITY_HELP: Record<string, string> = {
  complete: "Every byte the process wrote is here",
  repaired: "Every byte is here; some had to be fetched again",
  gap: "Some output could not be had; the rows marked as gaps say where",
};

export class HeaderView {
  readonly root = element("div", "bxl-header");
  readonly #status = element("span", "bxl-status");
  readonly #process = element("span", "bxl-process");
  readonly #where = element("span", "bxl-muted");
  readonly #command = element("span", "bxl-command");
  readonly #facts = element("span", "bxl-facts");
  readonly #integrity = element("span", "bxl-integrity");
  readonly #note = element("div", "bxl-note");
  readonly #digest = element("div", "bxl-digest");
  readonly #live = element("div", "bxl-hidden");
  readonly #act: HTMLButtonElement;
  readonly #follow: HTMLButtonElement;
  readonly #menu: StopMenu;
  readonly #rate = new Rate();
  readonly #timer: number;
  #verb: Verb = "stop";
  #announced = "";
  #told = "";

  /** `show` brings a row on screen. */
  constructor(
    private readonly session: LogSession,
    private readonly show: (row: number) => void,
  ) {
    this.#act = button("Stop the process", { text: "Stop" }, () => session.command(this.#verb));
    this.#act.classList.add("bxl-act");
    this.#follow = button("Follow again", { text: "Follow" }, () => session.command("follow"));
    this.#follow.classList.add("bxl-act");
    this.#menu = new StopMenu((verb) => session.command(verb));
    this.#live.role = "status";
    const title = element("div", "bxl-title", this.#status, this.#process, this.#where);
    title.append(this.#command);
    const right = element("div", "bxl-right", this.#facts, this.#integrity);
    right.append(this.#follow, this.#act, this.#menu.root);
    this.root.append(
      element("div", "bxl-line", title, right),
      this.#digest,
      this.#note,
      this.#live,
    );
    this.#timer = window.setInterval(() => this.update(), 1000);
    this.update();
  }

  destroy(): void {
    clearInterval(this.#timer);
  }

  update(): void {
    const header = this.session.header;
    this.root.hidden = header === null;
    if (header === null) return;
    const now = (Date.now() - this.session.skew) / 1000;
    const outcome = statusText(header);
    this.#status.dataset.status = header.status;
    setText(this.#status, outcome);
    setText(this.#process, visibleText(header.process));
    setText(this.#where, header.sandbox && `in ${visibleText(header.sandbox)}`);
    const command = visibleText(header.command.replace(/\s*\n\s*/g, " ⏎ "));
    setText(this.#command, command.slice(0, 500));
    this.#command.title = visibleText(header.command.slice(0, 2000).replaceAll("\n", " ⏎ "));
    setText(this.#facts, facts(header, now, this.#rate.at(now, header)).join(" · "));
    setText(this.#integrity, INTEGRITY[header.integrity] ?? visibleText(header.integrity));
    this.#integrity.dataset.integrity = header.integrity;
    this.#integrity.title = INTEGRITY_HELP[header.integrity] ?? "";
    this.#action(header);
    this.#notes(header);
    this.#tell(header);
    this.#announce(`${header.process}: ${outcome}`);
  }

  #action(header: Header): void {
    const all = header.sources ? " all" : "";
    const what = all ? "all that goes on" : "the process";
    const offered = verbs(header);
    this.#menu.update(header, what);
    this.#follow.hidden = !offered.includes("follow");
    this.#act.hidden = !offered.includes("stop");
    if (this.#act.hidden) return;
    this.#verb = /stop|kill/.test(this.session.asked ?? "") ? "kill" : "stop";
    const label = this.#verb === "stop" ? `Stop ${what}` : `Kill ${what} at once`;
    setText(this.#act, (this.#verb === "stop" ? "Stop" : "Kill") + all);
    this.#act.classList.toggle("bxl-kill", this.#verb === "kill");
    this.#act.title = label;
    this.#act.ariaLabel = label;
  }

  #notes(header: Header): void {
    const notes = [header.message ?? "", this.session.trouble, this.session.fetching];
    if (header.local) notes.push("runs on this machine as you, without isolation");
    const text = notes.filter(Boolean).map(visibleText).join(" · ");
    setText(this.#note, text);
    this.#note.hidden = text === "";
  }

  /** Say what the end means, with links to the rows that say why. */
  #tell(header: Header): void {
    const each = (header.sources ?? [header]).filter(({ digest }) => digest);
    const told = JSON.stringify(each.map(({ digest }) => digest));
    if (told === this.#told) return;
    this.#told = told;
    this.#digest.replaceChildren(...each.map((one) => this.#digested(one)));
    this.#digest.hidden = this.#digest.childElementCount === 0;
  }

  #digested(header: Header & { name?: string }): HTMLElement {
    const { meaning, links } = digestParts(header);
    const said = [header.name && visibleText(header.name), meaning].filter(Boolean).join(": ");
    const line = element("div", "", said);
    for (const [text, row] of links) {
      const link = button(text, { text }, () => this.show(row));
      link.className = "bxl-link";
      line.append(link);
    }
    return line;
  }

  /** Tell a screen reader of changes of state, and of nothing else. */
  #announce(text: string): void {
    if (text === this.#announced) return;
    this.#announced = text;
    this.#live.textContent = visibleText(text);
  }
}

export function statusText(header: Header): string {
  const { exit_code } = header;
  const status = visibleText(header.status).slice(0, STATUS_SHOWN);
  if (exit_code === null || status === "running") return status;
  if (status === "completed" && exit_code === 0) return "completed";
  return `${status} · exit code ${exit_code}`;
}

/** What the header says of a bad end: words, and links with the row that each leads to. */
export function digestParts(header: Header): { meaning: string; links: [string, number][] } {
  const { meaning, first, block } = header.digest ?? { meaning: null, first: null, block: null };
  const code = (header.exit_code ?? -1) >= 0 ? `exit code ${header.exit_code}: ` : "";
  const links: [string, number][] = [];
  const n = (row: number) => grouped(row + 1);
  if (first !== null) links.push([`first error: line ${n(first)}`, first]);
  if (block !== null) {
    const [start, end] = block;
    const rows = end - start > 1 ? `lines ${n(start)}–${n(end - 1)}` : `line ${n(start)}`;
    links.push([`last error: ${rows}`, start]);
  }
  return { meaning: meaning ? code + visibleText(meaning) : "", links };
}

export function facts(header: Header, now: number, rate: number): string[] {
  const parts: string[] = [];
  if (header.started !== null) parts.push(duration((header.ended ?? now) - header.started));
  parts.push(lines(header.lines));
  parts.push(size(header.bytes));
  if (header.masked) parts.push(masked(header.masked));
  if (header.status === "running" && rate > 0) parts.push(`${size(rate)}/s`);
  return parts;
}

/** Say how many values were masked. */
export function masked(n: number): string {
  return `${grouped(n)} value${n === 1 ? "" : "s"} masked`;
}

export function duration(seconds: number): string {
  const s = Math.max(0, seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  const minutes = Math.floor(s / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(s % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function size(bytes: number): string {
  if (bytes < 1000) return `${Math.round(bytes)} B`;
  if (bytes < 999_500) return `${(bytes / 1e3).toPrecision(3)} kB`;
  if (bytes < 999_500_000) return `${(bytes / 1e6).toPrecision(3)} MB`;
  return `${(bytes / 1e9).toPrecision(3)} GB`;
}

const WINDOW = 3; // seconds

/** Bytes a second over the last few seconds. */
export class Rate {
  #samples: [number, number][] = [];

  at(now: number, header: { bytes: number }): number {
    this.#samples.push([now, header.bytes]);
    while (this.#samples.length > 2 && this.#samples[1][0] <= now - WINDOW) this.#samples.shift();
    const [then, bytes] = this.#samples[0];
    return now - then >= 0.5 ? (header.bytes - bytes) / (now - then) : 0;
  }
}
