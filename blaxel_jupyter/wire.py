"""Frame bytes both ways: bytes to lines and back, lines to server-sent events.

Nothing here knows what a line means, reads a socket or keeps a clock; it splits at LF only and
before decoding, so that no character and no CR is harmed. Pure: imports errors only.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

MAX_PARTIAL = 64 * 1024 * 1024
"""Bytes of one unfinished line that a splitter keeps before it hands the piece out as it is."""


class LineSplitter:
    r"""Split a byte stream at ``\n``, keeping an unfinished line until its rest arrives.

    Only each new chunk is searched, and partial pieces wait in a list: splitting a growing buffer again
    for each chunk costs seconds on one 4 MiB line.
    """

    def __init__(self) -> None:
        self._partial: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        r"""Return the lines that ``data`` completes, each without its ``\n``."""
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._partial:
            self._partial.append(lines[0])
            lines[0] = b"".join(self._partial)
            self._partial.clear()
            self._size = 0
        if rest:
            self._partial.append(rest)
            self._size += len(rest)
            if self._size > MAX_PARTIAL:
                lines.append(self.close())
        return lines

    def close(self) -> bytes:
        r"""Return the unfinished last line (``b""`` if there is none) and forget it."""
        rest = b"".join(self._partial)
        self._partial.clear()
        self._size = 0
        return rest


class SseEvent(NamedTuple):
    """One server-sent event: its data lines joined by LF, and its name (``message`` if it has none)."""

    data: bytes
    name: str = "message"


class SseDecoder:
    r"""Split a byte stream into server-sent events, as the WHATWG standard says.

    Lines end at LF, CR or CRLF, also where a chunk ends between the two. ``id`` and ``retry`` are
    read over: no server that this package speaks to can resume by them (tasks protocol 2.7).
    ``comments`` counts comment lines.
    """

    def __init__(self) -> None:
        self.comments = 0
        self._first = True
        self._after_cr = False
        self._partial: list[bytes] = []
        self._data: list[bytes] = []
        self._name = ""

    def feed(self, data: bytes) -> list[SseEvent]:
        """Return the events that ``data`` completes."""
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if not data:
            return []
        self._after_cr = data.endswith(b"\r")
        lines = data.splitlines()
        rest = b"" if data.endswith((b"\n", b"\r")) else lines.pop()
        if lines and self._partial:
            lines[0] = b"".join([*self._partial, lines[0]])
            self._partial.clear()
        if rest:
            self._partial.append(rest)
        return [event for line in lines if (event := self._take(line)) is not None]

    def close(self) -> list[SseEvent]:
        """Return an event whose final empty line never came; to be asked only at a clean end."""
        lines = [b"".join(self._partial), b""]
        self._partial.clear()
        return [event for line in lines if (event := self._take(line)) is not None]

    def _take(self, line: bytes) -> SseEvent | None:
        if self._first:
            line, self._first = line.removeprefix(b"\xef\xbb\xbf"), False
        if not line:
            data, name = self._data, self._name
            self._data, self._name = [], ""
            return SseEvent(b"\n".join(data), name or "message") if data else None
        if line.startswith(b":"):
            self.comments += 1
            return None
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        return None


def encode_sse(data: bytes) -> bytes:
    """Write one unnamed event; the mirror image of ``SseDecoder``."""
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return b"".join([b"data: %b\n" % line for line in lines]) + b"\n"


class Lines:
    r"""The lines of a block of bytes: counted at once, decoded when they are first looked at.

    The bytes are split at ``\n``; what is not UTF-8 becomes U+FFFD. A whole block at a time: one decode
    and one split are ten times faster than a decode for each line.

    Args:
        data: The bytes, without the last line's end.
        read: Returns the same bytes at any time and on any thread.
        ends: How many ``\n`` the bytes have, where that was counted already.
    """

    __slots__ = ("_n", "_read", "_texts", "data")

    def __init__(
        self, data: bytes, read: Callable[[], bytes] | None = None, ends: int | None = None
    ) -> None:
        self.data = data
        self._read = read
        self._n = (data.count(b"\n") if ends is None else ends) + 1
        self._texts: list[str] | None = None

    def __len__(self) -> int:
        """Return the number of lines; a block without a line end is one."""
        return self._n

    def texts(self) -> list[str]:
        """Return the lines as text, always the same list."""
        if self._texts is None:
            self._texts = split_text(self.data)
        return self._texts

    def source(self) -> Callable[[], bytes]:
        """Return what gives the bytes again, to be kept: it does not hold them if it need not."""
        return self._read or partial(bytes, self.data)


def split_text(data: bytes) -> list[str]:
    r"""Split UTF-8 text at ``\n``; bytes that are not UTF-8 become U+FFFD, in their line alone."""
    try:
        return data.decode().split("\n")
    except UnicodeDecodeError:
        return [line.decode("utf-8", "replace") for line in data.split(b"\n")]


def _replace_each_byte(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\ufffd" * (error.end - error.start), error.end


codecs.register_error("blaxel-each-byte", _replace_each_byte)


def decode_like_go(data: bytes) -> str:
    """Decode UTF-8 with one U+FFFD for each offending byte, as the sandbox server's JSON encoder does.

    Source: protocol 0.5 and 4.3. Python's own ``replace`` gives one for each maximal invalid run.
    """
    return data.decode("utf-8", "blaxel-each-byte")
