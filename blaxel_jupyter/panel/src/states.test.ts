import { expect, test } from "vitest";
import { states } from "./states";
import { lastState } from "./store";

const bytes = (text: string) => new TextEncoder().encode(text);

test.each([
  ["", []],
  ["plain", []],
  ["plain\r", ["plain"]],
  ["\r 10%\r 50%\r\r100%\r", [" 10%", " 50%", "100%"]],
  ["é\r\x1b[32m✓", ["é", "\x1b[32m✓"]],
])("the states of %j", (line, wanted) => {
  expect(states(bytes(line))).toEqual({ all: wanted, more: false });
  const last = wanted.at(-1);
  if (last) expect(new TextDecoder().decode(lastState(bytes(line)))).toBe(last);
});

test("of very many states the last are read", () => {
  const line = bytes(Array.from({ length: 300_000 }, (_, i) => `${i} of many`).join("\r"));
  const { all, more } = states(line);
  expect(more).toBe(true);
  expect(all.length).toBeGreaterThan(50_000);
  expect(all.at(-1)).toBe("299999 of many");
});
