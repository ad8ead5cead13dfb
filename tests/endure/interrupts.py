"""Interrupt cells of a real kernel at many moments: what is left, in the kernel and in the sandbox.

An interrupt that comes before the kernel has begun the cell is lost on the way: it is sent again.
"""

from __future__ import annotations

import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from tests.endure.cells import BEGIN, MEASURE
from tests.kernels import Kernel, kernel
from tests.local_service import until
from tests.notebook_runs import own_folders

CELLS = (
    "%%sandbox_exec --timeout 60\nsleep 50",
    "%%sandbox_exec --lang python --timeout 60\nimport time; print('interrupted soon')\ntime.sleep(50)",
    "%%task\n$ sleep 50",
)
"""What is interrupted; each would go on for a minute."""

AGAIN = 5.0
"""Seconds after which an interrupt is sent again."""

LEFT = """
def ours(name):
    try:
        return "interrupted soon" in open(name).read()
    except OSError:
        return False
def left():
    import contextlib, glob, io
    with contextlib.redirect_stdout(io.StringIO()):
        found = get_ipython().run_line_magic("sandbox", "ps").records()
    return [
        [row["name"] for row in found if row["status"] == "running"],
        [name for name in glob.glob("/tmp/blaxel-jupyter-*") if ours(name)],
    ]
"""


def interrupted(running: Kernel, cell: str, seconds: float) -> list[str]:
    """Interrupt a cell after some seconds; return what is wrong then."""
    before = running.value("measured()")
    scripts = set(running.value("left()")[1])
    shown = running.start(cell, widgets=True)
    threading.Event().wait(seconds)
    while not shown.ended:
        running.interrupt()
        with suppress(AssertionError):
            shown.finish(AGAIN)
    problems: list[str] = []
    if shown.error is None:
        problems.append("the cell ended as if nothing had been")

    def calm() -> bool:
        nonlocal problems
        processes, files = running.value("left()")
        now = running.value("measured()")
        problems = [
            *(f"still runs: {name}" for name in processes),
            *(f"left: {name}" for name in set(files) - scripts),
            *(
                f"{name}: {n} before, {m} now"
                for name, n, m in zip(
                    ("tasks", "comms", "widgets"), before[1:], now[1:], strict=True
                )
                if m > n
            ),
        ]
        return not problems

    try:
        until(calm, 10)
    except AssertionError:
        return problems
    return []


def found(folder: Path, moments: list[float]) -> list[str]:
    """Interrupt each kind of cell at each of these moments, in seconds; return all that is wrong."""
    told = []
    with own_folders(folder), kernel(folder, BEGIN, MEASURE, LEFT) as running:
        for seconds in moments:
            for cell in CELLS:
                problems = interrupted(running, cell, seconds)
                told += [
                    f"{cell.split()[0]} after {seconds:.3f} s: {problem}" for problem in problems
                ]
    return told


def main(moments: int) -> int:
    """Interrupt at so many moments in the first second; return 1 if anything was left behind."""
    with tempfile.TemporaryDirectory() as folder:
        told = found(Path(folder), [n / moments for n in range(moments)])
    print("\n".join(told))
    print(f"{moments * len(CELLS)} interrupts, {len(told)} left something behind")
    return 1 if told else 0
