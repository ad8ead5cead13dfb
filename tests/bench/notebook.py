"""Run cells in a real JupyterLab in a real Chromium, and measure the kernel and the page.

Each visit is a notebook of its own with a kernel of its own, which ends with it; server and browser are one
for a row. Jupyter's rate limits are off, which is what lets ``print`` arrive at all.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.bench.fresh import Meter, Sample
from tests.bench.panel_lines import LAB_FLAGS, Lab, Tab, chromium, document, run_next, running_lab
from tests.bench.panel_scale import renderers

_LAST = "[...document.querySelectorAll('.jp-RenderedText pre')].at(-1)"


class Desk:
    """A JupyterLab and the one page of a Chromium."""

    def __init__(self, lab: Lab, tab: Tab) -> None:
        self.lab = lab
        self.tab = tab
        self._number = count()

    @contextmanager
    def visit(self, *cells: str) -> Iterator[Visit]:
        """Open a new notebook with these cells, its kernel ready; the kernel ends with the block."""
        name = f"visit-{next(self._number)}.ipynb"
        pid = "print(__import__('os').getpid())"
        (self.lab.folder / name).write_text(json.dumps(document(pid, *cells)), "utf-8")
        self.tab.call("Page.navigate", url=self.lab.address(name))
        status = "document.querySelector('#jp-main-statusbar')?.textContent"
        self.tab.until(f"{status}.includes('| Idle') && location.href.includes('{name}')")
        try:
            yield Visit(self.tab)
        finally:
            self._end_kernels()

    def _end_kernels(self) -> None:
        headers = {"Authorization": f"token {self.lab.token}"}
        with httpx.Client(base_url=self.lab.url, headers=headers, trust_env=False) as client:
            for kernel in client.get("/api/kernels").json():
                client.delete(f"/api/kernels/{kernel['id']}")


class Visit:
    """An open notebook: run its cells one after the other, and see what they cost."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab
        self._next = 0
        self.run()
        self.kernel = int(self.printed())

    def run(self, *, wait: bool = True) -> None:
        """Run the next cell, to its end or only until it has begun."""
        run_next(self.tab, self._next, wait=wait)
        self._next += 1

    def printed(self) -> str:
        """Return the last text that a cell printed."""
        self.tab.until(_LAST)
        text: str = self.tab.evaluate(f"{_LAST}.textContent")
        return text

    def measure(self) -> Costs:
        """Begin to measure the kernel and the page's process."""
        return Costs(self.kernel, renderers(self.tab)[0])

    def evaluate(self, expression: str) -> Any:
        """Evaluate JavaScript in the page."""
        return self.tab.evaluate(expression)


class Costs:
    """What kernel and page cost from now on: CPU of both, memory of the kernel."""

    def __init__(self, kernel: int, page: int) -> None:
        self._kernel = Meter(kernel)
        self._page = psutil.Process(page)
        self._worked = self._page.cpu_times()

    def figures(self) -> Sample:
        """Return the kernel's figures, ``page_cpu`` beside them if the page is still there."""
        try:
            worked = self._page.cpu_times()
        except psutil.NoSuchProcess:
            return self._kernel.figures()
        page = worked.user + worked.system - self._worked.user - self._worked.system
        return self._kernel.figures() | {"page_cpu": page}


@contextmanager
def desk() -> Iterator[Desk]:
    """Run JupyterLab and Chromium until the block ends."""
    with (
        tempfile.TemporaryDirectory() as home,
        running_lab(Path(home), *LAB_FLAGS) as lab,
        chromium(Path(home) / "profile") as tab,
    ):
        yield Desk(lab, tab)
