"""The panel in a real JupyterLab: what a user sees, clicks and saves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Lab, run_cell, save
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.e2e
Notebook = Callable[..., Page]

START = """
from stand_in import Run, shown
from IPython.display import display
run = Run()
panel = shown(run)
"""
SLOW_FLUSHES = """
import threading
def flush_for_ever():
    while not run.header()["final"]:
        panel.flush()
        threading.Event().wait(1 / 30)
    while panel.flush(): pass
threading.Thread(target=flush_for_ever, daemon=True).start()
"""


def rows(page: Page, count: int) -> None:
    """Wait until every panel on the page has painted this many rows in all."""
    expect(page.locator(f'.bxl-panel:not([data-rows="{count}"])')).to_have_count(0)
    page.locator(f'.bxl-panel[data-rows="{count}"]').first.wait_for()


def test_lines_arrive(notebook: Notebook) -> None:
    """Lines flushed by a later cell appear in the panel above, in order, streams told apart."""
    add = "run.add('one', '\\x1b[31mtwo\\x1b[0m'); run.add('bad', stream='stderr'); panel.flush()"
    page = notebook(START + "panel.flush()\npanel", add)
    run_cell(page, 0)
    expect(page.locator(".bxl-status")).to_have_text("running")
    run_cell(page, 1)
    rows(page, 3)
    expect(page.locator(".bxl-text")).to_have_text(["one", "two", "bad"])
    expect(page.locator(".bxl-stderr .bxl-text")).to_have_text("bad")
    expect(page.locator(".bxl-fg1")).to_have_text("two")
    expect(page.locator(".bxl-facts")).to_contain_text("3 lines")


def test_an_unfinished_line_moves(notebook: Notebook) -> None:
    """A progress bar without a line feed is shown as it stands, then replaced by its row."""
    page = notebook(
        START + "run.facts['partial'] = [['stdout', '10%\\r50%']]; panel.flush()\npanel",
        "run.facts['partial'] = [['stdout', '10%\\r50%\\r90%']]; panel.flush()",
        "run.facts['partial'] = []; run.add('done', 'next'); panel.flush()",
    )
    run_cell(page, 0)
    expect(page.locator(".bxl-text")).to_have_text(["50%"])
    run_cell(page, 1)
    expect(page.locator(".bxl-text")).to_have_text(["90%"])
    run_cell(page, 2)
    expect(page.locator(".bxl-text")).to_have_text(["done", "next"])


def test_search(notebook: Notebook) -> None:
    """Plain and regular expressions find, count and mark; n and N go round."""
    fill = "run.add(*(f'line {i} \\x1b[1mof\\x1b[0m many' for i in range(20_000)))\n"
    fill += "while panel.flush(): pass\n"
    page = notebook(START + fill + "panel")
    run_cell(page, 0)
    rows(page, 20_000)
    search = page.get_by_label("Search the log")
    search.fill("LINE 77 OF")
    expect(page.locator(".bxl-count")).to_have_text("1/1")
    expect(page.locator(".bxl-current .bxl-text")).to_have_text("line 77 of many")
    marked = page.locator(".bxl-current .bxl-mark")
    expect(marked).to_have_text(["line 77 ", "of"])
    page.get_by_label("Regular expression").click()
    search.fill(r"line 1999\d ")
    expect(page.locator(".bxl-count")).to_have_text("1/10")
    search.press("Enter")
    expect(page.locator(".bxl-count")).to_have_text("2/10")
    search.press("Escape")
    page.keyboard.press("n")
    expect(page.locator(".bxl-current .bxl-text")).to_have_text("line 19992 of many")
    for _ in range(3):
        page.keyboard.press("N")
    expect(page.locator(".bxl-count")).to_have_text("10/10")
    expect(page.locator(".bxl-current .bxl-text")).to_have_text("line 19999 of many")
    page.keyboard.press("/")
    expect(search).to_be_focused()
    search.fill("(")
    expect(page.locator(".bxl-count")).to_have_class(re.compile("bxl-bad"))
    search.fill("no such")
    expect(page.locator(".bxl-count")).to_have_text("no match")


def test_an_endless_expression_is_given_up(notebook: Notebook) -> None:
    """A pathological expression costs neither the tab nor the panel."""
    page = notebook(START + "run.add('a' * 3000 + '!', 'b'); panel.flush()\npanel")
    run_cell(page, 0)
    rows(page, 2)
    page.get_by_label("Regular expression").click()
    page.get_by_label("Search the log").fill("(a+)+$")
    expect(page.locator(".bxl-count")).to_contain_text("takes too long")
    page.get_by_label("Search the log").fill("b")
    expect(page.locator(".bxl-count")).to_have_text("1/1")


def test_scrolling_up_pauses(notebook: Notebook) -> None:
    """The view holds still while lines arrive, says how many, and goes back to the tail."""
    page = notebook(
        START + "run.add(*map(str, range(500))); panel.flush()\npanel",
        "run.add(*map(str, range(500, 700))); panel.flush()",
        "run.add('last'); panel.flush()",
    )
    run_cell(page, 0)
    rows(page, 500)
    texts = page.locator(".bxl-text")
    expect(texts.last).to_have_text("499")
    page.locator(".bxl-body").focus()
    page.keyboard.press("PageUp")
    expect(texts.filter(has_text=re.compile("^499$"))).to_have_count(0)
    once = texts.first.inner_text()
    page.keyboard.press("PageUp")
    expect(texts.first).not_to_have_text(once)
    before = texts.first.inner_text()
    run_cell(page, 1)
    rows(page, 700)
    badge = page.locator(".bxl-badge")
    expect(badge).to_have_text(re.compile("^200 new lines"))
    expect(texts.first).to_have_text(before)
    run_cell(page, 2)
    expect(badge).to_have_text(re.compile("^201 new lines"))
    badge.click()
    expect(texts.last).to_have_text("last")
    expect(badge).to_be_hidden()
    page.locator(".bxl-body").focus()
    page.keyboard.press("Home")
    expect(texts.first).to_have_text("0")
    page.keyboard.press("ArrowDown")  # scrolls the log, does not leave for another cell
    expect(page.locator(".bxl-body")).to_be_focused()
    page.keyboard.press("End")
    expect(texts.last).to_have_text("last")


def test_wrapped_lines_hold_still(notebook: Notebook) -> None:
    """With wrap on, too, what is being read does not move while lines arrive."""
    page = notebook(
        START
        + "run.add(*(f'{i} ' + 'word ' * (i % 90) for i in range(900))); panel.flush()\npanel",
        "run.add(*(f'{i} ' + 'word ' * (i % 90) for i in range(900, 1800))); panel.flush()",
    )
    run_cell(page, 0)
    rows(page, 900)
    page.get_by_label("Wrap long lines").click()
    expect(page.locator(".bxl-body")).to_have_class(re.compile("bxl-wrap"))
    body = page.locator(".bxl-body")
    expect(page.locator(".bxl-text").last).to_contain_text("899 ")
    body.focus()
    for _ in range(12):
        page.keyboard.press("PageUp")
    expect(page.locator(".bxl-text", has_text=re.compile("^899 "))).to_have_count(0)
    middle = (
        "body => { const box = body.getBoundingClientRect();"
        "return document.elementFromPoint(box.x + 30, box.y + box.height / 2)"
        ".closest('.bxl-row').textContent }"
    )
    body.scroll_into_view_if_needed()
    before = body.evaluate(middle)
    run_cell(page, 1)
    rows(page, 1800)
    body.scroll_into_view_if_needed()
    assert body.evaluate(middle) == before


def test_stop_reaches_a_blocked_cell(notebook: Notebook) -> None:
    """While a synchronous cell blocks the kernel, Stop and then Kill arrive."""
    wait = (
        "display(panel)\nrun.add('working')\n"
        "first = run.asked.wait(30); run.asked.clear()\n"
        "second = run.asked.wait(30)\nrun.end('killed', None)\nprint(first, second, run.verbs)"
    )
    page = notebook(START + SLOW_FLUSHES, wait, "run.verbs")
    run_cell(page, 0)
    run_cell(page, 1)
    rows(page, 1)
    page.get_by_role("button", name="Stop the process").click()
    page.get_by_role("button", name="Kill the process at once").click()
    expect(page.locator(".jp-Notebook")).to_contain_text("True True ['stop', 'kill']")
    expect(page.locator(".bxl-status")).to_have_text("killed")
    expect(page.locator(".bxl-act:visible")).to_have_count(0)


def test_stop_reaches_an_awaiting_cell(notebook: Notebook) -> None:
    """While a cell awaits the panel's pump, Stop arrives and ends it."""
    page = notebook(
        START,
        "run.asked.set = lambda: run.end('stopped', 143)\n"
        "display(panel)\nrun.add('working')\nawait panel.pump()\nprint(run.verbs, 'after the pump')",
    )
    run_cell(page, 0)
    run_cell(page, 1)
    rows(page, 1)
    page.get_by_role("button", name="Stop the process").click()
    expect(page.locator(".jp-Notebook")).to_contain_text("['stop'] after the pump")
    expect(page.locator(".bxl-status")).to_have_text("stopped · exit code 143")


def test_a_reload_and_a_second_view_show_everything(notebook: Notebook) -> None:
    """After a page reload in the middle of a run every line is there; so it is in a second view."""
    page = notebook(
        START + "run.add(*(f'line {i}' for i in range(60_000)))",
        "display(panel)\nawait panel.pump()",
        "panel",
    )
    run_cell(page, 0)
    run_cell(page, 1)
    rows(page, 60_000)
    save(page)
    page.reload()
    rows(page, 60_000)
    expect(page.locator(".bxl-text").last).to_have_text("line 59999")
    page.locator(".bxl-body").focus()
    page.keyboard.press("Home")
    expect(page.locator(".bxl-text").first).to_have_text("line 0")
    page.get_by_role("button", name="Stop the process").wait_for()
    page.locator(".jp-OutputArea-output").first.click(button="right")
    page.get_by_role("menuitem", name="Create New View for Cell Output").click()
    expect(page.locator(".bxl-panel")).to_have_count(2)
    rows(page, 60_000)
    expect(page.locator(".bxl-panel").last.locator(".bxl-text").last).to_have_text("line 59999")


def test_lost_batches_are_fetched_again(notebook: Notebook) -> None:
    """Batches that Jupyter drops on the way, the last one too, are noticed and asked for."""
    lossy = (
        "send, count = panel.send, iter(range(10**6))\n"
        "def drop(content, buffers=None):\n"
        "    if content['kind'] != 'append' or next(count) % 3 == 0: send(content, buffers)\n"
        "panel.send = drop\n"
    )
    page = notebook(
        START + lossy + "panel",
        "for i in range(30): run.add(*(f'{i}.{j}' for j in range(100))); panel.flush()\n"
        "run.end(); panel.flush()",
    )
    run_cell(page, 0)
    page.locator(".bxl-panel").wait_for()
    run_cell(page, 1)
    rows(page, 3000)
    expect(page.locator(".bxl-text").last).to_have_text("29.99")
    with page.expect_download() as download:
        page.get_by_label("Download lines (s)").click()
        page.get_by_role("menuitem", name="Download as text").click()
    wanted = "".join(f"{i}.{j}\n" for i in range(30) for j in range(100))
    assert Path(download.value.path()).read_text("utf-8") == wanted


def test_copy_and_download(notebook: Notebook) -> None:
    """Copy gives what is shown, download the exact text, in a file with the process's name."""
    page = notebook(
        START + "run.add('\\x1b[31mred\\x1b[0m', '<b>', '10%\\r20%')\n"
        "run.add('', kind='gap', missing_bytes=[9]); panel.flush()\npanel"
    )
    run_cell(page, 0)
    rows(page, 4)
    page.get_by_label("Copy lines (y)").click()
    page.get_by_role("menuitem", name="Copy as text").click()
    page.get_by_text("copied", exact=True).wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == "red\n<b>\n20%\n-- 9 bytes missing here --\n"
    with page.expect_download() as download:
        page.get_by_label("Download lines (s)").click()
        page.get_by_role("menuitem", name="Download as text").click()
    assert download.value.suggested_filename == "tests.log"
    text = Path(download.value.path()).read_bytes()
    assert text == b"\x1b[31mred\x1b[0m\n<b>\n10%\r20%\n-- 9 bytes missing here --\n"


@pytest.mark.parametrize("trusted", [True, False])
def test_the_saved_notebook_is_readable(notebook: Notebook, lab: Lab, trusted: bool) -> None:
    """When the run ends the output becomes static; reopened without its kernel it still reads."""
    end = (
        "from blaxel_jupyter.panel.static import html, text\n"
        "run.add(*(f'line {i}' for i in range(300))); run.end('failed', 3)\n"
        "while panel.flush(): pass\n"
        "handle.update({'text/html': html(run), 'text/plain': text(run)}, raw=True)"
    )
    page = notebook(START + "handle = display(panel, display_id=True)", end)
    run_cell(page, 0)
    page.locator(".bxl-panel").wait_for()
    run_cell(page, 1)
    page.locator(".bxs").wait_for()
    with page.expect_response(lambda r: r.request.method == "PUT" and "contents" in r.url):
        page.keyboard.press("Control+s")
    [saved] = [path for path in lab.folder.iterdir() if f"readable[{trusted}]" in path.name]
    document = json.loads(saved.read_text("utf-8"))
    assert "widget" not in json.dumps(document["cells"])
    if not trusted:  # as it comes from somebody else: another signature, sanitised by JupyterLab
        document["metadata"]["from"] = "elsewhere"
        document["cells"][0]["outputs"][0]["data"]["text/html"].append("<!-- -->")
    reopened = lab.folder / f"reopened-{trusted}.ipynb"
    reopened.write_text(json.dumps(document), "utf-8")
    page.goto(lab.address(reopened.name))
    log = page.locator(".jp-RenderedHTML")
    expect(log).to_contain_text("tests in stand-in · failed, exit code 3")
    expect(log).to_contain_text("the last 200 of 300 lines")
    expect(log).to_contain_text("line 100")
    expect(log).to_contain_text("line 299")
    assert "line 99\n" not in log.inner_text()
