"""The benchmarks run: each row at a tiny size, and the table leaves no contender out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench import report
from tests.bench.__main__ import ROWS
from tests.bench.races import Race, Result, run
from tests.notebook_runs import ROOT

RACE = Race("r", "a race", ("ours", "theirs"), {"small": 1, "large": 2}, tiny=0, grows=True)


IN_BROWSER = ("paint-waits", "panel-lines")
RACES = ("text-alive", "reconnect", "frames-polars", "tasks", "many", "start-cell")
"""A race of each row: there are more, but they are slower."""
CHROMIUM = os.environ.get("BLAXEL_JUPYTER_CHROMIUM") or shutil.which("chromium")


def test_each_row_is_tried() -> None:
    """There is no row of which no race is run here."""
    assert {name.partition("-")[0] for name in RACES + IN_BROWSER} == set(ROWS)


@pytest.mark.parametrize("name", RACES)
def test_it_runs(name: str, tmp_path: Path) -> None:
    """All contenders of a race run at a tiny size, and what we deliver there is exact."""
    tried(name, tmp_path / "found")


@pytest.mark.e2e
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("name", IN_BROWSER)
def test_it_runs_in_a_browser(name: str, tmp_path: Path) -> None:
    """The same of races that need JupyterLab and Chromium."""
    tried(name, tmp_path / "found")


def tried(name: str, found: Path) -> None:
    """Run a race, see that nobody failed or is left out, and that we are exact and in time."""
    command = [sys.executable, "-m", "tests.bench", name, "--quick", "--json", found]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    results = [json.loads(line) for line in found.read_text("utf-8").splitlines()]
    assert results
    first = {result["race"]: result for result in reversed(results)}
    assert all(result["median"] is not None for result in first.values()), first
    assert all(result["verdict"] in ("", "exact") for result in first.values()), first
    assert not [result for result in results if result["verdict"].startswith("failed")]
    assert all(result["contender"].replace("`", "") in done.stdout for result in results)


def scripted(seconds: dict[str, dict[int, float | None]], ran: list[tuple[str, int]]) -> Any:
    """Return a sampler that takes what is told, and notes who ran."""

    def sample(race: Race, contender: str, size: int) -> dict[str, Any]:
        ran.append((contender, size))
        return {"seconds": seconds[contender][size], "cpu": 1.0, "peak": 2.0, "verdict": "exact"}

    return sample


def test_contenders_take_turns() -> None:
    """Each size is run in alternating order, as often as asked."""
    ran: list[tuple[str, int]] = []
    quick = {1: 0.1, 2: 0.2}
    run(RACE, scripted({"ours": quick, "theirs": quick}, ran), 3)
    turns = [("ours", 1), ("theirs", 1), ("theirs", 1), ("ours", 1), ("ours", 1), ("theirs", 1)]
    assert ran == turns + [(name, 2) for name, _ in turns]


def test_a_slow_contender_runs_twice() -> None:
    """What takes long is not repeated five times, and the table says how often it ran."""
    ran: list[tuple[str, int]] = []
    took = {"ours": {1: 0.1, 2: 0.1}, "theirs": {1: 0.1, 2: 20.0}}
    results = run(RACE, scripted(took, ran), 5)
    assert ran.count(("theirs", 2)) == 2
    assert report.rows(results)[2][4:] == ["200", "1.00", "2.00", "exact, 2 to 5 runs"]


def test_who_is_cut_off_is_told() -> None:
    """A contender that is not done in time stays in the table with the limit, also where it did not run."""
    ran: list[tuple[str, int]] = []
    took: dict[str, dict[int, float | None]] = {"ours": {1: 0.1, 2: 0.5}, "theirs": {1: None}}
    results = run(RACE, scripted(took, ran), 5)
    assert ran.count(("theirs", 1)) == 1
    assert ran.count(("theirs", 2)) == 0
    row = report.rows(results)[2]
    assert row[:5] == ["theirs", "", "> 60 s", "> 60 s", "> 120"]
    assert "not run at large" in row[7]


def test_wrong_output_is_in_brackets() -> None:
    """Seconds of a contender that delivered something else count as no time, and are no ratio."""
    wrong = [{"seconds": 3.0, "cpu": 1.0, "peak": 1.0, "verdict": "7 lost"}]
    exact = [{"seconds": 1.0, "cpu": 1.0, "peak": 1.0, "verdict": "exact"}]
    results = [Result(RACE, "ours", "small", exact), Result(RACE, "theirs", "small", wrong)]
    assert report.rows(results)[2][3:5] == ["(3.00)", ""]
    assert "7 lost" in report.rows(results)[2][7]
