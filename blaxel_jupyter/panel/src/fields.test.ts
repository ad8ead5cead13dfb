import { expect, test } from "vitest";
import { type Field, fields, hasFields } from "./fields";

const CASES: [string, Field[]][] = [
  [
    '{"level":"info","n":1234567890123456789012,"x":1.50,"ok":true,"none":null}',
    [
      ["level", "info"],
      ["n", "1234567890123456789012"],
      ["x", "1.50"],
      ["ok", "true"],
      ["none", "null"],
    ],
  ],
  ['2026-11-22 INFO [web] {"a": "b c"}  ', [["a", "b c"]]],
  [
    '{"__proto__":3,"b":-0.10e+5}',
    [
      ["__proto__", "3"],
      ["b", "-0.10e+5"],
    ],
  ],
  [
    '{"deep":{"list":[1,{"b":[]},"x, y: {z}"],"e":{}}}',
    [
      [
        "deep",
        '{\n  "list": [\n    1,\n    {\n      "b": []\n    },\n    "x, y: {z}"\n  ],\n  "e": {}\n}',
      ],
    ],
  ],
  ['{"text":"one\\ntwo\\u001b[31m\\u202e"}', [["text", "one\ntwo<U+202E>"]]],
  [
    'time=2026-11-22T10:00:00Z level=info msg="a \\"b\\" c" took=12.50ms url=http://a.b/?c=d n=',
    [
      ["time", "2026-11-22T10:00:00Z"],
      ["level", "info"],
      ["msg", 'a "b" c'],
      ["took", "12.50ms"],
      ["url", "http://a.b/?c=d"],
    ],
  ],
  [
    "10:00 INFO done rows=12, mb=3.4",
    [
      ["rows", "12"],
      ["mb", "3.4"],
    ],
  ],
];

test.each(CASES)("%s", (line, wanted) => {
  expect(hasFields(line)).toBe(true);
  expect(fields(line)).toEqual(wanted);
});

test.each([
  "",
  "plain text",
  "a=1",
  "a==1 b==2",
  "{not json}",
  '{"a": 1} and more',
  "x == y and y == z",
  "--flag=1 --other=2",
  "http://a.b/?c=1&d=2",
  "def f(a=1, b=2):",
  "{}",
  '["a"]',
])("%s has no fields", (line) => {
  expect(hasFields(line)).toBe(false);
});

test("what only looks like JSON has no fields", () => {
  expect(fields('{"a": }')).toBe(null);
  expect(fields('{"a": process.exit()}')).toBe(null);
  expect(fields('{"a": 1} k=1 x {"b": 2}')).toBe(null);
});

test("what is nested is bounded", () => {
  const nested = (depth: number) => `{"a":${"[".repeat(depth)}${"]".repeat(depth)},"b":7}`;
  expect((fields(nested(40)) as Field[]).map(([name]) => name)).toEqual(["a", "b"]);
  expect(fields(nested(100_000))).toBe(null);
  const list = Array.from({ length: 50_000 }, (_, i) => i);
  for (const [, value] of fields(JSON.stringify({ list, text: "x".repeat(9999) })) as Field[]) {
    expect(value.length).toBeLessThan(4100);
    expect(value.endsWith("…")).toBe(true);
  }
});

test("a look at a long line takes little time", () => {
  const start = performance.now();
  for (const piece of ["a=", '{"a', "a a=b", "{", '"\\', "aaaa", " x="])
    hasFields(piece.repeat(200_000));
  fields(`{"a":"${"\\n".repeat(100_000)}`);
  fields("a=b ".repeat(20_000));
  fields('a="'.repeat(2000));
  expect(performance.now() - start).toBeLessThan(1500);
});

test("a line of quotes that never end takes little time", () => {
  const start = performance.now();
  expect(fields(`{"a":${'\\"'.repeat(400_000)}}`)).toBeNull();
  expect(performance.now() - start).toBeLessThan(5000);
});
