"""What a batch read of a task's log promises: the same run, whatever it is told from."""

from __future__ import annotations

import asyncio
import json

import pytest

from blaxel_jupyter import TaskClient
from tests import blackbox_examples as examples
from tests.imitation.task_scripts import truth
from tests.imitation.tasks import (
    Script,
    TaskHabits,
    recorded,
)
from tests.task_world import (
    Serve,
    events,
    live,
    serve,
)

__all__ = ["serve"]  # a fixture


@pytest.mark.parametrize("name", examples.LINES)
async def test_every_example_is_read_as_a_batch(serve: Serve, name: str) -> None:
    server = serve(TaskHabits(after_end="buffer"))
    told = examples.events(name)
    script = Script(tuple((0.0, event) for event in told), ended=True)
    run_id = server.add(script)
    async with TaskClient() as tasks:
        run = await tasks.logs(run_id, raw=True)
    assert events(run) == told
    assert run.raw_events == [
        f"data: {json.dumps(e, ensure_ascii=False, separators=(',', ':'))}\n\n" for e in told
    ]
    assert (run.run_id, run.chat_id, run.status) == (run_id, script.chat_id, "completed")
    expected = examples.expected()[name]
    assert [row["tool_call_id"] for row in run.tool_calls] == [
        call["toolCallId"] for call in expected["toolCalls"]
    ]
    assert [row["text"] for row in run.text_blocks] == [
        segment["text"] for segment in expected["segments"]
    ]


@pytest.mark.parametrize("name", ["01-success", "02-failed", "03-cancelled"])
async def test_live_buffer_reconstructed_and_merged_tell_the_same_run(
    serve: Serve, name: str
) -> None:
    script = recorded(name, 0.001)
    found = [await live(serve(TaskHabits()), script)]
    for source in ("buffer", "reconstructed", "merged"):
        server = serve(TaskHabits(after_end=source))
        run_id = server.add(script)
        while server.status(run_id) != script.status:  # noqa: ASYNC110  # it is in a thread of its own
            await asyncio.sleep(0.005)
        async with TaskClient() as tasks:
            found.append(await tasks.logs(run_id))
    facts = ("tool_call_id", "tool_name", "input", "output", "error_text", "exit_code", "is_error")
    told = [
        (
            run.text,
            run.status,
            run.error,
            {row["tool_call_id"]: tuple(row[fact] for fact in facts) for row in run.tool_calls},
        )
        for run in found
    ]
    assert told == [told[0]] * 4
    assert [run.source for run in found[1:]] == ["buffer", "reconstructed", "merged"]


async def test_without_deltas_the_text_is_that_of_the_message(serve: Serve) -> None:
    server = serve(TaskHabits())
    script = recorded("01-success", ended=True)
    run_id = server.add(script)
    async with TaskClient() as tasks:
        run = await tasks.logs(run_id, include_deltas=False)
    assert "text-delta" not in {row["type"] for row in run.events}
    assert run.text == truth(script.events)["text"]
    assert "messages" in (run.source or "")
    assert [seen.query for seen in server.requests if seen.path.endswith("/logs")] == [
        {"includeDeltas": ["false"]}
    ]


async def test_a_log_without_text_takes_it_from_the_message(serve: Serve) -> None:
    """Reconstructed logs may come without any text, even when deltas are asked for."""
    server = serve(TaskHabits(logs_text=False))
    script = recorded("03-cancelled", ended=True)
    run_id = server.add(script)
    async with TaskClient() as tasks:
        run = await tasks.logs(run_id)
    assert run.text == truth(script.events)["text"]
    assert "messages" in (run.source or "")
    assert [row["state"] for row in run.tool_calls][-1] == "input-available"


async def test_text_that_is_nowhere_is_said_to_be_missing(serve: Serve) -> None:
    server = serve(TaskHabits(logs_text=False, details=False))
    run_id = server.add(recorded("01-success", ended=True))
    async with TaskClient() as tasks:
        run = await tasks.logs(run_id)
    assert run.text == ""
    assert len(run.tool_calls) == 5
    assert run.warnings


async def test_a_message_of_another_run_of_the_thread_is_not_taken(serve: Serve) -> None:
    """Details hold the whole chat; only the run's own message is its text."""
    server = serve(TaskHabits(logs_text=False))
    old = {"id": "msg_old", "role": "assistant", "parts": [{"type": "text", "text": "earlier"}]}
    run_id = server.add(recorded("01-success", ended=True, thread=(old,)))
    async with TaskClient() as tasks:
        run = await tasks.logs(run_id)
    assert run.text == truth(examples.events("01-success.ndjson"))["text"]


async def test_runs_that_are_read_at_once_have_tables_that_stack(serve: Serve) -> None:
    server = serve(TaskHabits())
    names = ["01-success", "02-failed", "03-cancelled"]
    ids = [server.add(recorded(name, ended=True)) for name in names]
    async with TaskClient() as tasks:
        runs = await tasks.logs_many(ids)
    assert [run.run_id for run in runs] == ids
    assert [row["status"] for row in runs.summary] == ["completed", "failed", "cancelled"]
    assert {row["run_id"] for row in runs.tool_calls} == set(ids)
    assert len(runs.events) == sum(len(run.events) for run in runs)
