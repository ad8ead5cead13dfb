"""Talk to one sandbox: start processes, follow them, read their logs, stop them.

The routes of the sandbox API (protocol 3 and 4.9) are spelled here and nowhere else; what a follow does
with them is follow's business, HTTP is transport's. magics and the public API use it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
import secrets
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from typing import Any, Protocol, cast
from urllib.parse import quote

from blaxel_jupyter.errors import (
    NotFoundError,
    ProtocolError,
    StatusError,
    TransportError,
)
from blaxel_jupyter.follow import FILES, Batch, Block, End, Follow, Reads
from blaxel_jupyter.ledger import Ledger, Rows
from blaxel_jupyter.process import LOG_DIR, LogEntry, Process, Stream, name_problem
from blaxel_jupyter.runs import Controls, SandboxRun
from blaxel_jupyter.target import Target, resolve, target_name
from blaxel_jupyter.transport import Answer, AsyncTransport, Http, read_json, retried
from blaxel_jupyter.wire import Lines

READ_PATIENCE = 5.0
"""Seconds for which one read is repeated while the server cannot be reached."""

FOLLOW_PATIENCE = 300.0
"""Seconds for which a follow goes on trying without one answer: a laptop's sleep, a server's restart."""

Callback = Callable[[str], object]


class Instance(Protocol):
    """The part of an official ``blaxel`` SandboxInstance that is used: its record and its process API."""

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
        self._sandbox = sandbox
        self._url = url
        self._http = Http(transport)
        self._target: Target | None = None
        self._raw_files: bool | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._runs: weakref.WeakValueDictionary[str, SandboxRun] = weakref.WeakValueDictionary()

    @property
    def name(self) -> str:
        """The sandbox's name, or the URL's host for a server known by its URL."""
        return target_name(self._sandbox, self._url)

    @property
    def is_local(self) -> bool:
        """Whether commands run on this machine, as the user, without isolation."""
        return isinstance(self._sandbox, str) and self._sandbox.split("/")[0] == "local"

    async def url(self) -> str:
        """Find out the base URL of the sandbox's API.

        Raises:
            NotFoundError: there is no such sandbox.
            CredentialsError: the control plane has to be asked and there is no credential.
        """
        return (await self._resolved()).url

    async def __aenter__(self) -> SandboxClient:
        """Open nothing yet: the first call does."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close it."""
        await self.aclose()

    async def aclose(self) -> None:
        """End callbacks that still run on this loop and close its connections; processes go on."""
        loop = asyncio.get_running_loop()
        mine = [task for task in self._tasks if task.get_loop() is loop]
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)
        await self._http.aclose()

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
            ValueError: a name that could not be found again, or an empty command.
            StatusError: the server refused: name taken, no such folder.
            TransportError: unreachable; where the command may have been started all the same, the
                name was looked up first and the running process is returned instead.
        """
        if not command.strip():
            raise ValueError("The command is empty: there is nothing to run.")
        problem = name_problem(name) if name is not None else None
        if problem:
            raise ValueError(f"A process cannot be called {name!r}: {problem}. Choose another name.")
        before = await self._known(name) if name is not None else None
        body: dict[str, Any] = {
            "name": name or f"nb-{secrets.token_hex(4)}",
            "command": command,
            "env": {"PYTHONUNBUFFERED": "1", **(env or {})},
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
        process = await self._start(body, before)
        run = self._run(process, fresh=True, timeout=timeout)
        callbacks = _Callbacks(on_log, on_stdout, on_stderr)
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
        return self._run(process, fresh=False, streams=streams)

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
        """List every process that the sandbox ever started, oldest first where the server tells."""
        answer = read_json((await self._read("/process")).body)
        if not isinstance(answer, list):
            raise ProtocolError("The server's answer is not a list of processes.")
        return [Process.parse(item) for item in answer]

    async def process(self, identifier: str) -> Process:
        """Read one process's facts, by name or pid.

        Raises:
            NotFoundError: there is no such process.
        """
        try:
            answer = await self._read(f"/process/{quote(identifier, safe='')}")
        except NotFoundError as error:
            if error.from_gateway:
                raise
            raise NotFoundError(
                f"There is no process {identifier!r} in {self.name}. `%sandbox ps` lists them.",
                status_code=404,
                method=error.method,
                url=error.url,
                body=error.body,
            ) from None
        return Process.parse(read_json(answer.body))

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
        end = End(self._reads(process, READ_PATIENCE, None), process, time.monotonic)
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
        await self._ask("DELETE", f"/process/{quote(identifier, safe='')}")

    async def kill(self, identifier: str) -> None:
        """End a process at once: SIGKILL to its process group."""
        await self._ask("DELETE", f"/process/{quote(identifier, safe='')}/kill")

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
        follow = Follow(self._reads(run.process, READ_PATIENCE, None), run.process, run.ledgers)
        batches = [batch async for batch in follow.so_far()]
        if tail is not None:
            batches = [_last_rows(batches, stream, tail) for stream in run.ledgers]
        for batch in batches:
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
        callbacks = _Callbacks(on_log, on_stdout, on_stderr)

        async def feed() -> SandboxRun:
            return await self._feed(await self.attach(identifier), callbacks)

        return LogStream(self._spawn(feed()))

    # Files ----------------------------------------------------------------------------------------------

    async def upload(self, path: str, text: str) -> None:
        """Write a text file in the sandbox; folders on the way are made."""
        body = {"content": text, "permissions": "0600"}
        await self._ask("PUT", f"/filesystem/{quote(path, safe='')}", json=body)

    async def remove(self, path: str) -> None:
        """Delete a file in the sandbox."""
        await self._ask("DELETE", f"/filesystem/{quote(path, safe='')}")

    # How a run is filled --------------------------------------------------------------------------------

    def _run(
        self,
        process: Process,
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

    async def _feed(self, run: SandboxRun, callbacks: _Callbacks) -> SandboxRun:
        async with aclosing(self._entries(run)) as entries:
            async for entry in entries:
                if entry.kind == "line":
                    await callbacks(entry)
        return run

    async def _recorded(self, run: SandboxRun) -> AsyncGenerator[tuple[Batch, int], None]:
        """Follow, record in the run, and pass on each batch with its first ``seq``."""
        if not run.busy:
            run.claim()
        error: BaseException | None = None
        reads = self._reads(run.process, FOLLOW_PATIENCE, run)
        follow = Follow(reads, run.process, run.ledgers, fresh=run.fresh, seq=len(run.logs))
        guard = asyncio.create_task(self._kill_late(run)) if run.timeout is not None else None
        try:
            async with aclosing(follow.batches()) as batches:
                async for batch in batches:
                    yield batch, run.record(batch)
        except Exception as caught:  # whatever ended it, whoever waits for the run must learn it
            error = caught
            raise
        finally:
            if guard is not None:
                guard.cancel()
                await asyncio.gather(guard, return_exceptions=True)
            run.release(error)

    async def _kill_late(self, run: SandboxRun) -> None:
        """Kill a run when its time is over, in case the server does not."""
        assert run.timeout is not None
        await asyncio.sleep(max(0.0, run.began + run.timeout - time.monotonic()))
        run.timed_out = True
        with suppress(StatusError, TransportError):
            await self.kill(run.name)

    # Starting -------------------------------------------------------------------------------------------

    async def _known(self, name: str) -> Process | None:
        try:
            return await self.process(name)
        except NotFoundError as error:
            if error.from_gateway:
                raise
            return None

    async def _start(self, body: dict[str, Any], before: Process | None) -> Process:
        try:
            return await self._post(body)
        except StatusError as error:
            if error.status_code == 400 and body.get("keepAlive") and "keepAlive" in error.body:
                # Not in the plan: the client kills it when the time is over, as long as it lives.
                return await self._start(_without(body, "keepAlive", "timeout"), before)
            if error.status_code == 400 and "already exists" in error.body:
                raise StatusError(
                    f"Process {body['name']!r} is still running in {self.name}. "
                    f"Choose another name, or end it first: %sandbox stop {body['name']}",
                    status_code=400,
                    method=error.method,
                    url=error.url,
                    body=error.body,
                ) from None
            if error.status_code < 500:
                raise
            return await self._started(body["name"], before, error)
        except (TransportError, ProtocolError) as error:
            if isinstance(error, TransportError) and not error.sent:
                raise
            return await self._started(body["name"], before, error)

    async def _post(self, body: dict[str, Any]) -> Process:
        """Post once; with ports to wait for, watch that the process does not die meanwhile."""
        post = asyncio.ensure_future(self._ask("POST", "/process", json=body, read_timeout=None))
        try:
            while body.get("waitForPorts"):
                await asyncio.wait({post}, timeout=1.0)
                if post.done():
                    break
                process = await self._known(body["name"])
                if process is not None and process.ended and not process.restarts_left:
                    return process
            return Process.parse(read_json((await post).body))
        finally:
            post.cancel()

    async def _started(self, name: str, before: Process | None, error: Exception) -> Process:
        """Find out whether a start whose answer was lost happened; never start blindly again."""
        for pause in (0.2, 1.0, 2.0):
            process = await self._known(name)
            if process is not None and (before is None or process.pid != before.pid):
                return process
            await asyncio.sleep(pause)
        raise error

    # Requests -------------------------------------------------------------------------------------------

    def _reads(self, process: Process, patience: float, run: SandboxRun | None) -> Reads:
        """Bind the reads of one process, each repeated for ``patience`` seconds."""
        name = quote(process.name, safe="")

        async def read(path: str, **options: Any) -> Answer:
            return await self._read(path, patience=patience, run=run, **options)

        async def facts() -> Process:
            return Process.parse(read_json((await read(f"/process/{name}")).body))

        async def alive(pid: str) -> bool:
            headers = {"Accept": "application/json"}
            try:
                await read(f"/filesystem/%2Fproc%2F{quote(pid, safe='')}%2Fstat", headers=headers)
            except StatusError as error:
                if error.from_gateway:
                    raise
                return False
            return True

        async def raw(stream: str, offset: int, limit: int) -> Block | None:
            attempt = functools.partial(self._raw, process.name, stream, offset, limit, run)
            block: Block | None = await retried(attempt, patience=patience)
            return block

        async def logs() -> dict[str, str]:
            answer = read_json((await read(f"/process/{name}/logs")).body)
            return {stream: str(answer.get(stream) or "") for stream in FILES}

        def watch() -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
            ignored = quote(f"/{process.name}.log", safe="")
            return self._stream(f"/watch/filesystem/{quote(LOG_DIR, safe='')}?ignore={ignored}")

        def text() -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
            return self._stream(f"/process/{name}/logs/stream")

        return Reads(facts, raw, alive, watch, text, logs)

    async def _raw(
        self, name: str, stream: str, offset: int, limit: int, run: SandboxRun | None
    ) -> Block | None:
        """Read one block of a raw log file; only a complete one counts (protocol 4.9, 4.4)."""
        path = f"/filesystem/{quote(f'{LOG_DIR}/{name}.{stream}.log', safe='')}"
        headers = {
            "Accept": "application/octet-stream",
            "Accept-Encoding": "identity",
            "Range": f"bytes={offset}-{offset + limit - 1}",
        }
        try:
            answer = await self._ask("GET", path, headers=headers, accept=(416,), run=run)
        except StatusError as error:
            if error.from_gateway or error.status_code not in {400, 403, 404, 405, 500, 501}:
                raise
            return None
        return _block(answer, offset)

    async def _read(self, path: str, *, patience: float = READ_PATIENCE, **options: Any) -> Answer:
        answer: Answer = await retried(lambda: self._ask("GET", path, **options), patience=patience)
        return answer

    async def _ask(
        self, method: str, path: str, *, run: SandboxRun | None = None, **options: Any
    ) -> Answer:
        """Send one request; a local service that is gone is replaced for the next attempt."""
        target = await self._resolved()
        try:
            answer = await self._http.request(method, target.url + path, auth=target.auth, **options)
        except (TransportError, StatusError) as error:
            if isinstance(error, TransportError) or error.status_code == 401:
                self._forget_local()
            if run is not None and not isinstance(error, NotFoundError):
                run.trouble = "connection lost; trying again"
            raise
        if run is not None:
            run.trouble = None
        return answer

    @asynccontextmanager
    async def _stream(self, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        target = await self._resolved()
        async with self._http.stream(target.url + path, auth=target.auth) as chunks:
            yield chunks

    async def _resolved(self) -> Target:
        if self._target is None:
            self._target = await resolve(self._sandbox, self._url, self._http)
        return self._target

    def _forget_local(self) -> None:
        if self.is_local:
            self._target = None

    def _spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class LogStream:
    """A follow with callbacks that runs in the background, on the loop that started it."""

    def __init__(self, task: asyncio.Task[SandboxRun]) -> None:
        self._task = task

    async def wait(self) -> SandboxRun | None:
        """Wait until every line was called back; None if it was closed before.

        Raises:
            FollowError: the server could not be reached for too long.
            Exception: whatever a callback raised.
        """
        await asyncio.wait({self._task})
        return None if self._task.cancelled() else self._task.result()

    def close(self) -> None:
        """End it; no callback comes after. The process goes on."""
        self._task.cancel()

    async def __aenter__(self) -> LogStream:
        """Return itself."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close it and wait until it is closed."""
        self.close()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(self._task, return_exceptions=True)


class _Callbacks:
    """Call the right callbacks for a line."""

    def __init__(self, log: Callback | None, out: Callback | None, err: Callback | None) -> None:
        self._for = {
            "stdout": [call for call in (log, out) if call],
            "stderr": [call for call in (log, err) if call],
        }
        self.any = any(self._for.values())

    async def __call__(self, entry: LogEntry) -> None:
        for callback in self._for.get(entry.stream, ()):
            result = callback(entry.text)
            if inspect.isawaitable(result):
                await result


def _block(answer: Answer, offset: int) -> Block | None:
    """Read the answer to a range request (the table of protocol 4.9); None: not a raw file."""
    where = answer.headers.get("content-range", "")
    if answer.status == 416:
        total = where.rpartition("/")[2]
        return Block(offset, b"", int(total) if total.isdecimal() else offset)
    if answer.status == 200:
        if answer.headers.get("content-type", "").startswith("application/json"):
            return None
        return Block(0, answer.body, len(answer.body))
    start, end, total = where.removeprefix("bytes ").replace("/", "-").split("-")
    if int(start) != offset or int(end) - int(start) + 1 != len(answer.body):
        raise TransportError("A block of a log file came damaged.", url="")
    return Block(offset, answer.body, int(total))


def _last_rows(batches: list[Batch], stream: Stream, tail: int) -> Batch:
    """Keep the last rows of one stream; gaps count as rows."""
    kept: list[Rows] = []
    for rows in reversed([rows for batch in batches for rows in batch.rows if rows.stream == stream]):
        if tail <= 0:
            break
        lines = Lines("\n".join(rows.lines.texts()[-tail:]).encode())
        kept.insert(0, Rows(stream, lines, rows.kind, rows.missing_bytes))
        tail -= len(lines)
    return Batch(kept, "backfill")


def _with_mark(ledger: Ledger) -> str:
    text = ledger.data.decode("utf-8", "replace")
    return f"[{ledger.missing} bytes missing: the server dropped them]\n{text}" if ledger.missing else text


def _without(body: dict[str, Any], *members: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in members}
