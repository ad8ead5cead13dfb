"""Lines to the screen, from running the cell to the frame that shows the last one, in JupyterLab.

Once of lines that are at hand in the kernel, once of a process that writes them in a sandbox. The kernel's
CPU and memory are told, and the CPU of the page.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.fresh import Sample
from tests.bench.notebook import Desk, desk
from tests.bench.panel_lines import PageEndedError
from tests.bench.races import Race, Row, Sampler
from tests.imitation import imitation

SIZES = {"10,000": 10_000, "100,000": 100_000, "1,000,000": 1_000_000}
PANEL, PRINT, OUTPUT = "the panel", "`print`, rate limits off", "`ipywidgets.Output`"
MAGIC, SDK = "`%%sandbox_exec`", "SDK `stream_logs(on_log=print)`"
LINES = Race(
    "panel-lines",
    "lines at hand to the screen",
    (PANEL, PRINT, OUTPUT),
    SIZES,
    tiny=1_000,
    limit=30.0,
    grows=True,
)
RUN = Race(
    "panel-run",
    "a process's lines to the screen",
    (MAGIC, SDK),
    SIZES,
    tiny=1_000,
    limit=30.0,
    grows=True,
)
TEXT = " INFO worker 07 step finished in 123 ms, loss=0.004217, all is well so far, nothing to do"
COMMAND = (
    f"seq -f '%08.0f{TEXT}' 0 {{last}}; sleep 60"  # at its end the panel would become plain HTML
)

AT_HAND = f"lines = [f'{{{{i:08d}}}}{TEXT}' for i in range({{lines}})]\n"
PREPARE = {
    PANEL: AT_HAND + "from stand_in import Run, shown\n"
    "run = Run(); run.add(*lines); panel = shown(run); run.end()\npanel",
    PRINT: AT_HAND,
    OUTPUT: AT_HAND + "import ipywidgets\noutput = ipywidgets.Output()\noutput",
    MAGIC: "%load_ext blaxel_jupyter\n%sandbox use {url}\nimport zlib",
    SDK: "import zlib\nfrom tests.bench.followers import official\nprocess = official('{url}')\n"
    "seen = []\ndef show(line):\n    seen.append(line)\n    print(line)",
}
SHOW = {
    PANEL: "await panel.pump()",
    PRINT: "for line in lines: print(line)",
    OUTPUT: "with output:\n    for line in lines: print(line)",
    MAGIC: "%%sandbox_exec --bg\n{command}",
    SDK: "await process.exec({{'name': 'job', 'command': {command!r}}})\n"
    "handle = process.stream_logs('job', {{'on_log': show}})",
}
REPORT = {
    MAGIC: "print(zlib.crc32(_sandbox.stdout_bytes))",
    SDK: "print(zlib.crc32(''.join(f'{{line}}\\n' for line in seen).encode()))",
}

# Note the frame that shows the last line; of a panel, with all rows there.
WATCH = """(wanted, rows) => {
  const tail = (node) => { while (node && node.lastChild) node = node.lastChild; return node; };
  const shown = () => {
    const panel = document.querySelector('.bxl-panel');
    if (panel) {
      const texts = panel.querySelectorAll('.bxl-text');
      return panel.dataset.rows === rows && texts[texts.length - 1]?.textContent.startsWith(wanted);
    }
    const outputs = document.querySelectorAll('.jp-RenderedText pre');
    return tail(outputs[outputs.length - 1])?.textContent.slice(-300).includes(wanted);
  };
  window.painted = null;
  const look = () => {
    if (!shown()) return requestAnimationFrame(look);
    requestAnimationFrame(() => { window.painted = performance.timeOrigin + performance.now(); });
  };
  requestAnimationFrame(look);
}"""


@contextmanager
def world() -> Iterator[Sampler]:
    """Give each run a server, a notebook and a kernel of its own, in one JupyterLab."""
    with desk() as open_desk:

        def sample(race: Race, contender: str, lines: int) -> Sample:
            with imitation(own_process=True) as server:
                return _sample(open_desk, server.url, contender, lines, race.limit)

        yield sample


def _sample(desk: Desk, url: str, contender: str, lines: int, limit: float) -> Sample:
    told = {"url": url, "lines": lines, "command": COMMAND.format(last=lines - 1)}
    sources = [PREPARE[contender], SHOW[contender], REPORT.get(contender, "")]
    with desk.visit(*(source.format(**told) for source in sources)) as visit:
        visit.run()
        visit.evaluate(f"({WATCH})('{lines - 1:08d}', '{lines}')")
        costs = visit.measure()
        began = time.time()
        try:
            with visit.tab.ended_after(limit):
                visit.run(wait=False)
                visit.tab.until("window.painted", 2 * round(limit))
                painted = visit.evaluate("window.painted") / 1000
        except PageEndedError:  # many pages answer nothing by then
            return costs.figures() | {"seconds": None}
        figures = costs.figures() | {"seconds": painted - began}
        if contender not in REPORT:
            return figures
        visit.run()
        return figures | {
            "verdict": "exact" if int(visit.printed()) == _sum(lines) else "lines lost"
        }


def _sum(lines: int) -> int:
    return zlib.crc32("".join(f"{i:08d}{TEXT}\n" for i in range(lines)).encode())


ROW = Row((LINES, RUN), world)
