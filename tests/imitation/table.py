"""Run real processes and keep their output the way the sandbox server does, habits included.

The child writes into two regular files; a tailer reads them in rounds into the combined log and the attached
streams. It speaks no HTTP. Sections in comments are those of the protocol document.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import random
import re
import shutil
import signal
import string
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.imitation.habits import Habits
from tests.imitation.processes import KILLING, STOPPING, Process, Refusal, marked

_INTEGER = re.compile(r"[+-]?[0-9]+")
_PUNCH_HOLE = 0x02 | 0x01
_libc = ctypes.CDLL(None, use_errno=True)


class ReadersWriter:
    """Go's RWMutex: readers share, and a waiting writer holds new readers back."""

    def __init__(self) -> None:
        self._readers = 0
        self._writers = 0
        self._writing = False
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._writers and not self._writing)
            self._readers += 1
        try:
            yield
        finally:
            async with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[None]:
        async with self._changed:
            self._writers += 1
            try:
                await self._changed.wait_for(lambda: not self._readers and not self._writing)
                self._writing = True
            finally:
                self._writers -= 1
        try:
            yield
        finally:
            async with self._changed:
                self._writing = False
                self._changed.notify_all()


class Table:
    """All processes ever started, keyed by pid."""

    def __init__(self, habits: Habits, folder: Path, work_dir: Path) -> None:
        self.habits = habits
        self.folder = folder
        self.work_dir = work_dir
        self.processes: dict[str, Process] = {}
        self.lock = ReadersWriter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._shell = shutil.which("sh") or "/bin/sh"

    # Looking up

    def find(self, identifier: str) -> Process | None:
        """Find by pid if the identifier is a number, else the newest of that name (3.1)."""
        if _INTEGER.fullmatch(identifier):
            process = self.processes.get(str(int(identifier)))
            if process is not None and process.status == "running":
                process.os_pid = int(process.pid)  # 3.6: a look-up by pid forgets the restarted one
            return process
        named = [process for process in self.processes.values() if process.name == identifier]
        return max(named, key=lambda process: process.started, default=None)

    async def look_up(self, identifier: str) -> Process | None:
        """Find under the locks that a client which does not read can hold (4.6)."""
        async with self.lock.read():
            process = self.find(identifier)
            if process is not None:
                async with process.log_lock:
                    pass
            return process

    async def all(self) -> list[Process]:
        """Return every entry, under the same locks."""
        async with self.lock.read():
            for process in self.processes.values():
                async with process.log_lock:
                    pass
            return list(self.processes.values())

    # Starting

    async def start(self, members: dict[str, Any]) -> Process:
        """Start a checked ``POST /process``.

        Raises:
            Refusal: 400 or 422 with the text of 3.3.
        """
        keep_alive = bool(members.get("keepAlive"))
        process = Process(
            command=members["command"],
            name=members.get("name") or _generated_name(),
            working_dir=_expanded(members.get("workingDir") or ""),
            env=members.get("env") or {},
            restart_on_failure=bool(members.get("restartOnFailure")),
            max_restarts=members.get("maxRestarts") or 0,
            keep_alive=keep_alive,
            folder=self.folder,
        )
        async with self.lock.write():
            self._check_folder(process)
            self._spawn(process, first=True)
            process.pid = str(process.os_pid)
            self.processes[process.pid] = process
        self.spawn_task(self._live(process))
        if keep_alive:
            timeout = members.get("timeout")
            seconds = 600 if timeout is None or timeout < 0 else timeout
            if seconds:
                self.spawn_task(self._kill_after(process, seconds))
        return process

    def check_name(self, name: str | None) -> None:
        """Refuse a name whose newest process is running (3.1)."""
        if name and (process := self.find(name)) is not None and process.status == "running":
            raise Refusal(400, f"process with name '{name}' already exists and is running")

    def _check_folder(self, process: Process) -> None:
        folder = process.working_dir
        if folder and not (self.work_dir / folder).exists():
            failed = f"could not execute command '{process.command}'"
            reason = f"because folder '{folder}' does not exist"
            raise Refusal(422, f"failed to start process: {failed} {reason}")

    def _spawn(self, process: Process, *, first: bool) -> None:
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if first else os.O_APPEND)
        with contextlib.ExitStack() as stack:
            files: list[int] = []
            try:
                for path in (process.stdout, process.stderr):
                    files.append(os.open(path, flags, 0o644))
                    stack.callback(os.close, files[-1])
                os.close(os.open(process.combined, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644))
            except OSError as error:
                path_shown = (
                    f"{self.habits.log_dir}/{Path(error.filename).relative_to(self.folder)}"
                )
                reason = os.strerror(error.errno or 0).lower()
                raise Refusal(
                    422, f"failed to start process: open {path_shown}: {reason}"
                ) from None
            try:
                child = subprocess.Popen(
                    ["sh", "-c", process.command],
                    executable=self._shell,
                    stdin=subprocess.DEVNULL,
                    stdout=files[0],
                    stderr=files[1],
                    cwd=self.work_dir / process.working_dir,
                    env={**os.environ, **process.env},
                    process_group=0,
                )
            except OSError as error:
                reason = os.strerror(error.errno or 0).lower()
                raise Refusal(
                    422, f"failed to start process: fork/exec /usr/bin/sh: {reason}"
                ) from None
        process.child = child
        process.os_pid = child.pid

    # Living

    async def _live(self, process: Process) -> None:
        """Follow one process over its automatic restarts."""
        while await self._one_run(process):
            await asyncio.sleep(self.habits.restart_pause)
            self._spawn(process, first=False)
            process.exited = False
            process.status, process.completed, process.exit_code = "running", None, 0
            process.started = time.time()
            process.done = asyncio.Event()
        process.finished.set()

    async def _one_run(self, process: Process) -> bool:
        tailer = asyncio.ensure_future(self._tail(process))
        try:
            await self._settle(process, await self._exit(process))
            again = self._restarts(process)
            if again:
                process.restart_count += 1
                await self._announce_restart(process)
            process.exited = True
            await tailer
        finally:
            tailer.cancel()
        process.done.set()
        return again

    async def _exit(self, process: Process) -> int:
        """Wait for the shell to end, reap it, and return its exit code (negative: the signal)."""
        assert process.child is not None
        descriptor = os.pidfd_open(process.child.pid)
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        await asyncio.sleep(self.habits.reap_delay)
        return process.child.wait()

    async def _settle(self, process: Process, code: int) -> None:
        if code == 0:
            process.status = "completed"
        elif process.status == "running":
            process.status = "failed"
        process.exit_code = -1 if code < 0 else code
        process.completed = time.time()
        process.keep_alive = False

    def _restarts(self, process: Process) -> bool:
        if process.status != "failed" or not process.restart_on_failure:
            return False
        return process.max_restarts < 0 or process.restart_count < process.max_restarts

    async def _announce_restart(self, process: Process) -> None:
        """Say so in the stdout file and, raw, in every stream; the tailer says it once more (4.5)."""
        budget = "unlimited" if process.max_restarts < 0 else str(process.max_restarts)
        line = (
            f"\n[Process failed with exit code {process.exit_code}. "
            f"Attempting restart {process.restart_count}/{budget}...]\n"
        )
        with process.stdout.open("ab") as file:
            file.write(line.encode())
        await self.notice(process, line)

    async def _tail(self, process: Process) -> None:
        """Read both files in rounds from their start, also after a restart (4.1, 4.6)."""
        with (
            process.stdout.open("rb", buffering=0) as stdout,
            process.stderr.open("rb", buffering=0) as stderr,
            process.combined.open("ab", buffering=0) as combined,
        ):
            if not process.restart_count:
                # The first round comes before the child has written, but after a restart it reads the past.
                await asyncio.sleep(self.habits.round_pause)
            while True:
                ended = process.exited
                read = 0
                for stream, file in (("stdout", stdout), ("stderr", stderr)):
                    chunk = file.read(self.habits.read_size)
                    if chunk:
                        read += len(chunk)
                        await self._pass_on(process, stream, chunk, combined.fileno())
                if ended and not read:
                    return
                await asyncio.sleep(0 if ended else self.habits.round_pause)

    async def _pass_on(self, process: Process, stream: str, chunk: bytes, combined: int) -> None:
        async with process.log_lock:
            process.ingested = True
            for piece in marked(stream, chunk):
                os.write(combined, piece)
            for listener in tuple(process.listeners):
                await listener.chunk(stream, chunk)

    async def notice(self, process: Process, line: str) -> None:
        """Send a notice to the attached streams only (4.5)."""
        async with process.log_lock:
            for listener in tuple(process.listeners):
                await listener.notice(line)

    # Ending

    async def stop(self, identifier: str) -> None:
        """Send SIGTERM to the group; the status says ``stopped`` at once (3.5, 3.6)."""
        process = await self._known(identifier)
        if process.status != "running":
            raise Refusal(404, f"process with Identifier {identifier} is not running")
        await self.notice(process, STOPPING)
        self._signal(process, identifier, signal.SIGTERM, "stop")
        process.status = "stopped"

    async def kill(self, identifier: str) -> None:
        """Send SIGKILL to the group, whatever the status: leftovers of a finished run count (3.5)."""
        process = await self._known(identifier)
        self._signal(process, identifier, 0, "kill")
        await self.notice(process, KILLING)
        self._signal(process, identifier, signal.SIGKILL, "kill")
        process.status = "killed"
        process.keep_alive = False

    async def _known(self, identifier: str) -> Process:
        process = await self.look_up(identifier)
        if process is None:
            raise Refusal(404, f"process with Identifier {identifier} not found")
        return process

    def _signal(self, process: Process, identifier: str, number: int, verb: str) -> None:
        try:
            os.killpg(process.os_pid, number)
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise Refusal(
                404, f"failed to {verb} process with Identifier {identifier}: {reason}"
            ) from None

    async def _kill_after(self, process: Process, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if process.status == "running":
            await self.kill(process.pid)

    # Caps

    async def enforce_cap(self) -> None:
        """Punch the heads of all log files to NULs, every ``cap_period`` (4.8)."""
        while True:
            await asyncio.sleep(self.habits.cap_period)
            for process in self.processes.values():
                for path in (process.stdout, process.stderr, process.combined):
                    _punch(path, self.habits.cap or 0)

    # Restart of the API, end of the imitation

    def spawn_task(self, work: Any) -> asyncio.Task[None]:
        """Run ``work`` until it ends or the table is let go."""
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def let_go(self) -> None:
        """Forget tailers, timers and streams; the processes live on."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def adopt(self) -> None:
        """Take the processes over after an API restart: without tailer, timers or restarts (3.6, 4.6)."""
        self.lock = ReadersWriter()
        for process in self.processes.values():
            process.listeners.clear()
            process.log_lock = asyncio.Lock()
            if process.completed is not None or process.child is None:
                process.done.set()
                process.finished.set()
            elif process.child.poll() is not None:
                process.status, process.exit_code, process.completed = "failed", -1, time.time()
                process.done.set()
                process.finished.set()
            else:
                self.spawn_task(self._live_adopted(process))

    async def _live_adopted(self, process: Process) -> None:
        await self._exit(process)
        if process.status == "running":
            process.status, process.completed = "completed", time.time()
            process.done.set()
            process.finished.set()

    def end_all(self) -> None:
        """Kill every process group that is left."""
        for process in self.processes.values():
            for group in {process.os_pid, int(process.pid)}:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)
            if process.child is not None:
                process.child.wait()


def _punch(path: Path, share: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDWR)
        try:
            length = (os.fstat(descriptor).st_size - share) // 4096 * 4096
            if length > 0:
                _libc.fallocate(
                    descriptor, _PUNCH_HOLE, ctypes.c_longlong(0), ctypes.c_longlong(length)
                )
        finally:
            os.close(descriptor)


def _generated_name() -> str:
    return "proc-" + "".join(random.choices(string.ascii_lowercase + string.digits, k=8))


def _expanded(folder: str) -> str:
    if folder.startswith("~"):
        home = os.environ.get("HOME")
        if not home:
            raise Refusal(400, "home directory not found")
        folder = home + folder[1:]
    return re.sub("//+", "/", folder)
