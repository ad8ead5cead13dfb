"""Free the beginning of a file that grows without end: its size and offsets stay, the disk gets room.

The freed part reads as NUL bytes, as it does in a sandbox (protocol 4.8); clients tell it as a gap. Knows
no process and no stream.
"""

from __future__ import annotations

import ctypes
import os
import sys

GRAIN = 4096
"""The freed part is a multiple of it, in bytes; clients look for such (protocol 4.8)."""
SMALLEST = 32 * 1024 * 1024
"""Bytes that are kept where the disk is nearly full: as many as a sandbox keeps."""
RESERVE = 512 * 1024 * 1024
"""Bytes that are left free on the disk, as far as it is the output that fills it."""

_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def freed(file: int) -> int:
    """Return how many bytes at the beginning of an open file have been freed."""
    facts = os.fstat(file)
    if facts.st_blocks * 512 >= facts.st_size:
        return 0
    try:
        start = os.lseek(file, 0, os.SEEK_DATA)
    except OSError:
        return 0  # nothing but a hole, or no such question on this system
    return start // GRAIN * GRAIN


def keep(file: int, most: int) -> int:
    """Free what is before the last ``most`` bytes, fewer on a disk that is nearly full.

    Returns:
        Where the file now begins.

    Raises:
        OSError: this file system cannot do it.
    """
    space = os.fstatvfs(file)
    if space.f_bavail * space.f_frsize < RESERVE:
        most = min(most, SMALLEST)
    start = max(0, os.fstat(file).st_size - most) // GRAIN * GRAIN
    if start:
        _punch(file, start)
    return start


def _punch(file: int, length: int) -> None:
    if _LIBC is None:
        raise OSError("no part of a file can be freed on this system")
    nothing, size = ctypes.c_longlong(0), ctypes.c_longlong(length)
    if _LIBC.fallocate(file, _KEEP_SIZE | _PUNCH_HOLE, nothing, size) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
