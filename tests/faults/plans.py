"""Make a plan from a seed: what a process writes, and what goes wrong while it is followed.

Pure: no socket, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Literal

WRITER = r"""
import random, sys
def pieces(seed):
    r = random.Random(seed)
    kind = r.choice(["text", "noise", "bars", "mixed", "mixed"])
    for i in range(r.choice([3, 10, 40])):
        what = r.choice(["text", "noise", "bars"]) if kind == "mixed" else kind
        if what == "text":
            words = ["line", "é", "€", "𝄞", "x" * 70, "stdout:", "[keepalive]", "stderr:a", ""]
            data = "".join(f"{i} {r.choice(words)}\n" for _ in range(r.choice([1, 5, 300]))).encode()
        elif what == "noise":
            data = r.randbytes(r.choice([1, 100, 5000, 70000]))
        else:
            data = b"".join(b"\r%3d%%" % (n * 5) for n in range(r.choice([1, 21]))) + r.choice([b"\n", b""])
        pause = r.choice([0, 0, 0, 0.02, 0.08])
        yield r.choice([1, 1, 2]), data, pause
"""
"""Source of ``pieces(seed)``: what is written (file descriptor, bytes) and how long to wait then (s)."""

_MAIN = r"""
import os, time
for fd, data, pause in pieces(int(sys.argv[1])):
    while data:
        data = data[os.write(fd, data):]
    time.sleep(pause)
"""

Kind = Literal["cut", "reset", "hang", "slow", "shorter", "wrong length", "twice", "answer", "away"]
_OFTEN: dict[Kind, int] = {
    "cut": 8,
    "reset": 5,
    "hang": 1,
    "slow": 3,
    "shorter": 4,
    "wrong length": 3,
    "twice": 3,
    "answer": 8,
    "away": 2,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong with the request after ``skip`` others that are left alone."""

    kind: Kind
    skip: int
    after: int = 0
    """Bytes of the answer, its head included, that pass before."""
    answer: bytes = b""
    """What is answered instead."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What one seed stands for."""

    seed: int
    command: str
    stdout: bytes
    stderr: bytes
    faults: tuple[Fault, ...]


def plan(seed: int) -> Plan:
    """Return the plan of a seed, always the same."""
    random = Random(f"faults {seed}")
    names: dict[str, Any] = {}
    exec(WRITER, names)  # our own, above: the process runs the same
    pieces = list(names["pieces"](seed))
    stdout, stderr = (b"".join(data for fd, data, _ in pieces if fd == which) for which in (1, 2))
    faults = tuple(_fault(random) for _ in range(random.choice([1, 2, 4, 8, 16])))
    command = f"python3 - {seed} <<'PYTHON'\n{WRITER}{_MAIN}PYTHON"
    return Plan(seed, command, stdout, stderr, faults)


def _fault(random: Random) -> Fault:
    [kind] = random.choices(list(_OFTEN), list(_OFTEN.values()))
    skip = random.choice([0, 0, 0, 1, 3])
    after = random.choice(
        [0, random.randint(1, 300), random.randint(300, 2000), random.randint(0, 90_000)]
    )
    if kind == "answer":
        return Fault(kind, skip, answer=random.choice(ANSWERS))
    seconds = {"hang": 8.0, "slow": 0.005, "away": random.choice([0.05, 0.3])}.get(kind, 0.0)
    return Fault(kind, skip, after, seconds=seconds)


def _page(status: str, body: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Connection: close", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", body]).encode()


_HTML = ("<html><body><h1>{}</h1></body></html>", "Content-Type: text/html")
ANSWERS = (
    _page("429 Too Many Requests", "{}", "Retry-After: 0", "Content-Type: application/json"),
    _page("429 Too Many Requests", "slow down"),
    *(
        _page(status, _HTML[0].format(status), _HTML[1])
        for status in (
            "500 Internal Server Error",
            "502 Bad Gateway",
            "503 Unavailable",
            "504 Time-out",
        )
    ),
    _page(
        "404 Not Found",
        '{"error":{"code":"WORKLOAD_UNAVAILABLE","message":"The workload is not available yet",'
        '"origin":"platform","retryable":true,"status":404}}',
        "Content-Type: application/json",
        "X-Blaxel-Source: platform",
        "X-Blaxel-Error-Code: WORKLOAD_UNAVAILABLE",
    ),
)
"""What stands between us and a sandbox says instead of it."""
