import { expect, test } from "vitest";
import cases from "../../../tests/filter_cases.json";
import { visibleText } from "./ansi";
import { FALSE, FilterError, parse } from "./filter";
import { LEVELS } from "./level-names";
import { level } from "./levels";
import { answer } from "./matching";

const STREAMS = [null, "stdout", "stderr", "system"];
const KINDS = ["line", "gap", "notice"];
const TEXT = new TextEncoder();

/** The rows of the table that the worker keeps, each asked about with its own process. */
function kept(expression: string): number[] {
  const rows: number[] = [];
  cases.rows.forEach((row, seq) => {
    const received = new DataView(new ArrayBuffer(8));
    received.setFloat64(0, row.received === null ? Number.NaN : row.received / 1000, true);
    const flags = STREAMS.indexOf(row.stream) | (KINDS.indexOf(row.kind) * 4);
    const reply = answer({
      kind: "filter",
      expression,
      names: [`${row.process}\nbox/${row.process}`],
      from: seq,
      n: 1,
      text: TEXT.encode(row.text),
      flags: Uint8Array.of(flags),
      received,
    });
    if (reply.kind !== "scan") throw new Error(JSON.stringify(reply));
    rows.push(...[...reply.rows].map((at) => seq + at));
  });
  return rows;
}

test.each(cases.filters as [string, number[]][])("%s keeps its rows", (expression, rows) => {
  expect(kept(expression)).toEqual(rows);
});

test.each(cases.errors as [string, number, string][])(
  "%s says where",
  (expression, at, message) => {
    let found: unknown;
    try {
      parse(expression);
    } catch (error) {
      found = error;
    }
    expect(found).toBeInstanceOf(FilterError);
    expect(found).toMatchObject({ at, message });
  },
);

test.each(cases.levels as [string, string][])("the level of %s", (line, wanted) => {
  expect(LEVELS[level(visibleText(line))]).toBe(wanted);
});

test("a filter that cannot be read is an answer, not an exception", () => {
  const empty = new Uint8Array();
  const received = new DataView(new ArrayBuffer(0));
  const request = { names: [""], from: 0, n: 0, text: empty, flags: empty, received };
  expect(answer({ kind: "filter", expression: "a (b", ...request })).toEqual({
    kind: "error",
    message: "the group is not closed (character 3)",
  });
  expect(answer({ kind: "filter", expression: "ok", ...request }).kind).toBe("scan");
});

test("whatever is typed is read or refused at a place inside it", () => {
  const alphabet = [...'ab"/\\()[]{}-|*+?.^$:<>=OR NOTisq1😀 '];
  let state = 7;
  const next = (n: number) => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return Math.floor((state / 2147483648) * n);
  };
  for (let i = 0; i < 5000; i++) {
    const text = Array.from({ length: next(14) }, () => alphabet[next(alphabet.length)]).join("");
    try {
      expect(parse(text)).toBeTypeOf("function");
    } catch (error) {
      expect(error, text).toBeInstanceOf(FilterError);
      expect((error as FilterError).at).toBeLessThanOrEqual([...text].length);
    }
  }
  expect(FALSE).toBe(0);
});
