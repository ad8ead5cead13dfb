"""How long after a line was written it is painted in JupyterLab, by the cell that follows it.

The line is the time at which it was written; the page notes at each animation frame after a change of the
document what the newest line in it is. A line that scrolled by counts as painted with the first later one.
One clock: process, kernel and page are on one machine.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.bench.commands import paced
from tests.bench.followers import RAW, raw_url
from tests.bench.fresh import Sample
from tests.bench.notebook import Desk, Visit, desk
from tests.bench.races import Race, Row, Sampler
from tests.imitation import Imitation, imitation

PANEL, PRINT = "the panel", "SDK `stream_logs(on_log=print)`"
RATES = {"10 lines/s": 10, "100 lines/s": 100, "1,000 lines/s": 1000}
SECONDS = 4

WAITS = Race(
    "paint-waits",
    "a line from written to painted, the cell waits for the process",
    (PANEL, PRINT),
    RATES,
    tiny=12,
    unit="ms",
    shown="median_ms",
    limit=20.0,
)
COMPUTES = Race(
    "paint-computes",
    "the same while another cell computes",
    (PANEL, PRINT),
    RATES,
    tiny=12,
    unit="ms",
    shown="median_ms",
    limit=20.0,
)

PREPARE = {
    PANEL: ("%load_ext blaxel_jupyter\n%sandbox use {url}", "%%sandbox_exec\necho warm"),
    PRINT: (
        "from tests.bench.followers import official\nprocess = official('{url}')",
        "print((await process.exec({{'command': 'echo warm', 'wait_for_completion': True}})).stdout)",
    ),
}
FOLLOW = {
    PANEL: "%%sandbox_exec {background} -n job\n{command}",
    PRINT: "await process.exec({{'name': 'job', 'command': {command!r}}})\n"
    "handle = process.stream_logs('job', {{'on_log': print}})\n{wait}",
}
COMPUTE = "import time\nend = time.time() + {seconds}\nwhile time.time() < end: sum(range(10_000))"

# At each frame after a change: when it was, and the newest line in what was added.
WATCH = r"""() => {
  window.paints = [];
  let newest = 0;
  let asked = false;
  new MutationObserver((changes) => {
    for (const change of changes) {
      const texts = change.type === 'characterData' ? [change.target] : change.addedNodes;
      for (const node of texts)
        for (const [time] of node.textContent.matchAll(/\d{10}\.\d{6}/g)) newest = Math.max(newest, time);
    }
    if (asked || !newest || newest === window.paints.at(-1)?.[1]) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      window.paints.push([(performance.timeOrigin + performance.now()) / 1000, newest]);
    });
  }).observe(document.body, { childList: true, subtree: true, characterData: true });
}"""


@contextmanager
def world() -> Iterator[Sampler]:
    """Give each run a server, a notebook and a kernel of its own, in one JupyterLab."""
    with desk() as open_desk:

        def sample(race: Race, contender: str, rate: int) -> Sample:
            with imitation(own_process=True) as server:
                return _sample(open_desk, server, race, contender, rate)

        yield sample


def _sample(desk: Desk, server: Imitation, race: Race, contender: str, rate: int) -> Sample:
    computes = race.name == COMPUTES.name
    seconds = 1 if rate == race.tiny else SECONDS
    lines = round(seconds * rate)
    command = f"{paced(lines, rate)}; sleep 3"  # at its end the panel would become plain HTML
    wait = "" if computes else "await process.wait('job', max_wait=-1)"
    follow = FOLLOW[contender].format(
        command=command, background="--bg" if computes else "", wait=wait
    )
    cells = [cell.format(url=server.url) for cell in PREPARE[contender]]
    follow_on = [COMPUTE.format(seconds=seconds + 1)] if computes else []
    with desk.visit(*cells, follow, *follow_on) as visit:
        for _ in cells:
            visit.run()
        visit.evaluate(f"({WATCH})()")
        costs = visit.measure()
        visit.run(wait=False)
        if computes:
            visit.run(wait=False)
        written = _written(visit, server.url, lines)
        with contextlib.suppress(RuntimeError):
            visit.tab.until(f"window.paints.at(-1)?.[1] >= {written[-1]}", round(race.limit))
        return costs.figures() | delays(written, visit.evaluate("window.paints"))


def _written(visit: Visit, url: str, count: int) -> list[float]:
    """Wait until the process has written all its lines; return their times."""
    while True:
        visit.tab.evaluate("new Promise((done) => setTimeout(done, 200))")
        answer = httpx.get(raw_url(url, "job"), headers=RAW, trust_env=False)
        if answer.status_code == 200 and answer.text.count("\n") == count:
            return [float(line) for line in answer.text.split()]


def delays(written: list[float], paints: list[tuple[float, float]]) -> Sample:
    """Return median and 99th percentile of the milliseconds from written to painted; none if never."""
    newest = [line for _, line in paints]
    places = [bisect_left(newest, time) for time in written]
    if places[-1] == len(paints):
        return {"seconds": None}
    late = sorted(paints[place][0] - time for place, time in zip(places, written, strict=True))
    return {"median_ms": late[len(late) // 2] * 1e3, "p99_ms": late[len(late) * 99 // 100] * 1e3}


ROW = Row((WAITS, COMPUTES), world)
