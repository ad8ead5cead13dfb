"""Start a shell command so that its exit code survives the service.

The service forks a *keeper*, the keeper forks the shell, waits for it, and writes how it ended into a
file; a service that was killed and replaced reads it there. Output goes straight into files, so neither
process ever holds any. Reads no request and keeps no table.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from blaxel_jupyter.local import limits

SHELL = "/bin/sh"
ROOM = 100
"""Bytes of a file that tells an ending."""

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Spawned:
    """A started command: the shell's pid (also its process group and session), and its keeper's."""

    pid: int
    keeper: int


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended: ``code`` is -1 after a signal or when unknown; ``ended`` in Unix seconds."""

    code: int
    ended: float


def environment(home: Path) -> dict[str, str]:
    """Return what a command sees of the user's environment: no key, nothing that is not named here."""
    kept = ("PATH", "LANG", "TZ", "TMPDIR", "USER", "LOGNAME")
    env = {k: v for k, v in os.environ.items() if k in kept or k.startswith("LC_")}
    env.setdefault("PATH", os.defpath)
    return env | {"HOME": str(home), "SHELL": SHELL, "TERM": "dumb", "PYTHONUNBUFFERED": "1"}


def spawn(
    command: str, *, cwd: Path, env: Mapping[str, str], stdout: Path, stderr: Path, ending: Path
) -> Spawned:
    """Run ``/bin/sh -c command`` in a session of its own; both output files are appended to.

    Returns when the shell has been executed. No stdin; no file descriptor of the service's is inherited.

    Raises:
        OSError: the folder cannot be entered, a file cannot be opened, or the shell cannot run.
    """
    argv = [os.fsencode(word) for word in ("sh", "-c", command)]
    if "\0" in command or any(_unfit(*pair) for pair in env.items()):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    report, reply = os.pipe()
    files = [os.open(os.devnull, os.O_RDWR)]
    try:
        _reserve(ending)
        files += [os.open(stdout, flags, 0o600), os.open(stderr, flags, 0o600)]
        keeper = _fork(lambda: _keep(argv, cwd, env, files, reply, ending))
    except OSError:
        os.close(report)
        raise
    finally:
        for file in (*files, reply):
            os.close(file)
    with os.fdopen(report, "rb") as pipe:
        pid, _, error = pipe.read().partition(b"\n")
    if error or not pid:
        os.waitpid(keeper, 0)
        number, _, text = error.decode(errors="replace").partition(" ")
        raise OSError(int(number or 0), text or "the process could not be forked")
    return Spawned(int(pid), keeper)


def _unfit(name: str, value: str) -> bool:
    return not name or "=" in name or "\0" in name or "\0" in value


def _fork(child: Callable[[], None]) -> int:
    """Fork; ``child`` runs with every signal blocked and never returns into this program."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                child()
            finally:
                os._exit(127)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _keep(
    argv: list[bytes],
    cwd: Path,
    env: Mapping[str, str],
    files: list[int],
    reply: int,
    ending: Path,
) -> None:
    os.setsid()
    pid = _fork(lambda: _execute(argv, cwd, env, files, reply))
    os.write(reply, b"%d\n" % pid)
    for number in (0, 1, 2):
        os.dup2(files[0], number)
    os.closerange(3, _last_file())
    os.chdir("/")
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text("blaxel-keeper")
    if _LIBC is not None:
        _LIBC.prctl(_SUBREAPER, 1, 0, 0, 0)  # what forks twice stays below us, where it is found
    ended = status = 0
    while ended != pid:
        ended, status = os.wait()
    code = os.waitstatus_to_exitcode(status)
    write_ending(ending, Ending(code if code >= 0 else -1, time.time()))


def _execute(
    argv: list[bytes], cwd: Path, env: Mapping[str, str], files: list[int], reply: int
) -> NoReturn:
    os.setsid()
    try:
        os.chdir(cwd)
        for number, file in enumerate(files):
            os.dup2(file, number)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT):
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        limits.apply()
        os.execve(SHELL, argv, dict(env))  # every other descriptor is close-on-exec
    except OSError as error:
        os.write(reply, f"{error.errno} {error.strerror}".encode())
    os._exit(127)


def _last_file() -> int:
    return min(os.sysconf("SC_OPEN_MAX"), 1 << 20)


def write_ending(path: Path, ending: Ending) -> None:
    """Write the file atomically; a sandbox deleted meanwhile is no error."""
    data = json.dumps({"code": ending.code, "ended": ending.ended}).ljust(ROOM).encode()
    with contextlib.suppress(FileNotFoundError):
        _fill(_draft(path), data)  # in its place: it needs no more room
        _draft(path).replace(path)


def _reserve(path: Path) -> None:
    """Take the room for an ending, so that a disk which is full by then cannot hide it."""
    _fill(_draft(path), b" " * ROOM)


def _fill(path: Path, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(file, data, 0)
    finally:
        os.close(file)


def _draft(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def read_ending(path: Path) -> Ending | None:
    """Read what the keeper wrote; None if the command has not ended or its keeper was killed.

    None, too, if the file is damaged: then nobody knows how it ended.
    """
    try:
        facts = json.loads(path.read_text())
        code, ended = facts["code"], facts["ended"]
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        return None
    known = isinstance(code, int) and abs(code) < 1 << 31
    return Ending(code, ended) if known and _is_time(ended) else None


def _is_time(value: object) -> bool:
    """Whether it is a time in seconds that can be written as a date."""
    return isinstance(value, int | float) and 0 <= value < 1e11


def identity(pid: int) -> str:
    """Tell this process from a later one with the same pid; "" if there is no such process.

    Linux: boot id and start time (proc(5), field 22). Elsewhere only that a process has the pid.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        return "" if sys.platform == "linux" or not _exists(pid) else "exists"
    fields = stat.rpartition(b")")[2].split()
    return "" if fields[0] in b"ZX" else f"{boot[:8]}:{fields[19].decode()}"


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def on_end(pid: int, call: Callable[[], None]) -> None:
    """Call once when a process of this user has ended, a child of the service or not."""
    loop = asyncio.get_running_loop()
    if sys.platform != "linux":
        _poll_end(pid, call)
        return
    try:
        file = os.pidfd_open(pid)
    except ProcessLookupError:
        loop.call_soon(call)
        return

    def ended() -> None:
        loop.remove_reader(file)
        os.close(file)
        _reap(pid)
        call()

    loop.add_reader(file, ended)


def _poll_end(pid: int, call: Callable[[], None]) -> None:
    _reap(pid)
    if identity(pid):
        asyncio.get_running_loop().call_later(0.02, _poll_end, pid, call)
    else:
        call()


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
