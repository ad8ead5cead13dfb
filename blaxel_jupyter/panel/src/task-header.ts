// Show which run it is and how it stands: status, counts, tokens, cost, what went wrong, and Cancel.
// It reads the session's header; it knows nothing of items or search.

import { visibleText } from "./ansi";
import { button, element, setText } from "./dom";
import { duration, STATUS_SHOWN } from "./header";
import { StopMenu } from "./stop";
import type { TaskHeader, TaskSession } from "./story";

const ID_SHOWN = 8; // characters of a run's id; the title has all
const SOURCES: Record<string, string> = {
  buffer: "From the service's memory of the run: complete, but for the time of each event",
  reconstructed: "Rebuilt from stored messages: no lifecycle events, no times, no pieces of text",
  merged: "From memory and from stored messages",
  stream: "Followed live",
};

export class TaskHeaderView {
  readonly root = element("div", "bxl-header");
  readonly #status = element("span", "bxl-status");
  readonly #id = element("span", "bxl-process");
  readonly #where = element("span", "bxl-muted");
  readonly #prompt = element("span", "bxl-prompt");
  readonly #facts = element("span", "bxl-facts");
  readonly #unfinished = element("span", "bxl-facts");
  readonly #source = element("span", "bxl-origin");
  readonly #error = element("div", "bxl-error-line");
  readonly #note = element("div", "bxl-note");
  readonly #live = element("div", "bxl-hidden");
  readonly #failed: HTMLButtonElement;
  readonly #cancel: HTMLButtonElement;
  readonly #menu: StopMenu;
  readonly #timer: number;
  #announced = "";

  constructor(
    private readonly session: TaskSession,
    nextFailed: () => void,
  ) {
    this.#failed = button("Go to the next failed call", { text: "" }, nextFailed);
    this.#failed.classList.add("bxl-failed");
    this.#cancel = button("Cancel the run", { text: "Cancel" }, () => session.command("cancel"));
    this.#cancel.classList.add("bxl-act");
    this.#menu = new StopMenu((verb) => session.command(verb));
    this.#live.setAttribute("role", "status");
    this.#error.setAttribute("role", "alert");
    const title = element("div", "bxl-title", this.#status, this.#id, this.#where, this.#prompt);
    const facts = element("div", "bxl-right", this.#facts, this.#failed, this.#unfinished);
    facts.append(this.#source, this.#cancel, this.#menu.root);
    const line = element("div", "bxl-line", title, facts);
    this.root.append(line, this.#error, this.#note, this.#live);
    this.#timer = window.setInterval(() => this.update(), 1000);
    this.update();
  }

  destroy(): void {
    clearInterval(this.#timer);
  }

  update(): void {
    const { header } = this.session;
    this.root.hidden = header === null;
    if (header === null) return;
    const now = (Date.now() - this.session.skew) / 1000;
    const status = visibleText(header.status).slice(0, STATUS_SHOWN);
    this.#status.dataset.status = header.status;
    setText(this.#status, status);
    const id = visibleText(header.run_id);
    setText(this.#id, id.length > ID_SHOWN + 4 ? `${id.slice(0, ID_SHOWN)}…` : id);
    this.#id.title = `run ${id}`;
    const where = [header.target === "local" ? "local" : header.target, header.model ?? ""];
    setText(this.#where, where.filter(Boolean).map(visibleText).join(" · "));
    const prompt = visibleText((header.prompt ?? "").replace(/\s*\n\s*/g, " ⏎ "));
    setText(this.#prompt, prompt.slice(0, 500));
    this.#prompt.title = prompt;
    setText(this.#facts, taskFacts(header, now).join(" · "));
    this.#failed.hidden = header.tool_errors === 0;
    setText(this.#failed, `${header.tool_errors.toLocaleString("en")} failed`);
    this.#unfinished.hidden = header.unfinished === 0 || !header.final;
    setText(this.#unfinished, `${header.unfinished.toLocaleString("en")} unfinished`);
    setText(this.#source, visibleText(header.source ?? ""));
    this.#source.title = SOURCES[header.source ?? ""] ?? "";
    this.#act(header);
    this.#say(header);
  }

  #act(header: TaskHeader): void {
    const asked = this.session.asked === "cancel";
    this.#cancel.hidden = header.final;
    this.#cancel.disabled = asked;
    setText(this.#cancel, asked ? "Cancel sent" : "Cancel");
    this.#menu.update({ ...header, verbs: header.verbs ?? [] }, "the run");
  }

  #say(header: TaskHeader): void {
    const error = visibleText((header.error ?? "").replace(/\s*\n\s*/g, " ⏎ "));
    setText(this.#error, error);
    this.#error.hidden = error === "";
    const notes = [header.message ?? "", this.session.trouble];
    if (this.session.asked === "cancel" && !header.final) {
      notes.push("cancel was sent; the run ends when the service has ended it");
    }
    if (header.warnings > 0) {
      notes.push(
        `${header.warnings} ${header.warnings === 1 ? "warning" : "warnings"}: see run.warnings`,
      );
    }
    if (header.local) notes.push("runs on this machine as you, without isolation");
    const text = notes.filter(Boolean).map(visibleText).join(" · ");
    setText(this.#note, text);
    this.#note.hidden = text === "";
    const said = `run ${visibleText(header.run_id).slice(0, ID_SHOWN)}: ${visibleText(header.status)}`;
    if (said === this.#announced) return;
    this.#announced = said;
    this.#live.textContent = said;
  }
}

/** Time, counts, tokens and cost, as far as they are known. */
export function taskFacts(header: TaskHeader, now: number): string[] {
  const parts: string[] = [];
  const ended = header.ended ?? (header.final ? null : now);
  if (header.started !== null && ended !== null) parts.push(duration(ended - header.started));
  parts.push(counted(header.events, "event"), counted(header.tool_calls, "tool call"));
  const tokens = [
    header.input_tokens === null ? "" : `${short(header.input_tokens)} in`,
    header.output_tokens === null ? "" : `${short(header.output_tokens)} out`,
  ].filter(Boolean);
  if (tokens.length > 0) parts.push(`${tokens.join(", ")} tokens`);
  const cost = header.total_cost_usd;
  if (cost !== null) parts.push(`$${cost >= 1 ? cost.toFixed(2) : cost.toFixed(4)}`);
  return parts;
}

function counted(n: number, name: string): string {
  return `${n.toLocaleString("en")} ${name}${n === 1 ? "" : "s"}`;
}

/** A count in three digits or so. */
export function short(n: number): string {
  if (n < 1000) return String(n);
  if (n < 999_500) return `${Number((n / 1e3).toPrecision(3))}k`;
  return `${Number((n / 1e6).toPrecision(3))}M`;
}
