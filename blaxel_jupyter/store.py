"""Keep bytes that are only ever appended, and give back any part of them.

In memory here; ``spool`` has the same on disk. One writer appends while any thread reads without a lock.
Pure: the standard library only.
"""

from __future__ import annotations

from bisect import bisect_right

MERGED = 1 << 16
"""Bytes up to which what is appended joins the block before it: a block costs about 100 bytes more."""


class Held:
    """The bytes in memory from the offset ``base`` on; it grows, and what it has never changes."""

    __slots__ = ("base", "blocks", "size", "starts")

    def __init__(self, base: int) -> None:
        self.base = base
        self.starts: list[int] = []
        self.blocks: list[bytes] = []
        self.size = 0

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        if self.blocks and len(self.blocks[-1]) + len(data) <= MERGED:
            self.blocks[-1] += data
        else:
            self.blocks.append(data)
            self.starts.append(self.base + self.size)
        self.size += len(data)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes between two offsets, neither before ``base``."""
        at = bisect_right(self.starts, start) - 1
        parts = []
        while start < stop:
            first, block = self.starts[at], self.blocks[at]
            parts.append(block[start - first : stop - first])
            start += len(parts[-1])
            at += 1
        return parts[0] if len(parts) == 1 else b"".join(parts)


class Store:
    """Append-only bytes.

    ``size`` is how many there are. ``trouble`` says why they are not where they should be, None if they
    are.
    """

    def __init__(self) -> None:
        self.size = 0
        self.trouble: str | None = None
        self._held = Held(0)

    def append(self, data: bytes) -> int:
        """Add bytes at the end; return the offset where they begin. To be called by one thread."""
        start = self.size
        if data:
            self._held.append(data)
            self.size += len(data)
        return start

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes between two offsets that were appended.

        Raises:
            OSError: they were on disk, and cannot be read any more.
        """
        return self._held.read(start, stop)
