"""Make of an answer what a bad network or a strange server makes of it.

Pure but for ``reset``, which ends a connection.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct

from tests.faults.plans import Fault

WHOLE = {"shorter", "wrong length", "twice", "stray"}
"""Faults that need the whole answer."""

_KEEPALIVE = b"[keepalive]\n"
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_STRAY = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"


def spoilt(head: bytes, body: bytes, fault: Fault) -> bytes:
    """Return an answer whose length is not that of its body, or whose body is not what it was."""
    told = len(body)
    if fault.kind == "stray":
        return _strayed(head, body, fault.after)
    if fault.kind == "shorter":
        body = body[: len(body) * (fault.after % 100) // 100]
        told = len(body)
    elif fault.kind == "wrong length":
        told = max(0, told + (fault.after % 7 - 3 or 1))
    else:
        body += body
    return _LENGTH.sub(b"\r\nContent-Length: %d" % told, head, count=1) + body


def _strayed(head: bytes, body: bytes, after: int) -> bytes:
    """Put a foreign keepalive before the head, which is lost then, or into the body (protocol 4.4)."""
    if after % 2 == 0:
        spoilt = _KEEPALIVE + body
        return _STRAY + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
            len(spoilt),
            spoilt,
        )
    at = after % (len(body) + 1)
    return head + (body[:at] + _KEEPALIVE + body[at:])[: max(0, len(body) - len(_KEEPALIVE))]


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
