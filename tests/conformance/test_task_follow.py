"""What a follow of a task run promises, against an imitation of BLACKBOX: every event, once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from blaxel_jupyter import TaskClient, TaskRun
from tests import blackbox_examples as examples
from tests.imitation.tasks import (
    HOLD,
    LOGS,
    STREAM,
    Script,
    TaskFault,
    TaskHabits,
    invented,
    recorded,
)
from tests.task_world import (
    Serve,
    ended,
    events,
    gone,
    impatient,
    is_whole,
    live,
    others,
    seen,
    segments,
    serve,
)

__all__ = ["impatient", "serve"]  # fixtures


async def is_as_uncut(serve: Serve, run: TaskRun, script: Script) -> None:
    """Assert that a run's events are those of a run whose connection was never cut."""
    is_whole(run, script)
    uncut = await live(serve(TaskHabits()), script.paced(0))
    assert others(events(run)) == others(events(uncut)) == others(script.events)
    assert segments(run) == segments(uncut)
    facts = ("tool_call_id", "tool_name", "state", "input", "output", "is_error", "exit_code")
    calls, calls_uncut = (
        [tuple(row[name] for name in facts) for row in each.tool_calls] for each in (run, uncut)
    )
    assert calls == calls_uncut


@pytest.mark.parametrize(
    ("habits", "cuts"),
    [
        (TaskHabits(after_end="buffer"), 200),
        (TaskHabits(after_end="buffer", rechunk=5, chop=50), 200),
        (TaskHabits(after_end="buffer", logs_live=False), 50),
        (TaskHabits(after_end="buffer", rechunk=6, logs_live=False), 50),
    ],
    ids=["same chunks", "other chunks each time", "no batch log meanwhile", "both"],
)
@pytest.mark.usefixtures("impatient")
async def test_two_hundred_cuts_give_the_events_of_an_uncut_run(
    serve: Serve, habits: TaskHabits, cuts: int
) -> None:
    """The stream is cut again and again, anywhere: before it begins, within a character, between events."""
    server = serve(habits)
    script = invented(7, 2 * cuts + 20)
    server.fail(TaskFault("cut", STREAM, times=cuts))
    run = await live(server, script.held(2))
    assert server.faults_left == 0
    assert server.count("/logs/stream") >= cuts
    await is_as_uncut(serve, run, script)


@pytest.mark.usefixtures("impatient")
async def test_cuts_of_a_run_that_is_reconstructed_at_its_end_lose_nothing(serve: Serve) -> None:
    """Its last events are told from the stored parts: other block ids, another order of outputs."""
    server = serve(TaskHabits(rechunk=9))
    script = invented(10, 150)
    server.fail(TaskFault("cut", STREAM, times=50))
    run = await live(server, script.held(3))
    is_whole(run, script)


@pytest.mark.parametrize("rechunk", [None, 3])
@pytest.mark.usefixtures("impatient")
async def test_cuts_of_a_stream_that_never_replays_lose_nothing(
    serve: Serve, rechunk: int | None
) -> None:
    """What a stream without replay left out is in the batch log."""
    server = serve(TaskHabits(replay=False, rechunk=rechunk, after_end="buffer"))
    script = invented(8, 150)
    server.fail(TaskFault("cut", STREAM, times=60))
    run = await live(server, script.held(2))
    is_whole(run, script)


@pytest.mark.parametrize("after_end", ["buffer", "reconstructed", "merged"])
async def test_what_was_missed_for_good_is_in_the_last_batch_read(
    serve: Serve, after_end: Any
) -> None:
    """The stream tells only the second half, the batch log is there only at the end."""
    server = serve(TaskHabits(replay=False, logs_live=False, after_end=after_end))
    script = invented(9, 60)
    run_id = server.add(script.held(30))
    server.go_on(run_id)
    async with TaskClient() as tasks:
        run = tasks.run(run_id)
        waiting = asyncio.ensure_future(ended(run))
        await seen(server, "/logs/stream")
        server.let_go(run_id)
        await waiting
    is_whole(run, script)


@pytest.mark.parametrize("name", ["01-success", "02-failed", "03-cancelled", "05-interrupted"])
@pytest.mark.parametrize(
    "habits",
    [
        TaskHabits(),
        TaskHabits(crlf=True, ids=True, two_lines=True, done=True, keepalive=0.01, chop=5),
        TaskHabits(terminal="logs"),
        TaskHabits(terminal="nowhere"),
        TaskHabits(status_lag=0.4),
        TaskHabits(status_lag=0.4, terminal="nowhere", agent=False, details=False),
        TaskHabits(replay=False, after_end="merged"),
    ],
    ids=["friendly", "odd", "end in the log", "bare close", "lag", "lag, bare", "merged"],
)
async def test_every_example_is_followed_to_its_end(
    serve: Serve, name: str, habits: TaskHabits
) -> None:
    script = recorded(name, 0.002)
    run = await live(serve(habits), script)
    is_whole(run, script)
    assert run.error == script.error


async def test_broken_events_are_told_and_harm_nothing(serve: Serve) -> None:
    script = recorded("01-success", 0.001)
    run = await live(serve(TaskHabits(broken_every=5)), script)
    is_whole(run, script)
    assert any("not JSON" in warning for warning in run.warnings)


async def test_an_outage_is_survived(serve: Serve) -> None:
    """Nothing listens for a second while the run goes on."""
    server = serve(TaskHabits(rechunk=2, after_end="buffer"))
    script = invented(11, 80)
    run_id = server.add(script.paced(0.03), play=False)
    async with TaskClient() as tasks:
        run = tasks.run(run_id)
        waiting = asyncio.ensure_future(ended(run))
        await seen(server, "/logs/stream")
        await asyncio.to_thread(server.refuse, 1.0)
        await waiting
    await is_as_uncut(serve, run, script)


# Times


async def test_durations_are_those_of_the_live_run(serve: Serve) -> None:
    """A recorded run at a twentieth of its time: each call lasts a twentieth of what it lasted."""
    run = await live(serve(TaskHabits()), recorded("01-success.capture", 0.05))
    expected = examples.expected()["01-success.capture.ndjson"]["toolCalls"]
    for row, call in zip(run.tool_calls, expected, strict=True):
        lasted = row["duration_ms"] or 0  # what came together tells no duration
        assert -25 <= lasted - call["durationMs"] * 0.05 <= 200
    received = [row["received"] for row in run.events]
    assert None not in received[3:]  # what the batch log has when the stream begins is past
    assert received[3:] == sorted(received[3:])


@pytest.mark.parametrize("after_end", ["buffer", "reconstructed", "merged"])
@pytest.mark.parametrize("way", ["follow", "logs"])
async def test_a_run_that_was_over_has_no_times(serve: Serve, after_end: Any, way: str) -> None:
    """A finished run comes in one burst, whose times say nothing."""
    server = serve(TaskHabits(after_end=after_end))
    script = recorded("01-success", ended=True)
    run_id = server.add(script)
    async with TaskClient() as tasks:
        if way == "follow":
            run = await ended(tasks.run(run_id))
        else:
            run = await tasks.logs(run_id)
    is_whole(run, script)
    assert {row["received"] for row in run.events} == {None}
    assert {row["duration_ms"] for row in run.tool_calls} == {None}
    assert run.source == after_end


async def test_only_calls_that_began_live_have_durations(serve: Serve) -> None:
    """A follow that joins in mid-run gets the beginning as a replay, which has no times."""
    server = serve(TaskHabits())
    script = invented(12, 90)
    delays = [0.0] * 45 + [HOLD] + [0.004] * len(script.steps)
    steps = tuple(zip(delays, script.events, strict=False))
    run_id = server.add(replace(script, steps=steps))
    async with TaskClient() as tasks:
        run = tasks.run(run_id)
        waiting = asyncio.ensure_future(ended(run))
        await rows(run, 45)
        await asyncio.sleep(0.1)  # what comes within 20 ms of the past may be past
        server.let_go(run_id)
        await waiting
    is_whole(run, script)
    times = [row["received"] for row in run.events]
    assert times[:45] == [None] * 45
    assert None not in times[45:]
    for row in run.tool_calls:
        begun, over = times[row["input_seq"]], times[row["end_seq"]]
        told = begun is not None and begun != over  # what came together tells no duration
        lasted = round((over - begun).total_seconds() * 1000) if told else None
        assert row["duration_ms"] == lasted
    assert any(row["duration_ms"] for row in run.tool_calls)


async def rows(run: TaskRun, n: int) -> None:
    """Wait until a run that is being followed has ``n`` events."""
    while len(run.events) < n:  # noqa: ASYNC110  # a run has no event to wait for
        await asyncio.sleep(0.005)


# What else a client does


async def test_follow_yields_each_event_as_it_comes(serve: Serve) -> None:
    server = serve(TaskHabits())
    script = recorded("01-success", 0.005)
    run_id = server.add(script, play=False)
    found, early = [], 0
    async with TaskClient() as tasks, tasks.follow(run_id) as told:
        async for event in told:
            found.append(event)
            early += server.status(run_id) == "running"
    assert [event.data for event in found] == script.events
    assert [event.seq for event in found] == list(range(28))
    assert early > 20


async def test_a_run_is_created_followed_listed_and_cancelled(serve: Serve) -> None:
    server = serve(TaskHabits())
    held = server.add(invented(3, 40).held(5))
    async with TaskClient() as tasks:
        run = await tasks.create("say these words", model="m/1", agent="claude")
        await ended(run)
        assert (run.text, run.status) == ("say these words ", "completed")
        assert {task.run_id for task in await tasks.list()} == {held, run.run_id}
        assert [task.run_id for task in await tasks.list(status="running")] == [held]
        assert (await tasks.status(held)).status == "running"
        other = tasks.run(held)
        waiting = asyncio.ensure_future(ended(other))
        await seen(server, f"/tasks/{held}/logs/stream")
        await tasks.cancel(held)
        await waiting
    assert other.status == "cancelled"
    body = next(seen for seen in server.requests if seen.method == "POST")
    assert body.path == "/tasks"


async def test_waiters_share_one_follow(serve: Serve) -> None:
    server = serve(TaskHabits())
    run_id = server.add(recorded("01-success", 0.005), play=False)
    async with TaskClient() as tasks:
        run = tasks.run(run_id)
        await asyncio.gather(*(run.finish() for _ in range(5)))
    assert server.count("/logs/stream") == 1
    is_whole(run, recorded("01-success"))


async def test_a_follow_that_is_left_ends_its_connections_and_tasks(serve: Serve) -> None:
    server = serve(TaskHabits())
    run_id = server.add(invented(5, 60).held(30))
    server.go_on(run_id)
    before = asyncio.all_tasks()
    async with TaskClient() as tasks:
        async with tasks.follow(run_id) as told:
            async for event in told:
                if event.seq == 10:
                    break
        assert asyncio.all_tasks() == before
        assert server.status(run_id) == "running"
    await gone(server)


async def test_a_cancelled_wait_can_be_taken_up_again(serve: Serve) -> None:
    server = serve(TaskHabits(rechunk=4))
    script = invented(6, 60)
    run_id = server.add(script.held(20))
    server.go_on(run_id)
    before = asyncio.all_tasks()
    async with TaskClient() as tasks:
        run = tasks.run(run_id)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(run.finish(), 0.3)
        assert asyncio.all_tasks() == before
        server.let_go(run_id)
        await ended(run)
    is_whole(run, script)
    await gone(server)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("seed", range(6))
async def test_whatever_goes_wrong_on_the_way_nothing_is_lost(serve: Serve, seed: int) -> None:
    """Drops, resets, busy answers, web pages, half answers and outages, of streams and reads, by chance."""
    dice = Random(seed)
    server = serve(
        TaskHabits(
            replay=seed % 4 != 3,
            rechunk=seed if seed % 2 else None,
            after_end=dice.choice(["buffer", "reconstructed", "merged"]),
            terminal=dice.choice(["everywhere", "logs", "nowhere"]),
            keepalive=dice.choice([None, 0.01]),
            chop=dice.choice([None, 30]),
        )
    )
    script = invented(seed + 20, 150)
    run_id = server.add(script.paced(0.01), play=False)
    for _ in range(12):
        path = dice.choice([STREAM, STREAM, STREAM, LOGS, r"/status$"])
        kinds = ["drop", "reset", "status", "delay", "trickle"]
        if path != r"/status$":
            kinds += ["half", "short"]
        if path == STREAM:
            kinds += ["html", "html"]  # elsewhere it is an answer, and final
        server.fail(
            TaskFault(
                dice.choice(kinds),  # type: ignore[arg-type]
                path=path,
                skip=dice.randrange(3),
                after=dice.choice([-1, 0, 1, 100, 2000, 9000]),
                status=dice.choice([429, 502, 503, 504]),
                seconds=0.01,
                step=200,
            )
        )
    async with TaskClient() as tasks:
        run = tasks.run(run_id)
        waiting = asyncio.ensure_future(ended(run))
        await seen(server, "/logs/stream")
        if seed % 2:
            await asyncio.to_thread(server.refuse, 0.2)
        await waiting
    is_whole(run, script)
