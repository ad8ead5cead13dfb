"""The tours: they run headless from nothing, and their saved outputs can be published."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.notebook_runs import ROOT, TASKS, TOUR, by_start, cells, own_folders, run, shown

TOURS = pytest.mark.parametrize("tour", [TOUR, TASKS], ids=lambda path: path.stem)
RUNNERS = {
    "jupyter execute": ["jupyter", "execute", "tour.ipynb", "--output=done.ipynb"],
    "papermill": ["papermill", "--no-progress-bar", "tour.ipynb", "done.ipynb"],
}
RUNS = ("%%sandbox_exec", "%sandbox_logs", "%%task", "%task_logs")
MACHINE = re.compile(
    r"/(root|home|Users|work|usr|opt|var|etc)/|site-packages|127\.0\.0\.1|localhost"
)
SECRET = re.compile(r"[A-Za-z0-9_-]{32,}|[Tt]oken\b|Bearer|bl_[a-z]|sk[-_]")
UUID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


def done_by(runner: str, tour: Path, folder: Path) -> list[dict[str, Any]]:
    """Run a copy of a tour from nothing; return its cells, of which none ended with an error."""
    shutil.copy(tour, folder / "tour.ipynb")
    with own_folders(folder):
        run(*RUNNERS[runner], cwd=folder)
    found = cells(folder / "done.ipynb")
    for cell in found:
        assert cell["execution_count"], cell["source"]
        kinds = [output["output_type"] for output in cell["outputs"]]
        assert "error" not in kinds, shown(cell)
    return found


@pytest.mark.parametrize("runner", RUNNERS)
def test_sandbox_tour_runs_headless(runner: str, tmp_path: Path) -> None:
    """Run from nothing, every cell ends without an error and shows its lines as text."""
    found = done_by(runner, TOUR, tmp_path)
    ticks = shown(by_start(found, "%%sandbox_exec -n ticks"))
    assert ticks == "".join(f"tick {i}\n" for i in range(1, 9))
    assert "'something is wrong\\n'" in shown(by_start(found, "failed.exit_code"))
    assert "count 1\n" in shown(by_start(found, "%sandbox_logs counter -f"))
    assert "count 10\n" in shown(by_start(found, "%sandbox_logs counter -f"))
    assert "stopped" in shown(by_start(found, "endless.wait"))
    assert shown(by_start(found, "late.status")) == "('killed', True)"
    assert "0 'all at once\\n' 'no\\n' complete" in shown(by_start(found, "from blaxel_jupyter"))


@pytest.mark.parametrize("runner", RUNNERS)
def test_task_tour_runs_headless(runner: str, tmp_path: Path) -> None:
    """Run from nothing, its runs tell their stories as text, and its tables hold what they should."""
    found = done_by(runner, TASKS, tmp_path)
    story = shown(by_start(found, "%%task -o build"))
    for line in (
        "~ Writing the log is quick",
        "    3429 ok\n",
        "failed: exit code 127",
        "check: ok",
    ):
        assert line in story
    assert story.endswith("-- finish: completed --\n")
    assert "failed" in shown(by_start(found, "print(broken)"))
    compared = shown(by_start(found, "import tempfile"))
    # A machine that is busy may read the first events instead of receiving them.
    assert re.search(r"source +(stream|merged) +reconstructed +recording\n", compared)
    assert re.search(r"of these with a duration +([1-5]) +0 +\1\n", compared)
    assert re.search(r"cost in USD +0.0312 +None +0.0312$", compared)
    assert re.search(r"^bash +8 +3 ", shown(by_start(found, "frame = ")), re.MULTILINE)
    failures = shown(by_start(found, "import polars as pl"))
    for stderr in ("sh: 1: lint: not found", "make: *** [test] Error 1", "no such host"):
        assert stderr in failures
    assert re.search(r"fix +text +3 +150 +75$", shown(by_start(found, "import duckdb")))
    for start in ("%config InlineBackend", "known = spans"):
        [picture] = by_start(found, start)["outputs"]
        assert picture["data"]["image/png"]
    said = shown(by_start(found, "from blaxel_jupyter import TaskClient"))
    assert "completed 'I count to three.\\nThat was all.' ['1', '2', '3']\n" in said


@TOURS
def test_saved_tour_has_its_outputs(tour: Path) -> None:
    """Who opens the saved notebook without a kernel sees every run."""
    found = cells(tour)
    assert [cell["execution_count"] for cell in found] == list(range(1, len(found) + 1))
    several = "%task_logs $build"
    for cell in found:
        if not cell["source"].startswith(RUNS) or " -q " in cell["source"]:
            continue
        [output] = cell["outputs"]
        wanted = "<table" if cell["source"].startswith(several) else 'class="bxs '
        assert wanted in "".join(output["data"]["text/html"]), cell["source"]
    first, last = {
        TOUR: ("%%sandbox_exec -n ticks", "tick 8"),
        TASKS: ("%%task -o build", "All is well"),
    }[tour]
    assert last in shown(by_start(found, first))


@TOURS
def test_saved_tour_tells_nothing_of_the_machine(tour: Path) -> None:
    """No path, address or token of whoever saved it is in the notebook."""
    document = json.loads(tour.read_text("utf-8"))
    assert set(document["metadata"]) == {"kernelspec", "language_info"}
    written = [output for cell in cells(tour) for output in cell["outputs"]]
    assert [output for output in written if output.get("name") == "stderr"] == []
    for output in written:
        output.get("data", {}).pop("image/png", None)  # drawn from the tables beside it
    outputs = json.dumps(written)
    text = UUID.sub("", re.sub(r"<style.*?</style>", "", outputs))
    assert MACHINE.findall(text) == []
    assert SECRET.findall(text) == []
    for own in (Path.home(), ROOT, sys.prefix):
        assert str(own) not in outputs or str(own) == "/"


@pytest.mark.parametrize(
    ("tour", "lines"),
    [(TOUR, ["tick 1\ntick 2\n"]), (TASKS, ["\n   3429 ok</pre>", "read: ok\ncount: ok\n"])],
    ids=lambda value: value.stem if isinstance(value, Path) else "",
)
def test_saved_tour_becomes_a_page(tour: Path, lines: list[str], tmp_path: Path) -> None:
    """A page made by nbconvert has the lines, escaped and without a widget."""
    output = [f"--output-dir={tmp_path}", "--output=tour.html"]
    run("nbconvert", "--to=html", *output, str(tour), cwd=ROOT)
    page = (tmp_path / "tour.html").read_text("utf-8")
    for line in lines:
        assert line in page
    assert "application/vnd.jupyter.widget-view+json" not in page
