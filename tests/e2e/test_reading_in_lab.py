"""How lines read in a real JupyterLab: numbers, times, folds, details, links, and what is remembered."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import run_cell

pytestmark = pytest.mark.e2e
Notebook = Callable[..., Page]

SETUP = "%load_ext blaxel_jupyter\n%sandbox use local"
PROGRAM = r"""%%sandbox_exec --lang python
import json, sys, time, traceback
print("INFO begin", flush=True)
for i in range(0, 101, 5):
    sys.stdout.write(f"\r{i:3d}%|{'#' * (i // 5):20}| {i}/100 [00:0{i // 20}, 1.00it/s]")
print()
try:
    try:
        {}["x"]
    except KeyError:
        raise ValueError("bad input")
except ValueError:
    print("ERROR worker failed")
    print(traceback.format_exc(), end="")
print('2026-11-22 10:00:00 INFO ' + '{"user": "ada", "id": 12345678901234567890, "tags": ["a", {"b": 1.50}]}')
print('level=info msg="cache warm" took=12.5ms rows=3')
print("L" + "o" * 9000 + "ng")
print("docs: https://example.com/a_(b). and javascript:alert(1) or https://me:secret@example.com/x")
print("INFO end", flush=True)
time.sleep(MARK)
"""
START = """
from tests.e2e.stand_in import Run, shown
run = Run()
panel = shown(run)
"""
TRACE = (
    "TRACE = ['Traceback (most recent call last):', '  File \"a.py\"', '    f()', 'KeyError: 1']\n"
)
MANY = TRACE + (
    "for i in range(200):\n"
    "    run.add(*(f'INFO line {i}.{j}' for j in range(9)), *TRACE)\n"
    "panel.flush()\npanel"
)
SELECTED = """body => {
    const rows = [...body.querySelectorAll('.bxl-text')];
    document.getSelection().setBaseAndExtent(rows[0], 0, rows.at(-1), rows.at(-1).childNodes.length);
    return document.getSelection().toString();
}"""


STANDS = """async () => {
  const body = document.querySelector('.bxl-body');
  const frame = () => new Promise(requestAnimationFrame);
  for (let same = 0, before = -1; same < 20; await frame()) {
    same = body.scrollTop === before ? same + 1 : 0;
    before = body.scrollTop;
  }
}"""
"""Wait until the page does not scroll any more."""


def row(page: Page, text: str) -> Locator:
    """Return the one row that says this."""
    return page.locator(".bxl-row", has_text=text).first


def details(page: Page) -> Locator:
    """Return the drawer."""
    return page.get_by_role("region", name="Details of a line")


def fields(page: Page) -> dict[str, str]:
    """Return the names and values in the drawer."""
    names = details(page).locator("dt").all_inner_texts()
    return dict(zip(names, details(page).locator("dd").all_inner_texts(), strict=True))


def rows(page: Page, count: int, shown: int) -> None:
    """Wait until the panel has this many rows and shows this many of them."""
    page.locator(f'.bxl-panel[data-rows="{count}"][data-shown="{shown}"]').wait_for()


def test_lines_of_a_real_process(notebook: Notebook) -> None:
    """A progress bar, a traceback, fields, a long line and links of a local process read as they should."""
    mark = str(600 + uuid.uuid4().int % 10**9 / 10**9)
    states = "[s for row in _sandbox.logs for s in row['text'].split('\\r') if s.endswith('it/s]')]"
    page = notebook(SETUP, PROGRAM.replace("MARK", mark), f"print(len({states}), 'in Python')")
    run_cell(page, 0)
    run_cell(page, 1)
    row(page, "INFO end").wait_for()

    bar = row(page, "100/100")
    expect(bar.locator(".bxl-text")).to_contain_text(re.compile(r"^100%\|#{20}\| 100/100 "))
    bar.get_by_text("⟳ 21 states").click()
    history = details(page).locator("dd")
    expect(history).to_have_count(21)
    expect(history.first).to_contain_text("  0%|")
    expect(history.nth(10)).to_contain_text(" 50%|##########")
    expect(page.locator(".bxl-open")).to_contain_text("100/100")
    page.keyboard.press("Escape")
    expect(details(page)).to_be_hidden()
    expect(page.locator(".bxl-open")).to_have_count(0)

    folds = page.get_by_label("Fold (z)")
    expect(folds).to_have_count(1)
    total = page.locator(".bxl-row").count()
    folds.click()
    head = row(page, "ERROR worker failed")
    expect(head.get_by_text(re.compile(r"\+ \d+ lines"))).to_be_visible()
    hidden = int(re.findall(r"\+ (\d+) lines", head.inner_text())[0])
    expect(page.locator(".bxl-row")).to_have_count(total - hidden)
    expect(page.locator(".bxl-row", has_text="KeyError")).to_have_count(0)
    expect(row(page, "ada")).to_be_visible()
    head.get_by_text(re.compile(r"\+ \d+ lines")).click()
    expect(page.locator(".bxl-row")).to_have_count(total)
    expect(row(page, "During handling of the above")).to_be_visible()

    row(page, "ada").get_by_text("{…}").click()
    nested = '[\n  "a",\n  {\n    "b": 1.50\n  }\n]'
    assert fields(page) == {"user": "ada", "id": "12345678901234567890", "tags": nested}
    row(page, "cache warm").get_by_text("{…}").click()
    assert fields(page) == {"level": "info", "msg": "cache warm", "took": "12.5ms", "rows": "3"}
    row(page, "Looo").get_by_text("… 5,003 more characters").click()
    expect(details(page).locator(".bxl-whole")).to_have_text(re.compile("^Lo{9000}ng$"))
    row(page, "Looo").get_by_text("… 5,003 more characters").click()
    expect(details(page)).to_be_hidden()

    heights = "rows => rows.map(row => Math.round(row.getBoundingClientRect().height))"
    assert len(set(page.locator(".bxl-row").evaluate_all(heights))) == 1

    link = page.locator(".bxl-panel a")
    expect(link).to_have_count(1)
    expect(link).to_have_text("https://example.com/a_(b)")
    for name, value in {
        "href": "https://example.com/a_(b)",
        "target": "_blank",
        "rel": "noopener noreferrer",
        "referrerpolicy": "no-referrer",
        "title": "example.com · https://example.com/a_(b)",
    }.items():
        expect(link).to_have_attribute(name, value)
    page.get_by_label("Search the log").fill("com/a_(b). and")
    expect(page.locator(".bxl-panel a .bxl-mark")).to_have_text("com/a_(b)")
    expect(page.locator(".bxl-current .bxl-mark")).to_have_text(["com/a_(b)", ". and"])
    page.get_by_role("button", name="Stop", exact=False).first.click()
    expect(page.locator(".bxl-panel")).to_have_count(0)
    run_cell(page, 2)
    expect(page.locator(".jp-Cell").nth(2)).to_contain_text("21 in Python")


def test_numbers_times_and_wrap_are_remembered(notebook: Notebook) -> None:
    """Buttons and keys switch them, another panel has them too, and a selection is the log's text only."""
    page = notebook(
        START + "run.add('one', 'two \\r two!', 'a=1 b=2'); panel.flush()\npanel",
        "another = shown(run); another.flush()\nanother",
    )
    run_cell(page, 0)
    rows(page, 3, 3)
    body = page.locator(".bxl-body")
    gutter = page.locator(".bxl-gutter").nth(1)
    expect(body).to_have_class("bxl-body")
    number = "node => getComputedStyle(node, '::before').content"
    time = "node => getComputedStyle(node, '::after').content"
    assert gutter.evaluate(number) == "none"
    page.get_by_label("Line numbers (l)").click()
    assert gutter.evaluate(number) == '"2"'
    body.focus()
    page.keyboard.press("t")
    assert re.fullmatch(r'"\d\d:\d\d:\d\d\.\d{3}"', gutter.evaluate(time))
    page.keyboard.press("t")
    assert re.fullmatch(r'"\+\d+(:\d\d)*\.\d{3}"', gutter.evaluate(time))
    page.keyboard.press("w")
    expect(body).to_have_class("bxl-body bxl-numbers bxl-times bxl-wrap")
    assert body.evaluate(SELECTED).split() == ["one", "two!", "a=1", "b=2"]
    run_cell(page, 1)
    other = page.locator(".bxl-body").nth(1)
    expect(other).to_have_class("bxl-body bxl-numbers bxl-times bxl-wrap")
    expect(page.get_by_label("Line numbers (l)").nth(1)).to_have_attribute("aria-pressed", "true")
    for key in "ltw":
        other.press(key)
    expect(other).to_have_class("bxl-body")


def test_folding_moves_nothing_that_is_read(notebook: Notebook) -> None:
    """A row stays where it is when its group, or all groups near, are folded and opened by key or mouse."""
    page = notebook(START + MANY)
    run_cell(page, 0)
    rows(page, 2600, 2600)
    body = page.locator(".bxl-body")
    body.focus()
    for _ in range(40):
        page.keyboard.press("PageUp")
    search = page.get_by_label("Search the log")
    search.fill("line 100.8")
    current = page.locator(".bxl-current")
    expect(current).to_contain_text("line 100.8")
    search.press("Escape")
    for wrapped in (False, True):
        if wrapped:
            page.keyboard.press("w")
        before = current.bounding_box()
        page.keyboard.press("Z")
        folded = int(page.locator(".bxl-panel").get_attribute("data-shown") or 0)
        assert 2600 - 3 * 160 < folded < 2600 - 3 * 140
        expect(page.get_by_text("+ 3 lines").first).to_be_visible()
        assert _near(current, before)
        page.keyboard.press("Z")
        rows(page, 2600, 2600)
        assert _near(current, before)
        page.keyboard.press("j")
        expect(current).to_contain_text("Traceback")
        before = current.bounding_box()
        page.keyboard.press("z")
        rows(page, 2600, 2597)
        assert _near(current, before)
        current.get_by_text("+ 3 lines").click()
        rows(page, 2600, 2600)
        assert _near(current, before)
        page.keyboard.press("k")
        expect(current).to_contain_text("line 100.8")


def _near(row: Locator, before: object) -> bool:
    box = row.bounding_box()
    assert box is not None
    assert isinstance(before, dict)
    return abs(box["y"] - before["y"]) <= 2


def test_folds_filters_and_search_go_together(notebook: Notebook) -> None:
    """A folded group stays folded under a filter that keeps it; a match inside one opens it."""
    page = notebook(START + MANY)
    run_cell(page, 0)
    rows(page, 2600, 2600)
    page.locator(".bxl-body").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Z")
    groups = 77  # in the first 1000 rows
    rows(page, 2600, 2600 - 3 * groups)
    page.get_by_label("Filter the lines (f)").click()
    field = page.get_by_label("Filter the log")
    field.fill("traceback OR file")
    rows(page, 2600, 400 - groups)
    expect(page.get_by_text("+ 1 line").first).to_be_visible()
    field.fill("file")
    rows(page, 2600, 200)
    expect(page.locator(".bxl-row", has_text="File").first).to_be_visible()
    field.fill('"f()"')
    expect(page.locator(".bxl-text").first).to_have_text("    f()")
    hit = page.locator(".bxl-row").first
    hit.hover()
    hit.get_by_label("Show in context (c)").click()
    rows(page, 2600, 2600 - 3 * (groups - 1))
    expect(page.locator(".bxl-current .bxl-text")).to_have_text("    f()")
    search = page.get_by_label("Search the log")
    search.fill("f()")
    expect(page.locator(".bxl-count")).to_contain_text("/200")
    expect(page.locator(".bxl-current")).to_have_text(re.compile(r"^\s*f\(\)$"))
    expect(page.locator(".bxl-current")).to_be_in_viewport()


def test_a_folded_group_takes_in_what_comes(notebook: Notebook) -> None:
    """Lines that go on with a folded traceback are folded, too; the next line is not."""
    page = notebook(
        START + "run.add('Traceback (most recent call last):', '  File'); panel.flush()\npanel",
        "run.add('    f()', '    ~~~', 'KeyError: 1'); panel.flush()",
        "run.add('INFO next'); panel.flush()",
    )
    run_cell(page, 0)
    rows(page, 2, 2)
    page.get_by_label("Fold (z)").click()
    rows(page, 2, 1)
    run_cell(page, 1)
    rows(page, 5, 1)
    run_cell(page, 2)
    rows(page, 6, 2)
    expect(page.get_by_text("+ 4 lines")).to_be_visible()


def test_the_drawer_follows_the_keys(notebook: Notebook) -> None:
    """Enter opens the details of the current line, j and k go on, Escape and Enter close."""
    page = notebook(START + "run.add('one', 'a=1 b=2', 'é' * 100_000); panel.flush()\npanel")
    run_cell(page, 0)
    rows(page, 3, 3)
    page.locator(".bxl-body").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(details(page)).to_contain_text("row 1 · stdout")
    expect(details(page).locator(".bxl-whole")).to_have_text("one")
    page.keyboard.press("j")
    assert fields(page) == {"a": "1", "b": "2"}
    page.keyboard.press("j")
    expect(details(page)).to_contain_text("row 3")
    whole = details(page).locator(".bxl-whole")
    for _ in range(3):
        whole.get_by_role("button", name="Show more").click()
    expect(whole).to_have_text("é" * 100_000)
    page.keyboard.press("Escape")
    expect(details(page)).to_be_hidden()
    expect(page.locator(".bxl-body")).to_be_focused()
    page.keyboard.press("Enter")
    expect(details(page)).to_be_visible()
    page.keyboard.press("Enter")
    expect(details(page)).to_be_hidden()


def test_a_link_is_opened_by_key(notebook: Notebook) -> None:
    """Enter on a link follows it, in a page that knows nothing of this one; the drawer stays shut."""
    page = notebook(START + "run.add('see http://127.0.0.1:9/docs'); panel.flush()\npanel")
    run_cell(page, 0)
    rows(page, 1, 1)
    page.locator(".bxl-body").focus()
    page.keyboard.press("Tab")
    expect(page.locator(".bxl-panel a")).to_be_focused()
    with page.context.expect_page() as opened:
        page.keyboard.press("Enter")
    assert opened.value.evaluate("window.opener") is None
    opened.value.close()
    expect(details(page)).to_be_hidden()


def test_keys_are_about_what_is_on_screen(notebook: Notebook) -> None:
    """After scrolling away from the current line, keys mean the lines that are seen, and nothing jumps."""
    page = notebook(START + MANY)
    run_cell(page, 0)
    rows(page, 2600, 2600)
    search = page.get_by_label("Search the log")
    search.fill("line 3.3")
    expect(page.locator(".bxl-current")).to_contain_text("line 3.3")
    search.press("Escape")
    for _ in range(30):
        page.keyboard.press("PageDown")
    expect(page.locator(".bxl-current")).to_have_count(0)
    page.evaluate(STANDS)
    seen = page.locator(".bxl-row", has_text="INFO").first.inner_text()
    before = row(page, seen).bounding_box()
    page.keyboard.press("Z")
    expect(page.get_by_text("+ 3 lines").first).to_be_visible()
    assert _near(row(page, seen), before)
    page.keyboard.press("Z")
    rows(page, 2600, 2600)
    top = page.locator(".bxl-row").first
    page.keyboard.press("Enter")
    expect(top).to_have_class(re.compile("bxl-open"))
    expect(details(page)).to_be_visible()
