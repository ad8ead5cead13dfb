// Load the second part of the front end, which the kernel sends when it is asked for: what travels with every
// panel, and stays in a notebook that keeps its widgets, is the first part alone.

export type Later = typeof import("./later");

const RETRY_MS = [500, 8000]; // an answer takes about 10 ms; one that stays away is asked for less and less

export class Loader {
  /** The second part, once it is here. */
  readonly loaded: Promise<Later>;
  #load: (part: Promise<Later>) => void = () => {};
  #timer = 0;
  #here = false;

  constructor(private readonly ask: () => void) {
    this.loaded = new Promise((load) => {
      this.#load = load;
    });
    this.#ask(RETRY_MS[0]);
  }

  /** Take the answer; one that came before is enough. */
  take(script: DataView | undefined): void {
    if (this.#here || script === undefined) return;
    this.#here = true;
    this.close();
    const url = URL.createObjectURL(
      new Blob([script as DataView<ArrayBuffer>], { type: "text/javascript" }),
    );
    this.#load(import(url).finally(() => URL.revokeObjectURL(url)));
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #ask(wait: number): void {
    this.ask();
    this.#timer = window.setTimeout(() => this.#ask(Math.min(wait * 2, RETRY_MS[1])), wait);
  }
}
