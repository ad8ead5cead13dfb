import { expect, test } from "vitest";
import { called, hidden, hiding } from "./sources";

const sources = [
  { name: "box/tests", process: "tests", sandbox: "box" },
  { name: "other/tests", process: "tests", sandbox: "other" },
  { name: 'a "b"', process: 'a "b"', sandbox: "box" },
  { name: "run-1", process: "run-1", sandbox: "" },
];

test("a source is called by its process, and by its sandbox and process where it has one", () => {
  expect(sources.map(called)).toEqual([
    "tests\nbox/tests",
    "tests\nother/tests",
    'a "b"\nbox/a "b"',
    "run-1",
  ]);
});

test.each([
  ["", "...."],
  ["-source:box/tests", "x..."],
  ["-source:tests error", "xx.."],
  ["NOT source:run-1", "...x"],
  ['-source:"a \\"b\\""', "..x."],
  ["source:RUN-1", "xxx."],
  ["NOT -source:run-1", "xxx."],
  ["(-source:run-1)", "...."],
  ["(-source:run-1) -source:tests", "xx.."],
  ["-source:run-1 OR x", "...."],
  ['"-source:run-1"', "...."],
  ["/-source:run-1/", "...."],
  ["-source:nobody", "...."],
  ["source:nobody", "xxxx"],
])("%s hides %s", (expression, wanted) => {
  const off = hidden(expression, sources);
  expect(off.map((one) => (one ? "x" : ".")).join("")).toBe(wanted);
});

test.each([
  ["", "x...", "-source:box/tests"],
  ["error", "..x.", 'error -source:"a \\"b\\""'],
  ["-source:box/tests  error", "x..x", "error -source:box/tests -source:run-1"],
  ["source:run-1 error", "x.x.", 'error -source:box/tests -source:"a \\"b\\""'],
  ["error NOT source:run-1", "....", "error"],
  ["a OR b", "x...", "(a OR b) -source:box/tests"],
  ["(a OR b) -source:box/tests", "....", "(a OR b)"],
  ['"a  source:x"', "x...", '"a  source:x" -source:box/tests'],
])("%s is written so that %s are hidden", (before, off, after) => {
  const wanted = [...off].map((one) => one === "x");
  const written = hiding(before, sources, wanted);
  expect(written).toBe(after);
  expect(hidden(written, sources)).toEqual(wanted);
});
