import { expect, test } from "vitest";
import { answer, compiled, ranges, scan } from "./matching";

const block = (lines: string[]) => new TextEncoder().encode(lines.join("\n"));
const plain = (text: string) => compiled({ text, regex: false, caseSensitive: false });

test("plain text is not an expression, and case does not matter unless asked", () => {
  const lines = ["a.b", "axb", "A.B", ""];
  expect([...scan(plain("a.b"), block(lines), 4)]).toEqual([0, 2]);
  const exact = compiled({ text: "a.b", regex: false, caseSensitive: true });
  expect([...scan(exact, block(lines), 4)]).toEqual([0]);
  for (const character of "\\^$.*+?()[]{}|/-") {
    expect([...scan(plain(character), block([`x${character}`, "x"]), 2)]).toEqual([0]);
  }
});

test("what is searched is what is shown", () => {
  const lines = ["\x1b[31mer\x1b[1mror\x1b[0m", "error 10%\rdone", "\x1b]0;error\x07quiet"];
  expect([...scan(plain("error"), block(lines), 3)]).toEqual([0]);
});

test("each row is judged by the name of its own source", () => {
  const rows = {
    kind: "filter",
    expression: "source:build",
    names: ["tests", "build"],
    from: 0,
    n: 3,
    text: block(["a", "b", "c"]),
    flags: new Uint8Array(3),
    received: new DataView(new ArrayBuffer(24)),
  } as const;
  const kept = (sources?: Uint8Array) => answer({ ...rows, names: [...rows.names], sources });
  expect(kept(new Uint8Array([1, 0, 1]))).toEqual({ kind: "scan", rows: new Uint32Array([0, 2]) });
  expect(kept()).toEqual({ kind: "scan", rows: new Uint32Array() });
});

test("ranges are bounded and end on empty matches", () => {
  expect(ranges(plain("a"), "banana")).toEqual([1, 2, 3, 4, 5, 6]);
  expect(ranges(compiled({ text: "x*", regex: true, caseSensitive: true }), "axxb")).toEqual([
    1, 3,
  ]);
  expect(ranges(plain("a"), "a".repeat(1000))).toHaveLength(200);
});

test("an expression that cannot be read is an answer, not an exception", () => {
  const query = { text: "(", regex: true, caseSensitive: true };
  expect(answer({ kind: "highlight", query, lines: ["x"] }).kind).toBe("error");
});
