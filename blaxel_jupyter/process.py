"""Say what a process and a log entry are, and read and write the sandbox's log bytes.

Decoders and encoders are mirror images over the framings of the sandbox protocol (sections 3 and 4);
they undo what can be undone and claim no more: whether a stream told the truth is follow's business.
Pure: imports wire and errors only; no socket, no clock.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from blaxel_jupyter.errors import ProtocolError
from blaxel_jupyter.wire import LineSplitter

Stream = Literal["stdout", "stderr", "system"]
Kind = Literal["line", "gap", "notice"]
Origin = Literal["backfill", "live", "batch"]

LOG_DIR = "/var/log/sandbox-api"
"""Folder of the raw log files inside a sandbox (protocol 3.1; ``SANDBOX_LOG_DIR`` may move it)."""

MARKERS = {"stdout": b"stdout:", "stderr": b"stderr:"}
KEEPALIVE = b"[keepalive]\n"
TRUNCATED = b"[... truncated, see the process log file for the full output ...]\n"
FELL_BEHIND = b"[output truncated: the stream fell behind]\n"
NOTICES = (
    b"\n[Process is being gracefully terminated]\n",
    b"\n[Process is being forcefully killed]\n",
)
"""Text that the server mixes into live streams only (protocol 4.5); it is in no file."""


class LogEntry(msgspec.Struct, frozen=True, gc=False):
    """One numbered line of a process's output, or a gap or notice between lines.

    ``seq`` counts from 0 in the order delivered; ``text`` has no line end; ``received`` is our clock in
    UTC microseconds; ``missing_bytes`` is set on gaps, None where the number is not known.
    """

    seq: int
    stream: Stream
    text: str
    kind: Kind = "line"
    received: int | None = None
    origin: Origin = "live"
    missing_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """What the server says about one process (protocol 3.3); what it cannot know is None.

    ``exit_code`` is None until the process has ended. ``started`` and ``ended`` are the server's own
    words: whole seconds of its local time, labelled GMT whether it is or not.
    """

    name: str
    pid: str
    command: str
    status: str
    exit_code: int | None = None
    started: str | None = None
    ended: str | None = None
    working_dir: str = ""
    restart_on_failure: bool = False
    max_restarts: int = 0
    restart_count: int = 0
    keep_alive: bool = False
    stdout: str = field(default="", repr=False)
    stderr: str = field(default="", repr=False)

    @classmethod
    def parse(cls, answer: object) -> Process:
        """Read a ProcessResponse object.

        Raises:
            ProtocolError: it is no object, or lacks a name, pid or status.
        """
        if not isinstance(answer, dict) or not {"name", "pid", "status"} <= answer.keys():
            raise ProtocolError(
                "The server's answer is not a process. Check that the URL is a sandbox's.",
                data=repr(answer).encode(),
            )
        member: dict[str, Any] = answer
        ended = _words(member.get("completedAt"))
        return cls(
            name=str(member["name"]),
            pid=str(member["pid"]),
            command=str(member.get("command") or ""),
            status=str(member["status"]),
            exit_code=_whole(member.get("exitCode")) if ended else None,
            started=_words(member.get("startedAt")),
            ended=ended,
            working_dir=str(member.get("workingDir") or ""),
            restart_on_failure=bool(member.get("restartOnFailure")),
            max_restarts=_whole(member.get("maxRestarts")),
            restart_count=_whole(member.get("restartCount")),
            keep_alive=bool(member.get("keepAlive")),
            stdout=str(member.get("stdout") or ""),
            stderr=str(member.get("stderr") or ""),
        )

    @property
    def restarts_left(self) -> bool:
        """Whether the server will start it again after this failure (protocol 3.2, 3.6)."""
        return (
            self.status == "failed"
            and self.restart_on_failure
            and (self.max_restarts < 0 or self.restart_count < self.max_restarts)
        )


def _whole(value: object) -> int:
    """Return a number that is whole and that a table can hold; 0 for anything else."""
    return value if isinstance(value, int) and abs(value) < 1 << 63 else 0


def _words(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def encode_chunk(stream: Stream, data: bytes) -> bytes:
    """Frame output for the text log stream: one marker, then the bytes as they are (protocol 4.2)."""
    return MARKERS[stream] + data


class TextDecoder:
    """Undo the text log stream's framing: bytes in, ``(stream, bytes)`` pieces out.

    There is no escaping in that stream, so every marker and keepalive anywhere is taken for the
    server's, whatever the cuts: program text that looks like one is lost here and has to be found by
    comparing with the server's log. ``("system", text)`` is a notice, ``("gap", text)`` a truncation
    mark, ``("error", json)`` the answer to an unknown process (protocol 3.5). Pieces do not end at
    line ends.
    """

    _TOKENS = re.compile(
        b"|".join(
            re.escape(token)
            for token in (*MARKERS.values(), KEEPALIVE, TRUNCATED, FELL_BEHIND, *NOTICES)
        )
    )
    _LONGEST = max(len(token) for token in (TRUNCATED, FELL_BEHIND, *NOTICES))
    _ERROR = b'{"error":'
    _LONGEST_ERROR = 4096

    def __init__(self) -> None:
        self._stream = ""
        self._held = b""
        self._begun = False  # whether what came is known to be output

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """Return what can be told from the bytes so far; the start of a possible token waits."""
        data = self._held + data
        self._held = b""
        pieces: list[tuple[str, bytes]] = []
        if self._may_be_error(data):  # told at the end: only all of the answer is one
            self._held = data
            return pieces
        self._begun = self._begun or bool(data)
        start = 0
        for token in self._TOKENS.finditer(data):
            self._put(pieces, data[start : token.start()])
            self._take(pieces, token.group())
            start = token.end()
        keep = self._possible_token(data, start)
        self._put(pieces, data[start:keep])
        self._held = data[keep:]
        return pieces

    def close(self) -> list[tuple[str, bytes]]:
        """Return what was held back: at the end of the stream it is output after all."""
        pieces: list[tuple[str, bytes]] = []
        held, self._held = self._held, b""
        if self._may_be_error(held) and held.startswith(self._ERROR):
            return [("error", held)]
        self._put(pieces, held)
        return pieces

    def _may_be_error(self, data: bytes) -> bool:
        """Whether all there was may be the answer to an unknown process, or its beginning."""
        begins = data.startswith(self._ERROR) or self._ERROR.startswith(data)
        return not self._begun and begins and len(data) <= self._LONGEST_ERROR

    def _take(self, pieces: list[tuple[str, bytes]], token: bytes) -> None:
        for stream, marker in MARKERS.items():
            if token == marker:
                self._stream = stream
        if token in (TRUNCATED, FELL_BEHIND):
            pieces.append(("gap", token))
        elif token in NOTICES:
            pieces.append(("system", token))

    def _put(self, pieces: list[tuple[str, bytes]], data: bytes) -> None:
        if data:
            pieces.append((self._stream or "stdout", data))

    def _possible_token(self, data: bytes, start: int) -> int:
        """Find where a token that is not complete yet may begin."""
        for at in range(max(start, len(data) - self._LONGEST + 1), len(data)):
            tail = data[at:]
            if any(
                token.startswith(tail)
                for token in (*MARKERS.values(), KEEPALIVE, TRUNCATED, FELL_BEHIND, *NOTICES)
            ):
                return at
        return len(data)


def encode_event(kind: str, data: str | bytes | None = None) -> bytes:
    r"""Frame one NDJSON line as the server's encoder does (protocol 3.4, 4.3).

    Bytes that are not UTF-8 become ``\ufffd``, one for each; ``<``, ``>`` and ``&`` are escaped.
    """
    if data is None:
        return b'{"type":"%s"}\n' % kind.encode()
    text = data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data
    quoted = json.dumps(text, ensure_ascii=False)
    quoted = quoted.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    quoted = quoted.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    quoted = re.sub("[\ud800-\udfff]", r"\\ufffd", quoted)
    return b'{"type":"%s","data":%s}\n' % (kind.encode(), quoted.encode())


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the NDJSON exec stream; unknown types pass through with their data as text."""

    type: str
    data: str = ""


class EventDecoder:
    """Read the NDJSON exec stream: bytes in, events out (protocol 3.4).

    Keepalives are left out, both the real ones and those that come as output or as a bare line (4.4);
    a line that is not JSON is counted in ``malformed`` and left out.
    """

    def __init__(self) -> None:
        self._lines = LineSplitter()
        self.malformed = 0

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that ``data`` completes."""
        return [event for line in self._lines.feed(data) if (event := self._read(line))]

    def close(self) -> list[Event]:
        """Return the event of an unfinished last line, if it is one."""
        event = self._read(self._lines.close())
        return [event] if event else []

    def _read(self, line: bytes) -> Event | None:
        line = line.strip()
        if not line or line == KEEPALIVE.strip():
            return None
        try:
            value = json.loads(line.decode())
            kind, data = str(value["type"]), str(value.get("data", ""))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self.malformed += 1
            return None
        if kind == "keepalive" or (kind == "stdout" and data == KEEPALIVE.decode()):
            return None
        if kind == "stdout" and data.encode("utf-8", "replace") in NOTICES:
            return Event("system", data)
        return Event(kind, data)


def name_problem(name: str) -> str | None:
    """Say why a process must not be called ``name``, or None if it may (protocol 3.1)."""
    if not name:
        return "it is empty"
    if re.fullmatch(r"[+-]?\d+", name):
        return "the server takes a number for a pid and would never find it again"
    if "/" in name or "\0" in name or name in {".", ".."}:
        return "it is used as a file name"
    if len(name.encode("utf-8", "replace")) > 244:
        return "it is longer than 244 bytes"
    return None
