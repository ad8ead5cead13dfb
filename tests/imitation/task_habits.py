"""What an imitated BLACKBOX server does by default, and what it does wrong when asked to.

Pure facts: no IO, no clock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

Source = Literal["buffer", "reconstructed", "merged"]


@dataclass(frozen=True, slots=True)
class TaskHabits:
    """Habits that protocol 2 to 4 allow; the defaults are the friendliest, times in seconds."""

    replay: bool = True
    """A stream that joins a live run gets everything from the start; False: only what is new."""
    rechunk: int | None = None
    """Seed: each stream and each log cuts the deltas differently; None = as they came."""
    live_source: Source = "buffer"
    after_end: Source = "reconstructed"
    """What logs and streams of a run that is over are made from."""
    logs_live: bool = True
    """False: the batch log of a run that is not over answers 503."""
    logs_text: bool = True
    """False: a reconstructed log has no text deltas, whatever was asked for."""
    details: bool = True
    """False: ``GET /tasks/{id}`` is not there (404)."""
    agent: bool = True
    """False: ``/agent/…`` is not there (404)."""
    status_lag: float = 0.0
    """The status says running for so long after the last event; streams end meanwhile."""
    terminal: Literal["everywhere", "logs", "nowhere"] = "everywhere"
    """Where the terminal event is told; a stream without it ends with a bare close."""
    keepalive: float | None = None
    """Streams say ``: keep-alive`` this often."""
    crlf: bool = False
    ids: bool = False
    """Streams send ``id:`` with each event and ``retry:`` at the start."""
    two_lines: bool = False
    """Each event's JSON stands in two ``data:`` lines."""
    broken_every: int | None = None
    """A stream has an event of broken JSON behind every so many."""
    done: bool = False
    """Streams end with ``[DONE]``."""
    chop: int | None = None
    """Streams are sent in HTTP chunks of at most so many bytes, through lines and characters."""
    error_object: bool = False
    """Errors are ``{"error": {"code", "message"}}`` instead of ``{"error": "…"}``."""
    page_limit: int = 100


TaskFaultKind = Literal[
    "drop", "reset", "stall", "cut", "status", "html", "short", "half", "trickle", "delay"
]


@dataclass(frozen=True, slots=True)
class TaskFault:
    """One thing that goes wrong with the next ``times`` requests that match.

    ``drop`` closes the connection after ``after`` bytes of body, ``reset`` does so with RST, ``stall`` sends
    nothing more; ``after=-1`` means before the status line. ``cut`` lets a held run go on by one step and
    ends the stream somewhere in what it then has to say, in one of three ways. ``status`` answers
    ``status``; ``html`` is a 200 with a web page; ``short`` announces more bytes than it sends; ``half`` is
    a proper answer with half a JSON text; ``trickle`` sends ``step`` bytes every ``seconds``; ``delay``
    waits ``seconds`` first.
    """

    kind: TaskFaultKind
    path: str = ".*"
    """Regular expression, searched in the request's raw target."""
    method: str = "GET|POST|PATCH"
    times: int = 1
    skip: int = 0
    """Leave this many matching requests alone first."""
    after: int = 0
    status: int = 503
    retry_after: str | None = None
    body: bytes | None = None
    """Body of a ``status`` answer; None = the API's own error body."""
    seconds: float = 0.0
    step: int = 64

    def matches(self, method: str, target: str) -> bool:
        """Say whether a request is one of this fault's."""
        return bool(re.fullmatch(self.method, method) and re.search(self.path, target))


STREAM = r"/(logs|agent)/stream\b"
"""As a fault's path: every event stream."""
LOGS = r"/logs(\?|$)"
"""As a fault's path: the batch log."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that came in; the key is not kept, only whose it was."""

    method: str
    path: str
    """Behind ``/api/v1``."""
    query: dict[str, list[str]]
    headers: dict[str, str] = field(repr=False)
    """Without ``Authorization``."""
    who: Literal["me", "other", "unknown", "nobody"]
