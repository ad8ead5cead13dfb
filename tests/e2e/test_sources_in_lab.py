"""Several runs in one panel, and what can be asked of them, in a real JupyterLab: all of it live."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator

import pytest
from conftest import run_cell
from playwright.sync_api import Locator, Page, expect
from sleepers import gone, sleepers

pytestmark = pytest.mark.e2e
Notebook = Callable[..., Page]

SETUP = """
from blaxel_jupyter import LogPanel, SandboxClient, TaskClient
sandbox, tasks = SandboxClient("local"), TaskClient("local")
async def begin(command, name):
    return await sandbox.exec(command, name=f"{name}-MARK")
"""
TICKS = "begin('i=0; while :; do i=$((i+1)); echo {0} $i; sleep {1}; done # MARK', '{0}')"


@pytest.fixture
def mark() -> Iterator[str]:
    """What the test's processes are known by; those that a failed test leaves are killed."""
    made = f"mark-{uuid.uuid4().hex[:12]}"
    yield made
    for process in sleepers(made):
        process.kill()


def cells(mark: str, *texts: str) -> list[str]:
    """Put the mark into cells."""
    return [text.replace("MARK", mark) for text in (SETUP, *texts)]


def chip(page: Page, name: str) -> Locator:
    """Return the chip of a source."""
    return page.locator(".bxl-chip", has_text=name)


def sources(page: Page) -> set[str]:
    """Return whose lines are on screen."""
    return {name.split("-")[0] for name in page.locator(".bxl-from").all_inner_texts()}


def menu(page: Page, of: Locator) -> Locator:
    """Return the list of what can be asked."""
    return of.locator("select")


def test_two_processes_and_a_task_in_one_panel(notebook: Notebook, mark: str) -> None:
    """Shown by the cell's last expression alone, all are followed; each is hidden, stopped and told apart."""
    page = notebook(
        *cells(
            mark,
            f"web = await {TICKS.format('web', 0.2)}\nwork = await {TICKS.format('work', 0.3)}\n"
            "agent = await tasks.create('Looking.\\n$ echo from the agent >&2; sleep 2; exit 3\\nDone.')",
            "panel = LogPanel(web, work, agent)\npanel",
            "code = f'-source:work-MARK -source:{agent.run_id}'\n"
            "rows = [row['text'] for row in panel.logs.filter(code)]\n"
            "same = rows == list(web.logs.column('text')[:len(rows)])\n"
            "print(f'panel.logs.filter(\"{code}\")', len(rows) > 5, same)",
        )
    )
    for cell in range(3):
        run_cell(page, cell)
    expect(page.locator(".bxl-chip")).to_have_count(3)
    expect(chip(page, "web")).to_contain_text("running")
    expect(page.locator(".bxl-text", has_text="from the agent").last).to_be_visible()
    expect(page.locator(".bxl-text", has_text="web 5")).to_be_visible()
    expect(page.locator(".bxl-text", has_text=re.compile("^work 4$"))).to_be_visible()
    row = page.locator(".bxl-row", has=page.get_by_text("from the agent", exact=True))
    expect(row).to_have_class(re.compile("bxl-stderr"))
    expect(page.locator(".bxl-text", has_text="failed: exit code 3")).to_be_visible()
    expect(page.locator(".bxl-chip").last).to_contain_text("failed")
    assert len(sources(page)) == 3
    chip(page, "work").get_by_role("button").click()
    expect(chip(page, "work").get_by_role("button")).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".bxl-from", has_text="work")).to_have_count(0)
    field = page.get_by_label("Filter the log")
    expect(field).to_have_value(f"-source:work-{mark}")
    page.locator(".bxl-chip").last.get_by_role("button").click()
    expect(page.locator(".bxl-from").filter(has_not_text="web")).to_have_count(0)
    expect(page.locator(".bxl-from").last).to_have_text(f"web-{mark}")
    page.get_by_label("Copy the Python code for these lines").click()
    page.get_by_text("copied: panel.logs").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    run_cell(page, 3)
    expect(page.locator(".jp-OutputArea").last).to_contain_text(f"{copied} True True")
    field.fill("source:nobody")
    expect(chip(page, "web").get_by_role("button")).to_have_attribute("aria-pressed", "false")
    page.get_by_label("Filter the lines (f)").click()
    expect(chip(page, "work").get_by_role("button")).to_have_attribute("aria-pressed", "true")
    assert len(sleepers(mark)) >= 2
    menu(page, chip(page, "web")).select_option("kill")
    expect(chip(page, "web")).to_contain_text("killed")
    expect(chip(page, "work")).to_contain_text("running")
    page.get_by_role("button", name="Stop all that goes on").click()
    gone(mark)
    expect(chip(page, "work")).to_contain_text("stopped")
    expect(page.get_by_role("button", name="Stop all that goes on")).to_be_hidden()


def test_a_cell_stops_following_and_goes_on(notebook: Notebook, mark: str) -> None:
    """Stop following ends the cell, not the process; the panel says so, follows again, and stops it."""
    command = f"i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.1; done # {mark}"
    page = notebook(
        "%load_ext blaxel_jupyter\n%sandbox use local",
        f"%%sandbox_exec\n{command}",
        "print('next', _sandbox.status)",
    )
    run_cell(page, 0)
    run_cell(page, 1)
    header = page.locator(".bxl-header")
    expect(page.locator(".bxl-text", has_text="tick 5")).to_be_visible()
    menu(page, header).select_option("detach")
    expect(page.locator(".jp-CodeCell").nth(1).locator(".jp-InputPrompt")).to_have_text(
        re.compile(r"\[\d+\]")
    )
    expect(page.locator(".bxl-note")).to_contain_text("still runs; Stop ends it")
    assert sleepers(mark)
    run_cell(page, 2)
    expect(page.locator(".jp-OutputArea").last).to_contain_text("next running")
    lines = page.locator(".bxl-panel").get_attribute("data-rows")
    header.get_by_role("button", name="Follow again").click()
    expect(page.locator(".bxl-panel")).not_to_have_attribute("data-rows", lines or "")
    expect(page.locator(".bxl-note")).not_to_contain_text("still runs")
    header.get_by_role("button", name="Stop the process").click()
    gone(mark)
    expect(page.locator(".bxl-panel")).to_have_count(0)
    expect(page.locator(".bxs-head")).to_contain_text("stopped")
    texts = page.locator(".bxs-log").inner_text().split()[1::2]
    numbers = [int(text) for text in texts if text.isdigit()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_stop_of_what_is_not_followed(notebook: Notebook, mark: str) -> None:
    """Stopped while nobody follows, a process's end is seen all the same."""
    page = notebook(*cells(mark, f"run = await {TICKS.format('web', 0.1)}", "LogPanel(run)"))
    for cell in range(3):
        run_cell(page, cell)
    expect(page.locator(".bxl-text", has_text="web 3")).to_be_visible()
    menu(page, page.locator(".bxl-header")).select_option("detach")
    expect(page.locator(".bxl-note")).to_contain_text("not followed any more")
    page.get_by_role("button", name="Stop the process").click()
    gone(mark)
    expect(page.locator(".bxl-status").first).to_contain_text("stopped")


def test_why_one_of_them_failed(notebook: Notebook, mark: str) -> None:
    """The header says which failed and leads to its lines in the panel; each line carries a name."""
    page = notebook(
        *cells(
            mark,
            "web = await begin('for i in 1 2 3; do echo \"INFO request $i\"; sleep .1; done; printf wait; '\n"
            "                  'sleep 6; echo ed', 'web')\n"
            "bad = await begin('echo start; echo \"ERROR no database\" >&2; exit 137', 'a-long-name-of-it')\n"
            "agent = await tasks.create('Looking at it.\\n$ echo 14 passed\\nAll is well.')\n"
            "runs = [web, bad, agent]",
            "panel = LogPanel(*runs)\npanel",
        )
    )
    for cell in range(3):
        run_cell(page, cell)
    expect(page.locator(".bxl-partial .bxl-text")).to_have_text("wait")
    chip(page, "web").get_by_role("button").click()
    expect(page.locator(".bxl-partial")).to_have_count(0)
    expect(page.locator(".bxl-panel")).to_have_class(re.compile("bxl-final"))
    chip(page, "web").get_by_role("button").click()
    expect(page.get_by_label("Filter the log")).to_have_value("")
    expect(page.locator(".bxl-text", has_text="waited")).to_be_visible()
    expect(page.locator(".bxl-digest")).to_contain_text("exit code 137: killed")
    page.get_by_role("button", name=re.compile("^first error")).click()
    expect(page.locator(".bxl-current .bxl-text")).to_have_text("ERROR no database")
    names = set(page.locator(".bxl-from").all_inner_texts())
    assert {f"web-{mark}", f"a-long-name-of-it-{mark}"} <= names


def test_a_task_that_is_left_goes_on(notebook: Notebook) -> None:
    """Stop following ends the cell, not the agent's run, whose rest comes when it is followed again."""
    page = notebook(
        "%load_ext blaxel_jupyter\n%task use local",
        "%%task\nBegun.\n$ sleep 4; echo late\nDone.",
        "print('next', _task.status)",
    )
    run_cell(page, 0)
    run_cell(page, 1)
    expect(page.locator(".bxl-said", has_text="Begun.")).to_be_visible()
    menu(page, page.locator(".bxl-header")).select_option("detach")
    expect(page.locator(".bxl-note")).to_contain_text("the run goes on; Cancel ends it")
    run_cell(page, 2)
    expect(page.locator(".jp-OutputArea").last).to_contain_text("next running")
    menu(page, page.locator(".bxl-header")).select_option("follow")
    expect(page.locator(".bxl-panel")).to_have_count(0)
    output = page.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea")
    expect(output).to_contain_text("Done.")
    expect(output).to_contain_text("completed")
