"""The tours in a real JupyterLab: Run All, every cell to its end, saved as a reader finds it.

``python -m tests.e2e.test_notebook_in_lab`` runs them the same way and keeps the result: the outputs in
the notebooks and the pictures that the README shows. Names of notebooks after it keep only those.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import ROOT, Lab, running_browser, running_lab
from tests.notebook_runs import TASKS, TOUR

pytestmark = pytest.mark.e2e

IMAGES = ROOT / "notebooks" / "images"
SECONDS = 120_000
ERROR = "[data-mime-type='application/vnd.jupyter.error']"
RUNS = ("%%sandbox_exec", "%sandbox_logs", "%%task", "%task_logs $fix")


@dataclass(frozen=True)
class Scene:
    """A notebook and its picture: its first panel, taken as soon as it shows a text.

    ``size`` is the window's while it is taken; ``command`` a text of the first run, once it is saved;
    ``opened`` a text of the panel's row that is opened for the picture.
    """

    path: Path
    picture: str
    moment: str
    size: tuple[int, int]
    command: str
    opened: str | None = None


SCENES = {
    scene.path.stem: scene
    for scene in (
        Scene(TOUR, "panel.png", "tick 5", (900, 560), 'echo "tick $i"'),
        Scene(
            *(TASKS, "task.png", "part in read", (900, 1010)),
            command='print ($1 % 7 ? "ok" : "error"), $1',
            opened="tee counts.txt",
        ),
    )
}


def open_tour(lab: Lab, page: Page, tour: Path) -> Path:
    """Open a copy of a tour without outputs; return its path when its kernel is ready."""
    document = json.loads(tour.read_text("utf-8"))
    for cell in document["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    path = lab.folder / tour.name
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


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_run_all_in_jupyterlab(lab: Lab, page: Page, scene: Scene) -> None:
    """Every cell of a tour ends without an error, and runs are saved as HTML that stands alone."""
    path = open_tour(lab, page, scene.path)
    run_all(page)
    wait_for_end(page)
    expect(page.locator(ERROR)).to_have_count(0)
    # No formula, though there are two "$".
    expect(page.locator(".bxs").first).to_contain_text(scene.command)
    expect(page.locator(".jp-OutputArea mjx-container")).to_have_count(0)
    document = saved(page, path)
    for cell in document["cells"]:
        if cell["cell_type"] != "code":
            continue
        source, outputs = "".join(cell["source"]), cell["outputs"]
        assert cell["execution_count"], source
        assert not [one for one in outputs if one["output_type"] == "error"], source
        if source.startswith(RUNS) and " -q " not in source:
            [shown] = outputs
            assert 'class="bxs ' in "".join(shown["data"]["text/html"]), source
            assert "widget-view" not in str(shown["data"].keys()), source
    assert "widgets" not in document["metadata"]


def keep(*names: str) -> None:
    """Run tours and keep what a reader of the repository sees: their outputs and the pictures."""
    from blaxel_jupyter import local

    folder = Path(tempfile.mkdtemp())
    patch = pytest.MonkeyPatch()
    patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
    with running_lab(folder) as lab, running_browser() as browser:
        for name in names or SCENES:
            scene = SCENES[name]
            width, height = scene.size
            page = browser.new_page(viewport={"width": width, "height": height})
            document = taken(lab, page, scene)
            page.close()
            document["metadata"]["language_info"] = {"name": "python"}
            written = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
            scene.path.write_text(written, "utf-8")
        local.stop()
    shutil.rmtree(folder)


def taken(lab: Lab, page: Page, scene: Scene) -> dict[str, Any]:
    """Run a tour and take its picture on the way; return the notebook as it was saved."""
    path = open_tour(lab, page, scene.path)
    page.keyboard.press("Control+b")  # the file browser makes room
    run_all(page)
    panel = page.locator(".bxl-panel").first
    expect(panel).to_contain_text(scene.moment)
    cell = page.locator(".jp-CodeCell", has=page.locator(".bxl-panel")).first
    cell.evaluate("cell => cell.scrollIntoView({block: 'start'})")
    if scene.opened:
        panel.locator(".bxl-head", has_text=scene.opened).click()
        page.mouse.move(0, 0)
        expect(panel.locator(".bxl-out")).not_to_have_count(0)
    IMAGES.mkdir(exist_ok=True)
    page.screenshot(path=IMAGES / scene.picture)
    wait_for_end(page)
    return saved(page, path)


if __name__ == "__main__":
    keep(*sys.argv[1:])
