// One model's conversation with the kernel: rows in, lost rows asked for again, fixed commands out.
// It owns the store and the header that all views share; it never touches the DOM.

import { type Batch, LineStore } from "./store";

/** What anywidget gives us of the model. */
export interface Model {
  send(content: unknown): void;
  on(name: "msg:custom", callback: (content: unknown, buffers: DataView[]) => void): void;
  off(name: "msg:custom", callback: (content: unknown, buffers: DataView[]) => void): void;
}

export interface Header {
  sandbox: string;
  process: string;
  command: string;
  status: string;
  exit_code: number | null;
  started: number | null;
  ended: number | null;
  lines: number;
  bytes: number;
  integrity: string;
  local: boolean;
  final: boolean;
  message: string | null;
  /** Lines that have not ended yet, as they stand: [stream, text]. */
  partial?: [string, string][];
}

export type Verb = "stop" | "kill";

interface Incoming {
  kind: "append" | "page" | "status" | "command";
  id?: number;
  from: number;
  n: number;
  missing: [number, number][];
  /** Rows the kernel has sent so far: fewer here means that a batch was lost. */
  sent: number;
  /** The kernel's clock, epoch seconds. */
  now: number;
  status?: Header;
  error?: string;
}

const RETRY_MS = 3000; // a page of 2 MiB takes about 60 ms
const QUIET_MS = 5000; // ask how things are after this long without a word
const SILENT_MS = 16_000; // and say so when nobody answers for this long
const COMMAND_MS = 5000;
const MAX_EARLY = 64; // batches kept that came after a lost one; the rest is asked for again

export class Session {
  readonly store = new LineStore();
  header: Header | null = null;
  /** Browser clock minus kernel clock, milliseconds. */
  skew = 0;
  stopSent = false;
  /** What went wrong last between the page and the kernel; empty while all is well. */
  trouble = "";
  /** Batches that were lost on the way and fetched again. */
  repaired = 0;
  #sent = 0;
  #heard = Date.now();
  #early: Batch[] = [];
  #page = { id: 0, at: 0 };
  #commands = new Map<number, number>();
  #ids = 0;
  #silent = false;
  readonly #views = new Set<() => void>();
  readonly #timer: number;

  constructor(private readonly model: Model) {
    model.on("msg:custom", this.#receive);
    this.#timer = window.setInterval(() => this.#watch(), 1000);
    this.#hello();
  }

  /** Call back after each change; returns how to end that. */
  subscribe(view: () => void): () => void {
    this.#views.add(view);
    return () => this.#views.delete(view);
  }

  /** True once nothing more will come and everything is here. */
  get complete(): boolean {
    return this.header?.final === true && this.store.length >= this.#sent;
  }

  command(verb: Verb): void {
    const id = ++this.#ids;
    this.trouble = "";
    const giveUp = window.setTimeout(() => {
      this.#commands.delete(id);
      this.trouble = `no answer to ${verb} yet; the notebook's interrupt button stops it, too`;
      this.#changed();
    }, COMMAND_MS);
    this.#commands.set(id, giveUp);
    if (verb === "stop") this.stopSent = true;
    this.model.send({ kind: "command", id, verb });
    this.#changed();
  }

  close(): void {
    clearInterval(this.#timer);
    for (const timer of this.#commands.values()) clearTimeout(timer);
    this.model.off("msg:custom", this.#receive);
    this.#views.clear();
  }

  readonly #receive = (content: unknown, buffers: DataView[]): void => {
    const message = content as Incoming;
    this.#heard = Date.now();
    if (this.#silent) {
      this.#silent = false;
      this.trouble = "";
    }
    if (message.kind === "command") this.#answered(message);
    if (message.kind === "page" && message.id === this.#page.id) this.#page.at = 0;
    if ((message.kind === "page" || message.kind === "append") && buffers.length === 3) {
      this.#take(batchOf(message, buffers));
    }
    if (message.sent > this.#sent) this.#sent = message.sent;
    if (message.status) {
      this.header = message.status;
      this.skew = Date.now() - message.now * 1000;
    }
    this.#repair();
    this.#changed();
  };

  #take(batch: Batch): void {
    if (!this.store.append(batch)) {
      if (batch.from > this.store.length && this.#early.length < MAX_EARLY) this.#early.push(batch);
      return;
    }
    while (this.#early.length > 0) {
      const next = this.#early.findIndex((early) => early.from <= this.store.length);
      if (next === -1) return;
      this.store.append(this.#early.splice(next, 1)[0]);
    }
  }

  /** Ask for the first rows that are missing, one request at a time. */
  #repair(): void {
    const have = this.store.length;
    if (have >= this.#sent || this.#page.at !== 0) return;
    const until = Math.min(this.#sent, ...this.#early.map((batch) => batch.from));
    this.repaired += 1;
    this.#page = { id: ++this.#ids, at: Date.now() };
    this.model.send({ kind: "page", id: this.#page.id, from: have, n: until - have });
  }

  #hello(): void {
    this.model.send({ kind: "page", id: ++this.#ids, from: 0, n: 0 });
  }

  #watch(): void {
    if (this.complete) return;
    const now = Date.now();
    if (this.#page.at !== 0 && now - this.#page.at > RETRY_MS) {
      this.#page.at = 0;
      this.#repair();
    }
    const quiet = now - this.#heard;
    if (quiet > QUIET_MS) this.#hello();
    if (quiet > SILENT_MS && !this.#silent) {
      this.#silent = true;
      this.trouble = "no answer from the kernel";
      this.#changed();
    }
  }

  #answered(message: Incoming): void {
    const timer = this.#commands.get(message.id ?? 0);
    if (timer !== undefined) clearTimeout(timer);
    this.#commands.delete(message.id ?? 0);
    this.trouble = message.error ?? "";
    if (message.error) this.stopSent = false;
  }

  #changed(): void {
    for (const view of this.#views) view();
  }
}

function batchOf(message: Incoming, [text, flags, received]: DataView[]): Batch {
  return {
    from: message.from,
    n: message.n,
    text: new Uint8Array(text.buffer, text.byteOffset, text.byteLength),
    flags: new Uint8Array(flags.buffer, flags.byteOffset, flags.byteLength),
    received,
    missing: message.missing,
  };
}
