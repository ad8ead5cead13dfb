"""Tell what a failed run's end means: its exit code in words, and where in its log the errors are.

It reads a table of logs and nothing else. Pure; imported by runs and sandbox_cell.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from blaxel_jupyter.filters import Block
from blaxel_jupyter.levels import ERROR, LEVELS, level, levels
from blaxel_jupyter.panel.escapes import last_state, visible_text
from blaxel_jupyter.table import Table

MEANINGS = {
    124: "timed out",
    126: "the command cannot be executed",
    127: "command not found",
    130: "interrupted",
    137: "killed",
    139: "segmentation fault",
    143: "terminated",
}
"""What a shell's exit codes say (sysexits of POSIX shells: 128 + signal)."""

_GRAVE = frozenset(range(ERROR, len(LEVELS)))
_SLICE = 4096
_CONTINUED = re.compile(
    r"[ \t]|Caused by: |\.\.\. \d+ more|During handling |The above exception |$"
)
LONGEST = 500
"""Rows of one error block at most."""


class Errors(NamedTuple):
    """Where a log's errors are, as positions of rows."""

    first: int
    """The first error line."""
    block: range
    """The last error block: error lines, tracebacks and what belongs to them, one after the other."""


def errors(logs: Table) -> Errors | None:
    """Find the first error line and the last error block; None if no line says that it is one.

    Where no line has the level error, the last lines of stderr, as many as follow one another, count as
    the block.
    """
    n = len(logs)
    first = _first(logs, n)
    if first is None:
        return _last_of_stderr(logs, n)
    last = _last(logs, n)
    start, end = last, last + 1
    while start > 0 and end - start < LONGEST and _belongs(logs, start - 1):
        start -= 1
    while start < last and not _is_error(logs, start):  # what is indented before it is no part
        start += 1
    while end < n and end - start < LONGEST and _belongs(logs, end):
        end += 1
    while not _shown(logs, end - 1).strip():
        end -= 1
    return Errors(first, range(start, end))


def around(found: Errors, n: int) -> str:
    """Return the filter that keeps the first error line and the last block, each with ``n`` rows around."""
    first, block = found
    return f"seq:{max(0, first - n)}..{first + n} OR seq:{max(0, block.start - n)}..{block.stop - 1 + n}"


def _first(logs: Table, n: int) -> int | None:
    for start in range(0, n, _SLICE):
        if found := _grave(logs, start, min(start + _SLICE, n)):
            return found[0]
    return None


def _last(logs: Table, n: int) -> int:
    for end in range(n, 0, -_SLICE):
        if found := _grave(logs, max(0, end - _SLICE), end):
            return found[-1]
    raise AssertionError("there is a first one")


def _grave(logs: Table, start: int, end: int) -> list[int]:
    block = Block(logs.column, slice(start, end))
    found = levels(block.shown, _GRAVE)
    if max(found) < ERROR:
        return []
    rows = enumerate(zip(found, block.kinds, strict=True), start)
    return [row for row, (number, kind) in rows if number >= ERROR and kind == "line"]


def _belongs(logs: Table, row: int) -> bool:
    return logs.column("kind")[row] == "line" and (
        _CONTINUED.match(_shown(logs, row)) is not None or _is_error(logs, row)
    )


def _is_error(logs: Table, row: int) -> bool:
    return level(_shown(logs, row)) >= ERROR


def _shown(logs: Table, row: int) -> str:
    return _visible(logs.column("text")[row])


def _visible(text: str | None) -> str:
    return visible_text(last_state(text or ""))


def _last_of_stderr(logs: Table, n: int) -> Errors | None:
    streams, kinds = logs.column("stream"), logs.column("kind")
    end = n
    while end > 0 and not (streams[end - 1] == "stderr" and kinds[end - 1] == "line"):
        end -= 1
    start = end
    while start > 0 and end - start < LONGEST and streams[start - 1] == "stderr":
        start -= 1
    return Errors(start, range(start, end)) if end > start else None
