import { expect, test } from "vitest";
import { COUNTS, FIRST_LEVEL, GAPS, Tally } from "./tally";

const START = 1_700_000_000_000;

/** Count rows of [milliseconds from the start, flags, level]. */
function add(tally: Tally, ...rows: [number, number, number][]): void {
  const received = new DataView(new ArrayBuffer(rows.length * 8));
  rows.forEach(([time], i) => {
    received.setFloat64(i * 8, START + time, true);
  });
  const column = (c: number) => Uint8Array.from(rows, (row) => row[c]);
  tally.add(column(1), column(2), received);
}

test("rows are counted by time, stream and level; gaps apart", () => {
  const tally = new Tally();
  add(tally, [0, 1, 0], [50, 2, 5], [120, 1, 3], [120, 4, 0], [130, 11, 0]);
  const { start, width, n, counts } = tally.bars(100);
  expect([start, width, n]).toEqual([START, 100, 2]);
  expect([...counts.subarray(0, COUNTS)]).toEqual([0, 1, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0]);
  expect(counts[COUNTS + GAPS]).toBe(1);
  expect(counts[COUNTS + 3]).toBe(1); // a notice is the system's
  expect(counts[COUNTS + FIRST_LEVEL + 3]).toBe(1);
});

test("a row without a time is counted and never placed", () => {
  const tally = new Tally();
  add(tally, [Number.NaN, 1, 5], [0, 1, 0], [Number.POSITIVE_INFINITY, 1, 0]);
  expect([tally.timed, tally.untimed, tally.bars(9).n]).toEqual([1, 2, 1]);
});

test.each([[7], [100], [1024], [5000]])("no row is lost in %d bars, however far apart", (most) => {
  const tally = new Tally();
  const times = [0, 99, 100, -250, 3_600_000, -86_400_000, 1e11, 5, -1e11, 0];
  add(tally, ...times.map((time): [number, number, number] => [time, 1, 0]));
  const { start, width, n, counts } = tally.bars(most);
  expect(n).toBeLessThanOrEqual(most);
  const wanted = new Array(n).fill(0);
  for (const time of times) wanted[Math.floor((START + time - start) / width)] += 1;
  expect(Array.from({ length: n }, (_, i) => counts[i * COUNTS + 1])).toEqual(wanted);
});

test("bars stand still while rows arrive: wider ones are pairs of those before", () => {
  const tally = new Tally();
  let before = tally.bars(100);
  for (let time = 0; time < 300_000; time += 50) {
    add(tally, [time, 1, 0]);
    const now = tally.bars(100);
    expect(now.start).toBe(START);
    expect([before.width, before.width * 2]).toContain(now.width);
    before = now;
  }
  expect(tally.timed).toBe(6000);
});
