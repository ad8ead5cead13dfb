"""Name what a follow may ask a server for, and what a piece of a raw log file is.

Types only: the client fills them in, so that following knows no route and no HTTP. It imports folder and
process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from blaxel_jupyter.folder import Folder, Open
from blaxel_jupyter.process import Process


class Block(msgspec.Struct, frozen=True, gc=False):
    """A complete piece of a raw file, and the file's size when it was read.

    ``whole``: the server gives the file from its beginning whatever is asked for, so that nothing in its
    answer tells all of it from a part.
    """

    start: int
    data: bytes
    total: int
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Reads:
    """What a follow may ask the server for; each call is repeated until it succeeds or gives up.

    ``raw(stream, offset, limit)`` is None for a missing file; ``alive(pid)`` tells whether the shell
    lives; ``text()`` is the text log stream; ``folder`` is the log folder's watch.
    """

    process: Callable[[], Awaitable[Process]]
    raw: Callable[[str, int, int], Awaitable[Block | None]]
    alive: Callable[[str], Awaitable[bool]]
    folder: Folder
    text: Open
    logs: Callable[[], Awaitable[dict[str, str]]]
