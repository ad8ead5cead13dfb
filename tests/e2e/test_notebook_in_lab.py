"""The tour in a real JupyterLab: Run All, every cell to its end, saved as a reader finds it.

``python -m tests.e2e.test_notebook_in_lab`` runs it the same way and keeps the result: the outputs in
``notebooks/01_sandbox_exec.ipynb`` and the picture that the README shows.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import ROOT, Lab, running_browser, running_lab

pytestmark = pytest.mark.e2e

TOUR = ROOT / "notebooks" / "01_sandbox_exec.ipynb"
PICTURE = ROOT / "notebooks" / "images" / "panel.png"
SECONDS = 120_000
ERROR = "[data-mime-type='application/vnd.jupyter.error']"


def open_tour(lab: Lab, page: Page) -> Path:
    """Open a copy of the tour without outputs; return its path when its kernel is ready."""
    document = json.loads(TOUR.read_text("utf-8"))
    for cell in document["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    path = lab.folder / TOUR.name
    path.write_text(json.dumps(document), "utf-8")
    page.goto(lab.address(path.name))
    # The toolbar may say idle before there is a kernel; Run All would then ask for one.
    page.get_by_role("contentinfo").get_by_text("| Idle").wait_for()
    return path


def run_all(page: Page) -> None:
    """Choose "Run All Cells" in the menu."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def wait_for_end(page: Page) -> None:
    """Wait until every code cell has run and no panel is live any more."""
    waiting = page.locator(".jp-CodeCell .jp-InputPrompt", has_text="[*]")
    unrun = page.locator(".jp-CodeCell .jp-InputPrompt", has_text="[ ]")
    expect(page.locator(".jp-CodeCell .jp-InputPrompt", has_text="[1]")).to_be_visible()
    expect(waiting).to_have_count(0, timeout=SECONDS)
    expect(unrun).to_have_count(0)
    expect(page.locator(".bxl-panel")).to_have_count(0, timeout=SECONDS)


def saved(page: Page, path: Path) -> dict[str, Any]:
    """Save the notebook; return what was written."""
    before = path.stat().st_mtime_ns
    page.locator(".jp-Notebook").first.focus()
    page.keyboard.press("Control+s")
    deadline = time.monotonic() + 20
    while True:
        assert time.monotonic() < deadline, "the notebook was not saved"
        page.wait_for_timeout(100)
        if path.stat().st_mtime_ns == before:
            continue
        with contextlib.suppress(json.JSONDecodeError):  # half written
            document: dict[str, Any] = json.loads(path.read_text("utf-8"))
            return document


def test_run_all_in_jupyterlab(lab: Lab, page: Page) -> None:
    """Every cell of the tour ends without an error, and runs are saved as HTML that stands alone."""
    path = open_tour(lab, page)
    run_all(page)
    wait_for_end(page)
    expect(page.locator(ERROR)).to_have_count(0)
    command = page.locator(".bxs-command").first
    expect(command).to_contain_text('echo "tick $i"')  # no formula, though there are two "$"
    expect(page.locator(".jp-OutputArea mjx-container")).to_have_count(0)
    document = saved(page, path)
    for cell in document["cells"]:
        if cell["cell_type"] != "code":
            continue
        source, outputs = "".join(cell["source"]), cell["outputs"]
        assert cell["execution_count"], source
        assert not [one for one in outputs if one["output_type"] == "error"], source
        if source.startswith(("%%sandbox_exec", "%sandbox_logs")) and " -q " not in source:
            [shown] = outputs
            assert 'class="bxs ' in "".join(shown["data"]["text/html"]), source
            assert "widget-view" not in str(shown["data"].keys()), source
    assert "widgets" not in document["metadata"]


def keep() -> None:
    """Run the tour and keep what a reader of the repository sees: its outputs and the picture."""
    from blaxel_jupyter import local

    folder = Path(tempfile.mkdtemp())
    patch = pytest.MonkeyPatch()
    patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
    with running_lab(folder) as lab, running_browser() as browser:
        page = browser.new_page(viewport={"width": 900, "height": 560})
        path = open_tour(lab, page)
        page.keyboard.press("Control+b")  # the file browser makes room
        run_all(page)
        panel = page.locator(".bxl-panel").first
        expect(panel).to_contain_text("tick 5")
        cell = page.locator(".jp-CodeCell", has=page.locator(".bxl-panel")).first
        cell.scroll_into_view_if_needed()
        PICTURE.parent.mkdir(exist_ok=True)
        page.screenshot(path=PICTURE)
        wait_for_end(page)
        document = saved(page, path)
        local.stop()
    document["metadata"]["language_info"] = {"name": "python"}
    TOUR.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(keep())
