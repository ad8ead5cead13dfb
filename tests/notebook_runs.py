"""Run notebooks headless with folders of their own, and read what they left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from blaxel_jupyter import local

ROOT = Path(__file__).parents[1]
TOUR = ROOT / "notebooks" / "01_sandbox_exec.ipynb"
TASKS = ROOT / "notebooks" / "02_task_logs.ipynb"


@contextmanager
def own_folders(folder: Path, **more: str) -> Iterator[None]:
    """Give every kernel and local service started within its own folders, and no credentials."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("BL_", "BLACKBOX_"))]:
            patch.delenv(name)
        patch.setenv("HOME", str(folder))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("PYTHONPATH", str(ROOT))
        for name, value in more.items():
            patch.setenv(name, value)
        try:
            yield
        finally:
            local.stop()


def run(*command: str, cwd: Path) -> str:
    """Run one of this environment's Python programs (``-m``); return all it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


def cells(path: Path) -> list[dict[str, Any]]:
    """Return a notebook's code cells, their sources as one text each."""
    document = json.loads(path.read_text("utf-8"))
    found = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    return [cell | {"source": "".join(cell["source"])} for cell in found]


def by_start(found: list[dict[str, Any]], start: str, within: str = "") -> dict[str, Any]:
    """Return the one cell whose source starts like this and holds that."""
    [cell] = [c for c in found if c["source"].startswith(start) and within in c["source"]]
    return cell


def shown(cell: dict[str, Any]) -> str:
    """Return the text that a cell shows where there are no widgets."""
    parts = []
    for output in cell["outputs"]:
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        parts.append("".join(text))
    return "".join(parts)


def code_cell(source: str, number: int) -> dict[str, Any]:
    """Return a code cell that has not run."""
    return {
        "cell_type": "code",
        "id": f"cell-{number}",
        "metadata": {},
        "execution_count": None,
        "outputs": [],
        "source": source,
    }


def write(path: Path, sources: list[str]) -> None:
    """Write a notebook of these code cells."""
    document = {
        "cells": [code_cell(source, i) for i, source in enumerate(sources)],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.write_text(json.dumps(document), "utf-8")
