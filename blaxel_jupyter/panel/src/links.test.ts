import { expect, test } from "vitest";
import { visibleText } from "./ansi";
import { links } from "./links";

function texts(line: string, cut = false): string[] {
  return links(line, cut).map(({ start, end }) => line.slice(start, end));
}

test.each([
  ["see https://example.com/a?b=c#d.", ["https://example.com/a?b=c#d"]],
  ["(https://en.wikipedia.org/wiki/A_(b)), then", ["https://en.wikipedia.org/wiki/A_(b)"]],
  ["[x](http://localhost:8888/lab)", ["http://localhost:8888/lab"]],
  ["url=https://a.b/c, next='http://d.e'!", ["https://a.b/c", "http://d.e"]],
  ['<https://a.b> "https://c.d/"', ["https://a.b", "https://c.d/"]],
  ["HTTPS://A.B/x...", ["HTTPS://A.B/x"]],
  ["http://[::1]:80/x]", ["http://[::1]:80/x"]],
  ["to mailto:someone@example.com, please", ["mailto:someone@example.com"]],
  ["https://例え.jp/道。", ["https://例え.jp/道"]],
  ["https://a.b/?next=https://c.d", ["https://a.b/?next=https://c.d"]],
])("in %s", (line, wanted) => {
  expect(texts(line)).toEqual(wanted);
});

test.each([
  "javascript:alert(1)",
  "javascript:https://a.b/%0aalert(1)",
  "JaVaScRiPt://a.b/%0aalert(1)",
  "data:text/html,<script>alert(1)</script>",
  "data:text/html;base64,PHNjcmlwdD4=",
  "file:///etc/passwd",
  "vbscript:msgbox(1)",
  "blob:https://a.b/1234",
  "view-source:https://a.b",
  "ftp://a.b/c",
  "ws://a.b",
  "xhttps://a.b",
  "git+https://a.b/c",
  "httpx://a.b",
  "http:/a.b",
  "http:a.b",
  "https:///a.b",
  "https://",
  "https:// a.b",
  "https://user:secret@a.b/c",
  "https://user@a.b/c",
  "https://a.b:notaport/",
  "mailto:",
  "mailto:nobody",
  "mailto:a@b,c@d",
  "//a.b/c",
  "www.a.b",
])("%s is no link", (line) => {
  expect(texts(line)).toEqual([]);
});

test("the title says where a link goes, not what it looks like", () => {
  const titles = (line: string) => links(line).map(({ title }) => title);
  expect(titles("https://аpple.com/x")).toEqual(["xn--pple-43d.com · https://xn--pple-43d.com/x"]);
  expect(titles("http://0x7f.1/")).toEqual(["127.0.0.1 · http://127.0.0.1/"]);
  expect(titles("mailto:a@b.c?subject=x")).toEqual(["a@b.c · mailto:a@b.c?subject=x"]);
});

test("a character that nobody can see makes no link, nor is it part of one", () => {
  for (const hidden of ["\u202e", "\u200b", "\u200d", "\u2066", "\ufeff", "\x00", "\x7f", "\x85"]) {
    const line = visibleText(`go https://a.b${hidden}.evil.example/x now`);
    expect(texts(line)).toEqual([]);
  }
  expect(texts(visibleText("\x1b]8;;https://evil.example\x07text\x1b]8;;\x07"))).toEqual([]);
});

test("what was cut off is not guessed", () => {
  expect(texts("a https://a.b c https://a.b/lo", true)).toEqual(["https://a.b"]);
  expect(texts("a https://a.b/lo")).toEqual(["https://a.b/lo"]);
});

test("a long line takes little time", () => {
  const start = performance.now();
  links("https://".repeat(500));
  links(`https://a.b/${")".repeat(4000)}`);
  links("http://a.b ".repeat(400));
  expect(performance.now() - start).toBeLessThan(500);
});
