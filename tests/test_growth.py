"""Twice as much input costs twice as much, whatever it is: no decoder has an input that makes it quadratic.

Each case is measured in CPU time at three sizes, each twice the one before. For four times the input, what is
quadratic costs sixteen times as much and what is linear four times: the limit lies between, with room. What
seems to cost too much is measured again with twice the input: a step, as where memory begins to be asked of
the system in pages, lies behind it then, and what is quadratic is so at any size.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from blaxel_jupyter import settings
from blaxel_jupyter.errors import BlaxelError
from blaxel_jupyter.filters import Filter, FilterError
from blaxel_jupyter.fold import Fold
from blaxel_jupyter.json_values import lenient
from blaxel_jupyter.ledger import Ledger
from blaxel_jupyter.local.prompt import pace, pieces, read_prompt
from blaxel_jupyter.panel.escapes import last_state, visible_text
from blaxel_jupyter.panel.items import Items
from blaxel_jupyter.panel.task_lines import TaskLines
from blaxel_jupyter.process import EventDecoder, TextDecoder
from blaxel_jupyter.recording import read_recording, write_recording
from blaxel_jupyter.replays import overlap
from blaxel_jupyter.shown import Shown
from blaxel_jupyter.task_events import read_event
from blaxel_jupyter.task_log import read_log
from blaxel_jupyter.task_runs import Controls, TaskRun
from blaxel_jupyter.transport import read_json, status_error
from blaxel_jupyter.wire import LineSplitter, SseDecoder

LIMIT = 9.0
"""Times the cost that four times the input may have."""

ENOUGH = 0.01
"""Seconds of CPU that the smallest of the three sizes takes at least, so that noise is small beside it."""

ATTEMPTS = 3
"""Sizes at which a case is measured before it is believed to cost too much: others use the machine, too."""

LONG = {
    "lines of a prompt": 50_000,
    "keepalives before JSON": 50_000,
    "text stream, an error without end": 50_000,
    "pieces of one line of text": 2000,
    "pieces of one line, told at once": 2000,
}
"""Sizes to begin with where what may be quadratic is quick for each byte: it moves memory."""


def fed(
    decoder: LineSplitter | TextDecoder | SseDecoder | EventDecoder, data: bytes, n: int = 1
) -> None:
    """Feed bytes in pieces of n."""
    for at in range(0, len(data), n):
        decoder.feed(data[at : at + n])
    decoder.close()


def committed(data: bytes) -> None:
    ledger = Ledger("stdout")
    for at in range(0, len(data), 16):
        ledger.commit(at, data[at : at + 16])
        _ = ledger.partial
    ledger.close()


def tried(function: Callable[[], object]) -> None:
    """Call what may refuse its input."""
    with suppress(BlaxelError, FilterError):
        function()


async def _never(_: object) -> None:
    raise AssertionError


def delta(text: str) -> bytes:
    return b'{"type":"text-delta","id":"a","delta":"%b"}' % text.encode()


def run_of(payloads: Iterable[bytes]) -> TaskRun:
    run = TaskRun("run", Controls(_never, _never), target="recording")
    run.record([read_event(payload) for payload in payloads], "stream")
    return run


def told_in_steps(payloads: Iterable[bytes]) -> None:
    """Show a story that grows by an event at a time, in the panel and as lines."""
    run = run_of([])
    items, lines, sent = Items(run), TaskLines(run), 0
    for payload in payloads:
        run.record([read_event(payload)], "stream")
        lines.update()
        while news := items.news(sent):
            sent = news[0]["from"] + news[0]["n"]
            if not items.more(sent):
                break


def dotenv(text: str, folder: Path) -> None:
    path = folder / ".env"
    path.write_text(text)
    tried(lambda: settings.variables({}, folder))


CASES: dict[str, Callable[[int, Path], object]] = {
    "one line, byte by byte": lambda n, _: fed(LineSplitter(), b"x" * n),
    "one line of a file, in small blocks": lambda n, _: committed(b"x" * n),
    "text stream, byte by byte": lambda n, _: fed(TextDecoder(), b"stdout:" + b"x" * n),
    "text stream, beginnings of marks": lambda n, _: fed(TextDecoder(), b"\n[Process " * n, 7),
    "text stream, an error without end": lambda n, _: fed(TextDecoder(), b'{"error":' + b"x" * n),
    "an event of many data lines": lambda n, _: fed(SseDecoder(), b"data: x\n" * n, 4096),
    "an event's line, byte by byte": lambda n, _: fed(SseDecoder(), b"data: " + b"x" * n),
    "carriage returns in an event stream": lambda n, _: fed(SseDecoder(), b"\r" * n, 3),
    "NDJSON, byte by byte": lambda n, _: fed(EventDecoder(), b'{"type":"x","data":"' + b"x" * n),
    "keepalives before JSON": lambda n, _: read_json(b"[keepalive]\n" * n + b"{}"),
    "an error's body": lambda n, _: status_error("GET", "http://x", 502, {}, b"x\x01" * n),
    "an error's JSON": lambda n, _: status_error("GET", "http://x", 502, {}, b"[" * n),
    "deep JSON": lambda n, _: lenient(b"[" * n + b"]" * n),
    "a long number": lambda n, _: lenient(b"1" * n),
    "duplicate keys": lambda n, _: lenient(b"{" + b'"a":[],' * n + b'"a":1}'),
    "carriage returns": lambda n, _: Shown([last_state("1\r" * n)]),
    "unfinished strings of a terminal": lambda n, _: visible_text("\x1b]" * n),
    "unfinished sequences of a terminal": lambda n, _: visible_text("\x1b[" + "1;" * n),
    "sequences of a terminal without end": lambda n, _: visible_text("\x1b[ " * n),
    "colours": lambda n, _: visible_text("\x1b[31mx" * n),
    "joiners": lambda n, _: visible_text("\u200d\ufe0f" * n),
    "a log that is cut in a text": lambda n, _: read_log(
        b'{"events":[' + b"[" * 2000 + b'"' + b'\\"' * n, cut=True
    ),
    "a log that is cut in many texts": lambda n, _: read_log(
        b'{"events":[' + (b"[" * 2000 + b"]" * 2000 + b",") * (n // 1000), cut=True
    ),
    "a log of many events, cut": lambda n, _: read_log(
        b'{"events":[' + b",".join([delta("x")] * n), cut=True
    ),
    "a recording": lambda n, _: write_recording(
        (e.json, at, e.kind) for e, at in read_recording(b"\n".join([delta("x")] * n), Counter())
    ),
    "pieces of one line of text": lambda n, _: told_in_steps([delta("x" * 50)] * n),
    "pieces of one line, told at once": lambda n, _: TaskLines(
        run_of([delta("x" * 50)] * n)
    ).update(),
    "a stream beside a log that has nothing of it": lambda n, _: overlap(
        [read_event(delta("ab" * n + "c"))], [read_event(delta("ab" * n + "d"))]
    ),
    "blocks of text in turn": lambda n, _: Fold().extend(
        0,
        [read_event(b'{"type":"text-delta","id":"%d","delta":"x"}' % (i % 99)) for i in range(n)],
    ),
    "words of a filter": lambda n, _: tried(lambda: Filter("word " * n)),
    "groups of a filter": lambda n, _: tried(lambda: Filter("(" * n)),
    "a filter that negates": lambda n, _: tried(lambda: Filter("NOT " * n)),
    "a filter's expression": lambda n, _: tried(lambda: Filter(f"/{'a.' * n}/")),
    "lines of .env": lambda n, folder: dotenv("".join(f"A{i}=x\n" for i in range(n)), folder),
    "a line of .env": lambda n, folder: dotenv("A='" + "x" * n, folder),
    "lines of a prompt": lambda n, _: [
        pieces(item.text, pace([item]))  # type: ignore[union-attr,list-item]
        for item in read_prompt("a\n" * n)
    ],
    "spaces of a prompt": lambda n, _: pieces("a" + " " * n + "b", 4),
}


def cost(case: Callable[[int, Path], object], n: int, folder: Path, runs: int = 2) -> float:
    """Return CPU seconds, the least of some runs.

    Without the garbage collector: what it costs depends on all that other tests have left in memory.
    """
    best = float("inf")
    gc.collect()
    gc.disable()
    try:
        for _ in range(runs):
            began = time.thread_time()
            case(n, folder)
            best = min(best, time.thread_time() - began)
    finally:
        gc.enable()
    return best


@pytest.mark.parametrize("name", CASES)
def test_cost_grows_with_the_input(name: str, tmp_path: Path) -> None:
    """Four times as much costs less than nine times as much, measured at three sizes."""
    case, n = CASES[name], LONG.get(name, 500)
    least = cost(case, n, tmp_path, 1)
    while least < ENOUGH and n < 500_000:
        n *= 2
        least = cost(case, n, tmp_path, 1)
    seen = []
    for _ in range(ATTEMPTS):
        least = max(cost(case, n, tmp_path, 1), ENOUGH / 4)
        double = cost(case, 2 * n, tmp_path, 1)
        four = cost(case, 4 * n, tmp_path)
        if four < LIMIT * least:
            return
        seen.append(f"{n}: {least:.3f} s, {double:.3f} s, {four:.3f} s")
        n *= 2
    raise AssertionError(seen)


def test_what_is_quadratic_is_found_out(tmp_path: Path) -> None:
    """The measure can fail: text that is joined anew with each piece."""

    def joined(n: int, _: Path) -> None:
        pieces: list[str] = []
        for _ in range(n):
            pieces.append("x" * 100)
            "".join(pieces)

    least, four = cost(joined, 1000, tmp_path), cost(joined, 4000, tmp_path)
    assert four > LIMIT * least
