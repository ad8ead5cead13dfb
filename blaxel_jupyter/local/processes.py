"""Keep the processes of one sandbox: start, restart, stop, kill, adopt after a crash of the service.

Facts about each process live in one small JSON file, its output in two files that the process itself
writes; so nothing is lost when the service is killed, and its replacement goes on where it was.
Semantics: protocol 3 of the sandbox, minus its defects. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import string
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from blaxel_jupyter.local import family, private, spawn
from blaxel_jupyter.local.capture import Log, Stream, Wakeups
from blaxel_jupyter.local.facts import Facts
from blaxel_jupyter.local.refusals import (
    NameTakenError,
    NotRunningError,
    StartError,
    UnknownProcessError,
    check_name,
)

RESTART_PAUSE = 1.0
"""Seconds between a failure and the restart (protocol 3.2)."""
SAVE_PAUSE = 1.0
"""Seconds between two attempts to save a process's facts on a disk that is full."""
KEEPALIVE_TIMEOUT = 600
"""Seconds that a keepAlive process may run where the request names no timeout (protocol 3.2)."""


class LocalProcess:
    """One process: its facts, its log, and whether it may still change."""

    def __init__(self, facts: Facts, log: Log) -> None:
        self.facts = facts
        self.log = log
        self.final = asyncio.Event()
        """Set when it has ended and will not be restarted."""
        self.pause: asyncio.TimerHandle | None = None
        self.limit: asyncio.TimerHandle | None = None
        self.overdue = False
        """Whether the service killed it at the end of its time."""

    @property
    def roots(self) -> family.Roots:
        """Where all that it has started begins; a shell that has ended, or was replaced, is nobody's."""
        facts = self.facts
        lives = self.alive and spawn.identity(facts.os_pid) == facts.os_identity != ""
        return (
            family.Roots(facts.key, facts.os_pid, facts.keeper)
            if lives
            else family.Roots(facts.key)
        )

    @property
    def alive(self) -> bool:
        """Whether its shell has not been seen to end (also true of a stopped one that lives on)."""
        return self.facts.ended is None


class Processes:
    """The processes of one sandbox, running and finished.

    ``folder`` holds ``work`` (where commands run), ``logs`` (the files a client reads, by name) and
    ``state`` (facts, order and ending of each process, by key).
    """

    def __init__(self, folder: Path, wakeups: Wakeups, env: Mapping[str, str]) -> None:
        self.work, self.logs, self.state = folder / "work", folder / "logs", folder / "state"
        for each in (folder, self.work, self.logs, self.state):
            private.own_folder(each)
        self._wakeups = wakeups
        self._env = dict(env)
        self._table: dict[str, LocalProcess] = {}
        self._watchers: set[Callable[[str, str], None]] = set()
        self._discarded = False
        self._adopt()

    def __iter__(self) -> Iterator[LocalProcess]:
        return iter(self._table.values())

    @property
    def busy(self) -> bool:
        """Whether any process lives or is about to be restarted."""
        return any(process.alive or process.pause for process in self)

    def by_key(self, key: str) -> LocalProcess | None:
        """Return the process with this key; None if there is none."""
        return self._table.get(key)

    def find(self, identifier: str) -> LocalProcess:
        """Return the newest process with this pid, else with this name.

        Raises:
            UnknownProcessError: there is none.
        """
        newest = reversed(self._table.values())
        by_name = None
        for process in newest:
            if str(process.facts.pid) == identifier:
                return process
            if process.facts.name == identifier and by_name is None:
                by_name = process
        if by_name is None:
            raise UnknownProcessError(identifier)
        return by_name

    def start(
        self,
        command: str,
        *,
        name: str | None = None,
        working_dir: str = "",
        env: Mapping[str, str] | None = None,
        timeout: int | None = None,
        restart_on_failure: bool = False,
        max_restarts: int = 0,
        keep_alive: bool = False,
    ) -> LocalProcess:
        """Start a command; a finished process of the same name keeps its output, under its pid.

        Raises:
            NameTakenError: a process of that name is running.
            StartError: the folder, the name or the shell will not do.
        """
        name = name or "proc-" + "".join(
            secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8)
        )
        former = next((p for p in reversed(self._table.values()) if p.facts.name == name), None)
        if former is not None and (former.facts.status == "running" or former.pause):
            raise NameTakenError(f"process with name '{name}' already exists and is running")
        facts = Facts(
            key=self._next_key(),
            name=name,
            command=command,
            pid=0,
            started=time.time(),
            working_dir=working_dir,
            env=dict(env or {}),
            restart_on_failure=restart_on_failure,
            max_restarts=max_restarts,
            keep_alive=keep_alive,
        )
        check_name(name)
        folder = self._folder(facts)
        if former is not None:
            self._set_aside(former)
        process = LocalProcess(facts, self._log(facts))
        for path in process.log.paths.values():
            path.unlink(missing_ok=True)
        self._spawn(process, folder)
        facts.pid = facts.os_pid
        if keep_alive:
            seconds = KEEPALIVE_TIMEOUT if timeout is None or timeout < 0 else timeout
            facts.deadline = time.monotonic() + seconds if seconds else None
        self._table[facts.key] = process
        self._save(process)
        self._live(process)
        return process

    def _next_key(self) -> str:
        """Make a key that sorts after all others, also where the clock was set back."""
        newest = next(reversed(self._table), "0").partition("-")[0]
        after = int(newest) + 1 if newest.isdecimal() else 0
        return f"{max(time.time_ns(), after):020d}-{secrets.token_hex(4)}"

    def _folder(self, facts: Facts) -> Path:
        folder = self.work / facts.working_dir
        if not folder.exists():
            raise StartError(
                f"failed to start process: could not execute command '{facts.command}' "
                f"because folder '{facts.working_dir}' does not exist"
            )
        return folder

    def _log(self, facts: Facts) -> Log:
        aside = self.state / f"{facts.key}.stdout.log"
        folder, stem = (self.state, facts.key) if aside.exists() else (self.logs, facts.name)
        return Log(
            folder / f"{stem}.stdout.log",
            folder / f"{stem}.stderr.log",
            self.state / f"{facts.key}.order",
        )

    def _set_aside(self, former: LocalProcess) -> None:
        """Move a former process's output out of the way of a new one with its name."""
        for stream, path in former.log.paths.items():
            aside = self.state / f"{former.facts.key}.{stream}.log"
            if path.parent != self.state and path.exists():
                path.rename(aside)
            former.log.paths[stream] = aside

    def _spawn(self, process: LocalProcess, folder: Path) -> None:
        facts, log = process.facts, process.log
        ending = self._ending(process)
        ending.unlink(missing_ok=True)
        try:
            spawned = spawn.spawn(
                facts.command,
                cwd=folder,
                env=self._environment(facts),
                stdout=log.paths["stdout"],
                stderr=log.paths["stderr"],
                ending=ending,
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise StartError(
                f"failed to start process: fork/exec {spawn.SHELL}: {reason.lower()}"
            ) from error
        facts.os_pid, facts.keeper = spawned.pid, spawned.keeper
        facts.os_identity = spawn.identity(spawned.pid)
        facts.keeper_identity = spawn.identity(spawned.keeper)

    def _environment(self, facts: Facts) -> dict[str, str]:
        env = spawn.environment(self.work)
        return env | self._env | facts.env | {family.MARK: facts.key}

    def _live(self, process: LocalProcess) -> None:
        """Follow the output and the end of a process that runs."""
        facts = process.facts
        self._follow_output(process)
        spawn.on_end(facts.keeper, lambda: self._ended(process))
        if facts.deadline is not None and process.limit is None:
            left = max(0.0, facts.deadline - time.monotonic())
            process.limit = asyncio.get_running_loop().call_later(left, self._overdue, process)

    def _follow_output(self, process: LocalProcess) -> None:
        for stream in process.log.paths:
            self._tell("CREATE", f"{process.facts.name}.{stream}.log")
        process.log.capture(
            self._wakeups,
            lambda stream: self._grown(process, stream),
            lambda reason: self.overrun(process, reason),
        )

    def _grown(self, process: LocalProcess, stream: Stream) -> None:
        path = process.log.paths[stream]
        if path.parent == self.logs:
            self._tell("WRITE", path.name)

    def _ended(self, process: LocalProcess) -> None:
        facts = process.facts
        if self._discarded:
            return
        ending = spawn.read_ending(self._ending(process))
        if ending is None and spawn.identity(facts.os_pid) == facts.os_identity != "":
            spawn.on_end(facts.os_pid, lambda: self._ended(process))  # only its keeper was killed
            return
        self._note_end(process, ending or spawn.Ending(-1, time.time()))
        if self._restarts_left(process):
            self._pause(process)
        else:
            self._close(process)

    def _note_end(self, process: LocalProcess, ending: spawn.Ending) -> None:
        facts = process.facts
        facts.ended, facts.exit_code = ending.ended, ending.code
        if ending.code == 0:
            facts.status = "completed"
        elif facts.status == "running":
            facts.status = "failed"

    def _restarts_left(self, process: LocalProcess) -> bool:
        facts = process.facts
        return (
            facts.restart_on_failure
            and facts.status == "failed"
            and (facts.max_restarts < 0 or facts.restart_count < facts.max_restarts)
        )

    def _pause(self, process: LocalProcess) -> None:
        """Announce a restart in the output, as the sandbox does (protocol 4.5), and wait a second."""
        facts = process.facts
        facts.restart_count += 1
        process.log.look()
        most = facts.max_restarts if facts.max_restarts >= 0 else "unlimited"
        _write(
            process.log.paths["stdout"],
            f"\n[Process failed with exit code {facts.exit_code}. "
            f"Attempting restart {facts.restart_count}/{most}...]\n",
        )
        process.log.look()
        facts.restarting = True
        self._save(process)
        self._restart_soon(process)

    def _restart_soon(self, process: LocalProcess) -> None:
        loop = asyncio.get_running_loop()
        process.pause = loop.call_later(RESTART_PAUSE, self._restart, process)

    def _restart(self, process: LocalProcess) -> None:
        process.pause = None
        facts = process.facts
        try:
            self._spawn(process, self._folder(facts))
        except StartError as error:
            _write(process.log.paths["stderr"], f"{error}\n")
            self._close(process)
            return
        facts.status, facts.exit_code, facts.ended = "running", 0, None
        facts.restarting = False
        facts.started = time.time()
        self._save(process)
        spawn.on_end(facts.keeper, lambda: self._ended(process))

    def _close(self, process: LocalProcess) -> None:
        if process.limit is not None:
            process.limit.cancel()
        process.facts.restarting = False
        process.facts.env.clear()
        process.log.finish()
        self._save(process)
        process.final.set()

    def _overdue(self, process: LocalProcess) -> None:
        with contextlib.suppress(NotRunningError):
            self.kill(process)
            process.overdue = True

    def stop(self, process: LocalProcess) -> None:
        """Send SIGTERM to the process group; a pending restart is called off.

        Raises:
            NotRunningError: it is not running (also when it was stopped before and lives on).
        """
        if process.pause is not None:
            self._call_off(process, "stopped")
        elif process.facts.status == "running" and process.alive:
            self._signal(process, signal.SIGTERM, "stopped")
        else:
            raise NotRunningError

    def kill(self, process: LocalProcess) -> None:
        """Send SIGKILL to all that a process has started, also to what a finished one has left behind.

        Raises:
            NotRunningError: nothing is left of it.
        """
        if process.pause is not None:
            self._call_off(process, "killed")
        elif process.alive:
            self._signal(process, signal.SIGKILL, "killed")
        elif not family.end(process.roots):
            raise NotRunningError

    def overrun(self, process: LocalProcess, reason: str) -> None:
        """Kill a process, and what is left of it, because it went beyond a limit; its log says so."""
        with contextlib.suppress(NotRunningError):
            self.kill(process)
        with contextlib.suppress(OSError), process.log.paths["stderr"].open("ab") as file:
            file.write(f"\n[Process killed: {reason}]\n".encode())

    def _call_off(self, process: LocalProcess, status: str) -> None:
        if process.pause is not None:
            process.pause.cancel()
            process.pause = None
        process.facts.status = status
        self._close(process)

    def _signal(self, process: LocalProcess, number: signal.Signals, status: str) -> None:
        facts = process.facts
        kill = number == signal.SIGKILL
        if spawn.read_ending(self._ending(process)) is not None:
            # It has ended a moment ago: its group may be a stranger's, what carries its mark is not.
            if not kill or not family.end(family.Roots(facts.key)):
                raise NotRunningError
            return
        if not (family.end(process.roots) if kill else family.send(process.roots, number)):
            raise NotRunningError
        facts.status = status
        self._save(process)

    def _ending(self, process: LocalProcess) -> Path:
        return self.state / f"{process.facts.key}.exit"

    def _save(self, process: LocalProcess) -> None:
        """Save the facts; on a full disk again later, until they are."""
        if self._discarded:
            return
        try:
            process.facts.save(self.state)
        except OSError:
            asyncio.get_running_loop().call_later(SAVE_PAUSE, self._save, process)

    def _adopt(self) -> None:
        """Take over what an earlier service has left: finished processes, and running ones live."""
        for facts in Facts.load_all(self.state):
            process = LocalProcess(facts, self._log(facts))
            self._table[facts.key] = process
            if facts.restarting:
                self._follow_output(process)
                self._restart_soon(process)
            elif facts.ended is not None:
                process.log.ended = True
                process.final.set()
            elif spawn.identity(facts.keeper) == facts.keeper_identity != "":
                self._live(process)
            else:
                self._follow_output(process)
                self._ended_meanwhile(process)

    def _ended_meanwhile(self, process: LocalProcess) -> None:
        facts = process.facts
        ending = spawn.read_ending(self._ending(process))
        if ending is None and spawn.identity(facts.os_pid) == facts.os_identity != "":
            spawn.on_end(facts.os_pid, lambda: self._ended(process))
            return
        self._note_end(process, ending or spawn.Ending(-1, time.time()))
        self._close(process)

    def watch(self, call: Callable[[str, str], None]) -> Callable[[], None]:
        """Tell ``call(op, file name)`` of each change in the log folder; returns how to stop it."""
        self._watchers.add(call)
        return lambda: self._watchers.discard(call)

    def _tell(self, op: str, name: str) -> None:
        for call in tuple(self._watchers):
            call(op, name)

    def discard(self) -> None:
        """Kill everything and forget it; the folder may then be deleted."""
        self._discarded = True
        left = family.crowds()
        for process in self:
            if process.pause is not None:
                process.pause.cancel()
            elif process.alive:
                with contextlib.suppress(NotRunningError):
                    self._signal(process, signal.SIGKILL, "killed")
            elif process.facts.key in left:
                family.end(process.roots)
            if process.limit is not None:
                process.limit.cancel()
            process.log.finish()
            process.final.set()


def _write(path: Path, text: str) -> None:
    """Append a word of the service's own to an output; a full disk takes none."""
    with contextlib.suppress(OSError), path.open("ab") as file:
        file.write(text.encode())
