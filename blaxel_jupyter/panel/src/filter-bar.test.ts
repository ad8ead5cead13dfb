import { expect, test } from "vitest";
import { python, toggled } from "./filter-bar";
import { RowSet } from "./row-set";

test.each([
  ["", "stream:stderr", "stream:stderr"],
  ["stream:stderr", "stream:stderr", ""],
  ["a stream:stdout b", "stream:stderr", "a b stream:stderr"],
  ["level:error -x", "level>=warning", "-x level>=warning"],
  ['"level:error x" y', "level>=warning", '"level:error x" y level>=warning'],
  ["/level:a b/ y", "level>=warning", "/level:a b/ y level>=warning"],
  ["(a OR level:error)", "level>=error", "(a OR level:error) level>=error"],
  ["a OR b", "stream:stdout", "(a OR b) stream:stdout"],
  ['source:"a  level:x" b', "level:error", 'source:"a  level:x" b level:error'],
  ["-/level:a b/ y", "level:error", "-/level:a b/ y level:error"],
])("in %s, %s is toggled to %s", (before, term, after) => {
  expect(toggled(before, term)).toBe(after);
});

test("the code is Python, whatever is in the expression", () => {
  expect(python("tests", 'level:error "a b" -/\\d+/')).toBe(
    'tests.logs.filter("level:error \\"a b\\" -/\\\\d+/")',
  );
  expect(python("Out[12]", "x")).toBe('Out[12].logs.filter("x")');
  expect(python("__import__('os')", "x")).toBe('run.logs.filter("x")');
  expect(python("run", "a\u202eb\u{e0041}\0")).toBe(
    'run.logs.filter("a\\u202eb\\U000e0041\\u0000")',
  );
});

test("rows are found by their position and the other way", () => {
  const rows = new RowSet();
  rows.add(0, Uint32Array.of(1, 4));
  rows.add(
    10,
    new Uint32Array(3000).map((_, i) => i * 2),
  );
  expect(rows.count).toBe(3002);
  expect([0, 1, 2, 4, 5, 11, 6009].map((row) => rows.position(row))).toEqual([
    0, 0, 1, 1, 2, 3, 3002,
  ]);
  expect([rows.at(1), rows.at(3001), rows.has(4), rows.has(5), rows.has(9000)]).toEqual([
    4,
    6008,
    true,
    false,
    false,
  ]);
});
