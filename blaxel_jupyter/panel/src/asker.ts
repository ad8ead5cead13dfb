// Ask the search worker, one question at a time, and give up on one that takes too long: a regular
// expression that never ends costs a worker, not the tab.

import type { Later } from "./loader";
import type { Reply, Request } from "./matching";

const LIMIT_MS = 2000; // for one question of at most 2 MiB, which takes about 30 ms
const ENDLESS = "search given up: the expression takes too long";
const NOWHERE = "search is not available here";
const ALONE = "search is not here yet: the kernel does not answer";

export class Asker {
  busy = false;
  #worker: Worker | null = null;
  #timer = 0;
  #asked = 0;

  /** `later` has the worker's source; `after` is called after each answer, with what went wrong or "". */
  constructor(
    private readonly later: Promise<Pick<Later, "worker">>,
    private readonly after: (error: string) => void,
  ) {}

  ask(request: Request, done: (reply: Reply) => void): void {
    this.busy = true;
    if (this.#worker) {
      this.#post(this.#worker, request, done);
      return;
    }
    const asked = ++this.#asked;
    this.#limit(ALONE);
    this.later.then(
      ({ worker }) => {
        if (asked !== this.#asked) return; // given up meanwhile
        this.#worker = started(worker);
        this.#post(this.#worker, request, done);
      },
      () => this.#fail(NOWHERE),
    );
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#asked += 1;
    this.#worker?.terminate();
    this.#worker = null;
    this.busy = false;
  }

  #post(worker: Worker, request: Request, done: (reply: Reply) => void): void {
    this.#limit(ENDLESS);
    worker.onerror = () => this.#fail(NOWHERE);
    worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      clearTimeout(this.#timer);
      this.busy = false;
      if (data.kind !== "error") done(data);
      this.after(data.kind === "error" ? data.message : "");
    };
    // What was copied for the worker is handed over, not copied once more.
    const moved = Object.values(request).flatMap((part) =>
      ArrayBuffer.isView(part) ? part.buffer : [],
    );
    worker.postMessage(request, moved as ArrayBuffer[]);
  }

  #limit(message: string): void {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.#fail(message), LIMIT_MS);
  }

  #fail(message: string): void {
    this.stop();
    this.after(message);
  }
}

function started(source: string): Worker {
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(url);
  URL.revokeObjectURL(url);
  return worker;
}
