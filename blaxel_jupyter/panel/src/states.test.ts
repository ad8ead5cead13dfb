import { expect, test } from "vitest";
import { count, ends } from "./states";
import { lastState } from "./store";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (part: Uint8Array) => new TextDecoder().decode(part);

test.each([
  ["", []],
  ["plain", ["plain"]],
  ["plain\r", ["plain"]],
  ["\r 10%\r 50%\r\r100%\r", [" 10%", " 50%", "100%"]],
  ["é\r\x1b[32m✓", ["é", "\x1b[32m✓"]],
])("the states of %j", (line, wanted) => {
  const found = ends(bytes(line), 100);
  expect(found.shown.map(([, part]) => text(part))).toEqual(wanted);
  expect([found.n, count(bytes(line), 100)]).toEqual([wanted.length, wanted.length]);
  expect(text(lastState(bytes(line)))).toBe(wanted.at(-1) ?? "");
});

test.each([1000, 7, 6, 4])("of %i states the first three and the last three are kept", (n) => {
  const line = bytes(Array.from({ length: n }, (_, i) => `${i}%`).join("\r"));
  const found = ends(line, 3);
  expect(found.n).toBe(n);
  const rows = Array.from({ length: n }, (_, i) => i).filter((i) => i < 3 || i >= n - 3);
  expect(found.shown.map(([i, part]) => `${i}:${text(part)}`)).toEqual(
    rows.map((i) => `${i + 1}:${i}%`),
  );
  expect(count(line, 5)).toBe(Math.min(n, 5));
});
