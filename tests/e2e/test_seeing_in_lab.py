"""What the log panel shows at a glance and gives away, in a real JupyterLab."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Lab, choose_theme, run_cell, save
from playwright.sync_api import Locator, Page, expect
from test_accessible_in_lab import THEMES, violations

pytestmark = pytest.mark.e2e
Notebook = Callable[..., Page]

START = """
from stand_in import Run, shown
run = Run("my tests/1")
panel = shown(run)
"""
RUN = """
import time
now = time.time()
def at(seconds, *lines, **more):
    run.logs.extend(len(lines), text=list(lines), received=int((now + seconds) * 1e6), origin="live",
        **{"kind": "line", "stream": "stdout", **more})
for i in range(400): at(i / 100, f"INFO line {i}")
at(4.0, "ERROR one", "WARNING two", stream="stderr")
at(4.5, "why", kind="gap", stream="system", missing_bytes=9)
for i in range(400): at(5 + i / 100, f"late {i}", stream="stderr" if i % 4 == 0 else "stdout")
at(9.1, "10%\\rFATAL \\x1b[31mlast\\x1b[0m")
run.logs.extend(1, text=["no time"], received=None, kind="line", stream="stdout", origin="batch")
run.end(); panel.flush()
"""
ROWS = 805


def rows(page: Page, count: int, shown: int) -> None:
    """Wait until the panel has this many rows and shows this many of them."""
    page.locator(f'.bxl-panel[data-rows="{count}"][data-shown="{shown}"]').wait_for()


def seen(notebook: Notebook, *cells: str) -> Page:
    """Show a panel with a run of nine seconds."""
    page = notebook(START + RUN + "panel", *cells)
    run_cell(page, 0)
    rows(page, ROWS, ROWS)
    return page


def drag(page: Page, bars: Locator, start: float, end: float) -> None:
    """Drag over the histogram from one fraction of its width to another."""
    bars.scroll_into_view_if_needed()
    box = bars.bounding_box()
    assert box
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * start, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * (start + end) / 2, y)
    page.mouse.move(box["x"] + box["width"] * end, y)
    page.mouse.up()


def test_a_range_of_time_becomes_the_filter(notebook: Notebook) -> None:
    """Dragging over the histogram writes the filter's time term, Python keeps the same rows."""
    page = seen(notebook, "")
    bars = page.get_by_role("slider", name="Lines over time")
    expect(bars).to_be_visible()
    drag(page, bars, 0.0, 0.3)
    field = page.get_by_label("Filter the log")
    expect(field).to_have_value(re.compile(r"^time:\S+Z?\.\.\S+$"))
    expect(page.locator(".bxl-kept")).to_contain_text(f"of {ROWS} lines")
    first = field.input_value()
    kept = int(page.locator(".bxl-panel").get_attribute("data-shown") or 0)
    assert 200 < kept < 300
    page.locator(".jp-CodeCell").nth(1).locator(".cm-content").fill(
        f"print(len(run.logs.filter({first!r})), 'kept')"
    )
    run_cell(page, 1)
    expect(page.locator(".jp-OutputArea").last).to_contain_text(f"{kept} kept")
    field.fill(f"INFO {first}")
    expect(page.locator(".bxl-kept")).to_have_text(f"{kept} of {ROWS} lines")
    drag(page, bars, 0.9, 1.0)
    expect(field).to_have_value(re.compile(r"^INFO time:\S+$"))
    assert field.input_value() != f"INFO {first}"
    page.get_by_label("Remove the time range").click()
    expect(field).to_have_value("INFO")


def test_the_histogram_by_keyboard(notebook: Notebook) -> None:
    """Arrow keys move and extend, Enter applies, Esc takes back; what is there is said in words."""
    page = seen(notebook)
    bars = page.get_by_role("slider", name="Lines over time")
    expect(bars).to_be_visible()
    bars.focus()
    page.keyboard.press("End")
    expect(bars).to_have_attribute(
        "aria-valuetext", re.compile(r"lines 1 · 10 .* fatal 1 · without a time 1$")
    )
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(bars).to_have_attribute("aria-valuenow", "1")
    page.keyboard.press("ArrowLeft")
    for _ in range(4):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Enter")
    field = page.get_by_label("Filter the log")
    expect(field).to_have_value(re.compile(r"^time:\S+\.\.\S+$"))
    low, high = field.input_value().removeprefix("time:").split("..")
    assert page.evaluate(f"Date.parse('{high}Z') - Date.parse('{low}Z')") == 499
    page.keyboard.press("Escape")
    expect(field).to_have_value("")
    rows(page, ROWS, ROWS)
    expect(bars).to_be_focused()


def test_errors_and_gaps_stand_out(notebook: Notebook) -> None:
    """The strip and the lane mark errors and gaps; a click and keys go there; hidden rows have none."""
    page = seen(notebook)
    expect(page.locator(".bxl-bar-gap")).to_have_attribute("d", re.compile("^M"))
    expect(page.locator(".bxl-bar-error")).to_have_attribute("d", re.compile("^M.*M"))
    expect(page.locator(".bxl-at-error")).to_have_attribute("d", re.compile("^M"))
    expect(page.locator(".bxl-at-match")).to_have_attribute("d", "")
    lane = page.locator(".bxl-lane")
    box = lane.bounding_box()
    assert box
    lane.click(position={"x": 3, "y": box["height"] * 400.5 / ROWS})
    expect(page.locator(".bxl-current .bxl-text")).to_have_text("ERROR one")
    page.locator(".bxl-body").focus()
    page.keyboard.press("e")
    expect(page.locator(".bxl-current")).to_contain_text("9 bytes missing here")
    page.keyboard.press("e")
    expect(page.locator(".bxl-current")).to_contain_text("FATAL last")
    page.keyboard.press("E")
    page.keyboard.press("E")
    expect(page.locator(".bxl-current .bxl-text")).to_have_text("ERROR one")
    page.get_by_label("Search the log").fill("late 7")
    marks = page.locator(".bxl-at-match")
    expect(marks).to_have_attribute("d", re.compile("^M"))
    page.get_by_label("Filter the lines (f)").click()
    page.get_by_label("Filter the log").fill("INFO")
    expect(marks).to_have_attribute("d", "")


COMPARE = """
import json
from datetime import datetime
names = ["seq", "stream", "kind", "text", "received", "missing_bytes"]
wanted = [[row[name] for name in names] for row in run.logs]
with open("taken.jsonl", encoding="utf-8") as file:
    taken = [json.loads(line) for line in file]
ordered = all(list(row) == names for row in taken)
for row in taken:
    row["received"] = row["received"] and datetime.fromisoformat(row["received"])
print(len(taken), ordered, [list(row.values()) for row in taken] == wanted)
"""


def choose(page: Page, button: str, *items: str) -> None:
    """Choose from a button's menu."""
    page.get_by_label(button).click()
    for item in items:
        page.get_by_role("menu", name=button).get_by_text(item, exact=True).click()


def copied(page: Page) -> str:
    """Return what is on the clipboard, once the panel has said so; it says so once more next time."""
    page.get_by_text("copied", exact=True).first.wait_for()
    expect(page.get_by_text("copied", exact=True)).to_have_count(0)
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def test_json_lines_are_the_rows(notebook: Notebook, lab: Lab) -> None:
    """What is downloaded as JSON lines is run.logs, value by value, in a file named as the process."""
    page = seen(notebook, COMPARE)
    with page.expect_download() as download:
        choose(page, "Download lines (s)", "Download as JSON lines")
    assert download.value.suggested_filename == "my-tests-1.jsonl"
    download.value.save_as(lab.folder / "taken.jsonl")
    run_cell(page, 1)
    expect(page.locator(".jp-OutputArea").last).to_contain_text(f"{ROWS} True True")


def test_what_is_copied(notebook: Notebook) -> None:
    """All lines, those that the filter leaves, or the selection: with numbers, with times, or plain."""
    page = seen(notebook)
    choose(page, "Copy lines (y)", "Copy with line numbers")
    lines = copied(page).split("\n")
    assert len(lines) == ROWS + 1
    assert lines[402:404] == ["403\t-- 9 bytes missing here: why --", "404\tlate 0"]
    assert lines[-3:] == ["804\tFATAL last", "805\tno time", ""]
    page.get_by_label("Filter the lines (f)").click()
    page.get_by_label("Filter the log").fill("level>=error")
    rows(page, ROWS, 3)
    choose(page, "Copy lines (y)", "Copy as text")
    assert copied(page) == "ERROR one\n-- 9 bytes missing here: why --\nFATAL last\n"
    choose(page, "Copy lines (y)", "Copy with arrival times")
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\tERROR one\n", copied(page))
    choose(page, "Copy lines (y)", f"All: {ROWS} lines", "Copy with arrival times")
    assert copied(page).endswith("Z\tFATAL last\n-\tno time\n")
    first = page.locator(".bxl-text").first
    first.select_text()
    choose(page, "Copy lines (y)", "Copy with line numbers")
    assert copied(page) == "401\tERROR one\n"
    with page.expect_download() as download:
        choose(page, "Download lines (s)", "Filtered: 3 lines", "Download as text")
    text = Path(download.value.path()).read_bytes()
    wanted = b"ERROR one\n-- 9 bytes missing here: why --\n10%\rFATAL \x1b[31mlast\x1b[0m\n"
    assert text == wanted


def test_menus_and_keys_by_keyboard(notebook: Notebook) -> None:
    """A menu takes the focus, moves by arrows and gives the focus back; so does the list of keys."""
    page = seen(notebook)
    body = page.locator(".bxl-body")
    body.focus()
    page.keyboard.press("y")
    items = page.get_by_role("menu", name="Copy lines").get_by_role("menuitem")
    expect(items.first).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(items.last).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(items.first).to_be_focused()
    page.keyboard.press("Escape")
    expect(items).to_have_count(0)
    expect(body).to_be_focused()
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys")
    expect(keys).to_be_focused()
    for what in ["Search", "Next error or gap", "Download lines", "These keys"]:
        expect(keys.get_by_text(what, exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    expect(keys).to_have_count(0)
    expect(body).to_be_focused()
    expect(page.get_by_role("slider")).to_be_visible()
    page.keyboard.press("h")
    expect(page.get_by_role("slider")).to_have_count(0)
    expect(page.get_by_label("Lines over time (h)")).to_have_attribute("aria-pressed", "false")
    save(page)
    page.reload()  # it is remembered, for every panel
    rows(page, ROWS, ROWS)
    expect(page.get_by_role("slider")).to_have_count(0)
    page.get_by_label("Lines over time (h)").click()
    expect(page.get_by_role("slider")).to_be_visible()


def test_no_rule_of_accessibility_is_broken(notebook: Notebook) -> None:
    """With a range selected, a menu open and the keys shown, in either theme."""
    page = seen(notebook)
    body = page.locator(".bxl-body")
    for theme, light in THEMES:
        choose_theme(page, theme, light)
        bars = page.get_by_role("slider", name="Lines over time")
        bars.press("Home")
        bars.press("Shift+ArrowRight")
        bars.press("Enter")
        expect(page.get_by_label("Remove the time range")).to_be_enabled()
        for key in ("y", "?"):
            body.press(key)
            page.locator(".bxl-popup").wait_for()
            assert violations(page) == [], (theme, key)
            page.keyboard.press("Escape")
            expect(page.locator(".bxl-popup")).to_have_count(0)


def test_a_link_leads_to_its_line(notebook: Notebook) -> None:
    """The link that is copied has no token, and leads to the line: on a page that is open, or opened anew."""
    page = seen(notebook)
    body = page.locator(".bxl-body")
    expect(page.locator(".bxl-at-error")).to_have_attribute("d", re.compile("^M"))
    body.focus()
    page.keyboard.press("Home")
    page.keyboard.press("e")
    choose(page, "Copy lines (y)", "Copy a link to line 401")
    link = copied(page)
    assert "token" not in link
    assert link.endswith("#bxl=my%20tests%2F1:401")
    body.focus()
    page.keyboard.press("End")
    expect(page.locator(".bxl-current")).to_have_count(0)
    page.evaluate("location.hash = 'bxl=my%20tests%2F1:123'")
    current = page.locator(".bxl-current .bxl-text")
    expect(current).to_have_text("INFO line 122")
    expect(current).to_be_in_viewport()
    page.wait_for_url(re.compile(r"\.ipynb$"))  # a run that comes later is not led there
    page.evaluate("location.hash = 'bxl=another:7'")
    expect(current).to_have_text("INFO line 122")
    save(page)
    page.goto("about:blank")
    page.goto(link)
    rows(page, ROWS, ROWS)
    expect(current).to_have_text("ERROR one")
    expect(current).to_be_in_viewport()


LIVE = """
import asyncio, time
end = time.time() + {seconds}
n = 0
while time.time() < end:
    run.add(*(f"line {{n + i}}" for i in range(20)))
    n += 20
    panel.flush()
    await asyncio.sleep(0.05)
"""


def test_nothing_shifts_when_the_histogram_comes(notebook: Notebook) -> None:
    """It comes by itself while the tail is followed; never while the reader reads further up."""
    page = notebook(
        START + LIVE.format(seconds=1) + "panel",
        LIVE.format(seconds=3),
        LIVE.format(seconds=0.5),
    )
    run_cell(page, 0)
    body = page.locator(".bxl-body")
    expect(page.locator(".bxl-text").last).to_be_visible()
    expect(page.get_by_role("slider")).to_have_count(0)
    body.focus()
    page.keyboard.press("PageUp")
    page.keyboard.press("PageUp")
    texts = page.locator(".bxl-text")
    expect(page.locator(".bxl-badge")).to_be_hidden()
    first = texts.first.inner_text()
    run_cell(page, 1)
    badge = page.locator(".bxl-badge")
    expect(badge).to_have_text(re.compile(r"^\d{3,} new lines"), timeout=10_000)
    expect(page.locator(".jp-Notebook .jp-InputPrompt").nth(1)).to_have_text("[2]:")
    assert texts.first.inner_text() == first
    expect(page.get_by_role("slider")).to_have_count(0)
    body.focus()
    page.keyboard.press("End")
    run_cell(page, 2)
    expect(page.get_by_role("slider")).to_be_visible()
    expect(badge).to_be_hidden()
