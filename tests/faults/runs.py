"""Follow a plan's process through its proxy, as a user would who reads the errors and goes on."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from blaxel_jupyter import BlaxelError, FollowError, SandboxClient, SandboxRun
from tests.faults.compare import compared, is_start_of, unchecked
from tests.faults.plans import Plan, Server, plan
from tests.faults.proxy import Proxy, proxy
from tests.imitation import Habits, Imitation, imitation

PATIENCE = 1200.0
"""Seconds for one plan; a hang costs the client up to thirty, and the machine may be busy."""

KEY = "CANARY-fault-9c41"
"""The key that the client sends, to be found nowhere else."""

TRIES = 20
QUICK = Habits(keepalive=0.5, ndjson_keepalive=0.2)
HABITS: dict[Server, Habits] = {
    "capped": Habits(keepalive=0.5, cap=262_144, cap_period=0.05),
    "no files": Habits(keepalive=0.5, raw_files=False, watch=False),
    "no ranges": Habits(keepalive=0.5, ranges=False),
    "restarts": QUICK,
}
"""Servers of a plan's own; a plain one is shared."""


@dataclass(slots=True)
class Outcome:
    """How a plan ended: ``problem`` is empty where the run is exact, or says exactly what is missing."""

    seed: int
    problem: str = ""
    integrity: str = "none"
    size: int = 0
    missing: int = 0
    faults: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """The errors that the user was told on the way; each was followed by going on."""


async def outcome(url: str, seed: int) -> Outcome:
    """Carry out one plan, against the server at ``url`` unless it wants one of its own."""
    todo = plan(seed)
    found = Outcome(seed, size=len(todo.stdout) + len(todo.stderr))
    try:
        async with (
            asyncio.timeout(PATIENCE),
            _between(url, todo) as between,
            SandboxClient(url=between.url) as sandbox,
        ):
            found.faults = between.done
            run = await _run(sandbox, between, todo, found)
            await _finished(run, todo, found)
            found.integrity = "unchecked" if unchecked(run) else run.integrity
            found.problem = (
                found.problem
                or compared(run, todo, twice=between.starts > 1)
                or _leaked(between, run, found.errors)
            )
            found.missing = sum(
                row["missing_bytes"] or 0 for row in run.logs if row["kind"] == "gap"
            )
    except TimeoutError:
        found.problem = f"not over after {PATIENCE:.0f} s"
    return found


@asynccontextmanager
async def _between(url: str, todo: Plan) -> AsyncIterator[Proxy]:
    habits = HABITS.get(todo.server)
    if habits is None:
        async with proxy(url, todo.faults, todo.starts) as between:
            yield between
        return
    own = imitation(habits)
    server: Imitation = await asyncio.to_thread(own.__enter__)
    try:
        restart = functools.partial(asyncio.to_thread, server.restart)
        async with proxy(server.url, todo.faults, todo.starts, restart) as between:
            yield between
    finally:
        await asyncio.to_thread(own.__exit__, None, None, None)


async def _run(sandbox: SandboxClient, between: Proxy, todo: Plan, found: Outcome) -> SandboxRun:
    """Start the process, exactly once: after an error, look whether it is there, as the error says."""
    name = f"plan-{todo.seed}"
    for _ in range(TRIES):
        attached = between.starts > 0
        try:
            if attached:
                return await sandbox.attach(name)
            return await sandbox.exec(todo.command, name=name)
        except BlaxelError as error:
            found.errors.append(f"{type(error).__name__}: {error}")
            if between.starts and not attached and name not in str(error):
                found.problem = f"started, and the error does not say so: {error}"
        finally:
            twice = any(fault.startswith("sent twice") for fault in between.done)
            if between.starts > 1 + twice:
                found.problem = f"started {between.starts} times"
    raise TimeoutError


async def _finished(run: SandboxRun, todo: Plan, found: Outcome) -> None:
    """Follow to the end; after each error what is there must be right, and following again goes on."""
    for _ in range(TRIES):
        try:
            await run
            return
        except FollowError as error:
            found.errors.append(f"FollowError: {error}")
            if error.seq > len(run.logs):
                found.problem = f"seq {error.seq} of {len(run.logs)} rows"
            found.problem = found.problem or is_start_of(run, todo)
        except BlaxelError as error:
            found.problem = f"not a FollowError: {type(error).__name__}: {error}"
            return
    raise TimeoutError


def _leaked(between: Proxy, run: SandboxRun, errors: list[str]) -> str:
    if between.strayed:
        return f"sent to another origin: {between.strayed[0][:80]!r}"
    shown = [*errors, repr(run), *(row["text"] for row in run.logs)]
    return "the key is shown" if any(KEY in text for text in shown) else ""


async def outcomes(
    url: str,
    seeds: Iterable[int],
    at_once: int,
    tell: Callable[[int, Outcome, float], object] = lambda done, outcome, seconds: None,
) -> list[Outcome]:
    """Carry out plans, several at once; ``tell`` gets how many are done, each outcome and its seconds."""
    room = asyncio.Semaphore(at_once)
    found: list[Outcome] = []

    async def one(seed: int) -> None:
        async with room:
            began = time.monotonic()
            found.append(await outcome(url, seed))
            tell(len(found), found[-1], time.monotonic() - began)

    async with asyncio.TaskGroup() as group:
        for seed in seeds:
            group.create_task(one(seed))
    return sorted(found, key=lambda each: each.seed)
