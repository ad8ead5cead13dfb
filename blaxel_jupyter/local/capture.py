"""See output files grow, and read both streams back in the order in which they grew.

The order is kept as a small index on disk (stream, length); the bytes stay in the two files alone.
Readers go at their own pace by offset and cost the process nothing. Knows no HTTP and no process.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from blaxel_jupyter.local import holes, limits
from blaxel_jupyter.local.waiters import Waiters
from blaxel_jupyter.process import TRUNCATED

Stream = Literal["stdout", "stderr"]
STREAMS: tuple[Stream, Stream] = ("stdout", "stderr")

REST = 0.002
"""Seconds from one wake-up of a file to the next: a flood of writes costs at most 500 a second."""
STEP = 64 * 1024 * 1024
"""Bytes that a file gains between two looks at the room that is left for it, at most."""
POLL = 0.02
"""Seconds between looks at the sizes where the kernel has no inotify."""

_MODIFY, _ONESHOT = 0x2, 0x80000000
_EVENT = struct.Struct("iIII")
_RECORD = struct.Struct("<q")


class Wakeups:
    """Call back once when a file is next written to.

    One-shot watches, armed again by the caller after a rest, because a standing watch costs one event
    for each write of a flood.
    """

    def __init__(self) -> None:
        self._fd = -1
        self._calls: dict[int, Callable[[], None]] = {}
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd >= 0:
            asyncio.get_running_loop().add_reader(self._fd, self._read)

    def once(self, path: Path, call: Callable[[], None]) -> bool:
        """Arm one wake-up; False if the file cannot be watched, and has to be looked at instead."""
        if self._fd < 0:
            return False
        watch = self._libc.inotify_add_watch(
            self._fd, os.fsencode(path), ctypes.c_uint32(_MODIFY | _ONESHOT)
        )
        if watch >= 0:
            self._calls[watch] = call
        return bool(watch >= 0)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            events = os.read(self._fd, 65536)
            position = 0
            while position < len(events):
                watch, _, _, length = _EVENT.unpack_from(events, position)
                position += _EVENT.size + length
                call = self._calls.pop(watch, None)
                if call is not None:
                    call()

    def close(self) -> None:
        """Forget every watch."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


class Log:
    """The output of one process: two files, and the order in which they grew."""

    def __init__(self, stdout: Path, stderr: Path, order: Path) -> None:
        self.paths: dict[Stream, Path] = {"stdout": stdout, "stderr": stderr}
        self.order = order
        self.sizes: dict[Stream, int] = {"stdout": 0, "stderr": 0}
        self.freed: dict[Stream, int] = {"stdout": 0, "stderr": 0}
        """Bytes at the beginning of each file that are no longer there."""
        self.ended = False
        self.unrecorded: dict[Stream, int] = {}
        """Bytes at the end of each file whose order could not be noted: the disk was full."""
        self._records = 0
        self._last = 0
        self.waiters = Waiters()
        """Whoever waits until there may be more to read."""
        self._files: dict[Stream, int] = {}
        self._index = -1
        self._most = limits.most_log()
        self._next_look: dict[Stream, int] = dict.fromkeys(STREAMS, min(STEP, self._most))
        self._load()

    def _load(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            data = self.order.read_bytes()
            for (length,) in _RECORD.iter_unpack(data[: len(data) // 8 * 8]):
                self.sizes["stdout" if length > 0 else "stderr"] += abs(length)
                self._last = length
                self._records += 1
        for stream, path in self.paths.items():
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                self.freed[stream] = holes.freed(file.fileno())

    def capture(
        self, wakeups: Wakeups, grown: Callable[[Stream], None], full: Callable[[str], None]
    ) -> None:
        """Follow the files until ``finish``, telling ``grown`` of each stream that has new bytes.

        Of very long files the beginning is freed; where that cannot be, ``full`` is told why.
        """
        flags = os.O_RDWR | os.O_CREAT
        self._index = os.open(self.order, flags, 0o600)
        for stream in STREAMS:
            self._files[stream] = os.open(self.paths[stream], flags, 0o600)
        self._wakeups, self._grown, self._full = wakeups, grown, full
        for stream in STREAMS:
            self._arm(stream)

    def _arm(self, stream: Stream) -> None:
        if stream not in self._files:
            return
        watched = self._wakeups.once(self.paths[stream], lambda: self._woken(stream))
        if not watched:
            asyncio.get_running_loop().call_later(POLL, self._arm, stream)
        self.look()

    def _woken(self, stream: Stream) -> None:
        self.look()
        asyncio.get_running_loop().call_later(REST, self._arm, stream)

    def look(self) -> None:
        """Take note of what the files have gained since the last look."""
        gained = False
        for stream, file in self._files.items():
            more = os.fstat(file).st_size - self.sizes[stream]
            if more > 0:
                with contextlib.suppress(OSError):  # the disk is full: recorded at the next look
                    self._record(stream, more)
                self._grown(stream)
                gained = True
                if self.sizes[stream] >= self._next_look[stream]:
                    self._make_room(stream, file)
        if gained:
            self.waiters.wake()

    def _record(self, stream: Stream, more: int) -> None:
        length, records = more if stream == "stdout" else -more, self._records
        if records and (length > 0) == (self._last > 0):
            length += self._last
        else:
            records += 1
        os.pwrite(self._index, _RECORD.pack(length), (records - 1) * _RECORD.size)
        self._last, self._records = length, records
        self.sizes[stream] += more

    def _make_room(self, stream: Stream, file: int) -> None:
        self._next_look[stream] = self.sizes[stream] + min(STEP, self._most)
        try:
            self.freed[stream] = max(self.freed[stream], holes.keep(file, self._most))
        except OSError as error:
            self._next_look[stream] = 1 << 62
            self._full(
                f"its {stream} is longer than {self._most} bytes, and the beginning cannot be "
                f"freed here ({error.strerror or error})"
            )

    def finish(self) -> None:
        """Take a last look and stop following; readers end where the files end now."""
        if self._files:
            self.look()
            for stream, file in self._files.items():
                self.unrecorded[stream] = os.fstat(file).st_size - self.sizes[stream]
            for file in (self._index, *self._files.values()):
                os.close(file)
            self._files.clear()
        self.ended = True
        self.waiters.wake()

    def tail(self, stream: Stream, limit: int) -> tuple[bytes, bool]:
        """Return the last ``limit`` bytes written to a stream, and whether there were more."""
        try:
            with self.paths[stream].open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                start = max(size - limit, self.freed[stream])
                file.seek(max(0, start))
                return file.read(limit), start > 0
        except FileNotFoundError:
            return b"", False


class Reader:
    """Read a log from its first byte, both streams in the order in which they grew.

    It reads only what the log has taken note of; use it as a context manager, it holds three files.
    Where the beginning of a file was freed, a line says so.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._log = log
        self._files: list[int] = []
        for path in (log.order, log.paths["stdout"], log.paths["stderr"]):
            self._files.append(os.open(path, os.O_RDONLY | os.O_CREAT, 0o600))
        self._positions = [0, 0]
        self._holes = [-1, -1]
        self._record = 0
        self._used = 0

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            os.close(file)

    def read(self, limit: int = 256 * 1024) -> tuple[Stream, bytes] | None:
        """Return the next bytes of one stream, at most ``limit``; None if there are none yet."""
        while True:
            record = os.pread(self._files[0], _RECORD.size, self._record * _RECORD.size)
            if len(record) < _RECORD.size:
                return self._rest(limit)
            length: int = _RECORD.unpack(record)[0]
            left, which = abs(length) - self._used, 0 if length > 0 else 1
            hole = min(left, self._log.freed[STREAMS[which]] - self._positions[which])
            if left and hole <= 0:
                break
            if left:
                mark = self._skip(which, hole)
                if mark:
                    return STREAMS[which], mark
                continue
            following = os.pread(self._files[0], 1, (self._record + 1) * _RECORD.size)
            if not following:
                return self._rest(limit)
            self._record += 1
            self._used = 0
        data = os.pread(self._files[which + 1], min(left, limit), self._positions[which])
        if not data:
            return None  # the program truncated its own output file
        self._positions[which] += len(data)
        self._used += len(data)
        return STREAMS[which], data

    def _skip(self, which: int, hole: int) -> bytes:
        """Pass over bytes that were freed; return the line that says so, where they begin."""
        begins = self._positions[which]
        self._positions[which] += hole
        self._used += hole
        goes_on = self._holes[which] == begins
        self._holes[which] = self._positions[which]
        if goes_on:
            return b""
        return (b"\n" if begins else b"") + TRUNCATED

    def _rest(self, limit: int) -> tuple[Stream, bytes] | None:
        """Return what an ended log has beyond its records, stream after stream."""
        for which, stream in enumerate(STREAMS):
            end = self._log.sizes[stream] + self._log.unrecorded.get(stream, 0)
            left = end - self._positions[which]
            if self._log.unrecorded.get(stream) and left > 0:
                data = os.pread(self._files[which + 1], min(left, limit), self._positions[which])
                self._positions[which] += len(data)
                if data:
                    return stream, data
        return None
