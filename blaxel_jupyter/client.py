"""Talk to one sandbox: start processes, follow them, read their logs, stop them.

The public face: it puts together the API's routes, the start, the follow and the run, and holds no bytes
of its own. The magics use it.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Protocol, cast
from urllib.parse import quote

from blaxel_jupyter.api import SandboxApi
from blaxel_jupyter.callbacks import Callback, Callbacks, LogStream
from blaxel_jupyter.ending import end
from blaxel_jupyter.ends import End
from blaxel_jupyter.errors import BlaxelError, NotFoundError, StatusError, TransportError, reword
from blaxel_jupyter.follow import FILES, Batch, Follow
from blaxel_jupyter.hidden import Hidden
from blaxel_jupyter.ledger import Ledger
from blaxel_jupyter.masks import Masks
from blaxel_jupyter.process import LogEntry, Process, Stream, name_problem
from blaxel_jupyter.runs import Controls, SandboxRun
from blaxel_jupyter.start import start
from blaxel_jupyter.tail import Tail
from blaxel_jupyter.transport import AsyncTransport, Http

FOLLOW_PATIENCE = 300.0
"""Seconds for which a follow goes on trying without one answer: a laptop's sleep, a server's restart."""


class Instance(Protocol):
    """The part of an official ``blaxel`` SandboxInstance that is used: its address and its headers."""

    config: Any
    process: Any


class SandboxClient:
    """Run and follow processes in one sandbox.

    Args:
        sandbox: a sandbox's name, ``"local"`` for the embedded service, or an official
            ``SandboxInstance``.
        url: base URL of a server that speaks the sandbox API, instead of a name.
        transport: httpx transport for tests.

    Use it as an async context manager. It may be used from several event loops: each has its own
    connections. Nothing is asked of any server before the first call.

    Raises:
        ValueError: neither or both of ``sandbox`` and ``url`` are given.
    """

    def __init__(
        self,
        sandbox: str | Instance | None = None,
        *,
        url: str | None = None,
        transport: AsyncTransport | None = None,
    ) -> None:
        if (sandbox is None) == (url is None):
            raise ValueError("Say which sandbox: SandboxClient(NAME) or SandboxClient(url=URL).")
        self._api = SandboxApi(sandbox, url, Http(transport))
        self._tasks: set[asyncio.Task[Any]] = set()
        self._runs: weakref.WeakValueDictionary[str, SandboxRun] = weakref.WeakValueDictionary()

    @property
    def name(self) -> str:
        """The sandbox's name, or the URL's host for a server known by its URL."""
        return self._api.name

    @property
    def is_local(self) -> bool:
        """Whether commands run on this machine, as the user, without isolation."""
        return self._api.is_local

    async def url(self) -> str:
        """Find out the base URL of the sandbox's API.

        Raises:
            NotFoundError: there is no such sandbox.
            CredentialsError: the control plane has to be asked and there is no credential.
        """
        return (await self._api.target()).url

    async def __aenter__(self) -> SandboxClient:
        """Open nothing yet: the first call does."""
        self._api.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close it."""
        await self.aclose()

    async def aclose(self) -> None:
        """End callbacks that still run on this loop and close its connections; processes go on."""
        loop = asyncio.get_running_loop()
        try:
            await end(*(task for task in self._tasks if task.get_loop() is loop))
        finally:
            await self._api.aclose()

    # Processes ------------------------------------------------------------------------------------------

    async def exec(
        self,
        command: str,
        *,
        name: str | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # the server's: it outlives this call
        wait: bool = False,
        keep_alive: bool = False,
        restart_on_failure: int = 0,
        wait_for_ports: Sequence[int] = (),
        on_log: Callback | None = None,
        on_stdout: Callback | None = None,
        on_stderr: Callback | None = None,
    ) -> SandboxRun:
        """Start a process.

        Args:
            command: shell text.
            name: how to find it again; made up if not given. A number is refused (protocol 3.1).
            cwd: folder to start in; ``~`` is the sandbox's home.
            env: variables added to the sandbox's; ``PYTHONUNBUFFERED=1`` is the default.
            timeout: seconds after which the process is killed, wherever it runs.
            wait: return only when it has ended and all its output is there.
            keep_alive: keep the sandbox out of standby while it runs.
            restart_on_failure: how often to start it again after a non-zero exit.
            wait_for_ports: return when something listens on all of them.
            on_log: called once for each line, in order, in the background; the line has no end.
            on_stdout: the same for lines of stdout.
            on_stderr: the same for lines of stderr. All may be async.

        Returns:
            The run, with status ``running`` unless ``wait``. ``await run`` follows it to its end.

        Raises:
            ValueError: a name that could not be found again, an empty command, or no time at all.
            StatusError: the server refused: name taken, no such folder.
            TransportError: unreachable; or no answer came, and there is no process of that name.
        """
        if not command.strip():
            raise ValueError("The command is empty: there is nothing to run.")
        if timeout is not None and not 0 < timeout < math.inf:
            raise ValueError(
                "The timeout is a number of seconds above 0; without one there is no end."
            )
        problem = name_problem(name) if name is not None else None
        if problem:
            raise ValueError(
                f"A process cannot be called {(name or '')[:80]!r}: {problem}. Choose another name."
            )
        env = Hidden(env or {})
        before = await self._api.known(name) if name is not None else None
        body: dict[str, Any] = {
            "name": name or made_up_name(),
            "command": command,
            "env": Hidden({"PYTHONUNBUFFERED": "1", **env}),
            "waitForCompletion": False,
        }
        if cwd:
            body["workingDir"] = cwd
        if keep_alive or timeout is not None:
            body["keepAlive"] = True
            body["timeout"] = math.ceil(timeout) if timeout is not None else 0
        if restart_on_failure:
            body |= {"restartOnFailure": True, "maxRestarts": restart_on_failure}
        if wait_for_ports:
            body["waitForPorts"] = list(wait_for_ports)
        asked = time.monotonic()
        masks = await self._api.masks(body["name"], env)
        try:
            process = await start(self._api, body, before)
        except BlaxelError as error:
            reword(error, masks.text)  # a server may repeat what it was sent
            raise
        run = self._run(process, masks, fresh=True, timeout=timeout)
        run.asked = asked
        callbacks = Callbacks(on_log, on_stdout, on_stderr)
        if callbacks.any:
            run.claim()
            self._spawn(self._feed(run, callbacks))
        if wait:
            await run
        return run

    async def attach(self, identifier: str, *, streams: Sequence[Stream] = FILES) -> SandboxRun:
        """Return a run for a process that is there already; ``await`` it to read and follow.

        Args:
            identifier: name or pid.
            streams: what to read of it.

        Raises:
            NotFoundError: there is no such process.
        """
        process = await self.process(identifier)
        newest = process if process.name == identifier else await self.process(process.name)
        if newest.pid != process.pid:
            raise NotFoundError(
                f"The output of process {identifier} is gone: {process.name!r} was used again by a "
                f"newer process. Follow that one by its name.",
                status_code=404,
                method="GET",
                url="",
            )
        return self._run(process, await self._api.masks(process.name), fresh=False, streams=streams)

    async def masks(self) -> Masks:
        """Return what displays of its processes do not show: credentials, and variables passed to any."""
        return await self._api.masks()

    @asynccontextmanager
    async def follow(self, identifier: str) -> AsyncIterator[AsyncIterator[LogEntry]]:
        """Follow a process: what it wrote so far, then live, until it has ended.

        Yields:
            An async iterator of entries: each line once, ``seq`` from 0 in the order delivered. Leaving
            the block ends the follow; the process goes on.

        Raises:
            NotFoundError: there is no such process.
            FollowError: (while iterating) the server could not be reached for too long.
        """
        run = self._runs.get(identifier)
        if run is None or run.process.status != "running" or run.busy or len(run.logs):
            run = await self.attach(identifier)
        async with aclosing(self._entries(run)) as entries:
            yield entries

    async def processes(self) -> list[Process]:
        """List every process that the sandbox ever started, in the server's order."""
        return await self._api.processes()

    async def process(self, identifier: str) -> Process:
        """Read one process's facts, by name or pid.

        Raises:
            NotFoundError: there is no such process.
        """
        return await self._api.process(identifier)

    async def wait(
        self,
        identifier: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # part of the public interface
    ) -> Process:
        """Wait until a process has ended and return its final facts, without reading its output.

        Raises:
            TimeoutError: it did not end within ``timeout`` seconds; it goes on.
        """
        process = await self.process(identifier)
        end = End(self._api.reads(process), process, time.monotonic)
        try:
            async with asyncio.timeout(timeout):
                delay = 0.02
                while (ended := await end.reached()) is None:
                    await asyncio.sleep(delay)
                    delay = min(delay * 1.5, 0.25 if end.near else 1.0)
                return ended
        except TimeoutError:
            raise TimeoutError(
                f"Process {identifier!r} did not end within {timeout:g} s; it goes on."
            ) from None

    async def stop(self, identifier: str) -> None:
        """Ask a process to end: SIGTERM to its process group. It may take its time, or refuse."""
        await self._api.ask("DELETE", f"/process/{quote(identifier, safe='')}")

    async def kill(self, identifier: str) -> None:
        """End a process at once: SIGKILL to its process group."""
        await self._api.ask("DELETE", f"/process/{quote(identifier, safe='')}/kill")

    async def logs(self, identifier: str, *, stream: str = "stdout") -> str:
        """Read what a process wrote so far.

        Args:
            identifier: name or pid.
            stream: ``stdout``, ``stderr``, or ``all``: stdout, then stderr, as the server joins them.

        Returns:
            The text; bytes that are not UTF-8 are U+FFFD. Where the server has dropped the beginning,
            a first line in brackets says so.

        Raises:
            ValueError: another stream.
            NotFoundError: there is no such process.
        """
        if stream not in {*FILES, "all"}:
            raise ValueError(f"stream is 'stdout', 'stderr' or 'all', not {stream!r}.")
        wanted = FILES if stream == "all" else (cast("Stream", stream),)
        run = await self.attach(identifier, streams=wanted)
        await self.read_so_far(run)
        return "".join(_with_mark(run.ledgers[name]) for name in wanted)

    async def read_so_far(self, run: SandboxRun, *, tail: int | None = None) -> None:
        """Record in a run what its process wrote so far; a follow goes on from there.

        Args:
            run: where to; made by ``attach``.
            tail: rows of each stream that come into the table at most; ``stdout`` and ``stderr`` of the
                run hold everything all the same.
        """
        follow = Follow(self._api.reads(run.process), run.process, run.ledgers)
        end = None if tail is None else Tail(run.ledgers, tail)
        async for batch in follow.so_far():
            if end is None:
                run.record(batch)
            else:
                end.add(batch)
        for batch in end.batches() if end else ():
            run.record(batch)

    def stream_logs(
        self,
        identifier: str,
        *,
        on_log: Callback | None = None,
        on_stdout: Callback | None = None,
        on_stderr: Callback | None = None,
    ) -> LogStream:
        """Call back once for each line, past and live, until the process ends or ``close()``.

        Must be called while a loop runs; the callbacks run on it, in order, and may be async.
        """
        callbacks = Callbacks(on_log, on_stdout, on_stderr)

        async def feed() -> SandboxRun:
            return await self._feed(await self.attach(identifier), callbacks)

        return LogStream(self._spawn(feed()))

    # Files ----------------------------------------------------------------------------------------------

    async def upload(self, path: str, text: str) -> None:
        """Write a text file in the sandbox; folders on the way are made."""
        body = {"content": text, "permissions": "0600"}
        await self._api.ask("PUT", f"/filesystem/{quote(path, safe='')}", json=body)

    async def remove(self, path: str) -> None:
        """Delete a file in the sandbox."""
        await self._api.ask("DELETE", f"/filesystem/{quote(path, safe='')}")

    # How a run is filled --------------------------------------------------------------------------------

    def _run(
        self,
        process: Process,
        masks: Masks,
        *,
        fresh: bool,
        timeout: float | None = None,
        streams: Sequence[Stream] = FILES,
    ) -> SandboxRun:
        run = SandboxRun(
            process,
            Controls(self._finish, self.stop, self.kill),
            sandbox=self.name,
            local=self.is_local,
            fresh=fresh,
            timeout=timeout,
            streams=streams,
            masks=masks,
        )
        if fresh:
            self._runs[process.name] = run
        return run

    async def _finish(self, run: SandboxRun) -> None:
        run.claim()
        async with aclosing(self._recorded(run)) as batches:
            async for _ in batches:
                pass

    async def _entries(self, run: SandboxRun) -> AsyncGenerator[LogEntry, None]:
        async with aclosing(self._recorded(run)) as batches:
            async for batch, first in batches:
                for entry in run.entries(batch, first):
                    yield entry

    async def _feed(self, run: SandboxRun, callbacks: Callbacks) -> SandboxRun:
        async with aclosing(self._entries(run)) as entries:
            async for entry in entries:
                if entry.kind == "line":
                    await callbacks(entry)
        return run

    async def _recorded(self, run: SandboxRun) -> AsyncGenerator[tuple[Batch, int], None]:
        """Follow, record in the run, and pass on each batch with its first ``seq``."""
        if not run.busy:
            run.claim()
        error: BlaxelError | None = None
        reads = self._api.reads(run.process, patience=FOLLOW_PATIENCE, report=run.tell_trouble)
        follow = Follow(reads, run.process, run.ledgers, fresh=run.fresh, seq=len(run.logs))
        guard = asyncio.create_task(self._kill_late(run)) if run.timeout is not None else None
        try:
            async with aclosing(follow.batches()) as batches:
                async for batch in batches:
                    first = run.record(batch)
                    await run.explain()
                    yield batch, first
        except BlaxelError as caught:
            reword(caught, run.logs.masks.text)
            error = caught
            raise
        finally:
            try:
                if guard is not None:
                    await end(guard)
            finally:
                run.release(error)

    async def _kill_late(self, run: SandboxRun) -> None:
        """Kill a run when its time is over, in case the server does not."""
        assert run.timeout is not None
        await asyncio.sleep(max(0.0, run.began + run.timeout - time.monotonic()))
        run.timed_out = True
        with suppress(StatusError, TransportError):
            await self.kill(run.name)

    def _spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def made_up_name() -> str:
    """Make a name that no process has had: reused names share files with the run before (protocol 4.7)."""
    return f"nb-{secrets.token_hex(4)}"


def _with_mark(ledger: Ledger) -> str:
    text = ledger.data.decode("utf-8", "replace")
    if not ledger.missing and not ledger.unknown_gap:
        return text
    lost = "some bytes" if ledger.unknown_gap else f"{ledger.missing} bytes"
    return f"[{lost} missing: the server dropped them]\n{text}"
