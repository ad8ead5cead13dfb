import { expect, test } from "vitest";
import { Folds, type Range } from "./folds";
import { RowSet } from "./row-set";

/** Rows of the list, the slow and obvious way. */
function listed(n: number, kept: number[] | null, ranges: Range[]): number[] {
  const rows = kept ?? Array.from({ length: n }, (_, row) => row);
  return rows.filter(
    (row) => !ranges.some(([first, end]) => first < row && row < end && rows.includes(first)),
  );
}

function check(folds: Folds, n: number, kept: number[] | null, ranges: Range[]): void {
  const wanted = listed(n, kept, ranges);
  expect(folds.count).toBe(wanted.length);
  expect(wanted.map((_, place) => folds.at(place))).toEqual(wanted);
  for (let row = 0; row <= n; row++) {
    const next = wanted.findIndex((one) => one >= row);
    expect(folds.position(row)).toBe(next < 0 ? wanted.length : next);
  }
}

const CASES: [string, Range[]][] = [
  ["nothing", []],
  ["the beginning", [[0, 4]]],
  ["the end", [[15, 20]]],
  [
    "neighbours",
    [
      [2, 5],
      [5, 9],
      [9, 10],
    ],
  ],
  ["all but one", [[0, 20]]],
  [
    "two apart",
    [
      [3, 6],
      [12, 19],
    ],
  ],
];

const KEPT: [string, number[] | null][] = [
  ["all", null],
  ["every third", [0, 3, 6, 9, 12, 15, 18]],
  ["few", [5, 13, 14]],
  ["none", []],
];

test.each(
  CASES.flatMap(([name, ranges]) => KEPT.map(([of, kept]) => [name, of, ranges, kept] as const)),
)("%s folded of %s", (_name, _of, ranges, kept) => {
  const folds = new Folds(() => 20);
  if (kept) {
    folds.base = new RowSet();
    folds.base.add(0, Uint32Array.from(kept));
  }
  for (const range of ranges) folds.fold(range);
  check(folds, 20, kept, ranges);
});

test("what the filter finds later is folded as well", () => {
  const folds = new Folds(() => 20);
  folds.base = new RowSet();
  folds.fold([4, 9]);
  expect(folds.count).toBe(0);
  folds.base.add(0, Uint32Array.of(1, 4, 5));
  check(folds, 20, [1, 4, 5], [[4, 9]]);
  expect(folds.behind(4)).toBe(1);
  folds.base.add(0, Uint32Array.of(6, 8, 9));
  check(folds, 20, [1, 4, 5, 6, 8, 9], [[4, 9]]);
  expect([folds.behind(4), folds.behind(1), folds.behind(9)]).toEqual([3, 0, 0]);
});

test("a fold takes the place of those that it touches, and opens where it is touched", () => {
  const folds = new Folds(() => 20);
  folds.fold([10, 14]);
  folds.fold([2, 4]);
  folds.fold([3, 12]);
  check(folds, 20, null, [[3, 12]]);
  expect([folds.around(2), folds.around(3), folds.around(11), folds.around(12)]).toEqual([
    undefined,
    [3, 12],
    [3, 12],
    undefined,
  ]);
  folds.fold([15, 18]);
  expect(folds.tail).toEqual([15, 18]);
  expect([folds.open(12), folds.open(5), folds.open(5)]).toEqual([false, true, false]);
  check(folds, 20, null, [[15, 18]]);
  expect(folds.open(0, 20)).toBe(true);
  check(folds, 20, null, []);
});

test("rows that arrive come after folded ones", () => {
  let length = 10;
  const folds = new Folds(() => length);
  folds.fold([6, 10]);
  check(folds, 10, null, [[6, 10]]);
  length = 15;
  check(folds, 15, null, [[6, 10]]);
});
