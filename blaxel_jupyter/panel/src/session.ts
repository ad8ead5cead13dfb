// One model's conversation with the kernel: what is new comes in, what was lost is asked for again, fixed
// commands go out. It owns the store and the header that all views share; it never touches the DOM.

/** What anywidget gives us of the model. */
export interface Model {
  get(name: "_view"): string;
  send(content: unknown): void;
  on(name: "msg:custom", callback: (content: unknown, buffers: DataView[]) => void): void;
  off(name: "msg:custom", callback: (content: unknown, buffers: DataView[]) => void): void;
}

/** What every header has. */
export interface Facts {
  status: string;
  final: boolean;
  message: string | null;
}

export type Verb = "stop" | "kill" | "cancel";

export interface Incoming {
  kind: "append" | "page" | "status" | "command";
  id?: number;
  from: number;
  n: number;
  /** Positions the kernel has sent so far: fewer here means that a batch was lost. */
  sent: number;
  /** Positions hold within one epoch: in another the story was read anew. */
  epoch: number;
  /** The kernel's clock, epoch seconds. */
  now: number;
  status?: Facts;
  error?: string;
}

/** What a panel shows, filled from batches that follow one another. */
export interface Store {
  /** Positions taken so far. */
  length: number;
  /** Take a batch; false, and nothing is kept, when what is before it is missing or it is damaged. */
  take(message: Incoming, buffers: DataView[]): boolean;
  clear(): void;
}

const RETRY_MS = 3000; // a page of 2 MiB takes about 60 ms
const QUIET_MS = 5000; // ask how things are after this long without a word
const SILENT_MS = 16_000; // and say so when nobody answers for this long
const COMMAND_MS = 5000;
const MAX_EARLY = 64; // batches kept that came after a lost one; the rest is asked for again

export class Session<S extends Store, H extends Facts> {
  header: H | null = null;
  /** Browser clock minus kernel clock, milliseconds. */
  skew = 0;
  /** The last command that was sent and not refused. */
  asked: Verb | null = null;
  /** What went wrong last between the page and the kernel; empty while all is well. */
  trouble = "";
  /** Batches that were lost on the way and fetched again. */
  repaired = 0;
  #sent = 0;
  #heard = Date.now();
  #epoch = 0;
  #early: [Incoming, DataView[]][] = [];
  #page = { id: 0, at: 0 };
  #commands = new Map<number, number>();
  #ids = 0;
  #silent = false;
  readonly #views = new Set<() => void>();
  readonly #timer: number;

  constructor(
    private readonly model: Model,
    readonly store: S,
  ) {
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
    this.asked = verb;
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
    if ((message.epoch ?? 0) !== this.#epoch) this.#startAgain(message.epoch);
    if (message.kind === "command") this.#answered(message);
    if (message.kind === "page" && message.id === this.#page.id) this.#page.at = 0;
    if (buffers.length > 0) this.#take(message, buffers);
    const refused = message.kind === "page" && message.error !== undefined;
    if (message.sent > this.#sent || refused) this.#sent = message.sent;
    if (message.status) {
      this.header = message.status as H;
      this.skew = Date.now() - message.now * 1000;
    }
    this.#repair();
    this.#changed();
  };

  #take(message: Incoming, buffers: DataView[]): void {
    const { store } = this;
    if (!store.take(message, buffers)) {
      const early = message.from > store.length && this.#early.length < MAX_EARLY;
      if (early) this.#early.push([message, buffers]);
      return;
    }
    while (this.#early.length > 0) {
      const next = this.#early.findIndex(([{ from }]) => from <= store.length);
      if (next === -1) return;
      store.take(...this.#early.splice(next, 1)[0]);
    }
  }

  #startAgain(epoch: number): void {
    this.#epoch = epoch;
    this.#sent = 0;
    this.#early = [];
    this.#page.at = 0;
    this.store.clear();
  }

  /** Ask for the first positions that are missing, one request at a time. */
  #repair(): void {
    const have = this.store.length;
    if (have >= this.#sent || this.#page.at !== 0) return;
    const until = Math.min(this.#sent, ...this.#early.map(([{ from }]) => from));
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
    if (message.error) this.asked = null;
  }

  #changed(): void {
    for (const view of this.#views) view();
  }
}
