import { expect, test } from "vitest";
import { lineLink, linkedRow } from "./line-link";
import { fileName } from "./page";
import { type Style, time, written } from "./taking";

const TIME = Date.UTC(2026, 10, 22, 10, 5, 30) + 0.007;
const LINES = ["a", "\ufeff\x1b[31mred\x1b[0m \u2028é", "10%\r20%\r", ""];

function taken(style: Style, rows = [0, 1, 2, 3]): string {
  const received = new DataView(new ArrayBuffer(32));
  [TIME, Number.NaN, TIME, TIME].forEach((at, i) => {
    received.setFloat64(i * 8, at, true);
  });
  const bytes = written({
    style,
    from: 10,
    text: new TextEncoder().encode(LINES.join("\n")),
    flags: Uint8Array.of(1, 2, 0, 3 + 4),
    received,
    missing: new Map([[3, 9000]]),
    rows: Uint32Array.from(rows),
  });
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}

test("JSON lines have the row as received; what is not known is null", () => {
  const rows = taken("json")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(rows.map(({ text }) => text)).toEqual(LINES);
  expect(rows[0]).toEqual({
    seq: 10,
    stream: "stdout",
    kind: "line",
    text: "a",
    received: "2026-11-22T10:05:30.000007Z",
    missing_bytes: null,
  });
  expect(rows[1].received).toBeNull();
  expect(rows[2].stream).toBeNull();
  expect(rows[3]).toMatchObject({ stream: "system", kind: "gap", missing_bytes: 9000 });
});

test("of several runs, a row says which it is from", () => {
  const rows = {
    from: 0,
    text: new TextEncoder().encode("a\nb"),
    flags: new Uint8Array(2),
    received: new DataView(new ArrayBuffer(16)),
    missing: new Map(),
    rows: Uint32Array.of(0, 1),
  };
  const names = ["build", "tests"].map((process) => ({ sandbox: "mine", process }));
  const text = written({ ...rows, style: "json", names, sources: Uint8Array.of(1, 0) });
  const [first, second] = new TextDecoder().decode(text).split("\n");
  expect(JSON.parse(first)).toMatchObject({ seq: 0, sandbox: "mine", process: "tests" });
  expect(JSON.parse(second).process).toBe("build");
});

test("text is what is shown, or exactly what was received", () => {
  expect(taken("text")).toBe("a\n<U+FEFF>red <U+2028>é\n20%\n-- 9,000 bytes missing here --\n");
  expect(taken("raw", [1, 2])).toBe(`${LINES[1]}\n${LINES[2]}\n`);
  expect(taken("raw", [3])).toBe("-- 9,000 bytes missing here --\n");
  expect(taken("numbers", [0, 3])).toBe("11\ta\n14\t-- 9,000 bytes missing here --\n");
  expect(taken("times", [0, 2])).toContain("2026-11-22T10:05:30.000007Z\t20%\n");
});

test.each([
  ["-- 9,000 bytes missing here --", "\\-- 9,000 bytes missing here --"],
  ["\\-- x --", "\\\\-- x --"],
  ["-- DROP TABLE x", "-- DROP TABLE x"],
])("%s cannot be taken for a row of ours", (line, shown) => {
  const taking = {
    from: 0,
    text: new TextEncoder().encode(line),
    flags: Uint8Array.of(1),
    received: new DataView(new ArrayBuffer(8)),
    missing: new Map(),
    rows: Uint32Array.of(0),
  };
  const text = (style: Style) => new TextDecoder().decode(written({ ...taking, style }));
  expect([text("text"), text("raw")]).toEqual([`${shown}\n`, `${line}\n`]);
});

test("a time keeps its microseconds", () => {
  expect(time(1_763_805_930_123.456)).toBe("2025-11-22T10:05:30.123456Z");
  expect(time(0)).toBe("1970-01-01T00:00:00.000000Z");
});

test.each([
  ["tests", "tests.log"],
  ["my tests/1", "my-tests-1.log"],
  ["../../etc/passwd", "etc-passwd.log"],
  ["Prüfung №1", "Prüfung-1.log"],
  ["<b>\u202egnp", "b-gnp.log"],
  ["...", "log.log"],
  ["", "log.log"],
])("the file for %s is %s", (process, name) => {
  expect(fileName(process, "log")).toBe(name);
});

test("a link has no token, and leads back to its row of its process", () => {
  const link = lineLink("http://host/lab/tree/a.ipynb?token=secret&reset&x=1#old", "a b/c:d", 7);
  expect(link).toBe("http://host/lab/tree/a.ipynb?x=1#bxl=a%20b%2Fc%3Ad:7");
  const { hash } = new URL(link);
  expect(linkedRow(hash, "a b/c:d")).toBe(6);
  expect(linkedRow(hash, "another")).toBeNull();
  expect(linkedRow("#bxl=%E0%A4%A:7", "a")).toBeNull();
  expect(linkedRow(lineLink("http://host/", "\ud800", 1).slice(12), "\ud800")).toBe(0);
});
