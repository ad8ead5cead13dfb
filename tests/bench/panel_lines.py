"""Measure lines from the kernel to painted: the panel against plain ``print``, in one JupyterLab.

Run ``python tests/bench/panel_lines.py``; it prints a table and exits with 1 if a target was missed.
Time runs from the lines being ready in the kernel to the animation frame that shows the last one.
Jupyter's rate limits are off, which is what lets ``print`` arrive at all. Chromium is driven through
its own protocol with nothing but evaluations: a test driver that listens to the network would get a
copy of every websocket frame, and the copies cost more than the panel.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from websocket import WebSocket, create_connection

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from conftest import CHROMIUM, FLAGS, Lab, document, running_lab

LAB_FLAGS = (
    "--ZMQChannelsWebsocketConnection.iopub_msg_rate_limit=0",
    "--ZMQChannelsWebsocketConnection.iopub_data_rate_limit=0",
    "--LabApp.expose_app_in_browser=True",
)
PANEL_LINES = 1_000_000
PRINT_LINES = 100_000
SECONDS = 3.0
LONG_TASK_MS = 50
TIMES_PRINT = 8
WAIT_SECONDS = 120

LINES = """import gc, time
lines = [
    f"{i:08d} INFO worker {i % 16:02d} step finished in {i % 997:4d} ms, loss={i % 7919:06d}, "
    "all is well so far, nothing to do"
    for i in range(COUNT)
]
gc.collect()
"""

# What the page keeps: tasks of 50 ms and more, and when a condition was first true in a frame.
WATCH = """(kind, wanted) => {
  const tail = (node) => { while (node && node.lastChild) node = node.lastChild; return node; };
  const shown = {
    panel: () => {
      const panel = document.querySelector('.bxl-panel');
      const texts = panel ? panel.querySelectorAll('.bxl-text') : [];
      const last = texts.length && texts[texts.length - 1].textContent.startsWith(wanted);
      return last && Number(panel.dataset.rows) === Number(wanted) + 1; // the end may be shown first
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


class PageEndedError(Exception):
    """The page's process was ended."""


class Tab:
    """One page of Chromium, spoken to over its debugging protocol."""

    def __init__(self, socket: WebSocket, whole: WebSocket) -> None:
        self._socket = socket
        self._whole = whole
        self._calls = 0

    def call(self, method: str, **parameters: Any) -> Any:
        """Call one method of the protocol and wait for its result."""
        return self._call(self._socket, method, parameters)

    def browser(self, method: str, **parameters: Any) -> Any:
        """Call one method for the browser as a whole."""
        return self._call(self._whole, method, parameters)

    def _call(self, socket: WebSocket, method: str, parameters: dict[str, Any]) -> Any:
        self._calls += 1
        socket.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        while (reply := json.loads(socket.recv())).get("id") != self._calls:
            if reply.get("method") == "Inspector.targetCrashed":
                raise PageEndedError
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']['message']}")
        return reply["result"]

    @contextlib.contextmanager
    def ended_after(self, seconds: float) -> Iterator[None]:
        """End the page, also one that answers nothing any more, if the block takes too long.

        Raises:
            PageEndedError: it did. The next address that is opened has a new process.
        """
        self.call("Inspector.enable")
        crash = json.dumps({"id": 0, "method": "Page.crash"})
        timer = threading.Timer(seconds, self._socket.send, [crash])
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def trace(self) -> None:
        """Begin to record the tasks of all threads."""
        config = {"includedCategories": ["toplevel"], "recordMode": "recordAsMuchAsPossible"}
        self.call("Tracing.start", traceConfig=config)

    def longest_task(self, pid: int) -> tuple[float, float]:
        """End the record; return the longest task of a process's main thread, and on the CPU, in ms."""
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": "Tracing.end", "params": {}}))
        wall = cpu = 0
        while (event := json.loads(self._socket.recv())).get("method") != "Tracing.tracingComplete":
            for task in event.get("params", {}).get("value", ()):
                if task["name"].endswith("RunTask") and (task["pid"], task["tid"]) == (pid, pid):
                    wall = max(wall, task.get("dur", 0))
                    cpu = max(cpu, task.get("tdur", 0))
        return wall / 1000, cpu / 1000

    def evaluate(self, expression: str) -> Any:
        """Evaluate JavaScript in the page, awaiting a promise."""
        reply = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in reply:
            raise RuntimeError(str(reply["exceptionDetails"])[:500])
        return reply["result"].get("value")

    def until(self, condition: str, seconds: int = WAIT_SECONDS) -> None:
        """Wait until a condition holds in the page, also while the page is being replaced."""
        look = f"new Promise((done) => setTimeout(() => done(Boolean({condition})), 100))"
        for _ in range(seconds * 10):
            with contextlib.suppress(RuntimeError):  # the page went away under the question
                if self.evaluate(look):
                    return
        raise RuntimeError(f"never true: {condition}")


@contextlib.contextmanager
def chromium(home: Path) -> Iterator[Tab]:
    """Run Chromium with a profile in ``home``; yield its one page."""
    if CHROMIUM is None:
        raise RuntimeError("no chromium found; name one in BLAXEL_JUPYTER_CHROMIUM")
    options = ["--headless=new", "--remote-debugging-port=0", "--window-size=1200,900"]
    command = [CHROMIUM, *FLAGS, *options, f"--user-data-dir={home}", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            address = next(line for line in process.stderr if "listening on ws" in line)
            base = address.split()[-1].split("/")[2]
            pages = httpx.get(f"http://{base}/json").json()
            [url] = [page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page"]
            socket = create_connection(url, timeout=5 * WAIT_SECONDS, suppress_origin=True)
            whole = create_connection(address.split()[-1], suppress_origin=True)
            tab = Tab(socket, whole)
            tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
            yield tab
            socket.close()
            whole.close()
        finally:
            process.terminate()
            process.stderr.close()


def run_next(tab: Tab, index: int, *, wait: bool = True) -> None:
    """Run the active cell, which must be number ``index``, and go to the next."""
    prompt = f"document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')[{index}].textContent"
    tab.evaluate("void jupyterapp.commands.execute('notebook:run-cell-and-select-next')")
    tab.until(f"/\\d/.test({prompt})" if wait else f"{prompt} !== '[ ]:'")


def measure(lab: Lab, tab: Tab, kind: str, lines: int, prepare: str, show: str) -> Result:
    """Run ``show`` in a kernel where ``prepare`` made ``lines``; wait for the last one's frame."""
    times = "print('from', start, sum(map(len, lines)) + len(lines))"
    cells = document(LINES.replace("COUNT", str(lines)) + prepare, show, times)
    (lab.folder / f"{kind}.ipynb").write_text(json.dumps(cells), "utf-8")
    tab.call("Page.navigate", url=lab.address(f"{kind}.ipynb"))
    tab.until("document.querySelector('#jp-main-statusbar')?.textContent.includes('| Idle')")
    run_next(tab, 0)
    tab.evaluate(f"({WATCH})({json.dumps(kind)}, '{lines - 1:08d}')")
    run_next(tab, 1, wait=False)
    tab.until("window.painted")
    painted = tab.evaluate("window.painted") / 1000
    longest = tab.evaluate("Math.max(0, ...window.tasks)")
    tab.call("HeapProfiler.collectGarbage")
    heap = tab.call("Runtime.getHeapUsage")["usedSize"] / 1e6
    run_next(tab, 2)
    last = "[...document.querySelectorAll('.jp-RenderedText pre')].at(-1)"
    tab.until(f"({last})?.textContent.startsWith('from ')")
    _, start, size = tab.evaluate(f"{last}.textContent").split()
    return Result(kind, lines, int(size) / 1e6, painted - float(start), longest, heap)


def main() -> int:
    """Measure both ways and print them; return 1 if a target was missed."""
    with (
        tempfile.TemporaryDirectory() as home,
        running_lab(Path(home), *LAB_FLAGS) as lab,
        chromium(Path(home) / "profile") as tab,
    ):
        fill = "from stand_in import Run, shown\nrun = Run(); run.add(*lines); panel = shown(run)\npanel"
        pump = "run.end(); start = time.time()\nawait panel.pump()"
        printing = "start = time.time()\nfor line in lines: print(line)"
        results = [
            measure(lab, tab, "print", PRINT_LINES, "", printing),
            measure(lab, tab, "panel", PANEL_LINES, fill, pump),
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
