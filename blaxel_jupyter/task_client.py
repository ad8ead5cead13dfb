"""The client of agent tasks: create, read, follow, list and cancel runs, and many logs at once.

It binds the task API to runs and their follow; statuses and routes are the API's, events the run's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Self
from urllib.parse import quote

from blaxel_jupyter import credentials
from blaxel_jupyter.ending import end
from blaxel_jupyter.errors import (
    BlaxelError,
    FollowError,
    ProtocolError,
    TransportError,
    is_passing,
    is_passing_there,
)
from blaxel_jupyter.json_values import text_of
from blaxel_jupyter.masks import Masks
from blaxel_jupyter.retries import retried
from blaxel_jupyter.task import TaskEvent, TaskStatus
from blaxel_jupyter.task_api import HINTS, READ_PATIENCE, TaskApi, TaskPage
from blaxel_jupyter.task_follow import TaskFollow
from blaxel_jupyter.task_log import TaskLog
from blaxel_jupyter.task_runs import FROM_MESSAGES, Controls, TaskRun, TaskRuns
from blaxel_jupyter.transport import AsyncTransport, Http

FOLLOW_PATIENCE = 300.0
"""Seconds for which a follow goes on trying while the service cannot be reached."""

Progress = Callable[[int, int], object]


class TaskClient:
    """Agent tasks of BLACKBOX, or of the local service.

    Args:
        target: None for BLACKBOX (``BLACKBOX_API_KEY``), ``local`` for the embedded local service.
        transport: httpx transport, for tests.

    Raises:
        ValueError: another target.
    """

    def __init__(
        self, target: str | None = None, *, transport: AsyncTransport | None = None
    ) -> None:
        if target not in (None, "local"):
            raise ValueError(
                f"TaskClient takes no target (BLACKBOX) or 'local', not {target!r}. "
                "Another address is set with BLACKBOX_API_URL."
            )
        self._api = TaskApi(target, Http(transport, hints=HINTS))
        self._runs: dict[str, tuple[TaskRun, float | None]] = {}

    @property
    def name(self) -> str:
        """``BLACKBOX`` or ``local``."""
        return self._api.name

    @property
    def is_local(self) -> bool:
        """Whether the runs are the embedded local service's."""
        return self._api.is_local

    async def __aenter__(self) -> Self:
        """Open nothing yet: the first call does."""
        self._api.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close it."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the running loop's connections; runs go on."""
        await self._api.aclose()

    # Reading --------------------------------------------------------------------------------------------

    async def logs(self, run_id: str, *, include_deltas: bool = True, raw: bool = False) -> TaskRun:
        """Read a run's log in one call.

        Args:
            run_id: the run.
            include_deltas: False leaves the text pieces out of the events; the text then comes from the
                run's message, and ``source`` ends with ``+messages``.
            raw: keep the raw event lines, too, in ``raw_events``.

        Returns:
            The run; ``await`` it to follow it if it has not ended.

        Raises:
            AuthError: the key is wrong, or the run is another user's.
            NotFoundError: there is no such run.
            TransportError, ProtocolError: no whole log came; ``partial`` is the run with what did.
        """
        run = self.run(run_id)
        await self.read(run, include_deltas=include_deltas, raw=raw)
        return run

    def run(self, run_id: str) -> TaskRun:
        """Return a run of which nothing is read yet; ``await`` it to read and follow it.

        Raises:
            ValueError: that is no run id.
        """
        _check(run_id)
        controls = Controls(self._finish, self.cancel)
        masks = Masks(credentials.secrets())
        return TaskRun(run_id, controls, target=self.name, masks=masks)

    async def read(self, run: TaskRun, *, include_deltas: bool = True, raw: bool = False) -> None:
        """Record in a run what its log holds now; arguments and errors as for ``logs``."""
        run.start_again()
        details = asyncio.ensure_future(self._details(run))
        try:
            log = await self._log(run, deltas=include_deltas, raw=raw)
            run.take_log(log)
            run.source = log.source
            run.record(log.read, log.source or "buffer")
            if not log.whole:
                raise ProtocolError(
                    f"The log of run {run.run_id} came cut: the {len(log.read)} events that arrived "
                    "are kept. Read it again."
                )
            _fill_text(run, await details, missing=not include_deltas)
        except BlaxelError as error:
            error.partial = run
            raise
        finally:
            await end(details)
        if run.ended:
            run.end()

    async def logs_many(
        self,
        run_ids: Sequence[str],
        *,
        include_deltas: bool = True,
        raw: bool = False,
        concurrency: int = 8,
        progress: Progress | None = None,
    ) -> TaskRuns:
        """Read several logs at once; their tables stack.

        Args:
            run_ids: the runs.
            include_deltas: as for ``logs``.
            raw: as for ``logs``.
            concurrency: how many are read at a time.
            progress: called with how many are read and how many there are, after each.

        Raises:
            BlaxelError: some could not be read; ``partial`` holds all of them, with what came.
        """
        runs = TaskRuns(self.run(run_id) for run_id in run_ids)
        failed = await self.read_many(
            runs, include_deltas=include_deltas, raw=raw, concurrency=concurrency, progress=progress
        )
        if failed:
            raise failed
        return runs

    async def read_many(
        self,
        runs: TaskRuns,
        *,
        include_deltas: bool = True,
        raw: bool = False,
        concurrency: int = 8,
        progress: Progress | None = None,
    ) -> BlaxelError | None:
        """Read several runs; return what went wrong, if anything did."""
        gate, errors, done = asyncio.Semaphore(max(1, concurrency)), [], 0

        async def read(run: TaskRun) -> None:
            nonlocal done
            async with gate:
                try:
                    await self.read(run, include_deltas=include_deltas, raw=raw)
                except BlaxelError as error:
                    run.message = str(error)
                    errors.append(error)
                done += 1
                if progress is not None:
                    progress(done, len(runs))

        async with asyncio.TaskGroup() as group:
            for run in runs:
                group.create_task(read(run))
        return _summed_up(errors, runs)

    @asynccontextmanager
    async def follow(self, run: str | TaskRun) -> AsyncIterator[AsyncIterator[TaskEvent]]:
        """Follow a run: what happened so far, then live, until it has ended.

        Args:
            run: a run id, or a run, whose tables then fill.

        Yields:
            An async iterator of events, each once. Leaving the block ends the follow; the run goes on.

        Raises:
            NotFoundError, AuthError: (while iterating) the service refuses.
            FollowError: (while iterating) the service could not be reached for too long.
        """
        if isinstance(run, str):
            run = self._runs[run][0] if self._is_untouched(run) else self.run(run)
        async with aclosing(self._entries(run)) as entries:
            yield entries

    async def status(self, run_id: str) -> TaskStatus:
        """Read how a run stands: ``status`` in our words, ``status_raw`` in the service's."""
        _check(run_id)
        return await self._api.status(run_id)

    async def list(self, page: int = 1, limit: int = 20, *, status: str | None = None) -> TaskPage:
        """List runs, a page at a time, in the service's order.

        Args:
            page: from 1.
            limit: 1 to 100.
            status: only runs that stand like this.
        """
        if page < 1 or not 1 <= limit <= 100:
            raise ValueError("page counts from 1, and limit is 1 to 100.")
        return await self._api.page(page=page, limit=limit, status=status)

    # Starting and ending --------------------------------------------------------------------------------

    async def create(
        self,
        prompt: str,
        *,
        model: str | None = None,
        agent: str | None = None,
        repo_url: str | None = None,
        branch: str | None = None,
    ) -> TaskRun:
        """Start a run.

        Args:
            prompt: what the agent is to do.
            model: its model; it also picks the runtime.
            agent: the runtime: ``claude``, ``codex`` and so on.
            repo_url: a GitHub repository to work in.
            branch: its branch.

        Returns:
            The run, queued; ``await`` it to follow it.

        Raises:
            ValueError: the prompt is empty.
            TransportError: no answer came; the run may have been created all the same.
        """
        if not prompt.strip():
            raise ValueError("The prompt is empty: say what the agent is to do.")
        body = {"prompt": prompt, "model": model, "agent": agent}
        body |= {"repoUrl": repo_url, "selectedBranch": branch}
        asked = time.monotonic()
        answer = await self._post("/tasks", body)
        return self._created(asked, answer, prompt, model, agent, repo_url, branch)

    async def follow_up(
        self, run_id: str, prompt: str, *, model: str | None = None, agent: str | None = None
    ) -> TaskRun:
        """Continue a run's thread with another prompt; ``model`` needs ``agent`` (tasks protocol 2.8)."""
        _check(run_id)
        body = {"prompt": prompt, "model": model, "agent": agent}
        asked = time.monotonic()
        answer = await self._post(f"/tasks/{quote(run_id, safe='')}/continue", body)
        return self._created(asked, answer, prompt, model, agent)

    async def cancel(self, run_id: str) -> TaskStatus:
        """Cancel a run and return how it stands then; one that has ended stays as it is."""
        _check(run_id)
        await self._api.cancel(run_id)
        return await self._api.status(run_id)

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in body.items() if value is not None}
        try:
            answer = await self._api.create(path, given)
        except TransportError as error:
            if not error.sent:
                raise
            raise TransportError(
                f"{error} The run may have been created all the same: %task list shows it.",
                url=error.url,
            ) from error
        return answer if isinstance(answer, dict) else {}

    def _created(
        self,
        asked: float,
        answer: dict[str, Any],
        prompt: str,
        model: str | None,
        agent: str | None,
        repo_url: str | None = None,
        branch: str | None = None,
    ) -> TaskRun:
        run_id = text_of(answer.get("runId")) or text_of(answer.get("taskId"))
        if run_id is None:
            raise ProtocolError("The service's answer names no run. %task list shows the runs.")
        run = self.run(run_id)
        facts = run.facts
        facts.status_raw, facts.prompt = "queued", prompt
        facts.model, facts.agent, facts.repo_url, facts.base_branch = model, agent, repo_url, branch
        facts.chat_id = text_of(answer.get("chatId"))
        facts.assistant_message_id = text_of(answer.get("assistantMessageId"))
        facts.previous_run_id = text_of(answer.get("previousRunId"))
        self._runs[run_id] = run, asked
        return run

    # How a run is filled --------------------------------------------------------------------------------

    def _is_untouched(self, run_id: str) -> bool:
        run = self._runs[run_id][0] if run_id in self._runs else None
        return run is not None and not run.busy and not run.final and not len(run.events)

    async def _log(self, run: TaskRun, *, deltas: bool = True, raw: bool = False) -> TaskLog:
        """Read the log, again where it came cut, and the longest of what came in the end."""
        best: TaskLog | None = None
        read = partial(self._api.log, run.run_id, deltas=deltas, raw=raw)
        for _ in range(3):
            log: TaskLog = await retried(read, patience=READ_PATIENCE, may_pass=_may_pass(run))
            if best is None or log.whole or len(log.read) > len(best.read):
                best = log
            if log.whole:
                break
            await asyncio.sleep(0.2)
        assert best is not None
        return best

    async def _details(self, run: TaskRun) -> dict[str, Any]:
        """Read the details if the service gives them; a log says enough without."""
        with suppress(BlaxelError, TimeoutError):
            async with asyncio.timeout(READ_PATIENCE):
                details = await self._api.details(run.run_id, patience=0.0)
                run.take_details(details)
                return details
        return {}

    async def _finish(self, run: TaskRun) -> None:
        async with aclosing(self._recorded(run)) as news:
            async for _ in news:
                pass

    async def _entries(self, run: TaskRun) -> AsyncGenerator[TaskEvent, None]:
        for entry in run.entries(range(len(run.events))):
            yield entry
        if run.final:
            return
        async with aclosing(self._recorded(run)) as news:
            async for seqs in news:
                for entry in run.entries(seqs):
                    yield entry

    async def _recorded(self, run: TaskRun) -> AsyncGenerator[Sequence[int], None]:
        """Follow, record in the run, and pass on the positions of what is new."""
        run.claim()
        error: BlaxelError | None = None
        if run.source is not None and run.source.endswith(FROM_MESSAGES):
            run.start_again()  # the stream tells that text again, in its place
        created = self._runs.pop(run.run_id, (run, None))[1]
        follow = TaskFollow(_Reads(self._api, run, self._log), run, created=created)
        try:
            async with aclosing(follow.new()) as news:
                async for seqs in news:
                    yield seqs
            _fill_text(run, await self._details(run))
            run.end()
        except BlaxelError as caught:
            error = caught
            if _may_pass(run)(caught):
                error = FollowError(
                    f"Following run {run.run_id} stopped after {len(run.events)} events: {caught} "
                    "Await the run to go on.",
                    seq=len(run.events),
                )
            error.partial = run
            raise error from caught
        finally:
            run.release(error)


def _may_pass(run: TaskRun) -> Callable[[BlaxelError], bool]:
    return is_passing if run.status_raw is None else is_passing_there


@dataclass(frozen=True, slots=True)
class _Reads:
    """The reads of one run's follow."""

    api: TaskApi
    run: TaskRun
    whole_log: Callable[[TaskRun], Awaitable[TaskLog]]

    async def status(self) -> TaskStatus:
        return await self.api.status(
            self.run.run_id,
            patience=FOLLOW_PATIENCE,
            may_pass=_may_pass(self.run),
            report=self.run.tell_trouble,
        )

    async def log(self) -> TaskLog:
        return await self.whole_log(self.run)

    async def glance(self) -> TaskLog:
        return await self.api.log(self.run.run_id)

    def stream(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self.api.follow(self.run.run_id)


def _fill_text(run: TaskRun, details: dict[str, Any], *, missing: bool = False) -> None:
    """Take the text from the messages where the log has none (tasks protocol 3.4, 3.5)."""
    begun = "text-start" in run.events.column("type")
    if not run.fold.text_chars and (missing or begun):
        run.take_messages(details)


def _summed_up(errors: list[BlaxelError], runs: TaskRuns) -> BlaxelError | None:
    if not errors:
        return None
    error = errors[0]
    if len(runs) > 1:
        error = BlaxelError(
            f"{len(errors)} of {len(runs)} logs could not be read; the others are there. {error}"
        )
    error.partial = runs
    return error


def _check(run_id: str) -> None:
    if not run_id or len(run_id) > 200 or not run_id.isprintable() or not run_id.strip(". /\\"):
        raise ValueError(f"{run_id[:80]!r} is no run id. %task list shows the runs that there are.")
