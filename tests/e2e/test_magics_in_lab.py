"""The magics as a user meets them, in JupyterLab at its default settings."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Lab, run_cell
from tests.e2e.sleepers import gone, sleepers

pytestmark = pytest.mark.e2e

SETUP = "%load_ext blaxel_jupyter\n%sandbox use local"
PANEL = ".bxl-panel"
LIVE = 20_000


def test_lines_arrive_and_output_becomes_static(notebook: Callable[..., Page]) -> None:
    """A cell shows a live panel, then a static output; the variable has the exact text."""
    page = notebook(
        SETUP,
        "%%sandbox_exec\nfor i in 1 2 3 4 5 6; do echo tick $i; sleep 0.4; done",
        "print(repr(_sandbox.stdout), _sandbox.integrity)",
    )
    run_cell(page, 0)
    run_cell(page, 1)
    expect(page.locator(PANEL)).to_contain_text("tick 2")
    expect(page.locator(".jp-OutputArea pre", has_text="tick 6")).to_be_visible(timeout=LIVE)
    expect(page.locator(PANEL)).to_have_count(0)
    run_cell(page, 2)
    expected = repr("".join(f"tick {i}\n" for i in range(1, 7)))
    expect(page.locator(".jp-Cell").nth(2)).to_contain_text(f"{expected} complete")


@pytest.mark.parametrize("prefix", ["", "%%time\n"], ids=["awaiting", "blocking"])
def test_stop_button_ends_the_remote_process(notebook: Callable[..., Page], prefix: str) -> None:
    """The panel's Stop reaches the process while the cell waits, whichever way it waits."""
    mark = f"3141.{uuid.uuid4().int % 10**9}"
    page = notebook(SETUP, f"{prefix}%%sandbox_exec\necho ready; sleep {mark}")
    run_cell(page, 0)
    run_cell(page, 1)
    expect(page.locator(PANEL)).to_contain_text("ready")
    assert sleepers(f"sleep {mark}")
    page.locator(PANEL).get_by_role("button", name="Stop").click()
    gone(f"sleep {mark}")
    expect(page.locator(".jp-Cell").nth(1)).to_contain_text("was stopped", timeout=LIVE)


def test_interrupt_stops_then_kills(notebook: Callable[..., Page]) -> None:
    """The first interrupt of the kernel sends stop, the second one kills a process that ignores it."""
    mark = f"2718.{uuid.uuid4().int % 10**9}"
    page = notebook(SETUP, f"%%sandbox_exec\ntrap '' TERM; echo ready; sleep {mark}; sleep {mark}")
    run_cell(page, 0)
    run_cell(page, 1)
    expect(page.locator(PANEL)).to_contain_text("ready")
    interrupt = page.locator(
        "[data-command='notebook:interrupt-kernel'], [title*='Interrupt']"
    ).first
    interrupt.click()
    expect(page.locator(PANEL)).to_contain_text("stop sent")
    interrupt.click()
    gone(f"sleep {mark}")
    expect(page.locator(".jp-Cell").nth(1)).to_contain_text("ProcessError", timeout=LIVE)


def test_background_run_and_other_cells(notebook: Callable[..., Page]) -> None:
    """``--bg`` returns at once; other cells run while its panel is live; then it becomes static."""
    page = notebook(
        SETUP,
        "%%sandbox_exec --bg -n back -o back\nfor i in 1 2 3 4 5 6 7 8; do echo b$i; sleep 0.4; done",
        "print('other', back.status)",
    )
    run_cell(page, 0)
    run_cell(page, 1)
    run_cell(page, 2)
    expect(page.locator(".jp-Cell").nth(2)).to_contain_text("other running")
    expect(page.locator(PANEL)).to_contain_text("b3")
    expect(page.locator(".jp-OutputArea pre", has_text="b8")).to_be_visible(timeout=LIVE)


def test_failed_cell_shows_a_short_error(notebook: Callable[..., Page]) -> None:
    """A non-zero exit leaves two short lines, no traceback, and the output above them."""
    page = notebook(SETUP, "%%sandbox_exec -n bad\necho before; echo oops >&2; exit 3")
    run_cell(page, 0)
    run_cell(page, 1)
    cell = page.locator(".jp-Cell").nth(1)
    expect(cell).to_contain_text("ProcessError: bad failed with exit code 3", timeout=LIVE)
    expect(cell).to_contain_text("before")
    expect(cell).not_to_contain_text("Traceback")


def test_saved_notebook_is_readable_without_a_kernel(
    notebook: Callable[..., Page], lab: Lab, page: Page, request: pytest.FixtureRequest
) -> None:
    """Reopened with no kernel the last 200 lines are there, and how many there were."""
    notebook(SETUP, "%%sandbox_exec\nseq 1 1000")
    run_cell(page, 0)
    run_cell(page, 1)
    expect(page.locator(".jp-OutputArea pre", has_text="1000").first).to_be_visible(timeout=LIVE)
    page.keyboard.press("Escape")
    page.keyboard.press("Control+s")
    path = lab.folder / f"{request.node.name}.ipynb"
    document = _saved(path, page)
    outputs = document["cells"][1]["outputs"]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert kinds == {"text/html", "text/plain"}
    reopened = Path(path).with_name("reopened.ipynb")
    document["metadata"]["kernelspec"] = {"name": "gone", "display_name": "gone"}
    reopened.write_text(json.dumps(document), "utf-8")
    page.goto(lab.address(reopened.name))
    expect(page.locator(".jp-OutputArea").filter(has_text="801").first).to_be_visible(timeout=LIVE)
    expect(page.locator(".jp-OutputArea").filter(has_text="1,000").first).to_be_visible()


def _saved(path: Path, page: Page) -> dict[str, Any]:
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
