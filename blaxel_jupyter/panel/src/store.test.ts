import { expect, test } from "vitest";
import { type Batch, GAP, KIND, LineStore, lastState, SHOWN_BYTES, STDERR } from "./store";

const encoder = new TextEncoder();

function batch(from: number, lines: string[], flags = 1): Batch {
  return {
    from,
    n: lines.length,
    text: encoder.encode(lines.join("\n")),
    flags: new Uint8Array(lines.length).fill(flags),
    received: new DataView(new Float64Array(lines.length).fill(1000 + from).buffer),
    missing: [],
  };
}

const never = () => false;

function all(store: LineStore): string[] {
  return Array.from({ length: store.length }, (_, row) => store.shown(row).text);
}

test("batches become rows, in order, empty lines included", () => {
  const store = new LineStore();
  expect(store.append(batch(0, ["a", "", "b"]))).toBe(true);
  expect(store.append(batch(3, [""]))).toBe(true);
  expect(store.append(batch(4, ["ü"]))).toBe(true);
  expect(all(store)).toEqual(["a", "", "b", "", "ü"]);
  expect(store.received(3)).toBe(1003);
});

test("rows that are left out are filled from any side, in any pieces", () => {
  const store = new LineStore();
  store.append(batch(0, ["a"]));
  store.append(batch(6, ["g"]));
  expect(store.length).toBe(7);
  expect(store.lost(7, never)).toEqual({ count: 5, pieces: [[1, 5]] });
  store.append(batch(3, ["d"]));
  expect(store.lost(9, never)).toEqual({
    count: 6,
    pieces: [[1, 8]],
  });
  expect(store.lost(9, (row) => row < 3).pieces).toEqual([[4, 5]]);
  store.append(batch(9, Array(3000).fill("")));
  store.append(batch(3010, ["z"]));
  expect(store.lost(3011, never).pieces).toEqual([
    [3009, 1],
    [1, 8],
  ]);
  store.append(batch(0, ["A", "b", "c", "D", "e", "f", "G", "h"]));
  store.append(batch(8, ["i"]));
  store.append(batch(3000, Array(10).fill("")));
  expect(all(store).slice(0, 9)).toEqual([..."abcdefghi"]);
  expect(store.lost(3011, never).count).toBe(0);
});

test("a row that is not held reads as nothing, and is asked for when it is wanted", () => {
  const store = new LineStore();
  const asked: unknown[] = [];
  store.ask = (...piece) => asked.push(piece);
  store.append(batch(5, ["f"]));
  expect(store.held(2)).toBe(false);
  expect([store.shown(2).text, store.flags(2), store.received(2), store.block(2)]).toEqual([
    "",
    0,
    Number.NaN,
    null,
  ]);
  store.want(2, true);
  expect(asked).toEqual([[0, 5, true]]);
});

test("of more than fits, the end and what was read last are held, and the rest comes back", () => {
  const store = new LineStore(4_000_000);
  const line = (row: number) => `${row} ${"x".repeat(100 + (row % 50))}`;
  const lines = (from: number, n: number) => Array.from({ length: n }, (_, i) => line(from + i));
  for (let row = 0; row < 80_000; row += 50) {
    store.append(batch(row, lines(row, 50)));
    if (row > 0) store.held(25); // somebody reads there all the time
  }
  const held = Array.from({ length: 80_000 }, (_, row) => row).filter((row) => store.held(row));
  expect(held.length).toBeLessThan(40_000);
  expect(held).toContain(25);
  expect(store.lost(80_000, never).count).toBe(0);
  expect(held.at(-1)).toBe(79_999);
  expect(store.bytes).toBeGreaterThan(9_600_000);
  const asked: [number, number][] = [];
  store.ask = (from, n) => asked.push([from, n]);
  for (let row = 0; row < 80_000; row += store.block(row)?.n ?? 0) {
    if (!store.held(row)) store.want(row);
    while (asked.length > 0) {
      const [from, n] = asked.pop() as [number, number];
      store.append(batch(from, lines(from, n)));
    }
    expect(store.shown(row).text).toBe(line(row));
  }
  expect(store.held(79_999)).toBe(true);
});

test("rows that are much longer than was thought are asked for where they are wanted", () => {
  const store = new LineStore(4_000_000);
  const asked: [number, number][] = [];
  store.ask = (from, n) => asked.push([from, n]);
  const many = (from: number, n: number) => batch(from, Array(n).fill("x".repeat(100_000)));
  const { count, pieces } = store.lost(1800, never);
  expect([count, pieces]).toEqual([1800, [[0, 1800]]]);
  store.append(many(0, 2));
  const after = store.lost(1800, never);
  expect(after.count).toBe(34); // what is sure to be held
  expect(after.pieces[0]).toEqual([1798, 2]);
  store.want(1700, true);
  expect(asked).toEqual([[1700, 2]]);
  for (let rounds = 0; store.lost(1800, never).count > 0; rounds++) {
    expect(rounds).toBeLessThan(20);
    for (const [from, n] of store.lost(1800, never).pieces)
      store.append(many(from, Math.min(n, 2)));
  }
  expect(store.held(1799) && store.held(1770)).toBe(true);
});

test("rows that the kernel does not know of are not waited for", () => {
  const store = new LineStore();
  store.append(batch(0, ["a"]));
  expect(store.lost(10, never).count).toBe(9);
  expect(store.lost(1, never).count).toBe(0);
  expect(store.length).toBe(1);
});

test("rows that are there already are skipped", () => {
  const store = new LineStore();
  store.append(batch(0, ["a", "b", "c"]));
  expect(store.append(batch(1, ["b", "c", "d", "e"], STDERR))).toBe(true);
  expect(store.append(batch(0, ["x"]))).toBe(true);
  expect(all(store)).toEqual(["a", "b", "c", "d", "e"]);
  expect(store.flags(2)).toBe(1);
  expect(store.flags(3)).toBe(STDERR);
});

test.each([
  { n: 3 },
  { n: 1 },
  { flags: new Uint8Array(1) },
  { received: new DataView(new ArrayBuffer(8)) },
])("a damaged batch is refused: %o", (damage) => {
  const store = new LineStore();
  expect(store.append({ ...batch(0, ["a", "b"]), ...damage })).toBe(false);
  expect(store.length).toBe(0);
});

test("many small and large batches give every row back", () => {
  const store = new LineStore();
  const lines = Array.from({ length: 30_000 }, (_, i) => `${i} ${"x".repeat(i % 200)}`);
  for (let at = 0, n = 1; at < lines.length; at += n, n = (n * 7) % 997 || 1) {
    n = Math.min(n, lines.length - at);
    expect(store.append(batch(at, lines.slice(at, at + n)))).toBe(true);
  }
  expect(all(store)).toEqual(lines);
  let walked = 0;
  while (walked < store.length) walked += store.block(walked)?.n ?? 0;
  expect(walked).toBe(lines.length);
});

test("each row keeps its source: joined, cut off at rows that are there, and walked by blocks", () => {
  const store = new LineStore();
  const from = (row: number, sources: number[]) => ({
    ...batch(row, sources.map(String)),
    sources: new Uint8Array(sources),
  });
  store.append(batch(0, ["one source has", "no such buffer"]));
  store.append(from(2, [1, 0, 2]));
  store.append(from(3, [9, 9, 1, 0]));
  const sources = Array.from({ length: 7 }, (_, row) => store.source(row));
  expect(sources).toEqual([0, 0, 1, 0, 2, 1, 0]);
  expect([...(store.block(4)?.sources ?? [])]).toEqual([2, 1, 0]);
  expect(store.append({ ...from(7, [1]), sources: new Uint8Array(2) })).toBe(false);
});

test("gaps keep their size", () => {
  const store = new LineStore();
  store.append({ ...batch(0, [""], GAP), missing: [[0, 4096]] });
  expect(store.flags(0) & KIND).toBe(GAP);
  expect(store.missing(0)).toBe(4096);
});

test.each([
  ["a", "a"],
  ["a\r", "a"],
  ["10%\r20%", "20%"],
  ["10%\r20%\r\r", "20%"],
  ["\r", ""],
  ["", ""],
])("carriage returns leave the last state: %j", (line, state) => {
  expect(new TextDecoder().decode(lastState(encoder.encode(line)))).toBe(state);
});

test("a long row is cut between characters and says how much is left", () => {
  const store = new LineStore();
  store.append(batch(0, [`a${"ü".repeat(SHOWN_BYTES)}`]));
  const { text, cut } = store.shown(0);
  expect(text).toBe(`a${"ü".repeat(SHOWN_BYTES / 2 - 1)}`);
  expect(encoder.encode(text).length + cut).toBe(1 + 2 * SHOWN_BYTES);
  expect(store.raw(0).length).toBe(1 + 2 * SHOWN_BYTES);
});
