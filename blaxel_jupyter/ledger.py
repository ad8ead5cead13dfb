"""Keep one stream's bytes in order and once, and hand out its lines.

The ledger knows offsets, lines, gaps and how to put a doubtful stream right by the server's own log; it
does no IO itself and never guesses a byte. Pure: imports process, store and wire only.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import AnyStr

import msgspec

from blaxel_jupyter.process import TRUNCATED, Kind, Stream
from blaxel_jupyter.store import Store
from blaxel_jupyter.wire import Lines, decode_like_go

HOLE = 4096
"""Size in bytes of the blocks that the server frees at a file's head; they read as NULs (protocol 4.8)."""

SMALLEST_SHARE = 256 * 1024
"""Bytes that the server keeps of a file at least when it frees the head (protocol 4.8)."""


SHORTEST_OVERLAP = 64
"""Characters that the end of a text and the start of a tail share at least, if it is no accident."""

BLOCK_BYTES, BLOCK_ROWS = 2 << 20, 1 << 15
"""Bytes and lines at most that are handed out in one piece, unless one line is longer."""

FIRST = 1 << 20
"""Bytes of the beginning in which a byte is looked for that is not NUL."""


class Rows(msgspec.Struct, gc=False):
    """Lines of one stream that became known together; a gap is one row with its missing bytes."""

    stream: Stream
    lines: Lines
    kind: Kind = "line"
    missing_bytes: int | None = None


class Ledger:
    """The bytes of one stream, committed by offset.

    ``offset`` is the next byte to ask the server for; ``missing`` counts the bytes known lost and
    ``unknown_gap`` tells that an unknown number is. The bytes are in ``store``, once: lines that are
    handed out read them again from there.
    """

    def __init__(self, stream: Stream, store: Store | None = None) -> None:
        self.stream = stream
        self.store = store or Store()
        self.offset = 0
        self.size = 0
        self.missing = 0
        self.unknown_gap = False
        self.repaired = False
        self._begin = 0  # where in the store the committed bytes begin
        self._open = 0  # and the unfinished last line

    @property
    def data(self) -> bytes:
        """All committed bytes, without those of gaps, in one piece: as much memory as they are."""
        return self.store.read(self._begin, self.store.size)

    @property
    def partial(self) -> str:
        """The end of the unfinished last line, at most 4,000 bytes of it, decoded."""
        end = self.store.size
        return self.store.read(max(self._open, end - 4000), end).decode("utf-8", "replace")

    @property
    def partial_is_whole(self) -> bool:
        """Whether ``partial`` has the beginning of its line."""
        return self.store.size - self._open <= 4000

    def tail(self, n: int) -> bytes:
        """Return the last ``n`` committed bytes, or all if there are fewer."""
        end = self.store.size
        return self.store.read(max(self._begin, end - n), end)

    def commit(self, start: int, data: bytes) -> list[Rows]:
        """Take bytes that begin at ``start`` and return the lines they complete.

        Bytes that are there already are left out.

        Raises:
            ValueError: ``start`` is beyond the next byte.
        """
        if start > self.offset:
            raise ValueError(f"bytes {self.offset} to {start} of {self.stream} were not committed")
        data = data[self.offset - start :]
        if not data:
            return []
        self.offset += len(data)
        self.size += len(data)
        start = self.store.append(data)
        end = data.rfind(b"\n")
        if end < 0:
            return []
        opened, self._open = self._open, start + end + 1
        rows = []
        for begin, stop, ends in _pieces(data, 0, end):
            lines, at = data[begin:stop], start + begin
            if begin == 0 and opened < start:
                lines, at = self.store.read(opened, start) + lines, opened
            read = partial(self.store.read, at, at + len(lines))
            rows.append(Rows(self.stream, Lines(lines, read, ends)))
        return rows

    def skip(self, missing: int | None, to: int) -> list[Rows]:
        """Record that bytes are lost and go on at offset ``to``; None is an unknown number of them."""
        rows = self.close()
        if missing is None:
            self.unknown_gap = True
            text = "an unknown number of bytes is missing here"
        else:
            self.missing += missing
            text = f"{missing} bytes are missing here"
        self.offset = to
        return [*rows, Rows(self.stream, Lines(text.encode()), "gap", missing)]

    def close(self) -> list[Rows]:
        """Return the unfinished last line as a line of its own."""
        start, self._open = self._open, self.store.size
        if start == self._open:
            return []
        read = partial(self.store.read, start, self._open)
        return [Rows(self.stream, Lines(read(), read))]

    def take_back(
        self, n: int, why: str = "may be those of a newer process of the same name"
    ) -> list[Rows]:
        """Take the last ``n`` bytes out again: they may be those of another process that has the name now.

        Lines that were handed out stay in the table; a notice tells how many they are, and ``why``.
        """
        if n <= 0:
            return []
        data = self.data
        kept, taken = data[:-n], data[-n:]
        self._begin = self.store.append(kept)  # lines handed out go on reading what was before
        self._open = self._begin + kept.rfind(b"\n") + 1
        self.offset -= n
        self.size -= n
        lines = taken.count(b"\n")
        what = f"{lines} lines" if lines else f"{n} bytes"
        notice = f"the last {what} of {self.stream} {why}"
        return [Rows("system", Lines(notice.encode()), "notice")]

    def agrees(self, data: bytes) -> bool:
        """Tell whether a whole file begins with all that was committed; where some is missing, who knows."""
        if self.missing or self.unknown_gap:
            return True
        return len(data) >= self.offset and self.data == data[: self.offset]

    def put_right(self, data: bytes) -> list[Rows]:
        """Take back what is not in a whole file that is believed more; its rest is to be committed then."""
        mine = self.data
        same = _common_prefix(mine, data)
        if same < len(mine):
            self.repaired = True
        return self.take_back(len(mine) - same, "were wrong; those below replace them")

    def hole(self, data: bytes) -> tuple[int, int] | None:
        """Find NULs in a block at the next offset that may be a freed head: where they begin and end."""
        at = data.find(bytes(HOLE)) if b"\0" in data else -1  # one byte is found much faster
        if at < 0:
            return None
        rest = data[at:]
        run = len(rest) - len(rest.lstrip(b"\0"))
        end = at + run
        if end < len(data):
            end -= (self.offset + end) % HOLE
        return (at, end) if end > at else None

    def witness(self, data: bytes, before: int) -> tuple[int, int] | None:
        """Return offset and value of a known byte that is not NUL, before ``data[before]``.

        If the server now reads it as NUL the head was freed; else the process wrote the NULs.
        """
        for block, start in ((self._first_block(), 0), (data[:before], self.offset)):
            text = block.lstrip(b"\0")
            if text:
                return start + len(block) - len(text), text[0]
        return None

    def _first_block(self) -> bytes:
        clean = not self.missing and not self.unknown_gap
        end = min(self.store.size, self._begin + FIRST)
        return self.store.read(self._begin, end) if clean else b""

    def check(self, truth: str) -> list[Rows]:
        """Put what a stream delivered right by the server's own log of this stream (protocol 4.9).

        ``truth`` is the text of ``/logs``: whole, or its tail after the truncation mark. Lines that the
        stream had wrong are told by a notice and delivered again; ``repaired`` is set whenever
        anything had to be added, or bytes are known only as U+FFFD.
        """
        seen = decode_like_go(self.data)
        mark = TRUNCATED.decode()
        if truth.startswith(mark):
            return self._check_tail(seen, truth[len(mark) :].lstrip("\0"))
        if truth == seen:
            return []
        self.repaired = True
        if truth.startswith(seen):
            return self.commit(self.offset, truth[len(seen) :].encode("utf-8", "replace"))
        return self._replace(seen, truth)

    def _check_tail(self, seen: str, tail: str) -> list[Rows]:
        """Append what a cut log has beyond the delivered text, with a gap if they do not overlap.

        What the stream delivered before the tail cannot be checked any more: that is never "complete".
        """
        self.repaired = True
        probe = tail[:512]
        at = max(0, len(seen) - len(tail)) - 1
        for _ in range(1000):  # an output of one repeated line matches everywhere: bounded
            at = seen.find(probe, at + 1)
            if at < 0:
                break
            if tail.startswith(seen[at:]):
                return self.commit(self.offset, tail[len(seen) - at :].encode("utf-8", "replace"))
        for shared in range(min(len(probe), len(seen)), SHORTEST_OVERLAP, -1):
            if seen.endswith(tail[:shared]):
                return self.commit(self.offset, tail[shared:].encode("utf-8", "replace"))
        return [
            *self.skip(None, self.offset),
            *self.commit(self.offset, tail.encode("utf-8", "replace")),
        ]

    def _replace(self, seen: str, truth: str) -> list[Rows]:
        same = _common_prefix(seen, truth)
        kept = truth.rfind("\n", 0, same) + 1
        data = truth.encode("utf-8", "replace")
        keep = len(truth[:kept].encode("utf-8", "replace"))
        self._begin = self.store.append(
            data[:keep]
        )  # lines handed out go on reading what was before
        self._open = self.store.size
        self.offset = self.size = keep
        wrong = seen.count("\n", kept) + (0 if seen.endswith("\n") else 1)
        notice = (
            f"the stream had {wrong} lines of {self.stream} wrong from line "
            f"{truth.count(chr(10), 0, kept) + 1} on; the lines below replace them"
        )
        return [Rows("system", Lines(notice.encode()), "notice"), *self.commit(keep, data[keep:])]


def _pieces(
    data: bytes, begin: int, end: int, ends: int | None = None
) -> Iterator[tuple[int, int, int]]:
    r"""Halve the lines between two places until a piece is small enough to be handled; copy nothing.

    Counting costs more than copying, so nothing is counted twice.

    Args:
        data: what they are in.
        begin: where they begin.
        end: where they end, without the last ``\n``.
        ends: how many ``\n`` are in between; None if that was not counted.

    Yields:
        Each piece's ``begin``, ``end`` and ``ends``.
    """
    size, middle = end - begin, -1
    if ends is None and size <= BLOCK_BYTES:
        ends = data.count(b"\n", begin, end)
    if ends is None or ends >= BLOCK_ROWS:
        half = begin + size // 2
        middle = data.rfind(b"\n", begin, half)
        middle = middle if middle >= 0 else data.find(b"\n", half, end)
    if middle < 0:
        yield begin, end, 0 if ends is None else ends
        return
    first = None if ends is None else data.count(b"\n", begin, middle)
    yield from _pieces(data, begin, middle, first)
    rest = None if ends is None or first is None else ends - first - 1
    yield from _pieces(data, middle + 1, end, rest)


def _common_prefix(one: AnyStr, other: AnyStr) -> int:
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def last_difference(one: bytes, other: bytes) -> int:
    """Return behind which byte two texts of the same length are the same; 0 if they are equal."""
    low, high = 0, len(one)
    while low < high:
        middle = (low + high) // 2
        if one[middle:] == other[middle:]:
            high = middle
        else:
            low = middle + 1
    return low
