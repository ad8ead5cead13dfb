import { expect, test } from "vitest";
import type { Incoming } from "./session";
import {
  type Entry,
  fields,
  type Item,
  partition,
  partText,
  passes,
  plainText,
  Story,
  styled,
  toolState,
} from "./story";

function message(from: number, n: number, v: number): Incoming {
  return { kind: "append", from, n, v, sent: from + n, epoch: 0, now: 0 } as unknown as Incoming;
}

function packed(...entries: Entry[]): DataView[] {
  return [new DataView(new TextEncoder().encode(JSON.stringify(entries)).buffer)];
}

function text(i: number, at: number, piece: string): Entry {
  return { i, kind: "text", at, text: piece, closed: false, cut: 0 };
}

function call(i: number, failed: boolean | null, more: Partial<Entry> = {}): Entry {
  return {
    i,
    kind: "tool",
    name: "bash",
    summary: "ls",
    outcome: "",
    failed,
    sections: [],
    ...more,
  };
}

function item(entry: Entry): Item {
  const story = new Story();
  story.take(message(0, 1, 1), packed(entry));
  return story.items[entry.i];
}

test("a text grows by what is new, a call is replaced", () => {
  const story = new Story();
  expect(story.take(message(0, 2, 2), packed(text(0, 0, "one "), call(1, null)))).toBe(true);
  const before = story.items[1].stamp;
  expect(story.take(message(2, 2, 4), packed(text(0, 4, "two"), call(1, true)))).toBe(true);
  expect(story.items[0].text).toBe("one two");
  expect(story.items[1].failed).toBe(true);
  expect(story.items[1].stamp).toBeGreaterThan(before);
  expect(story.length).toBe(4);
});

test("what comes too early is refused, and older news changes nothing", () => {
  const story = new Story();
  expect(story.take(message(3, 1, 4), packed(call(0, true)))).toBe(false);
  expect(story.items).toEqual([]);
  story.take(message(0, 4, 4), packed(call(0, true)));
  expect(story.take(message(1, 1, 2), packed(call(0, null)))).toBe(true);
  expect(story.items[0].failed).toBe(true);
});

test("a text whose beginning is missing is asked for from the start", () => {
  const story = new Story();
  story.take(message(0, 1, 1), packed(text(0, 0, "ab")));
  expect(story.take(message(1, 1, 2), packed(text(0, 5, "x")))).toBe(false);
  expect(story.length).toBe(0);
  story.take(message(0, 2, 2), packed(text(0, 0, "abcdex")));
  expect(story.items[0].text).toBe("abcdex");
});

test("the tools that occur are counted, under the name known last", () => {
  const story = new Story();
  story.take(message(0, 2, 2), packed(call(0, null, { name: "tool" }), call(1, null)));
  story.take(message(2, 1, 3), packed(call(0, null, { name: "bash" })));
  expect([...story.tools]).toEqual([["bash", 2]]);
});

test("a long text is shown in parts that stay as they are while it grows", () => {
  const lines = `${"word ".repeat(60)}\n`.repeat(40) + "x".repeat(20_000);
  const ends = partition(lines, []);
  for (let cut = 0; cut < lines.length; cut += 997) {
    const some = partition(lines.slice(0, cut), []);
    expect(some.slice(0, -1)).toEqual(ends.slice(0, Math.max(0, some.length - 1)));
    expect(partition(lines, some)).toEqual(ends);
  }
  const sizes = ends.map((end, i) => end - (ends[i - 1] ?? 0));
  expect(Math.max(...sizes)).toBeLessThanOrEqual(4001);
});

test("parts join to the text, without empty lines around it", () => {
  const long = item(text(0, 0, `\n\n${"line of words\n".repeat(500)}\n\n`));
  const parts = Array.from({ length: long.ends.length + 1 }, (_, part) => partText(long, part));
  expect(parts.length).toBeGreaterThan(2);
  expect(parts.join("\n")).toBe("line of words\n".repeat(500).trimEnd());
});

test("what is shown is what is searched: no escapes, carriage returns leave their last state", () => {
  const shell = item(
    call(0, true, {
      summary: "make\u202e",
      outcome: "exit code 2",
      sections: [["stdout", "text", "10%\r20%\n\x1b[31mred\x1b[0m\n", 7, "end\n"]],
    }),
  );
  expect(fields(shell)).toEqual(["bash", "make<U+202E>", "exit code 2", "20%\nred", "end"]);
  expect(styled("a\n\x1b[1mb").map((span) => span.text)).toEqual(["a", "\n", "b"]);
  expect(plainText([shell])).toBe("> bash · make<U+202E> · exit code 2\n    20%\n    red\n    end");
});

test("a call without an end is running, and never finished once the run is over", () => {
  expect(toolState(item(call(0, null)), false)).toBe("running");
  expect(toolState(item(call(0, null)), true)).toBe("unfinished");
  expect(toolState(item(call(0, false)), true)).toBe("ok");
  expect(toolState(item(call(0, true)), false)).toBe("failed");
});

test("filters choose kinds, and the calls of one tool", () => {
  const off = new Set(["reasoning"] as const);
  expect(passes(item({ ...text(0, 0, "hm"), kind: "reasoning" }), off, null)).toBe(false);
  expect(passes(item(text(0, 0, "hm")), off, "Read")).toBe(true);
  expect(passes(item(text(0, 0, " \n")), off, null)).toBe(false);
  expect(passes(item(call(0, null)), off, "Read")).toBe(false);
  expect(passes(item(call(0, null)), off, "bash")).toBe(true);
  expect(passes(item({ i: 0, kind: "unknown" }), new Set(["other"] as const), null)).toBe(false);
});
