"""Keep much of what a run wrote on disk: bytes in memory up to a limit, in a temporary file beyond it.

The file has no name (nobody else can open it, and it is gone with the process) and is in the folder for
temporary files, ``TMPDIR``. If the disk takes no more, everything from then on stays in memory. Imported
by runs.
"""

from __future__ import annotations

import math
import os
import tempfile
import weakref

from blaxel_jupyter.store import Held, Store

LIMIT = 32 << 20
"""Bytes of one store that stay in memory before any is written to disk."""

PIECE = 4 << 20
"""Bytes that are gathered in memory for one write once there is a file."""


class Spool(Store):
    """A store that moves to disk what is more than ``limit`` bytes.

    Where the system cannot read a file at an offset (no ``pread``), it stays in memory.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        super().__init__()
        self._limit: float = limit if hasattr(os, "pread") else math.inf
        self._file: int | None = None

    def append(self, data: bytes) -> int:
        """Add bytes at the end; return the offset where they begin. To be called by one thread."""
        start = super().append(data)
        if self._held.size > self._limit:
            self._move()
        return start

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes between two offsets that were appended.

        Raises:
            OSError: they were on disk, and cannot be read any more.
        """
        held = self._held  # what is before its base is in the file, whatever is moved meanwhile
        if start >= held.base:
            return held.read(start, stop)
        data = self._from_file(start, min(stop, held.base))
        return data + held.read(held.base, stop) if stop > held.base else data

    def _move(self) -> None:
        held = self._held
        try:
            if self._file is None:
                self._file = _nameless()
                weakref.finalize(self, os.close, self._file)
            for start, block in zip(held.starts, held.blocks, strict=True):
                _write(self._file, block, start)
        except OSError as error:
            self._limit = math.inf
            self.trouble = f"what is logged stays in memory: {error.strerror or error}"
            return
        self._held = Held(self.size)
        self._limit = min(self._limit, PIECE)

    def _from_file(self, start: int, stop: int) -> bytes:
        assert self._file is not None
        parts = []
        while start < stop:
            part = os.pread(self._file, stop - start, start)
            if not part:
                raise OSError(f"the temporary file ends at byte {start}")
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _nameless() -> int:
    """Open a file that only this process can reach, and that vanishes with it."""
    file, path = tempfile.mkstemp(prefix="blaxel-")
    os.unlink(path)
    return file


def _write(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, at)
        view = view[written:]
        at += written
