"""The tour: it runs headless from nothing, and its saved outputs can be published."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.notebook_runs import ROOT, TOUR, cells, own_folders, run, shown

RUNNERS = {
    "jupyter execute": ["jupyter", "execute", "tour.ipynb", "--output=done.ipynb"],
    "papermill": ["papermill", "--no-progress-bar", "tour.ipynb", "done.ipynb"],
}
MACHINE = re.compile(
    r"/(root|home|Users|work|usr|opt|var|etc)/|site-packages|127\.0\.0\.1|localhost"
)
SECRET = re.compile(r"[A-Za-z0-9_-]{32,}|[Tt]oken|Bearer|bl_[a-z]")


def by_start(found: list[dict[str, Any]], start: str) -> dict[str, Any]:
    """Return the one cell whose source starts like this."""
    [cell] = [cell for cell in found if cell["source"].startswith(start)]
    return cell


@pytest.mark.parametrize("runner", RUNNERS)
def test_tour_runs_headless(runner: str, tmp_path: Path) -> None:
    """Run from nothing, every cell ends without an error and shows its lines as text."""
    shutil.copy(TOUR, tmp_path / "tour.ipynb")
    with own_folders(tmp_path):
        run(*RUNNERS[runner], cwd=tmp_path)
    found = cells(tmp_path / "done.ipynb")
    for cell in found:
        assert cell["execution_count"], cell["source"]
        kinds = [output["output_type"] for output in cell["outputs"]]
        assert "error" not in kinds, shown(cell)
    ticks = shown(by_start(found, "%%sandbox_exec -n ticks"))
    assert ticks == "".join(f"tick {i}\n" for i in range(1, 9))
    assert "'something is wrong\\n'" in shown(by_start(found, "failed.exit_code"))
    assert "count 1\n" in shown(by_start(found, "%sandbox_logs counter -f"))
    assert "count 10\n" in shown(by_start(found, "%sandbox_logs counter -f"))
    assert "stopped" in shown(by_start(found, "endless.wait"))
    assert shown(by_start(found, "late.status")) == "('killed', True)"
    assert "0 'all at once\\n' 'no\\n' complete" in shown(by_start(found, "from blaxel_jupyter"))


def test_saved_tour_has_its_outputs() -> None:
    """Who opens the saved notebook without a kernel sees every run."""
    found = cells(TOUR)
    assert [cell["execution_count"] for cell in found] == list(range(1, len(found) + 1))
    runs = [
        cell for cell in found if cell["source"].startswith(("%%sandbox_exec", "%sandbox_logs"))
    ]
    for cell in runs:
        if " -q " not in cell["source"]:
            [output] = cell["outputs"]
            assert 'class="bxs ' in "".join(output["data"]["text/html"]), cell["source"]
    assert "tick 8" in shown(by_start(found, "%%sandbox_exec -n ticks"))
    assert "complete" in shown(by_start(found, "print(_sandbox)"))


def test_saved_tour_tells_nothing_of_the_machine() -> None:
    """No path, address or token of whoever saved it is in the notebook."""
    document = json.loads(TOUR.read_text("utf-8"))
    assert set(document["metadata"]) == {"kernelspec", "language_info"}
    outputs = json.dumps([cell["outputs"] for cell in cells(TOUR)])
    text = re.sub(r"<style.*?</style>", "", outputs)
    assert MACHINE.findall(text) == []
    assert SECRET.findall(text) == []
    for own in (Path.home(), ROOT, sys.prefix):
        assert str(own) not in outputs or str(own) == "/"


def test_saved_tour_becomes_a_page(tmp_path: Path) -> None:
    """A page made by nbconvert has the lines, escaped and without a widget."""
    run(
        "nbconvert",
        "--to=html",
        f"--output-dir={tmp_path}",
        "--output=tour.html",
        str(TOUR),
        cwd=ROOT,
    )
    page = (tmp_path / "tour.html").read_text("utf-8")
    assert "tick 1\ntick 2\n" in page
    assert "application/vnd.jupyter.widget-view+json" not in page
