"""What the server knows of one process: its facts, its three files, its locks.

``table.py`` gives it life; this module starts nothing and speaks no HTTP. Sections in comments and docstrings
are those of the protocol document.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.imitation.gojson import http_date, text

TRUNCATED = b"[... truncated, see the process log file for the full output ...]\n"
STOPPING = "\n[Process is being gracefully terminated]\n"
KILLING = "\n[Process is being forcefully killed]\n"
_INTEGER = re.compile(r"[+-]?[0-9]+")
_PUNCH_HOLE = 0x02 | 0x01
_libc = ctypes.CDLL(None, use_errno=True)


class Listener(Protocol):
    """A stream that is attached to a process (``streams.Attachment``)."""

    async def chunk(self, stream: str, data: bytes) -> None: ...

    async def notice(self, line: str) -> None: ...


class Refusal(Exception):
    """A call that the server answers with an error; ``status`` and ``message`` are the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(slots=True, eq=False)
class Process:
    """One entry of the table: never removed, also when its name is used again."""

    command: str
    name: str
    working_dir: str
    env: dict[str, str]
    restart_on_failure: bool
    max_restarts: int
    keep_alive: bool
    folder: Path
    pid: str = ""
    os_pid: int = 0
    status: str = "running"
    started: float = field(default_factory=time.time)
    completed: float | None = None
    exit_code: int = 0
    restart_count: int = 0
    exited: bool = False
    ingested: bool = False
    """Whether the tailer has seen any output; until then a POST answers ``"logs":null``."""
    listeners: list[Listener] = field(default_factory=list)
    log_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    """The completion channel: set at the end of a run, replaced at a restart (3.4)."""
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when no restart will follow."""
    child: subprocess.Popen[bytes] | None = None

    @property
    def stdout(self) -> Path:
        return self.folder / f"{self.name}.stdout.log"

    @property
    def stderr(self) -> Path:
        return self.folder / f"{self.name}.stderr.log"

    @property
    def combined(self) -> Path:
        return self.folder / f"{self.name}.log"

    def tails(self, limit: int) -> tuple[str, str]:
        """Return the last ``limit`` bytes of both files as the JSON answers show them."""
        return text(_tail(self.stdout, limit)), text(_tail(self.stderr, limit))

    def describe(
        self, limit: int, *, at_start: bool = False, in_list: bool = False
    ) -> dict[str, Any]:
        """Return a ProcessResponse (3.3)."""
        unread = at_start and not self.ingested
        stdout, stderr = ("", "") if unread else self.tails(limit)
        unfinished = None if in_list else ""
        return {
            "pid": self.pid,
            "name": self.name,
            "command": self.command,
            "status": self.status,
            "startedAt": http_date(self.started),
            "completedAt": unfinished if self.completed is None else http_date(self.completed),
            "exitCode": self.exit_code,
            "workingDir": self.working_dir,
            "logs": None if unread else stdout + stderr,
            "stdout": stdout,
            "stderr": stderr,
            "restartOnFailure": self.restart_on_failure,
            "maxRestarts": self.max_restarts,
            "restartCount": self.restart_count,
            "keepAlive": self.keep_alive,
        }


def _tail(path: Path, limit: int) -> bytes:
    """Read a file's tail; a punched head gives way to the truncation line (4.8)."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            data = file.read(limit)
    except OSError:
        return b""
    if size > limit:
        return TRUNCATED + data
    if (
        data[:1] == b"\0"
        and (kept := data.lstrip(b"\0")) is not data
        and len(data) - len(kept) >= 4096
    ):
        return TRUNCATED + kept
    return data


def marked(stream: str, chunk: bytes) -> Iterator[bytes]:
    r"""Return what a chunk adds to the combined log, write by write: a marker, then a piece (4.1).

    A piece ends after its ``\n``; an unfinished rest is a piece, too, so the next chunk's marker follows it
    on the same line.
    """
    marker = f"{stream}:".encode()
    position = 0
    while position < len(chunk):
        end = chunk.find(b"\n", position) + 1 or len(chunk)
        yield marker
        yield chunk[position:end]
        position = end
