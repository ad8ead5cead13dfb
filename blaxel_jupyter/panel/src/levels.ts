// Guess how grave a log line is from what it says of itself; 0, "unknown", when unsure.
// The twin of levels.py, whose expressions these are; both are held to tests/filter_cases.json.

import { ERROR } from "./level-names";

const NAMES = [
  "trace verbose",
  "debug dbg",
  "info information notice",
  "warning warn wrn",
  "error err severe",
  "fatal critical crit panic emerg emergency alert",
];
const HEAD = 300; // characters of a line that are looked at; of JSON and key=value pairs more

/** Each word for a level, in lower case, with the level's place in `LEVELS`. */
export const NUMBERS = new Map([["unknown", 0]]);
NAMES.forEach((words, i) => {
  for (const word of words.split(" ")) NUMBERS.set(word, i + 1);
});

const WORDS = NAMES.join(" ").replaceAll(" ", "|");
const JSON_LEVEL =
  /"(?:level|severity|lvl|levelname|log_level|loglevel)"[ \t]*:[ \t]*(?:"(\w+)"|(\d+)\b)/i;
const PAIRS = /(?:^|[ \t])(?:level|severity|lvl)=(?:"(\w+)"|(\w+))/i;
const KLOG = /^([IWEF])\d{4} \d\d:\d\d:\d\d/;
const SAYINGS =
  /^(?:Traceback \(most recent call last\):|Exception in thread |Caused by: |Uncaught |E {3}|thread '[^']*' panicked at |Segmentation fault|FAILED |make(?:\[\d+\])?: \*\*\* |E: |npm (?:ERR!|error)|(W: |npm (?:WARN|warn) ))/;
const PREFIX = String.raw`^[ \t]*(?:(?=[^ \t]*[\d\[\]|:=]|[^ \t]*\w[./-]\w|-[ \t])[^ \t]+[ \t]+){0,6}?`;
const UPPER = new RegExp(
  String.raw`(?!\d{1,5}[ \t]+[A-Z])${PREFIX}[\[(<|*]*(${WORDS.toUpperCase()})(?![\w=-]|\.\w)`,
);
const MARKED = new RegExp(
  String.raw`${PREFIX}(?:[\[(<](${WORDS})[\])>]|(${WORDS}|fatal error)(?:\[\w+\]| [A-Z]+\d+)?:(?=[ \t]|$))`,
  "i",
);
const RAISED = new RegExp(
  String.raw`${PREFIX}(?:[\w$]+\.)*[A-Z]\w*(Error|Exception|Warning)(?::(?=[ \t]|$)|$)`,
);
// One of these is in every line that has a level: looking for them first is three times as fast.
const HINT =
  /^[IWEF]|trac|verb|debug|dbg|info|notice|warn|wrn|err|severe|fatal|crit|panic|emerg|alert|exception|caused|uncaught|segment|failed|make|level|lvl|severity/i;
const PINO = ["10", "20", "30", "40", "50", "60"];

/** The place in `LEVELS` of a line as it is shown. */
export function level(line: string): number {
  if (!HINT.test(line)) return 0;
  const long = line.slice(0, HEAD * 5);
  if (line.startsWith("{")) return number(JSON_LEVEL.exec(long));
  const head = line.slice(0, HEAD);
  let found = UPPER.exec(head) ?? MARKED.exec(head);
  if (found) return NUMBERS.get((found[1] ?? found[2]).toLowerCase()) ?? ERROR;
  found = SAYINGS.exec(head);
  if (found) return found[1] ? ERROR - 1 : ERROR;
  found = RAISED.exec(head);
  if (found) return found[1] === "Warning" ? ERROR - 1 : ERROR;
  found = KLOG.exec(head);
  if (found) return "IWEF".indexOf(found[1]) + 3;
  found = head.includes("=") ? PAIRS.exec(long) : null;
  if (!found) return 0;
  const pairs = /^[\w.-]+=/.test(head) || !/[A-Za-z]{2} /.test(head.slice(0, found.index + 1));
  return pairs ? number(found) : 0;
}

function number(found: RegExpExecArray | null): number {
  const word = found?.[1] ?? found?.[2] ?? "";
  return NUMBERS.get(word.toLowerCase()) ?? (found?.[1] ? 0 : PINO.indexOf(word) + 1);
}
