// Answer for the panel's half: each line of stdin asks for one reading, each line of stdout is what it gives.
// Node reads the TypeScript as it is; arguments: the folder of the panel's sources.

import { registerHooks } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

registerHooks({
  resolve: (name, context, next) =>
    next(name.startsWith(".") && !/\.m?[jt]s$/.test(name) ? `${name}.ts` : name, context),
});

const source = (name) => import(`${pathToFileURL(process.argv[2])}/${name}.ts`);
const { spans, visibleText } = await source("ansi");
const { FALSE, FilterError, parse } = await source("filter");
const { level } = await source("levels");
const { answer } = await source("matching");
const { lastState } = await source("store");

const bytes = new TextEncoder();
const readings = {
  escapes: ({ line }) => spans(line).map(({ text, style }) => [text, style]),
  levels: ({ lines }) => lines.map((line) => level(visibleText(line))),
  states: ({ lines }) =>
    lines.map((line) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(lastState(bytes.encode(line)))),
  filter: ({ expression, lines, flags, received }) => {
    try {
      parse(expression);
    } catch (error) {
      if (!(error instanceof FilterError)) throw error;
      return { message: error.message, at: error.at };
    }
    const times = new DataView(Float64Array.from(received, (at) => at ?? Number.NaN).buffer);
    const block = { names: ["job\nbox/job"], from: 0, n: lines.length, received: times };
    const text = bytes.encode(lines.join("\n"));
    const reply = answer({ kind: "filter", expression, ...block, text, flags: Uint8Array.from(flags) });
    return reply.kind === "scan" ? { rows: [...reply.rows] } : reply;
  },
};

for await (const line of createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })) {
  const asked = JSON.parse(line);
  let said;
  try {
    said = readings[asked.kind](asked);
  } catch (error) {
    said = { thrown: `${error}` };
  }
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
