import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Header, LogSession } from "./header";
import { type Model, Session } from "./session";
import { LineStore } from "./store";

type Listener = (content: unknown, buffers: DataView[]) => void;
interface Sent {
  kind: string;
  id: number;
  from: number;
  n: number;
  have: number;
}

/** The other end of the wire: what a kernel with these lines would see and say. */
class Kernel implements Model {
  sent: Sent[] = [];
  lines: string[] = [];
  flushed = 0;
  #listener: Listener = () => {};

  get(): string {
    return "log";
  }

  send(content: unknown): void {
    this.sent.push(content as Sent);
  }

  on(_name: string, listener: Listener): void {
    this.#listener = listener;
  }

  off(): void {
    this.#listener = () => {};
  }

  say(content: object, buffers: DataView[] = []): void {
    this.#listener(
      { sent: this.flushed, now: Date.now() / 1000, missing: [], ...content },
      buffers,
    );
  }

  batch(kind: string, from: number, n: number, id?: number): void {
    this.flushed = Math.max(this.flushed, from + n);
    const text = new TextEncoder().encode(this.lines.slice(from, from + n).join("\n"));
    const flags = new Uint8Array(n).fill(1);
    const times = new Float64Array(n);
    this.say(
      { kind, id, from, n },
      [text, flags, times].map((part) => new DataView(part.buffer)),
    );
  }

  pages(): Sent[] {
    return this.sent.filter((message) => message.kind === "page" && message.n > 0);
  }
}

const HEADER = { status: "running", final: false } as Header;
let kernel: Kernel;
let session: LogSession;

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("window", globalThis);
  kernel = new Kernel();
  kernel.lines = Array.from({ length: 10 }, (_, i) => `line ${i}`);
  session = new Session(kernel, new LineStore());
});

afterEach(() => {
  session.close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function shown(): string[] {
  const { store } = session;
  const rows = Array.from({ length: store.length }, (_, row) => row);
  return rows.filter((row) => store.held(row)).map((row) => store.shown(row).text);
}

test("a new view asks how things are, and for all rows that were sent before", () => {
  expect(kernel.sent).toMatchObject([{ kind: "page", from: 0, n: 0, have: 0 }]);
  kernel.flushed = 10;
  kernel.say({ kind: "page", id: 1, status: HEADER });
  const [asked] = kernel.pages();
  expect(asked).toMatchObject({ from: 0, n: 10 });
  kernel.batch("page", 0, 6, asked.id); // as much as one message takes
  const [, second] = kernel.pages();
  expect(second).toMatchObject({ from: 6, n: 4 });
  kernel.batch("page", 6, 4, second.id);
  expect(shown()).toEqual(kernel.lines);
  expect(kernel.pages()).toHaveLength(2);
});

test("a lost batch is asked for once, and later ones are there at once", () => {
  kernel.batch("append", 0, 2);
  kernel.batch("append", 5, 2); // 2-4 was lost
  kernel.batch("append", 7, 3);
  expect(shown()).toEqual(kernel.lines.toSpliced(2, 3));
  expect(session.lost).toBe(3);
  const pages = kernel.pages();
  expect(pages).toHaveLength(1);
  expect(pages[0]).toMatchObject({ from: 2, n: 3 });
  kernel.batch("page", 2, 3, pages[0].id);
  expect(shown()).toEqual(kernel.lines);
});

test("a lost last batch is seen by the status that follows", () => {
  kernel.batch("append", 0, 8);
  kernel.flushed = 10;
  kernel.say({ kind: "status", status: { ...HEADER, final: true } });
  expect(session.complete).toBe(false);
  const [asked] = kernel.pages();
  expect(asked).toMatchObject({ from: 8, n: 2 });
  kernel.batch("page", 8, 2, asked.id);
  expect(session.complete).toBe(true);
});

test("a page that does not come is asked for again with a new id", () => {
  kernel.flushed = 10;
  kernel.say({ kind: "page", id: 1, status: HEADER });
  vi.advanceTimersByTime(5000);
  const pages = kernel.pages();
  expect(pages.length).toBeGreaterThan(1);
  expect(new Set(pages.map((page) => page.id)).size).toBe(pages.length);
});

test("a lost end is found by asking within a second, and less often when nothing comes", () => {
  kernel.batch("append", 0, 10);
  const before = kernel.sent.length;
  vi.advanceTimersByTime(900);
  expect(kernel.sent.length).toBe(before + 1);
  vi.advanceTimersByTime(60_000);
  expect(kernel.sent.length).toBeLessThan(before + 20);
  kernel.say({ kind: "page", id: 2, status: { ...HEADER, final: true } });
  const ended = kernel.sent.length;
  vi.advanceTimersByTime(60_000);
  expect(kernel.sent.length).toBe(ended); // complete: nothing is asked any more
});

test("a kernel that says nothing is named, and forgiven when it does", () => {
  vi.advanceTimersByTime(20_000);
  expect(session.trouble).toBe("no answer from the kernel");
  kernel.say({ kind: "status", status: HEADER });
  expect(session.trouble).toBe("");
});

test("after stop was sent the next command is kill; an error takes it back", () => {
  session.command("stop");
  expect(session.asked).toBe("stop");
  const sent = kernel.sent.at(-1) as Sent;
  expect(sent).toMatchObject({ kind: "command", verb: "stop" });
  kernel.say({ kind: "command", id: sent.id, error: "no such process" });
  expect(session.asked).toBe(null);
  expect(session.trouble).toBe("no such process");
});

test("a command nobody answers says what else to do", () => {
  session.command("stop");
  vi.advanceTimersByTime(6000);
  expect(session.trouble).toContain("interrupt");
});

test("when all is read anew, what was there is dropped and asked for again", () => {
  kernel.batch("append", 0, 10);
  expect(shown()).toHaveLength(10);
  kernel.lines = ["other"];
  kernel.flushed = 1;
  kernel.say({ kind: "status", epoch: 1, status: HEADER });
  expect(shown()).toEqual([]);
  expect(kernel.pages().at(-1)).toMatchObject({ from: 0, n: 1 });
});

test("a page that the kernel refuses is not asked for for ever", () => {
  kernel.flushed = 10;
  kernel.say({ kind: "page", id: 1, status: HEADER });
  const asked = kernel.pages();
  kernel.flushed = 0;
  kernel.say({ kind: "page", id: asked[0].id, error: "no such rows" });
  vi.advanceTimersByTime(4000);
  expect(kernel.pages()).toHaveLength(1);
});

test("an answer shows that what was asked before it got lost", () => {
  kernel.lines = Array.from({ length: 8000 }, (_, i) => `line ${i}`);
  kernel.batch("append", 2, 2000);
  kernel.batch("append", 2005, 1);
  const [first, second] = kernel.pages();
  expect([first.from, second.from]).toEqual([0, 2002]);
  kernel.batch("page", second.from, second.n, second.id); // and the first one's answer never comes
  expect(kernel.pages().filter(({ from }) => from === first.from)).toHaveLength(2);
});

test("rows that cannot be read are named, and asked for again after a while", () => {
  kernel.lines = Array.from({ length: 20 }, (_, i) => `line ${i}`);
  kernel.batch("append", 10, 10);
  const [{ id }] = kernel.pages();
  kernel.say({ kind: "page", id, error: "lines cannot be read: gone", sent: 20 });
  expect(session.trouble).toBe("lines cannot be read: gone");
  kernel.say({ kind: "status", answered: id });
  expect(kernel.pages()).toHaveLength(1);
  vi.advanceTimersByTime(2000);
  const [, again] = kernel.pages();
  kernel.batch("page", again.from, again.n, again.id);
  expect(session.trouble).toBe("");
  expect(shown()).toEqual(kernel.lines);
});

test("any message may show that an answer got lost, but not what another page was answered", () => {
  kernel.batch("append", 4, 1);
  const [{ id }] = kernel.pages();
  kernel.say({ kind: "status", answered: id + 2 ** 40 });
  kernel.say({ kind: "status", answered: id - 1 });
  expect(kernel.pages()).toHaveLength(1);
  kernel.say({ kind: "status", answered: id });
  expect(kernel.pages()).toHaveLength(2);
});

test("the kernel is told how far the page has got", () => {
  kernel.lines = Array.from({ length: 30 }, () => "x".repeat(100_000));
  for (let at = 0; at < 30; at += 3) kernel.batch("append", at, 3);
  const told = kernel.sent.filter(({ kind }) => kind === "have");
  expect(told.map(({ have }) => have)).toEqual([12, 24]);
});

test("what is fetched for longer than a moment is said, and stays to be read", () => {
  kernel.batch("append", 7, 3);
  vi.advanceTimersByTime(400);
  expect(session.fetching).toBe("fetching 7 lines again");
  kernel.batch("page", 0, 7, kernel.pages()[0].id);
  expect(session.fetching).not.toBe("");
  vi.advanceTimersByTime(2000);
  expect(session.fetching).toBe("");
});

test("rows that somebody looks at are asked for when all other places are taken", () => {
  kernel.lines = Array(20_000).fill("");
  for (let row = 1; row < 20_000; row += 2000) kernel.batch("append", row, 1999);
  expect(kernel.pages()).toHaveLength(4);
  session.store.want(16_000);
  expect(kernel.pages()).toHaveLength(4);
  session.store.want(16_000, true);
  expect(kernel.pages().at(-1)).toMatchObject({ from: 16_000, n: 1 });
});

test("the second part is asked for when it is wanted first, again until it comes, and kept once", async () => {
  const script = new DataView(new TextEncoder().encode("export const worker = 'w';").buffer);
  vi.stubGlobal("Blob", class {});
  vi.stubGlobal("URL", {
    createObjectURL: () => "data:text/javascript,export const worker = 'w'",
    revokeObjectURL: () => {},
  });
  const asked = () => kernel.sent.filter(({ kind }) => kind === "later").length;
  expect(asked()).toBe(0);
  const { later } = session;
  expect(session.later).toBe(later);
  expect(asked()).toBe(1);
  vi.advanceTimersByTime(2000); // lost twice
  expect(asked()).toBe(3);
  kernel.say({ kind: "later", id: 1 }, [script]);
  kernel.say({ kind: "later", id: 2 }, [script]);
  expect((await later).worker).toBe("w");
  expect(session.store.length).toBe(0);
  vi.advanceTimersByTime(60_000);
  expect(asked()).toBe(3);
});
