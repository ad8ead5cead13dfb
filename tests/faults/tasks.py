"""Follow task runs through a proxy with faults: every event of the script is there, whatever happens.

The same faults of reads as for sandboxes, before an imitation of BLACKBOX whose habits are the seed's, too.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from random import Random

from blaxel_jupyter import BlaxelError, TaskClient, TaskRun
from tests.faults.answers import REFUSALS
from tests.faults.plans import Fault, read_fault
from tests.faults.proxy import proxy
from tests.faults.runs import PATIENCE, TRIES, Outcome
from tests.imitation.task_scripts import truth
from tests.imitation.tasks import Script, TaskHabits, TaskImitation, invented, task_imitation
from tests.task_world import events


def habits(seed: int) -> TaskHabits:
    """Return what the service of a seed is like."""
    random = Random(f"task habits {seed}")
    return TaskHabits(
        replay=random.random() < 0.7,
        rechunk=random.choice([None, seed]),
        after_end=random.choice(["buffer", "reconstructed", "merged"]),
        terminal=random.choice(["everywhere", "logs", "nowhere"]),
        keepalive=random.choice([None, 0.05]),
        chop=random.choice([None, 30]),
    )


def faults(seed: int) -> list[Fault]:
    """Return what goes wrong with the reads of a seed's run."""
    random = Random(f"task faults {seed}")
    made = [read_fault(random) for _ in range(random.choice([1, 2, 4, 8, 16]))]
    # After a 401 the service is looked for in the environment again, which has another plan's by then.
    return [fault for fault in made if fault.answer != REFUSALS[0]]


class TaskPlans:
    """Carry out plans; clients find their service by the environment, so they begin one after another."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def outcome(self, seed: int) -> Outcome:
        """Carry out one plan."""
        own = task_imitation(habits(seed))
        server: TaskImitation = await asyncio.to_thread(own.__enter__)
        found = Outcome(seed)
        try:
            async with asyncio.timeout(PATIENCE):
                await self._followed(server, found)
        except TimeoutError:
            found.problem = f"not over after {PATIENCE:.0f} s"
        finally:
            await asyncio.to_thread(own.__exit__, None, None, None)
        return found

    async def _followed(self, server: TaskImitation, found: Outcome) -> None:
        script = invented(found.seed, 150)
        run_id = server.add(script.paced(0.01), play=False)
        root, _, path = server.url.partition("/api")
        async with proxy(root, faults(found.seed)) as between, TaskClient() as tasks:
            async with self._turn:
                os.environ["BLACKBOX_API_URL"] = f"{between.url}/api{path}"
                os.environ["BLACKBOX_API_KEY"] = server.key
                await tasks.list()
            between.starts = 1  # it was started before: reads may go wrong now
            run = tasks.run(run_id)
            await _finished(run, found)
            found.faults = between.done
            found.integrity = "complete"
            found.problem = found.problem or compared(run, script)
            if between.strayed:
                found.problem = f"sent to another origin: {between.strayed[0][:80]!r}"
            if server.key in "".join([*found.errors, repr(run), *run.warnings]):
                found.problem = "the key is shown"


async def _finished(run: TaskRun, found: Outcome) -> None:
    """Follow to the end, again after each error: what came stays and is not told twice."""
    for _ in range(TRIES):
        try:
            await run
            return
        except BlaxelError as error:
            found.errors.append(f"{type(error).__name__}: {error}")
    raise TimeoutError


def compared(run: TaskRun, script: Script) -> str:
    """Say in what a run differs from its script; nothing where all is there, once."""
    expected = truth(script.events)
    told = truth(events(run))
    wrong = [name for name in expected if told.get(name) != expected[name]]
    if wrong:
        return f"other {', '.join(wrong)}"
    if run.text != expected["text"]:
        return "other text"
    if run.status != script.status:
        return f"status {run.status}, not {script.status}"
    if [row["seq"] for row in run.events] != list(range(len(run.events))):
        return "seq is not the position"
    return ""


async def task_outcomes(
    seeds: Iterable[int],
    at_once: int,
    tell: Callable[[int, Outcome, float], object] = lambda done, outcome, seconds: None,
) -> list[Outcome]:
    """Carry out plans, several at once; ``tell`` gets how many are done, each outcome and its seconds."""
    room, plans = asyncio.Semaphore(at_once), TaskPlans()
    found: list[Outcome] = []

    async def one(seed: int) -> None:
        async with room:
            began = time.monotonic()
            found.append(await plans.outcome(seed))
            tell(len(found), found[-1], time.monotonic() - began)

    async with asyncio.TaskGroup() as group:
        for seed in seeds:
            group.create_task(one(seed))
    return sorted(found, key=lambda each: each.seed)
