import { expect, test } from "vitest";
import { places } from "./marks";
import { type Places, RowSet } from "./row-set";

function set(...rows: number[]): RowSet {
  const made = new RowSet();
  made.add(0, Uint32Array.from(rows));
  return made;
}

/** All rows, in a list without a filter. */
function all(count: number): Places {
  return { count, at: (place) => place, position: (row) => row };
}

function every(step: number, from: number, to: number): RowSet {
  const made = new RowSet();
  made.add(
    from,
    new Uint32Array(Math.ceil((to - from) / step)).map((_, i) => i * step),
  );
  return made;
}

test("each line has at most one mark, at its first row", () => {
  expect(places(set(0, 3, 57, 99), all(100), 10)).toEqual([
    [0, 0],
    [5, 57],
    [9, 99],
  ]);
});

test("fewer rows than lines have a mark each", () => {
  expect(places(set(1, 2), all(4), 100)).toEqual([
    [25, 1],
    [50, 2],
  ]);
});

test("only rows in the list have a mark, where they stand there", () => {
  expect(places(set(1, 4, 8, 20), set(4, 5, 20), 30)).toEqual([
    [0, 0],
    [20, 2],
  ]);
  expect(places(set(1, 8), set(4, 5, 20), 30)).toEqual([]);
  expect(places(set(), set(4), 30)).toEqual([]);
  expect(places(set(4), set(), 30)).toEqual([]);
});

test("rows that are never shown together cost little, and those after them are found", () => {
  const shown = every(2, 0, 1_000_000);
  const odd = every(2, 1, 900_000);
  odd.add(0, Uint32Array.of(999_998));
  let looks = 0;
  const position = (row: number) => {
    looks += 1;
    return odd.position(row);
  };
  const rows = { count: odd.count, at: (at: number) => odd.at(at), position };
  expect(places(rows, shown, 400)).toEqual([[399, 499_999]]);
  expect(looks).toBeLessThan(30_000);
});
