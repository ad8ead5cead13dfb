// Messages from the kernel that are damaged in any way, between good ones: nothing is thrown, no row is
// wrong, and in the end every row is there. A failure names its seed: SEED=7 runs that one alone; ROUNDS=9999
// runs as many as one likes.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Header } from "./header";
import { type Model, Session } from "./session";
import { LineStore } from "./store";
import { Story, type TaskHeader } from "./story";

type Listener = (content: unknown, buffers: DataView[]) => void;
type Asked = { kind: string; id: number; from: number; n: number };

declare const process: { env: Record<string, string | undefined> };
const ROUNDS = Number(process.env.ROUNDS ?? 150);
const SEEDS = process.env.SEED
  ? [Number(process.env.SEED)]
  : Array.from({ length: ROUNDS }, (_, i) => i);

/** Values that no count, text or list of ours ever is. */
const ODD: unknown[] = [
  ...[null, undefined, true, "", "x", [], {}, -1, 0.5, 1e9, 1e15, 2 ** 53, 1e300],
  ...[Number.NaN, Number.POSITIVE_INFINITY, [[1]], [null], { from: 1 }, "9".repeat(99)],
];
const MEMBERS = [
  ...["kind", "id", "from", "n", "sent", "epoch", "answered", "now", "status", "behind"],
  ...["error", "missing", "v"],
];

class Chance {
  constructor(private state: number) {}

  next(n: number): number {
    this.state = (this.state * 1103515245 + 12345) % 2147483648;
    return Math.floor((this.state / 2147483648) * n);
  }

  of<T>(values: T[]): T {
    return values[this.next(values.length)];
  }
}

/** A kernel that answers truly, through a wire that now and then damages what it carries. */
abstract class Kernel implements Model {
  epoch = 0;
  sent = 0;
  readonly asked: Asked[] = [];
  #listener: Listener = () => {};

  constructor(protected readonly chance: Chance) {}

  get(): "log" {
    return "log";
  }

  on(_: string, listener: Listener): void {
    this.#listener = listener;
  }

  off(): void {
    this.#listener = () => {};
  }

  send(content: unknown): void {
    this.asked.push(content as Asked);
  }

  say(content: object, buffers: DataView[], damaged: boolean): void {
    const { sent, epoch } = this;
    const message = { sent, epoch, now: 1, answered: 0, ...content };
    if (!damaged) this.#listener(message, buffers);
    else this.#listener(...this.#damage(message, buffers));
  }

  #damage(message: object, buffers: DataView[]): [unknown, DataView[]] {
    const { chance } = this;
    const last = buffers.at(-1);
    const cut = last ? last.buffer.slice(0, chance.next(last.byteLength)) : new ArrayBuffer();
    switch (chance.next(4)) {
      case 0:
        return [chance.of(ODD), chance.of([[], buffers])];
      case 1:
        return [message, buffers.slice(0, chance.next(buffers.length + 1))];
      case 2:
        return [message, buffers.length > 0 ? buffers.with(-1, new DataView(cut)) : buffers];
      default:
        return [{ ...message, [chance.of(MEMBERS)]: chance.of(ODD) }, []];
    }
  }

  /** Answer what was asked; `total` is what there is. */
  answer(total: number, damaged: boolean): void {
    for (const { kind, id, from, n } of this.asked.splice(0)) {
      const status = { status: "completed", final: true, message: null };
      const head = { kind: "page", id, answered: id, status };
      if (kind !== "page") continue;
      if (n === 0) this.say(head, [], damaged);
      else if (from + n > total) this.say({ ...head, error: "no such rows" }, [], damaged);
      else this.page(head, from, n, damaged);
    }
  }

  abstract page(head: object, from: number, n: number, damaged: boolean): void;
}

class Lines extends Kernel {
  readonly lines: string[] = [];

  page(head: object, from: number, n: number, damaged: boolean): void {
    const text = new TextEncoder().encode(this.lines.slice(from, from + n).join("\n"));
    const parts = [text, new Uint8Array(n).fill(1), new Uint8Array(n * 8)];
    const buffers = parts.map(({ buffer }) => new DataView(buffer));
    this.say({ ...head, from, n, missing: [] }, buffers, damaged);
  }
}

class Items extends Kernel {
  readonly texts: string[] = [];

  page(head: object, from: number, n: number, damaged: boolean): void {
    const entries = this.texts
      .slice(from, from + n)
      .map((text, i) => ({ i: from + i, kind: "text", at: 0, text, closed: true, cut: 0 }));
    const packed = new TextEncoder().encode(JSON.stringify(entries));
    const v = this.texts.length;
    this.say({ ...head, from, n, v }, [new DataView(packed.buffer)], damaged);
  }
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("window", globalThis);
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** Let a kernel say much, half of it damaged, then answer truly until nothing is asked for. */
function told(kernel: Kernel, chance: Chance, total: number, push: (n: number) => void): void {
  for (let step = 0; step < 30; step++) {
    const n = Math.min(1 + chance.next(9), total - kernel.sent);
    const damaged = chance.next(2) === 0;
    if (chance.next(3) === 0) kernel.answer(kernel.sent, damaged);
    else if (damaged) kernel.page({ kind: "append" }, Math.max(0, kernel.sent - n), n, true);
    else if (n > 0) push(n);
    if (chance.next(4) === 0) vi.advanceTimersByTime(chance.next(3000));
  }
  while (kernel.sent < total) push(total - kernel.sent);
  for (let round = 0; round < 60; round++) {
    kernel.answer(total, false);
    vi.advanceTimersByTime(1000);
  }
}

test("damaged messages do no harm to a log", () => {
  for (const seed of SEEDS) {
    const chance = new Chance(seed);
    const kernel = new Lines(chance);
    const store = new LineStore();
    const session = new Session<LineStore, Header>(kernel, store);
    for (let i = 0; i < 100; i++) kernel.lines.push(`line ${i} ${"é".repeat(chance.next(5))}`);
    told(kernel, chance, 100, (n) => {
      kernel.sent += n;
      kernel.page({ kind: "append" }, kernel.sent - n, n, false);
    });
    const rows = Array.from({ length: store.length }, (_, row) => store.shown(row).text);
    expect(rows, `seed ${seed}`).toEqual(kernel.lines);
    expect(session.complete, `seed ${seed}`).toBe(true);
    session.close();
  }
});

test("damaged messages do no harm to a story", () => {
  for (const seed of SEEDS) {
    const chance = new Chance(seed);
    const kernel = new Items(chance);
    const story = new Story();
    const session = new Session<Story, TaskHeader>(kernel, story);
    for (let i = 0; i < 40; i++) kernel.texts.push(`text ${i} ${"é".repeat(chance.next(5))}`);
    told(kernel, chance, 40, (n) => {
      kernel.sent += n;
      kernel.page({ kind: "append" }, kernel.sent - n, n, false);
    });
    expect(
      story.items.map(({ text }) => text),
      `seed ${seed}`,
    ).toEqual(kernel.texts);
    session.close();
  }
});
