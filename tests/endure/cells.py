"""Run hundreds of cells in one real kernel, as a notebook in use does, and measure what grows.

Cells that end well, that fail, that go on in the background, tasks, and logs read again; each with the panel
of a front end that shows widgets. Runs that a user keeps keep their data; these cells keep none.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.endure.left import descriptors, resident, thread_count
from tests.kernels import Kernel, kernel
from tests.notebook_runs import own_folders

BEGIN = "%load_ext blaxel_jupyter\n%sandbox use local\n%config TaskMagics.service = 'local'"

MEASURE = """
def measured():
    import asyncio, gc, os
    import comm, ipywidgets
    from blaxel_jupyter import bridge
    async def tasks():
        return len(asyncio.all_tasks())
    gc.collect()
    widgets = ipywidgets.widgets.widget._instances
    return [os.getpid(), bridge.call(tasks), len(comm.get_comm_manager().comms), len(widgets)]
"""

CELLS = (
    "%%sandbox_exec -n c{n}\nfor i in 1 2 3; do echo line $i of {n}; echo err $i >&2; done",
    "%%sandbox_exec\nseq 1 2000",
    "%%sandbox_exec\necho Traceback; echo ERROR it broke >&2; exit 3",
    "%%sandbox_exec --bg -o background\nsleep 0.2; echo later",
    "%%task\nHello.\n$ echo one; echo two\nDone.",
    "%%sandbox_exec --lang python\nprint('from python')",
    "%sandbox_logs c{first}",
    "%%task\n$ exit 4",
    "%%sandbox_exec --no-raise-error -q\nexit 1",
    "background.wait(60); None",
)
"""What is run, over and over. What should fail, does."""

FAILING = {2, 7}


@dataclass(frozen=True, slots=True)
class Measure:
    """What a kernel holds after so many cells. ``memory`` in MB; ``temp`` counts files in its folders."""

    cells: int
    memory: float
    descriptors: int
    threads: int
    tasks: int
    comms: int
    widgets: int
    temp: int

    def __str__(self) -> str:
        return (
            f"{self.cells:>6} cells {self.memory:>7.1f} MB {self.descriptors:>5} descriptors "
            f"{self.threads:>4} threads {self.tasks:>4} tasks {self.comms:>4} comms "
            f"{self.widgets:>4} widgets {self.temp:>4} files"
        )


def measures(folder: Path, cells: int, every: int) -> list[Measure]:
    """Run cells; measure after each ``every`` of them, all runs over.

    Raises:
        AssertionError: a cell did not end as it should.
    """
    found = []
    temp = folder / "tmp"
    temp.mkdir()
    with own_folders(folder, TMPDIR=str(temp)), kernel(folder, BEGIN, MEASURE) as running:
        for n in range(cells + 1):
            if n % every == 0:
                found.append(measure(running, n, temp))
                print(found[-1], flush=True)
            cell = CELLS[n % len(CELLS)].format(n=n, first=n - n % len(CELLS))
            shown = running.run(cell, widgets=True)
            failed = n % len(CELLS) in FAILING
            assert (shown.error is not None) == failed, (cell, shown.lines)
    return found


def measure(running: Kernel, n: int, temp: Path) -> Measure:
    """Take the measures of a kernel that has run ``n`` cells."""
    pid, tasks, comms, widgets = running.value("measured()")
    files = sum(1 for path in temp.rglob("*") if path.is_file())
    return Measure(
        n, resident(pid), len(descriptors(pid)), thread_count(pid), tasks, comms, widgets, files
    )


def slopes(found: list[Measure]) -> dict[str, float]:
    """Return by how much each measure grows with a cell: the slope of a line through all of them."""
    counts = [one.cells for one in found]
    names = ("memory", "descriptors", "threads", "tasks", "comms", "widgets", "temp")
    return {
        name: statistics.linear_regression(counts, [getattr(one, name) for one in found]).slope
        for name in names
    }


def main(cells: int, every: int = 50) -> int:
    """Run cells and print what grows; return 1 if anything but memory does, or that by more than it may."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = measures(Path(folder), cells, every)
    grown = slopes(found[2:])  # what is loaded and opened once is there by then
    print(f"{time.monotonic() - began:.0f} s; a cell adds:")
    for name, slope in grown.items():
        print(f"  {name:12} {slope:+.4f}{' MB' if name == 'memory' else ''}")
    return 1 if problems(grown) else 0


def problems(grown: dict[str, float], memory: float = 0.05, others: float = 0.02) -> list[str]:
    """Say what grows that should not, or by more than ``memory`` MB a cell."""
    return [
        f"{name} grows by {slope:.4f} a cell"
        for name, slope in grown.items()
        if slope > (memory if name == "memory" else others)
    ]
