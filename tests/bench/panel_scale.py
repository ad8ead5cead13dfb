"""Measure how the panel's cost grows with the log: a run that is followed, scrolled, searched, filtered.

Run ``python tests/bench/panel_scale.py [LINES …]`` (default: 100,000 and 1,000,000); it prints a markdown
table and exits with 1 if a target was missed. Lines of about 100 bytes are made in a kernel while the panel
follows them; the clock stops at the frame that shows the last one with every row that is held in place.
Memory is the renderer process's own, without the files that Chromium's processes share, which is what the
browser's own task manager shows for a tab; the kernel's is what it took above its start.
The longest task of the page's main thread is told by the clock and, what a busy machine leaves alone, by the
time it had on the CPU: the target is held to the latter.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.bench.panel_lines import LAB_FLAGS, Tab, chromium, document, run_next, running_lab

BEGAN = time.monotonic()
LINES = (100_000, 1_000_000)
RENDERER_MB = 600
KERNEL_MB = 400
LONG_TASK_MS = 50
FRAME_MS = 1000 / 60
TYPED_MS = 50

PREPARE = """import asyncio, time
from pathlib import Path
from blaxel_jupyter.columns import Spill
from blaxel_jupyter.spool import Spool
from blaxel_jupyter.table import LOGS, Table
from stand_in import Run, shown

def resident():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024

def made(first, n):
    return [
        f"{i:08d} INFO worker {i % 16:02d} step finished in {i % 997:4d} ms, loss={i % 7919:06d}, "
        "all is well so far, nothing to do"
        for i in range(first, first + n)
    ]

run = Run()
run.logs = Table(LOGS, constants={"sandbox": "box", "process": "job"}, spill=Spill(Spool))
panel = shown(run)
before = resident()
panel"""

FOLLOW = """start = time.time()
pump = asyncio.create_task(panel.pump())
for first in range(0, COUNT, 4000):
    run.add(*made(first, min(4000, COUNT - first)))
    await asyncio.sleep(0)
run.end()
await pump"""

REPORT = "print('from', start, resident() - before, run.facts['bytes'])"

# Note the frame that shows the last line with all rows there.
WATCH = """(wanted, rows) => {
  window.painted = null;
  const look = () => {
    const panel = document.querySelector('.bxl-panel');
    const texts = panel ? panel.querySelectorAll('.bxl-text') : [];
    const last = texts.length ? texts[texts.length - 1].textContent : '';
    if (panel?.dataset.rows !== rows || !last.startsWith(wanted)) return requestAnimationFrame(look);
    requestAnimationFrame(() => { window.painted = performance.timeOrigin + performance.now(); });
  };
  requestAnimationFrame(look);
}"""

# Scroll for three seconds, ten rows a frame, from a place in the log; frames in ms, sorted.
SCROLL = """async (place) => {
  const body = document.querySelector('.bxl-body');
  const frame = () => new Promise(requestAnimationFrame);
  body.scrollTop = body.scrollHeight * place;
  const until = async (holds) => { while (!holds()) await frame(); };
  await frame();
  await frame();
  await until(() => body.querySelector('.bxl-text') && !body.querySelector('.bxl-blank'));
  const frames = [];
  let before = await frame();
  for (const end = before + 3000; before < end; ) {
    body.scrollTop += 180;
    const now = await frame();
    frames.push(now - before);
    before = now;
  }
  frames.sort((a, b) => a - b);
  await until(() => body.querySelector('.bxl-text') && !body.querySelector('.bxl-blank'));
  const first = body.querySelector('.bxl-text').textContent;
  return [frames[frames.length >> 1], frames[Math.floor(frames.length * 0.95)], first];
}"""

# Type a text letter by letter: the longest wait for the frame after a key, then all to the end.
TYPE = """async (label, text, done) => {
  const input = document.querySelector(`[aria-label="${label}"]`);
  const frame = () => new Promise(requestAnimationFrame);
  let longest = 0;
  const start = performance.now();
  for (let n = 1; n <= text.length; n++) {
    const before = performance.now();
    input.value = text.slice(0, n);
    input.dispatchEvent(new Event('input', { bubbles: true }));
    await frame();
    longest = Math.max(longest, performance.now() - before);
    await new Promise((next) => setTimeout(next, 60));
  }
  const count = document.querySelector(done);
  await new Promise((next) => setTimeout(next, 300));
  let said = '';
  for (let same = 0; same < 30 && performance.now() - start < 600000; ) {
    await new Promise((next) => setTimeout(next, 100));
    same = said === count.textContent && !said.includes('%') ? same + 1 : 0;
    said = count.textContent;
  }
  return [longest, (performance.now() - start) / 1000 - 3, said];
}"""


@dataclass(frozen=True, slots=True)
class Result:
    """What one log cost."""

    lines: int
    megabytes: float
    shown_s: float
    task_ms: tuple[float, float]
    heap_mb: float
    renderer_mb: float
    peak_mb: float
    kernel_mb: float
    frame_ms: float
    frame95_ms: float
    typed_ms: float
    search_s: float
    filter_s: float
    later_task_ms: tuple[float, float]

    @property
    def met(self) -> bool:
        """Tell whether every target was met."""
        return (
            max(self.task_ms[1], self.later_task_ms[1]) <= LONG_TASK_MS
            and self.peak_mb <= RENDERER_MB
            and self.kernel_mb <= KERNEL_MB
            and self.frame_ms <= FRAME_MS + 1
            and self.typed_ms <= TYPED_MS
        )


def memory(pid: int) -> float:
    """Return what a process holds that is its own, in MB."""
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    return sum(
        int(status.split(name)[1].split()[0]) * 1024 / 1e6 for name in ("RssAnon:", "VmSwap:")
    )


@contextlib.contextmanager
def highest(pid: int) -> Iterator[list[float]]:
    """Look at a process's memory 20 times a second; yield a list that holds the most, in MB."""
    most, over = [memory(pid)], threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            most[0] = max(most[0], memory(pid))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield most
    finally:
        over.set()
        looking.join()


def renderers(tab: Tab) -> list[int]:
    """Return the ids of Chromium's renderers, the one that holds most at first: it is the page's."""
    processes = tab.browser("SystemInfo.getProcessInfo")["processInfo"]
    ids = [int(process["id"]) for process in processes if process["type"] == "renderer"]
    return sorted(ids, key=memory, reverse=True)


def measure(folder: Path, address: Any, tab: Tab, lines: int) -> Result:
    """Follow a run of ``lines`` in a kernel of its own; then scroll, search and filter."""
    cells = document(PREPARE, FOLLOW.replace("COUNT", str(lines)), REPORT)
    name = f"scale-{lines}.ipynb"
    (folder / name).write_text(json.dumps(cells), "utf-8")
    tab.call("Page.navigate", url=address(name))
    tab.until("document.querySelector('#jp-main-statusbar')?.textContent.includes('| Idle')")
    run_next(tab, 0)
    tab.until("document.querySelector('.bxl-panel')")
    pid = renderers(tab)[0]
    with highest(pid) as most:
        tab.evaluate(f"({WATCH})('{lines - 1:08d}', '{lines}')")
        tab.trace()
        run_next(tab, 1, wait=False)
        tab.until("window.painted", 600)
        say(f"{lines:,} lines: shown")
        painted = tab.evaluate("window.painted") / 1000
        longest = tab.longest_task(pid)
        run_next(tab, 2)
        last = "[...document.querySelectorAll('.jp-RenderedText pre')].at(-1)"
        tab.until(f"({last})?.textContent.startsWith('from ')")
        _, start, kernel, size = tab.evaluate(f"{last}.textContent").split()
        tab.trace()
        frames = []
        for place in (0.0, 0.31, 0.77):
            frames.append(tab.evaluate(f"({SCROLL})({place})"))
            say(f"scrolled from {place:.0%}")
        later = [tab.longest_task(pid)]
        for place, (_, _, first) in zip((0.0, 0.31, 0.77), frames, strict=True):
            if not place * lines <= int(first[:8]) < place * lines + lines * 0.02 + 3000:
                raise RuntimeError(f"scrolled to {place:.0%}, but {first!r} is on screen")
        typed = f"({TYPE})('Search the log', 'worker 07', '.bxl-count')"
        tab.trace()
        search = tab.evaluate(typed)
        later.append(tab.longest_task(pid))
        say(f"searched: {search[2]} found")
        tab.evaluate("document.querySelector('[aria-label=\"Filter the lines (f)\"]').click()")
        tab.trace()
        filtered = tab.evaluate(f"({TYPE})('Filter the log', 'level:info -07', '.bxl-kept')")
        later.append(tab.longest_task(pid))
        say(f"filtered: {filtered[2]}")
        tab.call("HeapProfiler.collectGarbage")
        heap = tab.call("Runtime.getHeapUsage")["usedSize"] / 1e6
        if renderers(tab)[0] != pid:
            raise RuntimeError("another process than the page's own was measured")
        now = memory(pid)
    return Result(
        lines,
        int(size) / 1e6,
        painted - float(start),
        longest,
        heap,
        now,
        most[0],
        float(kernel),
        sorted(frame for frame, _, _ in frames)[1],
        max(frame for _, frame, _ in frames),
        max(search[0], filtered[0]),
        search[1],
        filtered[1],
        (max(wall for wall, _ in later), max(cpu for _, cpu in later)),
    )


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"{time.monotonic() - BEGAN:6.1f} s  {text}", file=sys.stderr, flush=True)


def main(counts: list[int]) -> int:
    """Measure each number of lines and print them; return 1 if a target was missed."""
    results = []
    for lines in counts or LINES:
        with (
            tempfile.TemporaryDirectory() as home,
            running_lab(Path(home), *LAB_FLAGS) as lab,
            chromium(Path(home) / "profile") as tab,
        ):
            results.append(measure(lab.folder, lab.address, tab, lines))
    print(
        "| lines | MB | shown s | longest task ms (CPU) | heap MB | renderer MB | its peak MB"
        " | kernel MB more | frame ms (95 %) | typed ms | searched s | filtered s"
        " | longest task after ms (CPU) |"
    )
    print("| ---: " * 13 + "|")
    for r in results:
        print(
            f"| {r.lines:,} | {r.megabytes:,.0f} | {r.shown_s:.1f} | {task(r.task_ms)} | {r.heap_mb:.0f}"
            f" | {r.renderer_mb:.0f} | {r.peak_mb:.0f} | {r.kernel_mb:.0f}"
            f" | {r.frame_ms:.1f} ({r.frame95_ms:.1f}) | {r.typed_ms:.0f} | {r.search_s:.1f}"
            f" | {r.filter_s:.1f} | {task(r.later_task_ms)} |"
        )
    return 0 if all(result.met for result in results) else 1


def task(milliseconds: tuple[float, float]) -> str:
    """Return the longest task, and that on the CPU."""
    wall, cpu = milliseconds
    return f"{wall:.0f} ({cpu:.0f})"


if __name__ == "__main__":
    sys.exit(main([int(n.replace(",", "").replace("_", "")) for n in sys.argv[1:]]))
