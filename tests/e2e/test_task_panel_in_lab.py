"""The task view in a real JupyterLab: what a user sees, opens, searches and cancels."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import run_cell, save
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.e2e
Notebook = Callable[..., Page]

START = """
from stand_in_task import Run, shown, bash, said
from IPython.display import display
run = Run()
panel = shown(run)
"""
FLUSH = "\nwhile panel.flush(): pass\n"


def replayed(name: str, end: str = "run.end()", facts: str = "") -> str:
    """Return a cell that shows a recorded run."""
    return f"{START}run.replay({name!r}); run.facts |= dict({facts}); {end}{FLUSH}panel"


def item(page: Page, text: str) -> Locator:
    """Return the rows whose line or text holds this."""
    return page.locator(".bxl-item", has_text=text)


def head(page: Page, text: str) -> Locator:
    """Return the line of a row that opens."""
    return page.locator(".bxl-head", has_text=text)


def test_a_story_arrives(notebook: Notebook) -> None:
    """Text streams into one block, a call changes its state in place, the header counts."""
    page = notebook(
        START + "run.add(said('Looking at '))" + FLUSH + "panel",
        "run.add(said('the tests.'), *bash(1, 'pytest -q', exit_code=None)); panel.flush()",
        "run.add(*bash(1, 'pytest -q', '\\x1b[31m1 failed\\x1b[0m\\n', 1)[2:]); panel.flush()",
        "run.add(said('Mended.')); run.end(); panel.flush()",
    )
    run_cell(page, 0)
    expect(page.locator(".bxl-status")).to_have_text("running")
    expect(page.locator(".bxl-said")).to_have_text("Looking at ")
    run_cell(page, 1)
    expect(page.locator(".bxl-said")).to_have_text("Looking at the tests.")
    expect(page.locator(".bxl-sign[data-state=running]")).to_have_count(1)
    run_cell(page, 2)
    expect(page.locator(".bxl-sign[data-state=failed]")).to_have_count(1)
    expect(head(page, "pytest -q").locator(".bxl-outcome")).to_have_text("exit code 1")
    expect(head(page, "pytest -q").locator(".bxl-took")).to_have_text(re.compile(r"\d m?s"))
    run_cell(page, 3)
    expect(page.locator(".bxl-said")).to_have_text(["Looking at the tests.", "Mended."])
    expect(page.locator(".bxl-facts").first).to_contain_text("6 events · 1 tool call")
    expect(page.locator(".bxl-process")).to_have_attribute("title", re.compile("5f0c2a1e-7b34"))
    expect(page.get_by_role("button", name="Cancel the run")).to_be_hidden()


def test_a_recorded_run_opens(notebook: Notebook) -> None:
    """By mouse and by keyboard a call opens to its input and output; files and result are told."""
    page = notebook(replayed("01-success.capture.ndjson"))
    run_cell(page, 0)
    pytest_row = item(page, "python -m pytest -q")
    expect(pytest_row.locator(".bxl-took")).to_have_text("3.7 s")
    head(page, "python -m pytest -q").click()
    expect(pytest_row.locator(".bxl-out").last).to_contain_text("14 passed in 1.87s")
    expect(head(page, "python -m pytest -q")).to_have_attribute("aria-expanded", "true")
    head(page, "python -m pytest -q").click()
    expect(pytest_row.locator(".bxl-out")).to_have_count(0)
    head(page, "/src/ledger/dates.py").focus()
    page.keyboard.press("Enter")
    edit = page.locator(".bxl-tool", has_text="Edit")
    expect(edit.locator(".bxl-label")).to_have_text(["input", "output"])
    expect(edit.locator(".bxl-json").first).to_contain_text('"old_string": "strptime')
    page.keyboard.press(" ")
    expect(edit.locator(".bxl-json")).to_have_count(0)
    page.keyboard.press("ArrowUp")
    expect(head(page, "strptime in src")).to_be_focused()
    expect(page.locator(".bxl-files .bxl-out").first).to_contain_text("dates.py  1,184 bytes")
    expect(page.locator(".bxl-result")).to_contain_text("success · 48.2 s · 6 turns")
    expect(page.locator(".bxl-facts").first).to_contain_text("1.84k in, 1.38k out tokens · $0.0873")
    expect(page.locator(".bxl-origin")).to_have_text("stream")


def test_failed_nested_unfinished_and_unknown(notebook: Notebook) -> None:
    """Each is marked as what it is; the count of failed ones goes from one to the next."""
    page = notebook(
        replayed("02-failed.ndjson", "run.end('failed', run.fold.error)", "local=True"),
        replayed("04-tolerance.ndjson", "run.replay('03-cancelled.ndjson'); run.end('cancelled')"),
    )
    run_cell(page, 0)
    expect(page.locator(".bxl-error-line")).to_contain_text("returned 503 after 3 attempts")
    expect(page.locator(".bxl-note")).to_contain_text("without isolation")
    failed = page.locator(".bxl-failed")
    expect(failed).to_have_text("2 failed")
    for command in ("npm ci", "npx vitest run", "npm ci"):
        failed.click()
        expect(head(page, command)).to_be_focused()
    expect(page.locator(".bxl-head[aria-expanded=true]")).to_have_count(0)
    run_cell(page, 1)
    second = page.locator(".bxl-panel").nth(1)
    second.locator(".bxl-body").focus()
    page.keyboard.press("Home")
    nested = second.locator(".bxl-item", has_text="Invalid arguments")
    expect(nested).to_have_css("padding-left", "28px")
    expect(nested.locator(".bxl-name")).to_have_attribute("title", re.compile("nested in toolu_P"))
    expect(second.locator(".bxl-unknown")).to_contain_text("unknown event")
    page.keyboard.press("End")
    unfinished = second.locator(".bxl-item", has_text="psql -f explain.sql")
    expect(unfinished).to_contain_text("never finished")
    expect(unfinished.locator(".bxl-sign")).to_have_attribute("data-state", "unfinished")
    thought = second.locator(".bxl-reasoning", has_text="The slow query").locator(".bxl-head")
    thought.click()
    expect(second.locator(".bxl-thought")).to_contain_text("before proposing an index.")


def test_search_opens_what_hides_a_match(notebook: Notebook) -> None:
    """Text and expressions are found in outputs, too; a folded row opens when it is visited."""
    fill = (
        "for i in range(200):\n"
        "    run.add(said(f'Step {i}.\\n'), *bash(i, f'make {i}', "
        "f'built \\x1b[1mpart\\x1b[0m {i}\\n' * 40))\n"
        "run.end()"
    )
    page = notebook(START + fill + FLUSH + "panel")
    run_cell(page, 0)
    search = page.get_by_label("Search the story")
    search.fill("PART 77\n")
    count = page.locator(".bxl-count")
    expect(count).to_have_text("1/40")
    opened = item(page, "make 77").locator(".bxl-out").last
    expect(opened.locator(".bxl-now")).to_have_text(["part", " 77"])
    page.get_by_label("Regular expression").click()
    search.fill("^Step 1\\d\\d\\.$")
    expect(count).to_have_text(re.compile("/100$"))
    search.press("Enter")
    expect(page.locator(".bxl-said .bxl-now")).to_have_text(re.compile("^Step 1"))
    before = page.locator(".bxl-said .bxl-now").inner_text()
    search.press("Escape")
    page.keyboard.press("n")
    expect(page.locator(".bxl-said .bxl-now")).not_to_have_text(before)
    page.keyboard.press("N")
    expect(page.locator(".bxl-said .bxl-now")).to_have_text(before)
    page.keyboard.press("/")
    expect(search).to_be_focused()
    search.fill("(")
    expect(count).to_have_class(re.compile("bxl-bad"))
    search.fill("no such")
    expect(count).to_have_text("no match")


def test_filters(notebook: Notebook) -> None:
    """Kinds of events and the calls of other tools are put away, and search counts what is shown."""
    page = notebook(replayed("03-cancelled.ndjson"))
    run_cell(page, 0)
    heads, said = page.locator(".bxl-head"), page.locator(".bxl-said")
    expect(said).to_have_count(2)
    page.get_by_role("button", name="Text", exact=True).click()
    expect(said).to_have_count(0)
    page.get_by_role("button", name="Other", exact=True).click()
    page.get_by_role("button", name="Reasoning", exact=True).click()
    expect(heads).to_have_count(4)
    tools = page.get_by_label("Show calls of one tool")
    assert tools.locator("option").all_inner_texts() == [
        "all tools",
        "Bash (1)",
        "Grep (1)",
        "Read (1)",
    ]
    tools.select_option("Grep (1)")
    expect(page.locator(".bxl-tool")).to_have_count(1)
    page.get_by_label("Search the story").fill("sql")
    expect(page.locator(".bxl-count")).to_have_text("1/1")
    tools.select_option("all tools")
    expect(page.locator(".bxl-count")).to_have_text(re.compile("/9$"))
    page.get_by_role("button", name="Text", exact=True).click()
    expect(said).to_have_count(2)


def test_scrolling_up_in_a_story_pauses(notebook: Notebook) -> None:
    """The view follows its tail; scrolled up it holds still, says how much is new, and goes back."""
    page = notebook(
        START + "run.add(*(said(f'line {i}\\n', f'b{i}') for i in range(300)))" + FLUSH + "panel",
        "run.add(*bash(1, 'ls', 'x\\n'), *(said(f'line {i}\\n', f'b{i}') for i in range(300, 400)))"
        + FLUSH,
    )
    run_cell(page, 0)
    texts = page.locator(".bxl-said")
    expect(texts.last).to_have_text("line 299")
    body = page.locator(".bxl-body")
    body.focus()
    page.keyboard.press("PageUp")
    page.keyboard.press("PageUp")
    expect(texts.filter(has_text=re.compile("^line 299$"))).to_have_count(0)
    middle = (
        "body => { const box = body.getBoundingClientRect();"
        "return document.elementFromPoint(box.x + 80, box.y + box.height / 2).textContent }"
    )
    before = body.evaluate(middle)
    run_cell(page, 1)
    badge = page.locator(".bxl-badge")
    expect(badge).to_have_text(re.compile("^103 new events"))
    body.scroll_into_view_if_needed()
    assert body.evaluate(middle) == before
    badge.click()
    expect(texts.last).to_have_text("line 399")
    expect(badge).to_be_hidden()
    body.focus()
    page.keyboard.press("Home")
    expect(texts.first).to_have_text("line 0")
    page.keyboard.press("ArrowDown")  # scrolls the story, does not leave for another cell
    expect(body).to_be_focused()
    page.keyboard.press("End")
    expect(texts.last).to_have_text("line 399")


def test_an_open_row_stays_where_it_is(notebook: Notebook) -> None:
    """Opening a row moves nothing above it, and what arrives below does not move it."""
    page = notebook(
        START
        + "for i in range(60): run.add(*bash(i, f'make {i}', 'line\\n' * 50))"
        + FLUSH
        + "panel",
        "run.add(*(said(f'{i}\\n', f'b{i}') for i in range(100)))" + FLUSH,
    )
    run_cell(page, 0)
    line = head(page, "make 57")
    line.wait_for()
    place = "node => node.getBoundingClientRect().top - node.closest('.bxl-body').getBoundingClientRect().top"
    before = line.evaluate(place)
    line.click()
    expect(item(page, "make 57").locator(".bxl-out")).to_have_count(2)
    assert abs(line.evaluate(place) - before) <= 1
    run_cell(page, 1)
    expect(page.locator(".bxl-badge")).to_have_text(re.compile("^100 new events"))
    assert abs(line.evaluate(place) - before) <= 1


def test_cancel_reaches_a_blocked_cell(notebook: Notebook) -> None:
    """While a synchronous cell blocks the kernel, Cancel arrives, and the panel says it was sent."""
    page = notebook(
        START
        + "import threading\n"
        + "def flushing():\n"
        + "    while not run.header()['final']: panel.flush(); threading.Event().wait(1 / 30)\n"
        + "    while panel.flush(): pass\n"
        + "threading.Thread(target=flushing, daemon=True).start()",
        "display(panel); run.add(said('working'))\n"
        "asked = run.asked.wait(30)\nprint('heard', asked, run.verbs)\n"
        "gone = threading.Event().wait(2); run.end('cancelled')",
    )
    run_cell(page, 0)
    run_cell(page, 1)
    expect(page.locator(".bxl-said")).to_have_text("working")
    page.get_by_role("button", name="Cancel the run").click()
    expect(page.locator(".bxl-note")).to_contain_text("cancel was sent")
    expect(page.locator(".jp-Notebook")).to_contain_text("heard True ['cancel']")
    expect(page.locator(".bxl-status")).to_have_text("cancelled")
    expect(page.locator(".bxl-act")).to_be_hidden()


def test_a_reload_and_a_second_view_show_the_whole_story(notebook: Notebook) -> None:
    """After a page reload in the middle of a run all of the story is there; so it is in a second view."""
    page = notebook(
        START
        + "for i in range(1500): run.add(said(f'text {i}\\n'), *bash(i, f'make {i}', 'out\\n' * 9, i % 2))",
        "display(panel)\nawait panel.pump()",
    )
    run_cell(page, 0)
    run_cell(page, 1)
    page.locator('.bxl-task[data-events="6000"]').wait_for()
    save(page)
    page.reload()
    page.locator('.bxl-task[data-events="6000"]').wait_for()
    expect(page.locator(".bxl-head").last).to_contain_text("make 1499")
    head(page, "make 1499").click()
    expect(page.locator(".bxl-out").last).to_contain_text("out\nout")
    page.locator(".bxl-body").focus()
    page.keyboard.press("Home")
    expect(page.locator(".bxl-said").first).to_have_text("text 0")
    page.get_by_role("button", name="Cancel the run").wait_for()
    page.locator(".jp-OutputArea-output").first.click(button="right")
    page.get_by_role("menuitem", name="Create New View for Cell Output").click()
    expect(page.locator(".bxl-panel")).to_have_count(2)
    expect(page.locator('.bxl-task[data-events="6000"]')).to_have_count(2)


def test_lost_batches_of_a_story_are_fetched_again(notebook: Notebook) -> None:
    """Batches that Jupyter drops on the way, the last one too, are noticed and asked for."""
    lossy = (
        "send, count = panel.send, iter(range(10**6))\n"
        "def drop(content, buffers=None):\n"
        "    if content['kind'] != 'append' or next(count) % 3 == 0: send(content, buffers)\n"
        "panel.send = drop\n"
    )
    page = notebook(
        START + lossy + "panel",
        "for i in range(30): run.add(said(f'{i} '), *(bash(i // 3, 'ls', 'x')[:1 + i % 3])); panel.flush()\n"
        "run.add(said('end of it')); run.end(); panel.flush(); panel.flush()",
    )
    run_cell(page, 0)
    page.locator(".bxl-panel").wait_for()
    run_cell(page, 1)
    expect(page.locator(".bxl-said").last).to_have_text("end of it")
    with page.expect_download() as download:
        page.get_by_label("Download all events as text").click()
    assert download.value.suggested_filename == "task.txt"
    text = Path(download.value.path()).read_text("utf-8")
    words = [line.strip() for line in text.split("\n") if line and line[0] not in "> "]
    assert words == [*map(str, range(30)), "end of it"]
    page.get_by_label("Copy the selection, or all events").click()
    page.get_by_text("copied", exact=True).wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == text


def test_ten_thousand_events_keep_few_elements(notebook: Notebook) -> None:
    """However long the story, the document holds what is near the screen, and all can be reached."""
    page = notebook(
        START
        + "for i in range(2500): run.add(said(f'text {i}\\n'), *bash(i, f'make {i}', 'out\\n'))"
        "\nrun.end()" + FLUSH + "panel"
    )
    run_cell(page, 0)
    page.locator('.bxl-task[data-events="10000"]').wait_for()
    expect(page.locator(".bxl-head").last).to_contain_text("make 2499")
    assert page.locator(".bxl-panel *").count() < 1500
    page.get_by_label("Search the story").fill("text 1234")
    expect(page.locator(".bxl-now")).to_have_text("text 1234")
    assert page.locator(".bxl-panel *").count() < 1500


def test_what_is_huge_is_cut_and_counted(notebook: Notebook) -> None:
    """A text and an output too long to be shown say how much is left out, and where it is."""
    page = notebook(
        START + "run.add(said('words ' * 50_000), *bash(1, 'yes', 'y\\n' * 500_000)); run.end()"
        f"{FLUSH}panel"
    )
    run_cell(page, 0)
    head(page, "yes").click()
    output = item(page, "yes").locator(".bxl-out").last
    expect(output.locator(".bxl-left")).to_have_text(
        re.compile("^… 980,0.. more characters; the run")
    )
    page.locator(".bxl-said .bxl-left").wait_for()
    expect(page.locator(".bxl-said .bxl-left")).to_have_text(re.compile("^… 100,000 more"))
