import { expect, test } from "vitest";
import { Groups, LONGEST } from "./groups";

/** Each case is a log; lines of one group are marked with | at the left, its first with >. */
const CASES: Record<string, string> = {
  "a traceback": `
 starting
>Traceback (most recent call last):
|  File "/a/b.py", line 3, in <module>
|    foo(1)
|    ~~~^^^
|ValueError: bad
 after`,
  "a chained traceback": `
>Traceback (most recent call last):
|  File "a.py", line 1, in f
|    {}[1]
|KeyError: 1
|
|During handling of the above exception, another exception occurred:
|
|Traceback (most recent call last):
|  File "a.py", line 3, in <module>
|    raise ValueError
|ValueError
|
|The above exception was the direct cause of the following exception:
|
|Traceback (most recent call last):
|  File "a.py", line 9, in <module>
|    g()
|mine.Boom: last

 next`,
  "an indented traceback under what was logged": `
 INFO before
>2026-11-22 10:00:00 ERROR worker failed
|  Traceback (most recent call last):
|    File "a.py", line 1, in f
|      g()
|  RuntimeError: no
 INFO after`,
  "logging.exception": `
 INFO:root:begin
>ERROR:root:it broke
|Traceback (most recent call last):
|  File "a.py", line 1, in f
|    g()
|RuntimeError: no
 INFO:root:end`,
  "a traceback after a line that is no error": `
 INFO all is well
>Traceback (most recent call last):
|  File "a.py", line 1
|SyntaxError: invalid syntax
 $`,
  "an indented traceback alone": `
 text
>    Traceback (most recent call last):
|      File "a.py", line 1, in f
|    ValueError: x
 text`,
  "two tracebacks": `
>Traceback (most recent call last):
|  File "a.py", line 1, in f
|ValueError: x
>Traceback (most recent call last):
|  File "a.py", line 1, in f
|ValueError: x`,
  "an exception group": `
>  + Exception Group Traceback (most recent call last):
|  |   File "a.py", line 1, in <module>
|  |     raise ExceptionGroup("several", errors)
|  | ExceptionGroup: several (2 sub-exceptions)
|  +-+---------------- 1 ----------------
|    | ValueError: 1
|    +---------------- 2 ----------------
|    | TypeError: 2
|    +------------------------------------
 done`,
  Java: `
>Exception in thread "main" java.lang.IllegalStateException: no
|	at com.a.B.c(B.java:10)
|	at com.a.B.main(B.java:3)
|Caused by: java.io.IOException: disk
|	at com.a.D.e(D.java:5)
|	... 2 more
 [main] done`,
  "Java, an exception of one's own": `
 x
>com.a.Boom: no
|	at com.a.B.c(B.java:10)
|	... 12 common frames omitted
 y`,
  JavaScript: `
>TypeError: Cannot read properties of undefined (reading 'x')
|    at f (/a/b.js:1:2)
|    at node:internal/main:1:2 {
|  code: 'E',
|  cause: null
|}

 Node.js v20.1.0`,
  Go: `
 2026/11/22 serving
>panic: runtime error: index out of range [5] with length 3
|
|goroutine 1 [running]:
|main.f({0xc000012345, 0x3, 0x4})
|	/tmp/a.go:8 +0x1d
|main.(*T).g(...)
|	/tmp/a.go:12
|main.main()
|	/tmp/a.go:15 +0x2b
|created by main.main in goroutine 1
|	/tmp/a.go:20 +0x1
|exit status 2
 $`,
  Rust: `
>thread 'main' panicked at src/main.rs:2:5:
|index out of bounds: the len is 3
|stack backtrace:
|   0: rust_begin_unwind
|             at /rustc/abc/lib.rs:1:2
|note: run with \`RUST_BACKTRACE=1\` environment variable
 next`,
  "what is indented under a line with a level": `
 INFO one
>INFO config
|  a: 1
|
|  b: 2
>src/x.c:3:5: error: expected ';'
|    3 | int x
|      |      ^
 WARNING none
>10:00 [info] config
|  c: 3
>level=warn msg=x
|  more`,
  "what is indented, but under nothing that says so": `
 total 3
   1 a
   2 b
 list:
   - x
   - y

   text`,
  "blank lines are no group": `
 ERROR a


   far away
 ERROR b

   after a blank line`,
};

const MARKS = [" ", ">", "|"];

test.each(Object.entries(CASES))("%s", (_name, text) => {
  const marked = text.split("\n").slice(1);
  const lines = marked.map((line) => line.slice(1));
  const read = (row: number) => (row < lines.length ? { line: lines[row], of: 0 } : null);
  const rows = lines.map((_, row) => row);
  for (const order of [rows, [...rows].reverse()]) {
    const groups = new Groups(read);
    const found = order.map((row) => {
      const group = groups.around(row);
      expect(groups.begins(row)).toBe(group?.[0] === row);
      const mark = group === null ? " " : group[0] === row ? ">" : "|";
      return [row, MARKS.includes(mark) ? mark + lines[row] : ""] as const;
    });
    const shown = found.sort(([a], [b]) => a - b).map(([, line]) => line);
    expect(shown).toEqual(marked.map((line) => line || " "));
  }
});

test("a group ends where another stream, or a gap, comes between", () => {
  const rows: [string, number][] = [
    ["Traceback (most recent call last):", 2],
    ['  File "a.py", line 1', 2],
    ["  12 %", 1],
    ["    f()", 2],
  ];
  const groups = new Groups((row) => (row < 4 ? { line: rows[row][0], of: rows[row][1] } : null));
  expect(groups.around(0)).toEqual([0, 2]);
  expect([2, 3].map((row) => groups.around(row))).toEqual([null, null]);
});

test("a group grows while its lines arrive", () => {
  const lines = ["ERROR a", "  b"];
  const groups = new Groups((row) => (row < lines.length ? { line: lines[row], of: 0 } : null));
  expect(groups.around(1)).toEqual([0, 2]);
  lines.push("", "  c");
  expect([groups.around(1), groups.around(3), groups.around(4)]).toEqual([[0, 4], [0, 4], null]);
});

test("a look at a row costs rows near it, however long the log", () => {
  let reads = 0;
  const groups = new Groups((row) => {
    reads += 1;
    return { line: row % 1000 ? "  indented" : "ERROR x", of: 0 };
  });
  expect(groups.around(5_000_100)).toEqual([5_000_000, 5_000_000 + LONGEST]);
  expect(reads).toBeLessThan(LONGEST * 3);
});
