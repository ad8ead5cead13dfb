"""Find and end everything that a command has started, wherever it has gone (Linux; elsewhere nothing).

A process leaves its group and its session with ``setsid``, its parent by forking twice, its mark by
emptying its environment; here it is found as long as one of these is left. Reads ``/proc``, keeps nothing.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

MARK = "BLAXEL_JUPYTER_PROCESS"
"""Environment variable that a command's processes inherit; its value is the key of the command."""
PASSES = 20
"""Times that a family is looked at again, because it has grown meanwhile."""


class Roots(NamedTuple):
    """Where a family begins: its key, and its shell and the shell's keeper while they live, else 0."""

    key: str
    shell: int = 0
    keeper: int = 0


class _Member(NamedTuple):
    pid: int
    parent: int
    session: int
    tasks: int


def members(roots: Roots) -> list[int]:
    """Return the pids of a family: what carries its mark, its session's, and all that descends of it.

    A session and a parent are clues only while the shell lives: later their numbers may be a stranger's.
    """
    lives = roots.shell > 0
    children: dict[int, list[int]] = {}
    new = []
    for each in _everybody():
        children.setdefault(each.parent, []).append(each.pid)
        near = lives and (each.session == roots.shell or each.parent == roots.keeper)
        if near or _mark(each.pid) == roots.key:
            new.append(each.pid)
    found: set[int] = set()
    while new:
        pid = new.pop()
        if pid not in found:
            found.add(pid)
            new += children.get(pid, ())
    return sorted(found - {roots.keeper, os.getpid()})


def send(roots: Roots, number: signal.Signals) -> bool:
    """Send a signal to a family's group, and to each that has left it; return whether anybody got it."""
    outside = [pid for pid in members(roots) if _group(pid) != roots.shell]
    sent = _signal_group(roots.shell, number)
    return any([_signal(pid, number) for pid in outside]) or sent  # noqa: C419 - each


def end(roots: Roots) -> bool:
    """Kill a family, also one that goes on forking; return whether there was anybody.

    All are stopped first, again and again until there is nobody new: what is stopped cannot fork.
    """
    stopped: set[int] = set()
    for _ in range(PASSES):
        new = set(members(roots)) - stopped
        for pid in new:
            _signal(pid, signal.SIGSTOP)
        stopped |= new
        if not new:
            break
    killed = [_signal(pid, signal.SIGKILL) for pid in stopped]
    return _signal_group(roots.shell, signal.SIGKILL) or any(killed)


def crowds() -> Counter[str]:
    """Return how many processes and threads each command has, by its key.

    What has no mark counts for the mark of its session's leader, or its parent's.
    """
    keys: dict[int, str] = {}
    sizes: Counter[str] = Counter()
    for each in sorted(_everybody()):
        key = _mark(each.pid) or keys.get(each.session) or keys.get(each.parent) or ""
        if key:
            keys[each.pid] = key
            sizes[key] += each.tasks
    return sizes


def _everybody() -> Iterator[_Member]:
    """Yield all processes that are no zombies, and zombies' places in the count as well."""
    for name in _listed():
        with suppress(OSError, IndexError, ValueError):
            facts = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
            yield _Member(int(name), int(facts[1]), int(facts[3]), max(1, int(facts[17])))


def _listed() -> list[str]:
    try:
        return [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _mark(pid: int) -> str:
    """Return the key that a process carries; "" if none, or if its environment is not ours to read."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return ""
    _, found, rest = (b"\0" + environment).partition(f"\0{MARK}=".encode())
    return rest.partition(b"\0")[0].decode("ascii", "replace") if found else ""


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def _signal(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _signal_group(group: int, number: signal.Signals) -> bool:
    try:
        if group:
            os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return group > 0
