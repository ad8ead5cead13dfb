"""Hostile text in the live panel, in a real JupyterLab in a real Chromium: it is read, and nothing else.

One page is opened for the file; what it showed of each payload is looked at by the tests.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Lab, open_notebook, run_cell, running_browser, running_lab
from tests.hostile.payloads import FILTERS, HUGE, LINES, NAMES, Huge, Payload
from tests.hostile.saved import PLACES, notebook
from tests.hostile.watched import Watched, watched

pytestmark = pytest.mark.e2e

LOG = """
from tests.hostile.payloads import HUGE, LINES, NAMES
from tests.hostile.stories import events, facts_of_log, facts_of_task
from stand_in import Run, shown
lines = [one.text for one in LINES]
run = Run(lines[1], lines[0])
run.add(*lines)
run.add(*lines, stream="stderr")
run.add(*lines, kind="gap")
run.add(*lines, kind="notice")
run.add(*lines, stream="system")
run.facts |= {"status": "failed", "exit_code": 1, "sandbox": lines[3], "message": lines[2]}
run.facts |= {"integrity": lines[0], "digest": {"meaning": lines[1], "first": 0, "block": [1, 3]}}
run.facts["partial"] = [["stdout", lines[1]], ["stderr", lines[2]]]
log = shown(run)
while log.flush(): pass
log
"""
MERGED = """
from blaxel_jupyter import LogPanel
import stand_in_task
story = stand_in_task.Run(run_id=lines[1])
story.add(*[event for i, line in enumerate(lines) for event in events(line, i)])
runs = [Run(one.text, one.text) for one in NAMES]
for one in runs: one.add("line"); one.facts |= {"status": one.facts["process"]}
merged = LogPanel(*runs, story)
while merged.flush(): pass
merged
"""
STORY = """
story.facts |= facts_of_task(lines[1])
told = stand_in_task.shown(story)
while told.flush(): pass
told
"""
LARGE = """
large = Run("n" * 1_000_000, "c" * 1_000_000)
large.add(*[one.text for one in HUGE])
big = shown(large)
while big.flush(): pass
big
"""
ROWS = ["stdout", "stderr", "gap", "notice", "system"]
"""What the rows of the first panel are: all lines as each of these."""

CELLS = (LOG, MERGED, STORY, LARGE)
SHOWN = """node => [...node.querySelectorAll(".bxl-row")].map(row => {
  const text = row.querySelector(".bxl-text").cloneNode(true);
  text.querySelectorAll("button").forEach(button => button.remove());
  return [Number(row.querySelector("[data-n]")?.dataset.n ?? 0), text.textContent, row.className];
})"""
WORDS = """node => [...node.querySelectorAll("*")]
  .filter(one => !one.childElementCount).map(one => one.textContent)"""
CONTRASTS = """node => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * (r / 255) ** 2.2 + 0.7152 * (g / 255) ** 2.2
    + 0.0722 * (b / 255) ** 2.2 + 0.05;
  const behind = node => {
    const [r, g, b, a = 1] = numbers(getComputedStyle(node).backgroundColor);
    return a === 0 && node.parentElement ? behind(node.parentElement) : [r, g, b];
  };
  return [...node.querySelectorAll(".bxl-text span")].map(one => {
    const both = [light(numbers(getComputedStyle(one).color)), light(behind(one))];
    return Math.max(...both) / Math.min(...both);
  });
}"""
OPEN = """node => node.querySelectorAll(".bxl-head[aria-expanded=false]").forEach(one => one.click())"""
RISKY = (
    "script, iframe, object, form, [onerror], [onload], [data-commandlinker-command], a[href^=java]"
)
TALL = ".bxl-tall .bxl-body { height: 5000px !important }"  # a screen shows many rows
TWICE = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


@dataclass
class Seen:
    """What the page showed."""

    page: Watched
    rows: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Of the first panel: each row's text and classes, by number from 1."""
    details: list[str] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    chips: list[str] = field(default_factory=list)
    story: str = ""
    reopened: dict[str, str] = field(default_factory=dict)
    reopened_foreign: list[str] = field(default_factory=list)
    reopened_fired: list[str] = field(default_factory=list)
    risky: int = 0
    contrasts: list[float] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    large: list[list[str]] = field(default_factory=list)
    boxes: dict[str, list[float]] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """Run the cells, and look at each panel as a reader would: scroll, search, open, copy, download."""
    home = tmp_path_factory.mktemp("hostile")
    with running_lab(home) as lab, running_browser() as browser, watched(browser) as page:
        open_notebook(lab, page.page, "hostile.ipynb", *CELLS)
        page.page.add_style_tag(content=TALL)
        found = Seen(page)
        for read in (read_log, read_filters, read_merged, read_story, read_large):
            read(found)
        with watched(browser) as other:
            read_reopened(found, lab, other)
        yield found


def panel(page: Page, index: int) -> Any:
    """Run a cell and return its panel."""
    run_cell(page, index)
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(index)
    found = cell.locator(".bxl-panel")
    found.wait_for()
    return found


def tall(shown: Any) -> Any:
    """Make a panel tall and return its body, at the first row."""
    shown.evaluate("node => node.classList.add('bxl-tall')")
    body = shown.locator(".bxl-body")
    body.focus()
    body.press("Home")
    body.page.evaluate(TWICE)
    return body


def screens(body: Any) -> Iterator[None]:
    """Go down a panel, screen by screen."""
    for _ in range(100):
        body.page.evaluate(TWICE)
        yield
        body.page.evaluate(TWICE)
        if body.evaluate("n => n.scrollTop + n.clientHeight >= n.scrollHeight - 2"):
            return
        body.evaluate("n => n.scrollBy(0, n.clientHeight - 100)")
    raise AssertionError("the panel has no end")


def read_log(found: Seen) -> None:
    """Read all rows of the first panel, search, open lines, copy and download."""
    page, n = found.page.page, len(LINES) * 5
    log = panel(page, 0)
    expect(log).to_have_attribute("data-rows", str(n))
    log.get_by_label("Search the log").fill("<")
    log.locator(".bxl-mark").first.wait_for()
    found.foreign += found.page.foreign(".bxl-panel")
    log.get_by_label("Search the log").fill("")
    log.locator(".bxl-body").press("l")
    for _ in screens(tall(log)):
        for number, text, classes in log.locator(".bxl-body").evaluate(SHOWN):
            if number:
                found.rows[number] = text, classes
        found.foreign += found.page.foreign(".bxl-panel")
        found.contrasts += log.evaluate(CONTRASTS)
    tall(log)
    openers = log.locator(".bxl-row:has([data-n]) .bxl-text button")
    for i in range(openers.count()):
        openers.nth(i).evaluate("node => node.click()")
        drawer = log.locator(".bxl-details:not([hidden]) .bxl-whole")
        found.details.append(drawer.inner_text())
        found.foreign += found.page.foreign(".bxl-details")
    log.evaluate("node => node.classList.remove('bxl-tall')")
    log.get_by_label("Copy lines (y)").click()
    page.get_by_role("menuitem", name="Copy as text").click()
    page.get_by_text("copied").first.wait_for()
    found.copied = page.evaluate("navigator.clipboard.readText()").split("\n")
    for name in ("text", "JSON lines"):
        with page.expect_download() as download:
            log.get_by_label("Download lines (s)").click()
            page.get_by_role("menuitem", name=f"Download as {name}").click()
        found.files[download.value.suggested_filename] = Path(download.value.path()).read_bytes()


def read_filters(found: Seen) -> None:
    """Copy the code of filters that quote, escape and break off."""
    page = found.page.page
    log = page.locator(".bxl-panel").first
    log.locator(".bxl-body").press("f")
    for expression in FILTERS:
        log.get_by_label("Filter the log").fill(expression)
        log.get_by_label("Filter the log").press("Enter")
        log.get_by_label("Copy the Python code for these lines").click()
        page.get_by_text("copied").last.wait_for()
        found.code.append(page.evaluate("navigator.clipboard.readText()"))
    found.foreign += found.page.foreign(".bxl-panel")
    log.get_by_label("Filter the log").fill("")
    log.get_by_label("Filter the log").press("Enter")


def read_merged(found: Seen) -> None:
    """Read the chips of several runs, and look at the lines of an agent's run."""
    merged = panel(found.page.page, 1)
    merged.locator(".bxl-chip").nth(len(NAMES)).wait_for()
    found.chips = merged.locator(".bxl-who").all_inner_texts()
    found.boxes["chips"] = overflowing(merged, ".bxl-chip")
    for _ in screens(tall(merged)):
        found.foreign += found.page.foreign(".bxl-panel")
    merged.evaluate("node => node.remove()")  # thousands of rows: the rest is quicker without them


def read_story(found: Seen) -> None:
    """Open every item of an agent's run, screen by screen."""
    story = panel(found.page.page, 2)
    told: dict[str, None] = {}
    body = tall(story)
    for _ in screens(body):
        told.update(dict.fromkeys(body.evaluate(WORDS)))
        found.foreign += found.page.foreign(".bxl-task")
    tall(story)
    for _ in screens(body):
        body.evaluate(OPEN)
        body.page.evaluate(TWICE)
        found.foreign += found.page.foreign(".bxl-task")
    found.story = "\n".join(told)
    found.boxes["story"] = overflowing(story, ".bxl-header, .bxl-toolbar")
    story.evaluate("node => node.remove()")


def read_large(found: Seen) -> None:
    """Show lines and names that are huge; wrapped, too."""
    large = panel(found.page.page, 3)
    expect(large).to_have_attribute("data-rows", str(len(HUGE)))
    for key in ("Home", "w"):
        large.locator(".bxl-body").press(key)
        found.page.page.evaluate(TWICE)
        found.large.append(large.locator(".bxl-text").all_inner_texts())
        found.boxes[f"large {key}"] = overflowing(large, ".bxl-header, .bxl-frame")
    found.foreign += found.page.foreign(".bxl-panel")


def read_reopened(found: Seen, lab: Lab, page: Watched) -> None:
    """Open a notebook of somebody else's, which no kernel of ours has run."""
    (lab.folder / "reopened.ipynb").write_text(json.dumps(notebook()), "utf-8")
    page.page.goto(lab.address("reopened.ipynb"))
    outputs = page.page.locator(".jp-OutputArea-output")
    expect(outputs).to_have_count(len(PLACES))
    page.page.locator(".jp-RenderedHTMLCommon table").nth(1).wait_for()
    page.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    for i, place in enumerate(PLACES):
        found.reopened[place] = outputs.nth(i).evaluate("node => node.textContent")
    found.reopened_foreign = page.foreign(".bxs", saved=True)
    found.risky = outputs.locator(RISKY).count()
    found.reopened_fired = page.fired()


def overflowing(shown: Any, places: str) -> list[float]:
    """Return by how many pixels each place is wider than the panel it is in."""
    width = "(nodes, root) => nodes.map(n => n.getBoundingClientRect().right - root.right)"
    box = shown.evaluate("node => node.getBoundingClientRect().toJSON()")
    found: list[float] = shown.locator(places).evaluate_all(width, box)
    return found


def test_nothing_fired(seen: Seen) -> None:
    """No script ran, no dialog or window opened, nothing was asked for, no prototype was changed."""
    assert seen.page.fired() == []


def test_every_element_is_ours(seen: Seen) -> None:
    """Tags, attributes, classes and link targets in the panels are those the panel is made of."""
    assert sorted(set(seen.foreign)) == []


@pytest.mark.parametrize("place", ROWS)
@pytest.mark.parametrize("one", LINES, ids=str)
def test_a_row(seen: Seen, one: Payload, place: str) -> None:
    """A line is read as it is; what is no output looks like it by its class, not by its words."""
    text, classes = seen.rows[LINES.index(one) + 1 + ROWS.index(place) * len(LINES)]
    assert text == (f"output missing here: {one.seen}" if place == "gap" else one.seen)
    own = {"stdout": "", "gap": " bxl-gap-row", "notice": " bxl-notice-row"}.get(place)
    assert re.sub(" bxl-(faint|current|joined).*", "", classes) == "bxl-row" + (
        f" bxl-{place}" if own is None else own
    )


@pytest.mark.parametrize("one", LINES, ids=str)
def test_a_story(seen: Seen, one: Payload) -> None:
    """What an agent says, asks, gets and fails with is read as it is."""
    assert one.seen.strip() in seen.story


@pytest.mark.parametrize("one", LINES, ids=str)
def test_a_copy(seen: Seen, one: Payload) -> None:
    """Copied text is what was read; only words of ours stand in their frame."""
    at, n = LINES.index(one), len(LINES)
    line, _, gap, notice = (seen.copied[at + n * i] for i in range(4))
    assert line in (one.seen, f"\\{one.seen}")
    assert not re.fullmatch("-- .* --", line)
    assert (gap, notice) == (f"-- output missing here: {one.seen} --", f"-- {one.seen} --")


@pytest.mark.parametrize("one", LINES, ids=str)
def test_a_download(seen: Seen, one: Payload) -> None:
    """Files hold the exact text; their names are letters, digits, dots and dashes."""
    names = list(seen.files)
    assert [bool(re.fullmatch(r"\w[\w.-]{0,89}", name)) for name in names] == [True, True]
    text, rows = (seen.files[name].decode().split("\n") for name in names)
    exact = re.sub("[\ud800-\udfff]", "\ufffd", one.text)
    assert text[LINES.index(one)] == exact
    row = json.loads(rows[LINES.index(one)])
    assert (row["text"], row["stream"], row["kind"]) == (exact, "stdout", "line")


@pytest.mark.parametrize("expression", FILTERS)
def test_copied_code(seen: Seen, expression: str) -> None:
    """The code for a filter is one call with one literal, which is the filter, and hides nothing."""
    code = seen.code[FILTERS.index(expression)]
    assert code.isprintable()
    [statement] = ast.parse(code).body
    assert isinstance(statement, ast.Expr)
    assert ast.unparse(statement) == f"run.logs.filter({expression!r})"
    run, asked = SimpleNamespace(logs=SimpleNamespace()), []
    run.logs.filter = asked.append
    exec(code, {"__builtins__": {}, "run": run})
    assert asked == [expression]


def test_fields(seen: Seen) -> None:
    """Keys of JSON and logfmt are names like any other."""
    told = "\n".join(seen.details)
    for name in ("__proto__", "constructor", "toString", "<img src=x onerror="):
        assert name in told


@pytest.mark.parametrize("one", NAMES, ids=str)
def test_a_source(seen: Seen, one: Payload) -> None:
    """A run's chip has its name, bounded."""
    chips = [chip for chip in seen.chips if one.seen in chip]
    assert chips
    assert max(map(len, chips)) < 2100


def test_no_text_is_hidden_by_its_colours(seen: Seen) -> None:
    """Whatever colours a line asks for, its text stands out from what is behind it."""
    assert len(seen.contrasts) > 10
    assert min(seen.contrasts) >= 2


def test_a_reopened_notebook_does_nothing(seen: Seen) -> None:
    """In a notebook that is not trusted nothing fires, no element is foreign, and nothing can be pressed."""
    assert (seen.reopened_fired, seen.reopened_foreign, seen.risky) == ([], [], 0)


@pytest.mark.parametrize("place", [place for place in PLACES if place not in ("table", "pandas")])
@pytest.mark.parametrize("one", LINES, ids=str)
def test_a_reopened_notebook_reads(seen: Seen, one: Payload, place: str) -> None:
    """All of the text is there."""
    assert "".join(one.seen.split()) in "".join(seen.reopened[place].split())


def test_nothing_is_wider_than_its_panel(seen: Seen) -> None:
    """Names, words, lines and accents of any size stay where they belong."""
    wide = [place for place, over in seen.boxes.items() if max(over) > 1]
    assert wide == []


@pytest.mark.parametrize("one", HUGE, ids=str)
def test_what_is_huge(seen: Seen, one: Huge) -> None:
    """A huge line is shown cut, and says how much is not shown; wrapped, too."""
    for texts in seen.large:
        text = texts[HUGE.index(one)]
        assert text.replace("\n", "").startswith(one.seen[:100])
        assert len(text) < 5000
