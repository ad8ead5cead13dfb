"""Pack a sandbox run's lines for the panel: rows of its table, in bounded binary batches.

It knows what the page is told of a log, and nothing of messages or widgets. Imported by the widget.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from itertools import accumulate
from typing import Any, cast

from blaxel_jupyter.panel.escapes import last_state
from blaxel_jupyter.panel.static import MAX_CHARACTERS, Run
from blaxel_jupyter.table import Table

Batch = tuple[dict[str, Any], list[bytes]]
"""A message's content, with the first position (``from``) and how many (``n``), and its buffers."""

BATCH_BYTES = 1 << 20
"""UTF-8 text of one message at most, unless a single row is longer: about 30 ms in a browser."""

BATCH_ROWS = 1 << 15
"""Rows of one message at most."""

MAX_FACT = 2000
"""Characters of one text in the header."""

_STREAMS: dict[str | None, int] = {None: 0, "stdout": 1, "stderr": 2, "system": 3}
_KINDS: dict[str, int] = {"line": 0, "gap": 4, "notice": 8}
_ORIGINS: dict[str | None, int] = {None: 0, "backfill": 16, "live": 32, "batch": 48}
_FLAGS = {
    (stream, kind, origin): s | k | o
    for stream, s in _STREAMS.items()
    for kind, k in _KINDS.items()
    for origin, o in _ORIGINS.items()
}
_NAN = float("nan")


class Rows:
    """What the panel shows of a sandbox run: a row a line."""

    view = "log"
    verbs: tuple[str, ...] = ("detach", "follow", "stop", "kill")
    helpless = "this panel cannot stop the process"
    epoch = 0
    paged = True

    def __init__(self, run: Run) -> None:
        self._run = run

    def total(self) -> int:
        """Return how many rows there are."""
        return len(self._run.logs)

    def table(self) -> Table:
        """Return the rows."""
        return cast(Table, self._run.logs)

    def orders(self, verb: str, source: object) -> list[tuple[Any, ...]]:
        """Return what a button's verb is for the callback, as its arguments; nothing if it is unknown."""
        return [(verb,)] if verb in self.verbs and source is None else []

    def facts(self) -> dict[str, Any]:
        """Return the header, its texts cut; lines that have not ended, to what a row shows."""
        header = {name: fact(value) for name, value in self._run.header().items()}
        partial = [[s, last_state(text)[:MAX_CHARACTERS]] for s, text in header.get("partial", [])]
        return {**header, "partial": partial}

    def title(self) -> str:
        """Return the run in one line, not sanitised."""
        header = self._run.header()
        return f"{header['process']} in {header['sandbox']}, {header['status']}"

    def renew(self) -> bool:
        """Tell whether the rows are other ones than before: never."""
        return False

    def more(self, sent: int) -> bool:
        """Tell whether there are rows beyond those."""
        return sent < self.total()

    def news(self, sent: int) -> Batch | None:
        """Pack the rows from ``sent`` on; None if there are none."""
        total = self.total()
        return self.page(sent, total - sent) if total > sent else None

    def page(self, first: int, n: int) -> Batch:
        """Pack rows from ``first``, as many of ``n`` as one message takes."""
        logs = self._run.logs
        last = first + min(n, BATCH_ROWS)
        text, n = _text([text or "" for text in logs.shown("text", first, last)])
        last = first + n
        stream, kind, origin, received, missing = (
            logs.column(name)[first:last]
            for name in ("stream", "kind", "origin", "received", "missing_bytes")
        )
        flags = bytes(map(_FLAGS.__getitem__, zip(stream, kind, origin, strict=True)))
        times = array("d", [_NAN if at is None else at / 1000 for at in received])
        sizes = [(first + i, size) for i, size in enumerate(missing) if size is not None]
        return {"from": first, "n": n, "missing": sizes}, [text, flags, times.tobytes()]


def fact(value: Any) -> Any:
    """Return one value of a header as it travels: bounded, as it is sent again with each change, and JSON."""
    if isinstance(value, str):
        return value[:MAX_FACT].encode("utf-8", "replace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _text(texts: list[str]) -> tuple[bytes, int]:
    """Join as many lines as fit in a batch, at least one; return the UTF-8 text and how many."""
    ends = list(accumulate(len(text) + 1 for text in texts))
    n = max(1, bisect_right(ends, BATCH_BYTES + 1))
    while True:
        text = "\n".join(texts[:n]).encode("utf-8", "replace")
        if n == 1 or len(text) <= BATCH_BYTES:
            return text, n
        n = max(1, n * BATCH_BYTES // len(text))
