import { expect, test } from "vitest";
import type { TaskHeader } from "./story";
import { brief } from "./story-rows";
import { short, taskFacts } from "./task-header";

const HEADER = {
  started: 100,
  ended: null,
  final: false,
  events: 1234,
  tool_calls: 1,
  input_tokens: null,
  output_tokens: null,
  total_cost_usd: null,
} as TaskHeader;

test("what is known is said, and nothing else", () => {
  expect(taskFacts(HEADER, 105)).toEqual(["5.0 s", "1,234 events", "1 tool call"]);
  const ended = { ...HEADER, final: true };
  expect(taskFacts(ended, 105)).toEqual(["1,234 events", "1 tool call"]); // its end is not known
  const priced = { ...ended, ended: 175, input_tokens: 61_544, total_cost_usd: 0.08731 };
  expect(taskFacts(priced, 999)).toEqual([
    "1 min 15 s",
    "1,234 events",
    "1 tool call",
    "61.5k in tokens",
    "$0.0873",
  ]);
});

test("counts and times are short", () => {
  expect([0, 999, 1000, 18_420, 999_499, 2_500_000].map(short)).toEqual([
    "0",
    "999",
    "1k",
    "18.4k",
    "999k",
    "2.5M",
  ]);
  expect([0, 89.4, 1500, 75_000].map(brief)).toEqual(["0 ms", "89 ms", "1.5 s", "1 min 15 s"]);
});
