"""Make a plan from a seed: what a process writes, and what goes wrong while it is followed.

Pure: no socket, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Literal, get_args

from tests.faults import answers

WRITER = r"""
import random, sys
def pieces(seed, flood=False):
    r = random.Random(seed)
    kind = "noise" if flood else r.choice(["text", "noise", "bars", "mixed", "mixed"])
    for i in range(40 if flood else r.choice([3, 10, 40])):
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
"""Source of ``pieces(seed, flood)``: what is written (file descriptor, bytes), how long to wait then (s)."""

_MAIN = r"""
import os, time
for fd, data, pause in pieces(int(sys.argv[1]), bool(int(sys.argv[2]))):
    while data:
        data = data[os.write(fd, data):]
    time.sleep(pause)
"""

Kind = Literal[
    "cut", "reset", "hang", "slow", "shorter", "wrong length", "twice", "stray", "answer", "portal",
    "redirect", "refused", "away", "standby", "restart",
]  # fmt: skip
"""What goes wrong with a read."""

_OFTEN: dict[Kind, int] = {
    "cut": 8,
    "reset": 5,
    "hang": 1,
    "slow": 3,
    "shorter": 4,
    "wrong length": 3,
    "twice": 3,
    "stray": 3,
    "answer": 8,
    "portal": 3,
    "redirect": 1,
    "refused": 1,
    "away": 2,
    "standby": 1,
}

StartKind = Literal[
    "unsent", "unsent reset", "lost", "lost cut", "lost hang", "lost answer", "sent twice", "turned away",
    "start portal", "start redirect",
]  # fmt: skip
"""What goes wrong with the request that starts the process: it never arrives, or its answer never does."""

Server = Literal["plain", "capped", "no files", "no ranges", "restarts"]
_SERVERS: dict[Server, int] = {
    "plain": 12,
    "capped": 3,
    "no files": 2,
    "no ranges": 1,
    "restarts": 2,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong with the request after ``skip`` others that are left alone."""

    kind: Kind | StartKind
    skip: int
    after: int = 0
    """Bytes of the answer, its head included, that pass before."""
    answer: bytes = b""
    """What is answered instead."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What one seed stands for: the server's habits, what is written, faults of the start and of reads."""

    seed: int
    server: Server
    command: str
    stdout: bytes
    stderr: bytes
    starts: tuple[Fault, ...]
    faults: tuple[Fault, ...]


def plan(seed: int) -> Plan:
    """Return the plan of a seed, always the same."""
    random = Random(f"faults {seed}")
    names: dict[str, Any] = {}
    exec(WRITER, names)  # our own, above: the process runs the same
    [server] = random.choices(list(_SERVERS), list(_SERVERS.values()))
    flood = server == "capped"
    pieces = list(names["pieces"](seed, flood))
    stdout, stderr = (b"".join(data for fd, data, _ in pieces if fd == which) for which in (1, 2))
    starts = tuple(_start_fault(random) for _ in range(random.choice([0, 0, 1, 1, 2])))
    faults = [read_fault(random) for _ in range(random.choice([1, 2, 4, 8, 16]))]
    if server == "restarts":
        faults.insert(random.randrange(len(faults) + 1), Fault("restart", 3, seconds=0.2))
    command = f"python3 - {seed} {flood:d} <<'PYTHON'\n{WRITER}{_MAIN}PYTHON"
    return Plan(seed, server, command, stdout, stderr, starts, tuple(faults))


def read_fault(random: Random) -> Fault:
    """Make what goes wrong with a read."""
    [kind] = random.choices(list(_OFTEN), list(_OFTEN.values()))
    skip = random.choice([0, 0, 0, 1, 3])
    after = random.choice(
        [0, random.randint(1, 300), random.randint(300, 2000), random.randint(0, 90_000)]
    )
    if kind in _SAID:
        return Fault(kind, skip, answer=random.choice(_SAID[kind]))
    seconds = {
        "hang": random.choice([8.0, 8.0, 8.0, 35.0]),
        "slow": 0.005,
        "away": random.choice([0.05, 0.3]),
        "standby": random.choice([0.5, 2.0, 6.0]),
    }.get(kind, 0.0)
    return Fault(kind, skip, after, seconds=seconds)


def _start_fault(random: Random) -> Fault:
    kind: StartKind = random.choice(get_args(StartKind))
    answer = random.choice(_SAID.get(kind, (b"",)))
    return Fault(kind, 0, random.randint(0, 300), answer, 6.0 if kind == "lost hang" else 0.0)


_SAID: dict[Kind | StartKind, tuple[bytes, ...]] = {
    "answer": answers.PASSING,
    "portal": answers.PORTALS,
    "redirect": answers.REDIRECTS,
    "refused": answers.REFUSALS,
    "turned away": answers.TURNED_AWAY,
    "lost answer": (*answers.BROKEN, *answers.PORTALS[:4]),
    "start portal": (*answers.BROKEN, *answers.PORTALS[:4]),
    "start redirect": answers.REDIRECTS,
}
