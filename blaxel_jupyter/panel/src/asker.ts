// Ask the search worker, one question at a time, and give up on one that takes too long: a regular
// expression that never ends costs a worker, not the tab.

import workerSource from "search-worker";
import type { Reply, Request } from "./matching";

const LIMIT_MS = 2000; // for one question of at most 2 MiB, which takes about 30 ms

export class Asker {
  busy = false;
  #worker: Worker | null = null;
  #timer = 0;

  /** `after` is called after each answer, with what went wrong or "". */
  constructor(private readonly after: (error: string) => void) {}

  ask(request: Request, done: (reply: Reply) => void): void {
    this.busy = true;
    this.#worker ??= started();
    this.#timer = window.setTimeout(() => {
      this.#fail("search given up: the expression takes too long");
    }, LIMIT_MS);
    this.#worker.onerror = () => this.#fail("search is not available here");
    this.#worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      clearTimeout(this.#timer);
      this.busy = false;
      if (data.kind !== "error") done(data);
      this.after(data.kind === "error" ? data.message : "");
    };
    // What was copied for the worker is handed over, not copied once more.
    const moved = Object.values(request).flatMap((part) =>
      ArrayBuffer.isView(part) ? part.buffer : [],
    );
    this.#worker.postMessage(request, moved as ArrayBuffer[]);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#worker?.terminate();
    this.#worker = null;
    this.busy = false;
  }

  #fail(message: string): void {
    this.stop();
    this.after(message);
  }
}

function started(): Worker {
  const url = URL.createObjectURL(new Blob([workerSource], { type: "text/javascript" }));
  const worker = new Worker(url);
  URL.revokeObjectURL(url);
  return worker;
}
