"""Keep the last rows of each stream of a log that is read once, and no more of it in memory.

Pure: no socket, no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from blaxel_jupyter.follow import Batch
from blaxel_jupyter.ledger import Rows
from blaxel_jupyter.process import Stream
from blaxel_jupyter.wire import Lines


class Tail:
    """The last ``n`` rows of each of the streams; gaps count as rows."""

    def __init__(self, streams: Iterable[Stream], n: int) -> None:
        self._n = n
        self._ends: dict[str, deque[Rows]] = {stream: deque() for stream in streams}

    def add(self, batch: Batch) -> None:
        """Append rows, and forget those before the last ones, as far as none of them is split."""
        for rows in batch.rows:
            end = self._ends.get(rows.stream)
            if end is None:
                continue
            end.append(rows)
            n = sum(len(each.lines) for each in end)
            while end and n - len(end[0].lines) >= self._n:
                n -= len(end.popleft().lines)

    def batches(self) -> Iterator[Batch]:
        """Yield the rows, one stream after another."""
        for end in self._ends.values():
            kept, left = deque[Rows](), self._n
            for rows in reversed(end):
                if left <= 0:
                    break
                lines = Lines("\n".join(rows.lines.texts()[-left:]).encode())
                kept.appendleft(Rows(rows.stream, lines, rows.kind, rows.missing_bytes))
                left -= len(lines)
            yield Batch(list(kept), "backfill")
