// What a page ends with when the wire loses messages, both ways: the real session and store against a
// kernel that pushes, answers pages in bounded pieces, and is heard or not.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Header, LogSession } from "./header";
import { type Model, Session } from "./session";
import { LineStore } from "./store";
import { walk } from "./walk";

type Listener = (content: unknown, buffers: DataView[]) => void;

const PAGE_ROWS = 5000; // of one message at most
const DELAY_MS = 15; // one way

/** A number from 0 to 1, the same ones each time. */
function dice(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const lines: string[] = [];
const lineOf = (row: number): string => {
  lines[row] ??= `${row} ${"·".repeat(row % 40)} step ${Math.imul(row, 2654435761)}`;
  return lines[row];
};

/** A kernel and a wire that loses a part of what it carries. */
class Wire implements Model {
  total = 0;
  pushed = 0;
  pages = 0;
  lost = 0;
  final = false;
  hears = true;
  #answered = 0;
  #listener: Listener = () => {};
  #unheard: unknown[] = [];
  readonly #dice = dice(7);

  constructor(private readonly loss: number) {}

  get(): string {
    return "log";
  }

  on(_name: string, listener: Listener): void {
    this.#listener = listener;
  }

  off(): void {
    this.#listener = () => {};
  }

  /** Push what is new, as a flush does. */
  flush(): void {
    while (this.pushed < this.total) {
      const n = Math.min(PAGE_ROWS, this.total - this.pushed);
      this.pushed += n;
      this.#say({ kind: "append", ...rows(this.pushed - n, n) });
    }
  }

  /** Say that nothing more will come. */
  end(): void {
    this.final = true;
    this.#say({ kind: "status", status: this.#facts() });
  }

  /** Hear what was said while a cell was running. */
  listen(): void {
    this.hears = true;
    for (const content of this.#unheard.splice(0)) this.#answer(content);
  }

  send(content: unknown): void {
    if (this.#drops()) return;
    setTimeout(() => (this.hears ? this.#answer(content) : this.#unheard.push(content)), DELAY_MS);
  }

  #answer(content: unknown): void {
    const { kind, id, from, n } = content as { kind: string; id: number; from: number; n: number };
    if (kind !== "page") return;
    if (n > 0) this.pages += 1;
    const page = n > 0 ? rows(from, Math.min(n, PAGE_ROWS)) : {};
    this.#say({ kind: "page", id, status: this.#facts(), ...page });
    this.#answered = id;
  }

  #facts(): Header {
    return { status: this.final ? "completed" : "running", final: this.final } as Header;
  }

  #say(message: { buffers?: DataView[]; [name: string]: unknown }): void {
    if (this.#drops()) return;
    const { buffers, ...content } = message;
    const place = { sent: this.pushed, answered: this.#answered, now: Date.now() / 1000 };
    const whole = { ...place, missing: [], ...content };
    setTimeout(() => this.#listener(whole, buffers ?? []), DELAY_MS);
  }

  #drops(): boolean {
    const drops = this.#dice() < this.loss;
    if (drops) this.lost += 1;
    return drops;
  }
}

function rows(from: number, n: number) {
  const all = Array.from({ length: n }, (_, i) => lineOf(from + i));
  const text = new TextEncoder().encode(all.join("\n"));
  const parts = [text, new Uint8Array(n).fill(1), new Float64Array(n)];
  return { from, n, buffers: parts.map((part) => new DataView(part.buffer)) };
}

vi.setConfig({ testTimeout: 240_000 });

let session: LogSession;

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("window", globalThis);
});

afterEach(() => {
  session.close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** Compare every row, byte for byte. */
function differing(first: number, last: number): number {
  const decoder = new TextDecoder();
  let bad = 0;
  for (let row = first; row < last; row++) {
    if (!session.store.held(row) || decoder.decode(session.store.raw(row)) !== lineOf(row)) bad++;
  }
  return bad;
}

test("a minute of 20,000 lines a second with three messages of ten lost ends complete", () => {
  const wire = new Wire(0.3);
  session = new Session(wire, new LineStore());
  let worst = 0;
  for (let tick = 0; tick < 1800; tick++) {
    wire.total += 667;
    wire.flush();
    vi.advanceTimersByTime(1000 / 30);
    worst = Math.max(worst, session.lost);
  }
  wire.end();
  vi.advanceTimersByTime(10_000);
  expect(wire.lost).toBeGreaterThan(900);
  expect(session.complete).toBe(true);
  expect(session.store.length).toBe(wire.total);
  expect(differing(0, wire.total)).toBe(0);
  expect(worst).toBeLessThan(40_000); // two seconds' worth: repaired as it goes on
});

test.each([1, 2, 3, 4, 5])(
  "the last batch is missed within a second, however it is lost: %i",
  (n) => {
    const wire = new Wire(0);
    session = new Session(wire, new LineStore());
    vi.advanceTimersByTime(n * 1370);
    wire.total = 1000;
    wire.pushed = 1000; // and nothing of it arrives
    wire.total += 10;
    wire.flush();
    wire.total += 10;
    wire.pushed += 10; // the last one is lost
    vi.advanceTimersByTime(1000);
    expect(session.store.length).toBe(1020);
    expect(differing(0, 1020)).toBe(0);
  },
);

test("while a cell runs that lets nothing be heard, rows are shown; what was lost comes after it", () => {
  const wire = new Wire(0.3);
  session = new Session(wire, new LineStore());
  wire.hears = false;
  for (let tick = 0; tick < 600; tick++) {
    wire.total += 100;
    wire.flush();
    vi.advanceTimersByTime(1000 / 30);
  }
  expect(session.lost).toBeGreaterThan(0);
  expect(session.fetching).toMatch(/^fetching [\d,]+ lines again$/);
  expect(wire.pages).toBe(0);
  wire.end();
  wire.listen();
  vi.advanceTimersByTime(10_000);
  expect(session.complete).toBe(true);
  expect(differing(0, wire.total)).toBe(0);
  expect(session.fetching).toBe("");
});

test("of a log that is larger than what is held, a walk gives every row, in order, fetched or not", async () => {
  const wire = new Wire(0.1);
  session = new Session(wire, new LineStore(8_000_000));
  wire.total = wire.pushed = 300_000; // pushed before this page was there
  vi.advanceTimersByTime(5000);
  expect(session.lost).toBe(0);
  expect(session.store.held(0)).toBe(false);
  expect(session.store.held(299_999)).toBe(true);
  const decoder = new TextDecoder();
  let next = 0;
  const walked = (async () => {
    for await (const { from, n, text } of walk(session)) {
      expect(from).toBe(next);
      const lines = decoder.decode(text).split("\n");
      expect(lines).toHaveLength(n);
      expect(lines[0]).toBe(lineOf(from));
      expect(lines[n - 1]).toBe(lineOf(from + n - 1));
      next += n;
    }
  })();
  for (let i = 0; i < 600 && next < wire.total; i++) await vi.advanceTimersByTimeAsync(100);
  await walked;
  expect(next).toBe(wire.total);
});

test.each([false, true])(
  "a walk ends with an error when nobody answers: after the end %s",
  async (end) => {
    const wire = new Wire(0);
    session = new Session(wire, new LineStore(8_000_000));
    wire.total = wire.pushed = 300_000;
    vi.advanceTimersByTime(5000);
    if (end) wire.end();
    vi.advanceTimersByTime(100_000);
    expect(session.complete).toBe(end);
    wire.hears = false;
    const walked = (async () => {
      for await (const _ of walk(session));
    })();
    const failed = expect(walked).rejects.toThrow("the kernel does not answer");
    await vi.advanceTimersByTimeAsync(30_000);
    await failed;
  },
);
