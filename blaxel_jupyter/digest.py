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
    """Where a log's errors are, as positions of rows; None where they were not found in reach."""

    first: int | None
    """The first error line."""
    block: range | None
    """The last error block: error lines, tracebacks and what belongs to them, one after the other."""


class First:
    """The first error line of a log that grows, looked for a bounded number of rows at a time."""

    def __init__(self) -> None:
        self.row: int | None = None
        self.looked = 0

    def look(self, logs: Table, end: int) -> None:
        """Go on looking up to before the row ``end``, unless it was found."""
        while self.row is None and self.looked < end:
            stop = min(self.looked + _SLICE, end)
            if found := _grave(logs, self.looked, stop):
                self.row = found[0]
            self.looked = stop


def errors(logs: Table, first: First | None = None, reach: int | None = None) -> Errors | None:
    """Find the first error line and the last error block; None if no line says that it is one.

    Where no line has the level error, the last lines of stderr, as many as follow one another, count as
    the block.

    Args:
        logs: The rows.
        first: Where the first line was looked for already.
        reach: Rows that are looked at, at most, from there on, and from the end; None is all.
    """
    n = len(logs)
    first = first or First()
    first.look(logs, n if reach is None else min(n, first.looked + reach))
    start = 0 if first.row is None else first.row
    lowest = start if reach is None else max(start, n - reach)
    nothing = first.row is None and first.looked == n
    last = None if nothing else _last(logs, n, lowest)
    if last is not None:
        return Errors(first.row, _around(logs, last, n))
    if nothing:
        return _last_of_stderr(logs, n, lowest)
    return None if first.row is None else Errors(first.row, None)


def around(found: Errors, n: int) -> str:
    """Return the filter that keeps the first error line and the last block, each with ``n`` rows around."""
    first, block = found
    kept = [] if first is None else [f"seq:{max(0, first - n)}..{first + n}"]
    if block:
        kept.append(f"seq:{max(0, block.start - n)}..{block.stop - 1 + n}")
    return " OR ".join(kept)


def _last(logs: Table, n: int, lowest: int) -> int | None:
    for end in range(n, lowest, -_SLICE):
        if found := _grave(logs, max(lowest, end - _SLICE), end):
            return found[-1]
    return None


def _around(logs: Table, last: int, n: int) -> range:
    """Return the block of the error line ``last``."""
    start, end = last, last + 1
    while start > 0 and end - start < LONGEST and _belongs(logs, start - 1):
        start -= 1
    while start < last and not _is_error(logs, start):  # what is indented before it is no part
        start += 1
    while end < n and end - start < LONGEST and _belongs(logs, end):
        end += 1
    while not _shown(logs, end - 1).strip():
        end -= 1
    return range(start, end)


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


def _last_of_stderr(logs: Table, n: int, lowest: int) -> Errors | None:
    end = None
    for stop in range(n, lowest, -_SLICE):
        part = slice(max(lowest, stop - _SLICE), stop)
        said = zip(logs.column("stream")[part], logs.column("kind")[part], strict=True)
        rows = [row for row, one in enumerate(said, part.start) if one == ("stderr", "line")]
        if rows:
            end = rows[-1] + 1
            break
    if end is None:
        return None
    streams = logs.column("stream")[max(0, end - LONGEST) : end]
    others = next((i for i, stream in enumerate(reversed(streams)) if stream != "stderr"), None)
    start = end - (len(streams) if others is None else others)
    return Errors(start, range(start, end))
