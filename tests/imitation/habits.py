"""What an imitation does by default, and what it does wrong when asked to.

Pure facts: no IO, no clock. Every module of the imitation, and its users, may import it.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Habits:
    """The real server's habits; the defaults are what protocol 3 and 4 describe, in seconds and bytes."""

    keepalive: float = 30.0
    """Text streams and watches say ``[keepalive]`` this often; NDJSON says it as a stdout event, too."""
    ndjson_keepalive: float = 5.0
    """NDJSON streams say ``{"type":"keepalive"}`` this often."""
    read_size: int = 4096
    """The tailer reads at most this much of each stream in one round."""
    round_pause: float = 0.05
    """The tailer sleeps this long between rounds."""
    reap_delay: float = 0.005
    """An ended process is seen as such this much later: ``stopped`` and ``exitCode`` 0 until then."""
    restart_pause: float = 1.0
    """Time between a failure and the automatic restart."""
    cut_after: float | None = None
    """Cut every stream after this long, as binaries before #303 did at 600 s; None = never."""
    cap: int | None = None
    """One log file's share: at each check its head beyond the share becomes NULs; None = never."""
    cap_period: float = 5.0
    """Time between two checks of the share."""
    logs_limit: int = 4 * 1024 * 1024
    """Tail of each stream in ``/logs`` and in the answer of a waiting POST."""
    tail_limit: int = 64 * 1024
    """Tail of each stream in GET one, the list and the NDJSON result."""
    replay_limit: int = 32 * 1024 * 1024
    """A replay opens the combined log's last so many bytes."""
    line_limit: int = 1024 * 1024
    """A replay stops, silently, at a line of this length."""
    queue_limit: int = 1024 * 1024
    """Output kept for a stream while its backlog is being replayed; more is dropped with a notice."""
    raw_files: bool = True
    """False: ``/filesystem`` and ``/watch`` are not there (404), as on binaries without log files."""
    ranges: bool = True
    """False: ``Range`` is ignored, as behind an edge that does not pass it on (always 200, whole)."""
    watch: bool = True
    """False: ``/watch`` alone is not there."""
    stray_keepalives: bool = True
    """Keepalives of dropped text streams land in other responses (protocol 4.4)."""
    latency: float = 0.0
    """Wait this long before each answer, as a network would."""
    send_buffer: int | None = None
    """Bytes of kernel buffer for each connection: small makes a stall quick; None = the kernel's own."""
    log_dir: str = "/var/log/sandbox-api"
    """The log folder's name on the wire; the files are in a scratch folder."""


FaultKind = Literal["drop", "reset", "stall", "status", "unavailable", "stray", "delay"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong with the next ``times`` requests that match.

    ``drop`` closes the connection after ``after`` bytes of body, ``reset`` does so with RST, ``stall`` sends
    nothing more, ``stray`` puts a foreign keepalive there; ``after=-1`` means before the status line.
    ``status`` answers ``status`` instead (5xx as a CDN's HTML; 429 with ``Retry-After``), ``unavailable`` the
    gateway's 404 ``WORKLOAD_UNAVAILABLE``; ``delay`` waits ``seconds`` and then answers as usual.
    """

    kind: FaultKind
    path: str = ".*"
    """Regular expression, searched in the request's raw target."""
    method: str = "GET|POST|PUT|DELETE|HEAD"
    times: int = 1
    skip: int = 0
    """Leave this many matching requests alone first."""
    after: int = 0
    status: int = 502
    retry_after: str | None = None
    seconds: float = 0.0

    def matches(self, method: str, target: str) -> bool:
        """Say whether a request is one of this fault's."""
        return bool(re.fullmatch(self.method, method) and re.search(self.path, target))

    def to_json(self) -> str:
        """Return the form that the control route and the ``X-Imitation-Fault`` header take."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Fault:
        """Read what ``to_json`` wrote; members that are left out have their defaults."""
        members: dict[str, Any] = json.loads(text)
        return cls(**members)
