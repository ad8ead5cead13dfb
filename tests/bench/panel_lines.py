"""Measure lines from the kernel to painted: the panel against plain ``print``, in one JupyterLab.

Run ``python tests/bench/panel_lines.py``; it prints a table and exits with 1 if a target was missed.
Time runs from the lines being ready in the kernel to the animation frame that shows the last one.
Jupyter's rate limits are off, which is what lets ``print`` arrive at all.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from conftest import Lab, open_notebook, run_cell, running_browser, running_lab

LIMITS_OFF = (
    "--ZMQChannelsWebsocketConnection.iopub_msg_rate_limit=0",
    "--ZMQChannelsWebsocketConnection.iopub_data_rate_limit=0",
)
PANEL_LINES = 1_000_000
PRINT_LINES = 100_000
SECONDS = 3.0
LONG_TASK_MS = 100
TIMES_PRINT = 8
WAIT_MS = 120_000

LINES = """import gc, time
lines = [
    f"{i:08d} INFO worker {i % 16:02d} step finished in {i % 997:4d} ms, loss={i % 7919:06d}, all is well so far, go on"
    for i in range(COUNT)
]
gc.collect()
"""

# What the page keeps: tasks of 50 ms and more, and when a condition was first true in a frame.
WATCH = """([kind, wanted]) => {
  const tail = (node) => { while (node && node.lastChild) node = node.lastChild; return node; };
  const shown = {
    panel: () => {
      const panel = document.querySelector('.bxl-panel');
      const texts = panel ? panel.querySelectorAll('.bxl-text') : [];
      return texts.length && texts[texts.length - 1].textContent.startsWith(wanted);
    },
    print: () => {
      const outputs = document.querySelectorAll('.jp-RenderedText pre');
      const last = tail(outputs[outputs.length - 1]);
      return last && last.textContent.slice(-300).includes(wanted);
    },
  }[kind];
  window.tasks = [];
  window.observer = new PerformanceObserver((list) => {
    for (const task of list.getEntries()) window.tasks.push(task.duration);
  });
  window.observer.observe({ entryTypes: ['longtask'] });
  window.painted = null;
  const look = () => {
    if (!shown()) return requestAnimationFrame(look);
    requestAnimationFrame(() => { window.painted = performance.timeOrigin + performance.now(); });
  };
  requestAnimationFrame(look);
}"""


@dataclass(frozen=True, slots=True)
class Result:
    """One way of showing lines: how many, seconds until painted, the longest main-thread task."""

    way: str
    lines: int
    megabytes: float
    seconds: float
    longest_ms: float
    heap_mb: float

    @property
    def rate(self) -> float:
        """Lines a second."""
        return self.lines / self.seconds


def measure(lab: Lab, page: Page, kind: str, lines: int, prepare: str, show: str) -> Result:
    """Run ``show`` in a kernel where ``prepare`` made ``lines``, and wait for the last one's frame."""
    times = "print('from', start, sum(map(len, lines)) + len(lines))"
    open_notebook(lab, page, f"{kind}.ipynb", LINES.replace('COUNT', str(lines)) + prepare, show, times)
    run_cell(page, 0)
    prompt = page.locator(".jp-CodeCell .jp-InputPrompt")
    page.wait_for_function(
        "p => p.textContent.trim() === '[1]:'", arg=prompt.first.element_handle()
    )
    page.evaluate(WATCH, [kind, f"{lines - 1:08d}"])
    run_cell(page, 1)
    page.wait_for_function("window.painted", timeout=WAIT_MS)
    painted = page.evaluate("window.painted") / 1000
    longest = max(page.evaluate("window.tasks"), default=0.0)
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    heap = session.send("Runtime.getHeapUsage")["usedSize"] / 1e6
    run_cell(page, 2)
    said = page.get_by_text("from 1").last
    said.wait_for(timeout=WAIT_MS)
    _, start, size = said.inner_text().split()
    return Result(kind, lines, int(size) / 1e6, painted - float(start), longest, heap)


def main() -> int:
    """Measure both ways and print them; return 1 if a target was missed."""
    with (
        tempfile.TemporaryDirectory() as home,
        running_lab(Path(home), *LIMITS_OFF) as lab,
        running_browser() as browser,
    ):
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.set_default_timeout(WAIT_MS)
        fill = "from stand_in import Run, shown\nrun = Run(); run.add(*lines); panel = shown(run)\npanel"
        pump = "run.end(); start = time.time()\nawait panel.pump()"
        printing = "start = time.time()\nfor line in lines: print(line)"
        results = [
            measure(lab, page, "print", PRINT_LINES, "", printing),
            measure(lab, page, "panel", PANEL_LINES, fill, pump),
        ]
    print(f"{'way':<7}{'lines':>10}{'MB':>7}{'s':>7}{'lines/s':>10}{'task ms':>9}{'heap MB':>9}")
    for r in results:
        print(
            f"{r.way:<7}{r.lines:>10,}{r.megabytes:>7.1f}{r.seconds:>7.2f}"
            f"{r.rate:>10,.0f}{r.longest_ms:>9.0f}{r.heap_mb:>9.1f}"
        )
    printed, panel = results
    times = panel.rate / printed.rate
    print(f"the panel shows {times:.1f} times the lines a second")
    met = panel.seconds <= SECONDS and panel.longest_ms <= LONG_TASK_MS and times >= TIMES_PRINT
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
