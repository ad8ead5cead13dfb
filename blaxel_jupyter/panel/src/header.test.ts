import { expect, test } from "vitest";
import { digestParts, duration, facts, type Header, Rate, size, statusText } from "./header";

const HEADER = {
  status: "running",
  exit_code: null,
  started: 100,
  ended: null,
  lines: 1234,
  bytes: 0,
};

test("sizes and durations read like the rest of a notebook", () => {
  expect([0, 999, 1000, 999_499, 1_500_000, 2e9].map(size)).toEqual([
    "0 B",
    "999 B",
    "1.00 kB",
    "999 kB",
    "1.50 MB",
    "2.00 GB",
  ]);
  expect([-1, 0.25, 42, 75, 7260].map(duration)).toEqual([
    "0.0 s",
    "0.3 s",
    "42 s",
    "1 min 15 s",
    "2 h 1 min",
  ]);
});

test("what is not known is left out", () => {
  expect(facts({ ...HEADER, started: null } as Header, 105, 0)).toEqual(["1,234 lines", "0 B"]);
  expect(facts(HEADER as Header, 105, 2000)).toEqual(["5.0 s", "1,234 lines", "0 B", "2.00 kB/s"]);
});

test("the header says how many values were masked", () => {
  const told = facts({ ...HEADER, masked: 1200 } as Header, 105, 0);
  expect(told).toEqual(["5.0 s", "1,234 lines", "0 B", "1,200 values masked"]);
  expect(facts({ ...HEADER, masked: 1 } as Header, 105, 0).at(-1)).toBe("1 value masked");
  expect(facts({ ...HEADER, masked: 0 } as Header, 105, 0)).toHaveLength(3);
});

test("an exit code is shown when it says more than the word", () => {
  expect(statusText({ ...HEADER, status: "completed", exit_code: 0 } as Header)).toBe("completed");
  expect(statusText({ ...HEADER, status: "failed", exit_code: 3 } as Header)).toBe(
    "failed · exit code 3",
  );
});

test("a bad end is explained, with the lines that say why", () => {
  const failed = { ...HEADER, status: "failed", exit_code: 137 } as Header;
  const digest = { meaning: "killed", first: 11, block: [1233, 1240] } as Header["digest"];
  expect(digestParts({ ...failed, digest })).toEqual({
    meaning: "exit code 137: killed",
    links: [
      ["first error: line 12", 11],
      ["last error: lines 1,234–1,240", 1233],
    ],
  });
  expect(digestParts(failed)).toEqual({ meaning: "", links: [] });
});

test("the rate is that of the last seconds", () => {
  const rate = new Rate();
  expect(rate.at(0, { bytes: 0 })).toBe(0);
  expect(rate.at(1, { bytes: 1000 })).toBe(1000);
  rate.at(5, { bytes: 1000 });
  expect(rate.at(9, { bytes: 1000 })).toBe(0);
});
