import { expect, test } from "vitest";
import { palette, type Style, spans, visibleText } from "./ansi";
import cases from "./escapes.json";

/** Only what a style sets: flags that are off and colours that are absent count as plain. */
function set(style: Style): object {
  return Object.fromEntries(
    Object.entries(style).filter(([, v]) => v !== undefined && v !== false),
  );
}

test.each(cases)("$name", ({ line, spans: wanted }) => {
  expect(spans(line).map((span) => [span.text, set(span.style)])).toEqual(wanted);
});

test("a line of unfinished escapes takes linear time", () => {
  const line = "\x1b]".repeat(200_000);
  const start = performance.now();
  expect(visibleText(line)).toBe("\u241b]".repeat(200_000));
  expect(performance.now() - start).toBeLessThan(2000);
});

test("palette numbers are xterm's", () => {
  expect(palette(16)).toEqual([0, 0, 0]);
  expect(palette(208)).toEqual([255, 135, 0]);
  expect(palette(255)).toEqual([238, 238, 238]);
});
