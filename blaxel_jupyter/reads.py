"""Name what a follow may ask a server for, and what a piece of a raw log file is.

Types only: the client fills them in, so that following knows no route and no HTTP. Imports process and wake.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from blaxel_jupyter.process import Process
from blaxel_jupyter.wake import Open


class Block(msgspec.Struct, frozen=True, gc=False):
    """A complete piece of a raw file, and the file's size when it was read."""

    start: int
    data: bytes
    total: int


@dataclass(frozen=True, slots=True)
class Reads:
    """What a follow may ask the server for; each call is repeated until it succeeds or gives up.

    ``raw(stream, offset, limit)`` is None for a missing file; ``alive(pid)`` tells whether the shell
    lives; ``text()`` is the text log stream; ``watch()`` yields the log folder's events as bytes.
    """

    process: Callable[[], Awaitable[Process]]
    raw: Callable[[str, int, int], Awaitable[Block | None]]
    alive: Callable[[str], Awaitable[bool]]
    watch: Open
    text: Open
    logs: Callable[[], Awaitable[dict[str, str]]]
