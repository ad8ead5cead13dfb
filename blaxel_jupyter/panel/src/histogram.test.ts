import { expect, test } from "vitest";
import { drawn, timeRange, timeTerm, told } from "./histogram";
import { COUNTS, FIRST_LEVEL, GAPS } from "./tally";

const START = Date.UTC(2026, 10, 22, 10, 5, 30);
const LEVEL = [
  ["bad", [FIRST_LEVEL + 5, FIRST_LEVEL + 6]],
  ["warn", [FIRST_LEVEL + 4]],
] as [string, number[]][];

/** Bars of a second with some counts each: [place, count]. */
function bars(...each: [number, number][][]) {
  const counts = new Uint32Array(each.length * COUNTS);
  each.forEach((bar, i) => {
    for (const [c, count] of bar) counts[i * COUNTS + c] = count;
  });
  return { start: START, width: 1000, n: each.length, counts };
}

test("a range is written as a term of the filter, and read back", () => {
  const term = timeTerm([START, START + 1500]);
  expect(term).toBe("time:2026-11-22T10:05:30.000..2026-11-22T10:05:31.499");
  expect(timeRange(term)).toEqual([START, START + 1500]);
});

test.each(["", "time:2026-11-22T10:05", "time>=2026-11-22", "time:..", "time:x..y"])(
  "%s is no range to show",
  (term) => {
    expect(timeRange(term)).toBeNull();
  },
);

test("parts stand on one another; the least can be seen, errors and gaps have marks of their own", () => {
  const paths = drawn(
    bars(
      [
        [1, 1000],
        [FIRST_LEVEL + 5, 1],
        [FIRST_LEVEL + 3, 999],
      ],
      [],
      [[GAPS, 1]],
    ),
    LEVEL,
  );
  expect(paths.bad).toBe("M0 30.0h.9v2.0h-.9z");
  expect(paths.rest).toBe("M0 0.0h.9v30.0h-.9z");
  expect(paths.error).toBe("M0 0.0h.9v2.0h-.9z");
  expect(paths.gap).toBe("M2 0.0h.9v32.0h-.9z");
  expect(paths.warn).toBeUndefined();
});

test("what a range holds is said; so is what has no place in time", () => {
  const all = bars(
    [
      [1, 10],
      [FIRST_LEVEL, 10],
    ],
    [
      [2, 5],
      [FIRST_LEVEL + 5, 5],
      [GAPS, 1],
    ],
    [[1, 100]],
  );
  expect(told(all, [START, START + 2000], ["", "without a time 3"])).toMatch(
    /^\d\d:\d\d:30\.0–\d\d:\d\d:32\.0 · lines 15 · 8 a second · stdout 10 · stderr 5 · error 5 · gaps 1 · without a time 3$/,
  );
});
