// Read the fields of a line that is a JSON object or logfmt pairs, maybe behind a time or a level.
// Numbers are shown as they are written, with every digit; nothing is run or looked up.

import { visibleText } from "./ansi";

export type Field = [name: string, value: string];

const MAX_VALUE = 4000; // characters of one value
const MAX_DEPTH = 50;
const HEAD = 2000; // characters of a line that are looked at to tell whether it has fields
const OBJECT = /^[^{]{0,200}\{\s*"(?:[^"\\]|\\.)*"\s*:/;
const PAIR = /(?:^|\s)([A-Za-z_@][\w.@/-]*)=("(?:[^"\\]|\\.)*"|[^\s"=][^\s"]*?(?=[,;]?(?:\s|$)))/g;
const TOKEN = /"(?:[^"\\]|\\.)*"?|-?\d[\d.eE+-]*|[[{]|[}\]]/g;
const NUMBER = "\ufdd0"; // before numbers while JSON is read: they keep their digits as texts

/** Whether a line seems to have fields: a look at its beginning and end. */
export function hasFields(line: string): boolean {
  const head = line.slice(0, HEAD);
  if (OBJECT.test(head) && (head.length < line.length || head.trimEnd().endsWith("}"))) return true;
  return (head.match(PAIR)?.length ?? 0) > 1;
}

/** The fields of a line; null if there are none after all. */
export function fields(line: string): Field[] | null {
  const object = parsed(line.replace(/^[^{]*/, ""));
  if (object) return Object.entries(object).map(([name, value]) => [shown(name), shown(value)]);
  const pairs = [...line.matchAll(PAIR)].map(([, name, value]): Field => {
    const text = value.startsWith('"') && parsed(`{"":${value}}`)?.[""];
    return [name, shown(text || value)];
  });
  return pairs.length > 1 ? pairs : null;
}

/** The members of a JSON object as texts, what is nested as JSON; null if it is none, or too deep. */
function parsed(text: string): Record<string, string> | null {
  let depth = 0;
  let deepest = 0;
  const kept = text.replace(TOKEN, (token) => {
    if (token === "[" || token === "{") deepest = Math.max(deepest, ++depth);
    else if (token === "]" || token === "}") depth -= 1;
    else if (!token.startsWith('"')) return `"${NUMBER}${token}"`;
    return token;
  });
  if (deepest > MAX_DEPTH) return null;
  try {
    const found: [string, unknown][] = Object.entries(JSON.parse(kept));
    return Object.fromEntries(found.map(([name, value]) => [name, written(value)]));
  } catch {
    return null;
  }
}

function written(value: unknown): string {
  if (typeof value === "string") return value.replace(NUMBER, "");
  return JSON.stringify(value, null, 2).replace(/"\ufdd0([^"]*)"/g, "$1");
}

/** A text as it is safe to be shown, over as many lines as it has. */
function shown(text: string): string {
  const lines = text.slice(0, MAX_VALUE).split("\n").map(visibleText).join("\n");
  return lines + (text.length > MAX_VALUE ? "…" : "");
}
