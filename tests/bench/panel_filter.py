"""Measure the filter over a million lines: in the panel, and the same expressions in Python.

Run ``python tests/bench/panel_filter.py``; it prints a table and exits with 1 if a target was missed. In
the panel, time runs from the expression being typed to the frame after its last row was found; the page's
longest task is taken over that time. Both sides must keep the same number of rows.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from blaxel_jupyter.table import LOGS, Table
from tests.bench.panel_lines import LAB_FLAGS, PANEL_LINES, Tab, chromium, measure, running_lab

EXPRESSIONS = (
    '"worker 07"',
    "level:info -07",
    "level>=warning",
    r"/loss=0{3}\d/",
    "stream:stderr",
    "seq:500000..",
    "worker (07 OR 08) -/9+/i level>=debug",
)
LONG_TASK_MS = 50
SECONDS = 4.0  # by the panel; nobody waits for it: rows show from the first block on

TYPE = """async (expression, kept) => {
  const input = document.querySelector('[aria-label="Filter the log"]');
  const panel = document.querySelector('.bxl-panel');
  window.tasks.length = 0;
  const start = performance.now();
  input.value = expression;
  input.dispatchEvent(new Event('input', { bubbles: true }));
  const frame = () => new Promise(requestAnimationFrame);
  let first = 0;
  const { shown } = panel.dataset;
  const count = document.querySelector('.bxl-kept');
  const done = () => panel.dataset.shown === kept
    && (expression ? / lines$/.test(count.textContent) && window.typed : true);
  window.typed = false;
  setTimeout(() => { window.typed = true; }, 200); // the field waits for 120 ms of no typing
  while (!done() && performance.now() - start < 60000) {
    await frame();
    if (!first && panel.dataset.shown !== shown) first = performance.now() - start;
  }
  const seconds = (performance.now() - start) / 1000;
  await new Promise((done) => setTimeout(done, 100));
  return [seconds, Math.max(0, ...window.tasks), first / 1000, panel.dataset.shown];
}"""


def table() -> Table:
    """Return the lines of the panel's benchmark as a log."""
    lines = [
        f"{i:08d} INFO worker {i % 16:02d} step finished in {i % 997:4d} ms, loss={i % 7919:06d}, "
        "all is well so far, nothing to do"
        for i in range(PANEL_LINES)
    ]
    logs = Table(LOGS, constants={"sandbox": "box", "process": "job"})
    logs.extend(len(lines), text=lines, stream="stdout", kind="line", received=0, origin="live")
    return logs


def typed(tab: Tab, expression: str, kept: int) -> tuple[float, float, float, str]:
    """Type an expression into the panel; return seconds, the longest task in ms, and seconds to rows."""
    call = f"({TYPE})({json.dumps(expression)}, {json.dumps(str(kept))})"
    seconds, longest, first, shown = tab.evaluate(call)
    return seconds, longest, first, shown


def main() -> int:
    """Measure both sides and print them; return 1 if a target was missed."""
    logs = table()
    met = True
    with (
        tempfile.TemporaryDirectory() as home,
        running_lab(Path(home), *LAB_FLAGS) as lab,
        chromium(Path(home) / "profile") as tab,
    ):
        fill = "from stand_in import Run, shown\nrun = Run(); run.add(*lines); panel = shown(run)\npanel"
        pump = "run.end(); start = time.time()\nawait panel.pump()"
        measure(lab, tab, "panel", PANEL_LINES, fill, pump)
        tab.evaluate("document.querySelector('[aria-label=\"Filter the lines (f)\"]').click()")
        print(
            f"{'expression':<40}{'rows':>10}{'Python s':>10}{'panel s':>9}{'rows s':>8}{'task ms':>9}"
        )
        for expression in EXPRESSIONS:
            start = time.perf_counter()
            kept = len(logs.filter(expression))
            python = time.perf_counter() - start
            seconds, longest, first, shown = typed(tab, expression, kept)
            met &= shown == str(kept) and longest <= LONG_TASK_MS and seconds <= SECONDS
            print(
                f"{expression:<40}{kept:>10,}{python:>10.2f}{seconds:>9.2f}{first:>8.2f}{longest:>9.0f}"
            )
            typed(tab, "", PANEL_LINES)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
