"""Send bytes of any kind to a local service, as a stranger would: plain sockets, no client in between."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from tests.local_service import LocalService

PATIENCE = 30.0
"""Seconds that an answer may take on a busy machine."""


def address(service: LocalService) -> tuple[str, int]:
    """Return where the service listens."""
    parts = urlsplit(service.url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


@contextlib.contextmanager
def connected(service: LocalService) -> Iterator[socket.socket]:
    """Open a connection, and close it."""
    with socket.create_connection(address(service), timeout=PATIENCE) as connection:
        yield connection


def said(connection: socket.socket, most: int = 1 << 20) -> bytes:
    """Read until the service hangs up, or ``most`` bytes."""
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while len(answer) < most and (data := connection.recv(65536)):
            answer += data
    return answer


def sent(service: LocalService, request: bytes) -> bytes:
    """Send bytes on a connection of their own; return all that is said until the service hangs up."""
    with connected(service) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
        return said(connection)


def head(service: LocalService, *lines: str, path: str = "/health", method: str = "GET") -> bytes:
    """Write the head of a request with the owner's token and Host, and that closes the connection."""
    host, port = address(service)
    all_lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {host}:{port}",
        f"Authorization: Bearer {service.facts['token']}",
        "Connection: close",
        *lines,
    ]
    return "\r\n".join([*all_lines, "", ""]).encode("latin-1")


def status(answer: bytes) -> int:
    """Return the status code of an answer; 0 if the service only hung up."""
    line = answer.partition(b"\r\n")[0].split()
    return int(line[1]) if len(line) > 1 else 0
