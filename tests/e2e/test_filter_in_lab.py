"""The log panel's filter and the digest of a failed run, in a real JupyterLab."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from conftest import run_cell
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.e2e
Notebook = Callable[..., Page]

START = """
from stand_in import Run, shown
from IPython.display import display
run = Run()
panel = shown(run)
"""
FILL = (
    'run.add(*(f\'{"ERROR" if i % 100 == 7 else "INFO"} line {i}\' for i in range(2000)))\n'
    "run.add('WARNING late', stream='stderr')\n"
    "run.add('', kind='gap', missing_bytes=[9]); panel.flush()\npanel"
)


def rows(page: Page, count: int, shown: int) -> None:
    """Wait until the panel has this many rows and shows this many of them."""
    page.locator(f'.bxl-panel[data-rows="{count}"][data-shown="{shown}"]').wait_for()


def filter_field(page: Page) -> Locator:
    """Open the filter's line and return its field."""
    page.get_by_label("Filter the lines (f)").click()
    return page.get_by_label("Filter the log")


def test_only_what_is_asked_for_is_shown(notebook: Notebook) -> None:
    """A filter hides the rest, keeps gaps, counts; one that cannot be read says where and changes nothing."""
    page = notebook(START + FILL)
    run_cell(page, 0)
    rows(page, 2002, 2002)
    field = filter_field(page)
    field.fill("level:error -1907")
    rows(page, 2002, 20)
    expect(page.locator(".bxl-text").last).to_have_text("9 bytes missing here")
    count = page.locator(".bxl-kept")
    expect(count).to_have_text("20 of 2,002 lines")
    field.fill("level:error -1907 (")
    expect(count).to_have_text("a term is missing (character 20)")
    expect(count).to_have_class(re.compile("bxl-bad"))
    rows(page, 2002, 20)
    field.fill("nothing kind:line")
    expect(page.locator(".bxl-panel")).to_have_class(re.compile("bxl-none bxl-empty"))
    page.get_by_label("Hide lines that do not match").click()
    rows(page, 2002, 2002)
    expect(page.locator(".bxl-faint").first).to_be_visible()
    page.get_by_label("Filter the lines (f)").click()
    rows(page, 2002, 2002)
    expect(page.locator(".bxl-faint")).to_have_count(0)


def test_lines_that_arrive_are_filtered(notebook: Notebook) -> None:
    """While lines stream in, those that match appear and the others do not."""
    page = notebook(
        START + "panel",
        "import asyncio\n"
        "for i in range(60):\n"
        '    run.add(*(f\'{"keep" if j % 10 == 0 else "drop"} {i}.{j}\' for j in range(100)))\n'
        "    panel.flush(); await asyncio.sleep(0.03)\n"
        "run.end(); panel.flush()",
    )
    run_cell(page, 0)
    page.locator(".bxl-panel").wait_for()
    filter_field(page).fill("keep")
    run_cell(page, 1)
    expect(page.locator(".bxl-text").first).to_have_text(re.compile("^keep"))
    rows(page, 6000, 600)
    expect(page.locator(".bxl-text").last).to_have_text("keep 59.90")
    expect(page.locator(".bxl-text", has_text="drop")).to_have_count(0)
    expect(page.locator(".bxl-kept")).to_have_text("600 of 6,000 lines")


def test_a_hit_in_its_context(notebook: Notebook) -> None:
    """Show in context leaves the filter and stays at that line, by mouse and by key."""
    page = notebook(START + FILL)
    run_cell(page, 0)
    field = filter_field(page)
    field.fill('"line 507"')
    rows(page, 2002, 2)
    row = page.locator(".bxl-row", has_text="line 507")
    row.hover()
    row.get_by_label("Show in context (c)").click()
    rows(page, 2002, 2002)
    expect(field).to_have_value("")
    expect(page.locator(".bxl-current .bxl-text")).to_have_text("ERROR line 507")
    expect(page.locator(".bxl-current")).to_be_in_viewport()
    expect(page.locator(".bxl-text", has_text="line 508")).to_be_visible()
    page.keyboard.press("f")
    expect(field).to_be_focused()
    field.fill('"line 1107"')
    rows(page, 2002, 2)
    field.press("Escape")
    page.keyboard.press("Home")
    page.keyboard.press("c")
    rows(page, 2002, 2002)


def test_search_goes_through_what_is_shown(notebook: Notebook) -> None:
    """With a filter on, the search steps only to matches that are shown."""
    page = notebook(START + FILL)
    run_cell(page, 0)
    rows(page, 2002, 2002)
    filter_field(page).fill("level:error")
    rows(page, 2002, 21)
    search = page.get_by_label("Search the log")
    search.fill("7")
    expect(page.locator(".bxl-current .bxl-text")).to_have_text(re.compile("^ERROR line"))
    for _ in range(25):
        search.press("Enter")
        expect(page.locator(".bxl-current .bxl-text")).to_have_text(re.compile("^ERROR line"))


def test_buttons_write_one_expression(notebook: Notebook) -> None:
    """What is shown is one expression, and its Python code gives the same rows."""
    page = notebook(
        START + "run.facts['variable'] = 'run'\n" + FILL,
        "print([row['text'] for row in run.logs.filter('\"LINE 7\" stream:stdout level>=error')])",
    )
    run_cell(page, 0)
    rows(page, 2002, 2002)
    field = filter_field(page)
    field.fill('"LINE 7"')
    page.get_by_role("button", name="Only stderr").click()
    expect(field).to_have_value('"LINE 7" stream:stderr')
    page.get_by_role("button", name="Only stdout").click()
    page.get_by_role("button", name="Only errors").click()
    expect(field).to_have_value('"LINE 7" stream:stdout level>=error')
    pressed = page.get_by_role("button", name="Only errors")
    expect(pressed).to_have_attribute("aria-pressed", "true")
    rows(page, 2002, 3)
    page.get_by_label("Copy the Python code for these lines").click()
    page.get_by_text("copied: run.logs").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == 'run.logs.filter("\\"LINE 7\\" stream:stdout level>=error")'
    texts = page.locator(".bxl-text").all_inner_texts()
    run_cell(page, 1)
    expect(page.locator(".jp-OutputArea").last).to_contain_text(str(texts[:-1])[1:-1])


def test_an_endless_expression_hides_nothing(notebook: Notebook) -> None:
    """A pathological expression is given up; every line stays, and the next filter works."""
    page = notebook(START + "run.add('a' * 3000 + '!', 'b'); panel.flush()\npanel")
    run_cell(page, 0)
    rows(page, 2, 2)
    field = filter_field(page)
    field.fill("/(a+)+$/")
    expect(page.locator(".bxl-kept")).to_contain_text("takes too long")
    rows(page, 2, 2)
    field.fill("b")
    rows(page, 2, 1)


def test_a_failure_says_what_it_means_and_where(notebook: Notebook) -> None:
    """The header explains the exit code and leads to the first error and the last block."""
    end = (
        "run.end('failed', 137)\n"
        "run.facts['digest'] = {'meaning': 'killed', 'first': 7, 'block': [1907, 1908]}\npanel.flush()"
    )
    page = notebook(START + FILL, end)
    run_cell(page, 0)
    rows(page, 2002, 2002)
    expect(page.locator(".bxl-digest")).to_be_hidden()
    filter_field(page).fill("late")
    rows(page, 2002, 2)
    run_cell(page, 1)
    expect(page.locator(".bxl-digest")).to_contain_text("exit code 137: killed")
    page.get_by_role("button", name="first error: line 8").click()
    rows(page, 2002, 2002)
    expect(page.locator(".bxl-current .bxl-text")).to_have_text("ERROR line 7")
    page.get_by_role("button", name="last error: line 1,908").click()
    expect(page.locator(".bxl-current .bxl-text")).to_have_text("ERROR line 1907")
    expect(page.locator(".bxl-current")).to_be_in_viewport()
