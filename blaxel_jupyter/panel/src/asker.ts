// Ask the search worker, one question at a time, and give up on one that takes too long: a regular
// expression that never ends costs a worker, not the tab.

import workerSource from "search-worker";
import type { Reply, Request } from "./matching";

const NO_WORKER = "search is not available here";
const LIMIT_MS = 2000; // for one question of at most 2 MiB, which takes about 30 ms

export class Asker {
  busy = false;
  #worker: Promise<Worker> | null = null;
  #timer = 0;

  /** `after` is called after each answer, with what went wrong or "". */
  constructor(private readonly after: (error: string) => void) {}

  ask(request: Request, done: (reply: Reply) => void): void {
    this.busy = true;
    this.#worker ??= started();
    const asked = this.#worker;
    this.#timer = window.setTimeout(() => {
      this.#fail("search given up: the expression takes too long");
    }, LIMIT_MS);
    // What was copied for the worker is handed over, not copied once more.
    const moved = Object.values(request).flatMap((part) =>
      ArrayBuffer.isView(part) ? part.buffer : [],
    );
    asked.then(
      (worker) => {
        if (asked !== this.#worker) return; // stopped meanwhile
        worker.onerror = () => this.#fail(NO_WORKER);
        worker.onmessage = ({ data }: MessageEvent<Reply>) => {
          clearTimeout(this.#timer);
          this.busy = false;
          if (data.kind !== "error") done(data);
          this.after(data.kind === "error" ? data.message : "");
        };
        worker.postMessage(request, moved as ArrayBuffer[]);
      },
      () => asked === this.#worker && this.#fail(NO_WORKER),
    );
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#worker?.then((worker) => worker.terminate()).catch(() => {}); // there was none
    this.#worker = null;
    this.busy = false;
  }

  #fail(message: string): void {
    this.stop();
    this.after(message);
  }
}

let text: Promise<string> | null = null; // once unpacked

async function started(): Promise<Worker> {
  text ??= unpacked();
  const url = URL.createObjectURL(new Blob([await text], { type: "text/javascript" }));
  const worker = new Worker(url);
  URL.revokeObjectURL(url);
  return worker;
}

/** The worker travels deflated, as base64. */
function unpacked(): Promise<string> {
  const packed = Uint8Array.from(atob(workerSource), (byte) => byte.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).text();
}
