import { expect, test } from "vitest";
import { spans } from "./ansi";
import { contrast, readable } from "./readable";

test.each([
  ["30;40", { fg: undefined, bg: 0 }],
  ["31;41", { fg: undefined, bg: 1 }],
  ["97;41", { fg: 15, bg: 1 }],
  ["33;44", { fg: 3, bg: 4 }],
  ["38;2;9;9;9;48;2;9;9;9", { fg: [255, 255, 255], bg: [9, 9, 9] }],
  ["38;5;255;48;2;250;250;250", { fg: [0, 0, 0], bg: [250, 250, 250] }],
  ["38;5;196;48;2;250;250;250", { fg: 196, bg: [250, 250, 250] }],
  ["7;38;2;9;9;9;48;2;9;9;9", { fg: [255, 255, 255], bg: [9, 9, 9] }],
  ["48;5;16", { fg: [255, 255, 255], bg: 16 }],
  ["38;2;255;255;255", { fg: [255, 255, 255], tone: "bxl-pale" }],
  ["38;5;16", { fg: 16, tone: "bxl-deep" }],
  ["38;5;33", { fg: 33, tone: undefined }],
  ["30", { fg: 0 }],
])("colours %s hide nothing", (sgr, shown) => {
  const [{ style }] = spans(`\x1b[${sgr}mtext`);
  expect(readable(style)).toEqual(shown);
});

test("contrast is that of WCAG", () => {
  expect(contrast([0, 0, 0], [255, 255, 255])).toBe(21);
  expect(contrast([119, 119, 119], [255, 255, 255])).toBeCloseTo(4.48, 2);
});
