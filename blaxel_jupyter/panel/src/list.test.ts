import { expect, test } from "vitest";
import { heldFraction, type Place } from "./list";

test("rows of different heights are drawn where they stood when rows come after them", () => {
  const viewport = 100;
  const places: Place[] = [
    [10, -30, 60],
    [11, 30, 20],
    [12, 50, 60],
  ];
  const fraction = heldFraction(places, 40, viewport);
  const row = Math.floor(fraction * 40);
  const [, top, height] = places[row - 10];
  expect(top + (fraction * 40 - row) * height).toBeCloseTo(fraction * viewport, 6);
});
