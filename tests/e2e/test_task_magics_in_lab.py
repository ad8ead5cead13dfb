"""The task magics as a user meets them, in JupyterLab at its default settings."""

from __future__ import annotations

import contextlib
import json
import re
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import Lab, run_cell
from tests.e2e.sleepers import gone, sleepers
from tests.hostile.payloads import ESCAPES, MARKUP

pytestmark = pytest.mark.e2e
Notebook = Callable[..., Page]

SETUP = "%load_ext blaxel_jupyter\n%task use local"
PANEL = ".bxl-panel"
STATIC = ".bxs"
LIVE = 20_000
STORY = """%%task -o story
I look around.
$ for i in 1 2 3; do echo tick $i; sleep 0.4; done
> Is that all?
$ ls /no/such # optional
That was all."""
FOREIGN = (
    "script, img, a, iframe, object, form, [onerror], [onload], [href], "
    "[data-commandlinker-command]"
)


def cell(page: Page, index: int) -> Locator:
    """Return a cell by its number, from 0."""
    return page.locator(".jp-Notebook .jp-CodeCell").nth(index)


def story_is_there(where: Locator) -> None:
    """Assert that a static output tells the whole story."""
    expect(where.locator(f"{STATIC}-head")).to_contain_text("completed", timeout=LIVE)
    expect(where.locator(f"{STATIC}-head")).to_contain_text("2 tool calls · 1 failed")
    expect(where.locator(f"{STATIC}-text", has_text="I look around.")).to_be_visible()
    expect(where.locator(f"{STATIC}-text", has_text="That was all.")).to_be_visible()
    failed = where.locator(f"{STATIC}-tool", has_text="ls /no/such")
    expect(failed.locator("pre", has_text="No such file")).to_be_visible()
    ticks = where.locator(f"{STATIC}-tool", has_text="for i in 1 2 3")
    expect(ticks.locator("pre", has_text="tick 3")).to_be_hidden()
    ticks.locator("summary").click()
    expect(ticks.locator("pre", has_text="tick 3")).to_be_visible()


def test_story_arrives_and_output_becomes_static(notebook: Notebook) -> None:
    """Text and tool rows appear while the run goes on; then a static output; the variable has all."""
    page = notebook(SETUP, STORY, "print(story.status, repr(story.text), len(story.tool_calls))")
    run_cell(page, 0)
    run_cell(page, 1)
    panel = page.locator(PANEL)
    expect(panel.locator(".bxl-said").first).to_have_text("I look around.")
    expect(panel.locator(".bxl-head", has_text="for i in 1 2 3")).to_be_visible()
    expect(panel.locator(".bxl-sign[data-state=running]")).to_be_visible()
    expect(panel.locator(".bxl-status")).to_have_text("running")
    expect(panel.locator(".bxl-note")).to_contain_text("without isolation")
    story_is_there(cell(page, 1))
    expect(page.locator(PANEL)).to_have_count(0)
    run_cell(page, 2)
    expect(cell(page, 2)).to_contain_text("completed 'I look around.\\nThat was all.' 2")


@pytest.mark.parametrize("prefix", ["", "%%time\n"], ids=["awaiting", "blocking"])
def test_cancel_button_ends_the_run(notebook: Notebook, prefix: str) -> None:
    """The panel's Cancel reaches the run while the cell waits, whichever way it waits."""
    mark = f"3142.{uuid.uuid4().int % 10**9}"
    page = notebook(SETUP, f"{prefix}%%task\nReady.\n$ sleep {mark}\nnever said")
    run_cell(page, 0)
    run_cell(page, 1)
    expect(page.locator(PANEL).locator(".bxl-head", has_text=mark)).to_be_visible()
    assert sleepers(f"sleep {mark}")
    page.get_by_role("button", name="Cancel the run").click()
    gone(f"sleep {mark}")
    expect(cell(page, 1)).to_contain_text("was cancelled. All of it is in _task", timeout=LIVE)
    expect(cell(page, 1).locator(f"{STATIC}-head")).to_contain_text("cancelled")
    expect(cell(page, 1)).not_to_contain_text("Traceback")


def test_interrupt_cancels_then_leaves(notebook: Notebook) -> None:
    """The first interrupt of the kernel cancels, the second one ends the cell; the panel goes on."""
    page = notebook(
        SETUP,
        "%%task\nReady.\n```sh\ntrap '' TERM\ntouch up; while :; do sleep .1; done\n```",
        "print('next cell')",
    )
    run_cell(page, 0)
    run_cell(page, 1)
    expect(page.locator(".bxl-head", has_text="trap")).to_be_visible()
    interrupt = page.locator(
        "[data-command='notebook:interrupt-kernel'], [title*='Interrupt']"
    ).first
    interrupt.click()
    expect(page.locator(".bxl-note")).to_contain_text(re.compile("sending cancel|cancel sent"))
    interrupt.click()
    run_cell(page, 2)
    expect(cell(page, 2)).to_contain_text("next cell")
    expect(cell(page, 1).locator(f"{STATIC}-head")).to_contain_text("cancelled", timeout=LIVE)
    expect(cell(page, 1)).not_to_contain_text("TaskError")


def test_background_run_and_other_cells(notebook: Notebook) -> None:
    """``--bg`` returns at once; other cells run while its panel is live; then it becomes static."""
    page = notebook(
        SETUP,
        "%%task --bg -o back\nUp.\n$ sleep 1.5\nDown.",
        "print('other', back.status)",
        "%task_logs {back.run_id} -f",
    )
    for index in range(3):
        run_cell(page, index)
    expect(cell(page, 2)).to_contain_text("other running")
    expect(cell(page, 1).locator(".bxl-said")).to_have_text("Up.\n")
    run_cell(page, 3)
    for index in (1, 3):
        shown = cell(page, index)
        expect(shown.locator(f"{STATIC}-text", has_text="Down.")).to_be_visible(timeout=LIVE)


def test_failed_cell_shows_a_short_error(notebook: Notebook) -> None:
    """A failed run leaves two short lines, no traceback, and the story with the failed call open."""
    page = notebook(SETUP, "%%task\nBefore.\n$ echo oops >&2; exit 3\nnever said")
    run_cell(page, 0)
    run_cell(page, 1)
    expect(cell(page, 1)).to_contain_text("TaskError: Run", timeout=LIVE)
    expect(cell(page, 1)).to_contain_text("Step 1 failed with exit code 3: echo oops >&2; exit 3")
    expect(cell(page, 1)).not_to_contain_text("Traceback")
    expect(cell(page, 1).locator(f"{STATIC}-tool pre", has_text="oops").last).to_be_visible()


def test_logs_of_ended_runs(notebook: Notebook) -> None:
    """One ended run is its static story at once; several show how far they are, then one table."""
    page = notebook(
        SETUP,
        "\n".join([*STORY.splitlines()]).replace("-o story", "-q -o story"),
        "%%task -q -o bad --no-raise-error\n$ exit 3",
        "%task_logs {story.run_id}",
        "%task_logs {story.run_id} {bad.run_id} nobody -o some",
        "%%task -q --bg -o slow\n$ sleep 2\nLate.",
        "%task_logs {story.run_id} {slow.run_id} -f",
    )
    for index in range(4):
        run_cell(page, index)
    story_is_there(cell(page, 3))
    run_cell(page, 4)
    rows = cell(page, 4).locator("table tr")
    expect(rows).to_have_count(4)
    expect(rows.nth(1)).to_contain_text("completed")
    expect(rows.nth(2)).to_contain_text("Step 1 failed with exit code 3")
    expect(rows.nth(3)).to_contain_text("There is no task run 'nobody'")
    expect(cell(page, 4)).to_contain_text("1 of 3 logs could not be read")
    run_cell(page, 5)
    run_cell(page, 6)
    expect(cell(page, 6)).to_contain_text("1 of 2 runs have ended")
    rows = cell(page, 6).locator("table tr")
    expect(rows.nth(2)).to_contain_text("completed", timeout=LIVE)
    expect(cell(page, 6)).not_to_contain_text("have ended")


def test_saved_notebook_is_readable_without_a_kernel(
    notebook: Notebook, lab: Lab, page: Page, request: pytest.FixtureRequest
) -> None:
    """Reopened with no kernel the story is there, and opens."""
    notebook(SETUP, STORY)
    run_cell(page, 0)
    run_cell(page, 1)
    expect(cell(page, 1).locator(f"{STATIC}-text", has_text="That was all.")).to_be_visible(
        timeout=LIVE
    )
    page.keyboard.press("Escape")
    page.keyboard.press("Control+s")
    path = lab.folder / f"{request.node.name}.ipynb"
    document = saved(path, page)
    outputs = document["cells"][1]["outputs"]
    assert {kind for one in outputs for kind in one["data"]} == {"text/html", "text/plain"}
    assert "<script" not in json.dumps(outputs)
    document["metadata"] = {"kernelspec": {"name": "gone", "display_name": "gone"}}
    reopened = path.with_name("reopened-task.ipynb")
    reopened.write_text(json.dumps(document), "utf-8")
    page.goto(lab.address(reopened.name))
    page.get_by_role("dialog").get_by_role("button", name="No Kernel").click()
    story_is_there(cell(page, 1))


def saved(path: Path, page: Page) -> dict[str, Any]:
    """Wait until a notebook is saved with its static output, whole."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        text = path.read_text("utf-8")
        if "text/html" in text:
            with contextlib.suppress(json.JSONDecodeError):  # read while it is being written
                found: dict[str, Any] = json.loads(text)
                return found
        page.wait_for_timeout(100)
    raise AssertionError("the notebook was not saved")


HOSTILE = [one.text for one in (*MARKUP, *ESCAPES)]


def test_hostile_content_is_only_text(notebook: Notebook, lab: Lab) -> None:
    """What a prompt, a text, a command and its output say, never runs, live or in the saved output."""
    (lab.folder / "hostile.txt").write_text("\n".join(HOSTILE), "utf-8")
    path, go = lab.folder / "hostile.txt", lab.folder / "go"
    code = (
        f"hostile = open({str(path)!r}).read()\n"
        "prompt = hostile + f'''\n> {hostile.splitlines()[0]}\n"
        f"$ cat {path}; cat {path} >&2; until [ -e {go} ]; do sleep .1; done # <img src=x>\n"
        "$ cat '<script>window.canary=9</script>' # optional\n{hostile}\n'''\n"
        "get_ipython().run_cell_magic('task', '-o evil', prompt)"
    )
    page = notebook(
        SETUP, code, "%task_logs {evil.run_id}", "print(evil.text.count('window.canary'))"
    )
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    run_cell(page, 0)
    run_cell(page, 1)
    panel = page.locator(PANEL)
    expect(panel.locator(".bxl-said").first).to_contain_text(HOSTILE[0])
    panel.locator(".bxl-head", has_text="cat").first.click()
    body = panel.locator(".bxl-body")
    expect(body.locator(FOREIGN)).to_have_count(0)
    assert not re.search("[\u202e\u2066\x1b\x07]", body.inner_text())
    go.touch()
    expect(cell(page, 1).locator(STATIC)).to_be_visible(timeout=LIVE)
    run_cell(page, 2)
    expect(cell(page, 2).locator(STATIC)).to_be_visible(timeout=LIVE)
    for index in (1, 2):
        shown = cell(page, index).locator(STATIC)
        closed = shown.locator("details:not([open]) > summary")
        while closed.count():
            closed.first.click()
        expect(shown).to_contain_text(HOSTILE[0])
        expect(shown.locator(FOREIGN)).to_have_count(0)
        expect(shown.locator("mjx-container, .MathJax")).to_have_count(0)
        assert not re.search("[\u202e\u2066\x1b\x07]", shown.inner_text())
    run_cell(page, 3)
    expect(cell(page, 3)).to_contain_text(re.compile(r"\d"))
    assert page.evaluate("window.canary") is None
    assert dialogs == []
