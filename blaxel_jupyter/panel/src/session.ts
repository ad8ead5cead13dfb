// One model's conversation with the kernel: what is new comes in, what was lost is asked for again, fixed
// commands go out. It owns the store and the header that all views share; it never touches the DOM.

import { understood } from "./incoming";
import { type Later, Loader } from "./loader";

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
  /** What the run can be asked now. */
  verbs?: Verb[];
}

export type Verb = "detach" | "follow" | "stop" | "kill" | "cancel";

export interface Incoming {
  kind: "append" | "page" | "status" | "command" | "later";
  id?: number;
  from: number;
  n: number;
  /** Positions the kernel has sent so far: fewer here means that a batch was lost. */
  sent: number;
  /** Positions hold within one epoch: in another the story was read anew. */
  epoch: number;
  /** The last request that was answered before this was said. */
  answered?: number;
  /** The kernel's clock, epoch seconds. */
  now: number;
  status?: Facts;
  /** Whether positions up to `sent` were left to be asked for: the page was behind. */
  behind?: boolean;
  error?: string;
}

/** Positions that follow one another. */
export type Piece = [from: number, n: number];

/** What a panel shows, filled from batches. */
export interface Store {
  /** Positions taken so far. */
  length: number;
  /** Take a batch; false, and nothing is kept, when what is before it is missing or it is damaged. */
  take(message: Incoming, buffers: DataView[]): boolean;
  clear(): void;
  /**
   * Of `total` positions, those that should be here and are not: how many, and what to ask for.
   * A store without it takes batches in their order only.
   */
  lost?(total: number, asked: (position: number) => boolean): { count: number; pieces: Piece[] };
  /** Asks for positions that are not here, if there is anybody to ask. */
  ask?: (from: number, n: number, urgent: boolean) => void;
}

const TICK_MS = 250; // between two looks at what is late
const RETRY_MS = [500, 8000]; // a page takes about 20 ms; one that stays away is asked for less and less
const QUIET_MS = [400, 5000]; // ask how things are after this long without a word: the last may be lost
const ASKED = 4; // pages under way at most,
const URGENT = 6; // and with those that somebody looks at
const TOLD_BYTES = 1 << 20; // say how far we are after this much
const NOTED_MS = 1000; // a note that has been seen stays this long
const SILENT_MS = 16_000; // and say so when nobody answers for this long
const COMMAND_MS = 5000;

export class Session<S extends Store, H extends Facts> {
  header: H | null = null;
  /** Browser clock minus kernel clock, milliseconds. */
  skew = 0;
  /** The last command that was sent and not refused. */
  asked: Verb | null = null;
  /** What went wrong last between the page and the kernel; empty while all is well. */
  trouble = "";
  /** What is being fetched, for the user; empty while all is well. */
  fetching = "";
  /** Positions that should be here and are not. */
  lost = 0;
  /** Whether nobody answers. */
  silent = false;
  #sent = 0;
  #heard = Date.now();
  #noted = 0;
  #behind = false;
  #refused = "";
  #untold = 0;
  #quiet = QUIET_MS[0];
  #greeted = 0;
  #last = 0; // when a page was asked for
  #retry = RETRY_MS[0];
  #epoch = 0;
  /** Pages under way by their first position, in the order they were asked for. */
  readonly #asked = new Map<number, { id: number; n: number; at: number }>();
  #commands = new Map<number, number>();
  readonly #first = Math.floor(Math.random() * 2 ** 31) * 2 ** 20; // pages share what a kernel says
  #ids = this.#first;
  readonly #views = new Set<() => void>();
  #loader: Loader | null = null;
  readonly #timer: number;

  constructor(
    private readonly model: Model,
    readonly store: S,
  ) {
    model.on("msg:custom", this.#receive);
    this.#timer = window.setInterval(() => this.#watch(), TICK_MS);
    if (store.ask) {
      store.ask = (from, n, urgent) => this.#ask(from, n, urgent ? URGENT : ASKED);
    }
    this.#hello();
  }

  /** Call back after each change; returns how to end that. */
  subscribe(view: () => void): () => void {
    this.#views.add(view);
    return () => this.#views.delete(view);
  }

  /** The second part of the front end, asked for when it is wanted first. */
  get later(): Promise<Later> {
    this.#loader ??= new Loader(() => this.#send({ kind: "later", id: ++this.#ids }));
    return this.#loader.loaded;
  }

  /** True once nothing more will come and everything is here. */
  get complete(): boolean {
    return this.header?.final === true && this.store.length >= this.#sent && this.lost === 0;
  }

  /** Ask something of the run; of several, of the one with this number, or of all. */
  command(verb: Verb, source?: number): void {
    const id = ++this.#ids;
    this.trouble = "";
    const giveUp = window.setTimeout(() => {
      this.#commands.delete(id);
      this.trouble = `no answer to ${verb} yet; the notebook's interrupt button stops it, too`;
      this.#changed();
    }, COMMAND_MS);
    this.#commands.set(id, giveUp);
    if (source === undefined) this.asked = verb;
    this.model.send({ kind: "command", id, verb, source });
    this.#changed();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#loader?.close();
    for (const timer of this.#commands.values()) clearTimeout(timer);
    this.model.off("msg:custom", this.#receive);
    this.#views.clear();
  }

  readonly #receive = (content: unknown, buffers: DataView[]): void => {
    if (!understood(content)) return;
    const message = content;
    this.#heard = Date.now();
    if (this.silent) {
      this.silent = false;
      this.trouble = "";
    }
    if ((message.epoch ?? 0) !== this.#epoch) this.#startAgain(message.epoch);
    if (message.kind === "command") this.#answered(message);
    this.#arrived(message);
    if (message.kind === "later") this.#loader?.take(buffers[0]);
    else if (buffers.length > 0) {
      this.store.take(message, buffers);
      this.#quiet = QUIET_MS[0];
    }
    const refused = message.kind === "page" && message.error !== undefined;
    if (message.sent > this.#sent) this.#quiet = QUIET_MS[0]; // the next one may be lost
    if (message.sent > this.#sent || refused) this.#sent = message.sent;
    if (refused) this.trouble = this.#refused = message.error ?? "";
    else if (buffers.length > 0 && this.#refused) {
      if (this.trouble === this.#refused) this.trouble = "";
      this.#refused = "";
    }
    if (message.status) {
      this.header = message.status as H;
      this.skew = Date.now() - message.now * 1000;
    }
    this.#behind ||= message.behind === true;
    if (message.kind === "append") this.#tell(buffers);
    this.#repair();
    this.#changed();
  };

  /** The kernel answers in order: what was asked before and is not here got lost. */
  #arrived({ kind, id = 0, error, answered = 0 }: Incoming): void {
    const last = kind === "page" ? id : answered;
    if (last <= this.#first || last > this.#ids) return; // another page's
    for (const [from, asked] of this.#asked) {
      if (asked.id > last) continue;
      if (asked.id === id) this.#later(Date.now() - asked.at);
      // What is refused is not asked for again at once.
      if (error !== undefined && asked.id === id) asked.id = Number.POSITIVE_INFINITY;
      else this.#asked.delete(from);
    }
  }

  /** Wait twice as long as that for a page. */
  #later(took: number): void {
    this.#retry = Math.min(RETRY_MS[1], Math.max(RETRY_MS[0], took * 2));
  }

  /** Tell how far we are, now and then: the kernel pushes no more than a view can take. */
  #tell(buffers: DataView[]): void {
    for (const { byteLength } of buffers) this.#untold += byteLength;
    if (this.#untold > TOLD_BYTES) this.#send({ kind: "have" });
  }

  #startAgain(epoch: number): void {
    this.#epoch = epoch;
    this.#sent = 0;
    this.#asked.clear();
    this.store.clear();
  }

  /** Ask for what is missing: a few pages at a time, or the next one of what must come in order. */
  #repair(): void {
    const { store } = this;
    if (store.lost) {
      const { count, pieces } = store.lost(this.#sent, this.#isAsked);
      this.lost = count;
      for (const [from, n] of pieces) this.#ask(from, n, ASKED);
    } else {
      this.lost = Math.max(0, this.#sent - store.length);
      this.#ask(store.length, this.lost, 1);
    }
  }

  readonly #isAsked = (position: number): boolean => {
    for (const [from, { n }] of this.#asked) {
      if (from <= position && position < from + n) return true;
    }
    return false;
  };

  #ask(from: number, n: number, most: number): void {
    if (n <= 0 || this.#isAsked(from) || this.#asked.size >= most) return;
    const now = Date.now();
    if (this.complete && now - this.#last > SILENT_MS) this.#heard = now; // until now all was quiet
    this.#last = now;
    const id = ++this.#ids;
    this.#asked.set(from, { id, n, at: now });
    this.#send({ kind: "page", id, from, n });
  }

  #hello(): void {
    this.#greeted = Date.now();
    this.#send({ kind: "page", id: ++this.#ids, from: 0, n: 0 });
  }

  #send(content: object): void {
    this.#untold = 0;
    this.model.send({ ...content, have: this.#sent });
  }

  #watch(): void {
    const now = Date.now();
    this.#note(now);
    if (this.complete && this.#asked.size === 0) return;
    const late = [...this.#asked].filter(([, { at }]) => now - at > this.#retry);
    if (late.length > 0) {
      for (const [from] of late) this.#asked.delete(from);
      this.#later(this.#retry);
      this.#repair();
      this.#changed(); // others ask again, too
    }
    const quiet = now - this.#heard;
    if (now - Math.max(this.#heard, this.#greeted) >= this.#quiet) {
      this.#quiet = Math.min(this.#quiet * 2, QUIET_MS[1]);
      this.#hello();
    }
    if (quiet > SILENT_MS && !this.silent) {
      this.silent = true;
      this.trouble = "no answer from the kernel";
      this.#changed();
    }
  }

  /** Say what is being fetched; seen once, the words stay for a while, so that nothing flickers. */
  #note(now: number): void {
    const { lost, fetching } = this;
    if (lost > 0) {
      const lines = `${lost.toLocaleString("en")} ${lost === 1 ? "line" : "lines"}`;
      this.fetching = this.#behind ? `catching up: ${lines} to fetch` : `fetching ${lines} again`;
      this.#noted = now;
    } else if (now - this.#noted > NOTED_MS) {
      this.fetching = "";
      this.#behind = false;
    }
    if (fetching !== this.fetching) this.#changed();
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
