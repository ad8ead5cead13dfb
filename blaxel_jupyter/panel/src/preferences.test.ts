import { expect, test } from "vitest";
import { load, parsed, save } from "./preferences";
import { clock, elapsed } from "./times";

const QUIET = { numbers: false, time: "off", wrap: false };

test.each(["", "{", "null", "7", '"x"', "[]", '{"time":"__proto__","wrap":1,"numbers":"yes"}'])(
  "%s is as if nothing was remembered",
  (text) => {
    expect(parsed(text)).toEqual(QUIET);
  },
);

test("where nothing can be kept, nothing was remembered", () => {
  expect(load()).toEqual(QUIET); // there is no localStorage here
  save({ numbers: true, time: "local", wrap: true });
  expect(load()).toEqual(QUIET);
});

test("what was remembered is read back", () => {
  const liked = { numbers: true, time: "relative", wrap: true } as const;
  expect(parsed(JSON.stringify(liked))).toEqual(liked);
  expect(parsed('{"time":"local"}')).toEqual({ ...QUIET, time: "local" });
});

test("times are written with milliseconds", () => {
  const morning = new Date(2026, 10, 22, 9, 5, 1, 42).getTime();
  expect(clock(morning + 0.9)).toBe("09:05:01.042");
  expect(
    [0, 42, 9_999, 61_005, 3_600_000, 100 * 3_600_000 + 1, -250].map((ms) => elapsed(ms)),
  ).toEqual([
    "+0.000",
    "+0.042",
    "+9.999",
    "+1:01.005",
    "+1:00:00.000",
    "+100:00:00.001",
    "−0.250",
  ]);
  expect(elapsed(Number.NaN)).toBe("");
});
