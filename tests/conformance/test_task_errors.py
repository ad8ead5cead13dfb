"""What goes wrong with a task's log: the error is short, clear and without the key; what came is kept."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from blaxel_jupyter import (
    AuthError,
    BlaxelError,
    FollowError,
    NotFoundError,
    ProtocolError,
    StatusError,
    TaskClient,
    TransportError,
)
from tests.imitation.task_scripts import truth
from tests.imitation.tasks import (
    LOGS,
    STREAM,
    TaskFault,
    TaskHabits,
    TaskImitation,
    invented,
    recorded,
    task_imitation,
)

STATUS = r"/status$"
OVER = recorded("01-success", ended=True)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskImitation]:
    with task_imitation(TaskHabits(after_end="buffer")) as running:
        running.environment(monkeypatch)
        yield running


@pytest.fixture
async def tasks(server: TaskImitation) -> AsyncIterator[TaskClient]:
    async with TaskClient() as client:
        yield client


async def follow(tasks: TaskClient, run_id: str) -> Any:
    async with tasks.follow(run_id) as events:
        return [event async for event in events]


CALLS: dict[str, Callable[[TaskClient, str], Awaitable[Any]]] = {
    "logs": lambda tasks, run_id: tasks.logs(run_id),
    "logs_many": lambda tasks, run_id: tasks.logs_many([run_id]),
    "follow": follow,
    "run": lambda tasks, run_id: tasks.run(run_id).finish(),
    "status": lambda tasks, run_id: tasks.status(run_id),
    "cancel": lambda tasks, run_id: tasks.cancel(run_id),
}


def is_clear(error: BaseException, server: TaskImitation, *says: str) -> None:
    """Assert that an error is short and names what to do, and that no key is in what anybody prints."""
    message = str(error)
    assert message.count("\n") <= 1
    assert len(message) < 300
    for words in says:
        assert words in message
    everything = "".join(
        [message, repr(error), *traceback.format_exception(error)]
        + [repr(vars(one)) for one in (error, error.__cause__, error.__context__) if one]
        + list(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    )
    for key in (server.key, server.other_key):
        assert key not in everything


@pytest.mark.parametrize("call", CALLS)
async def test_a_wrong_key_is_final_and_names_the_variable(
    server: TaskImitation, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    run_id = server.add(OVER)
    server.environment(monkeypatch, "sk-wr0ng-key")
    async with TaskClient() as tasks:
        with pytest.raises(AuthError) as caught:
            await CALLS[call](tasks, run_id)
    assert caught.value.status_code == 401
    is_clear(caught.value, server, "BLACKBOX_API_KEY")
    assert "sk-wr0ng-key" not in "".join(traceback.format_exception(caught.value))
    paths = [seen.path for seen in server.requests]
    assert len(paths) == len(set(paths)), "nothing is asked twice"


@pytest.mark.parametrize("call", CALLS)
async def test_the_run_of_another_user_is_final_and_clear(
    server: TaskImitation, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    run_id = server.add(OVER)
    server.environment(monkeypatch, server.other_key)
    async with TaskClient() as tasks:
        with pytest.raises(AuthError) as caught:
            await CALLS[call](tasks, run_id)
    assert caught.value.status_code == 403
    is_clear(caught.value, server)
    paths = [seen.path for seen in server.requests]
    assert len(paths) == len(set(paths))


@pytest.mark.parametrize("call", CALLS)
async def test_an_unknown_run_is_named(server: TaskImitation, tasks: TaskClient, call: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        await CALLS[call](tasks, "no-such-run")
    is_clear(caught.value, server, "no-such-run", "%task list")
    paths = [seen.path for seen in server.requests]
    assert len(paths) == len(set(paths))


@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize("call", ["logs", "run", "status"])
async def test_what_passes_is_tried_again(
    server: TaskImitation, tasks: TaskClient, status: int, call: str
) -> None:
    run_id = server.add(OVER)
    server.fail(TaskFault("status", "/tasks/", method="GET", status=status, times=2))
    found = await CALLS[call](tasks, run_id)
    assert server.faults_left == 0
    if call != "status":
        assert found.text == truth(OVER.events)["text"]


@pytest.mark.parametrize("path", [LOGS, STATUS])
async def test_retry_after_is_obeyed(server: TaskImitation, tasks: TaskClient, path: str) -> None:
    run_id = server.add(OVER)
    server.fail(TaskFault("status", path, status=429, retry_after="1"))
    started = time.monotonic()
    await (tasks.logs(run_id) if path == LOGS else tasks.status(run_id))
    assert 1.0 <= time.monotonic() - started < 4.0


async def test_a_server_error_is_told_in_the_servers_words(
    server: TaskImitation, tasks: TaskClient
) -> None:
    run_id = server.add(OVER)
    server.fail(TaskFault("status", LOGS, status=500, times=100))
    with pytest.raises(StatusError) as caught:
        await tasks.logs(run_id)
    assert caught.value.status_code == 500
    is_clear(caught.value, server, "Internal server error")


async def test_an_error_may_be_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other shape of an error body is read, too."""
    with task_imitation(TaskHabits(error_object=True)) as server:
        server.environment(monkeypatch)
        run_id = server.add(OVER)
        server.fail(TaskFault("status", LOGS, status=500, times=100))
        async with TaskClient() as tasks:
            with pytest.raises(StatusError) as caught:
                await tasks.logs(run_id)
    is_clear(caught.value, server, "Internal server error")
    assert "metadata" not in str(caught.value)


@pytest.mark.parametrize("status", [402, 400, 410])
async def test_other_refusals_are_final(
    server: TaskImitation, tasks: TaskClient, status: int
) -> None:
    run_id = server.add(OVER)
    server.fail(TaskFault("status", LOGS, status=status, times=100))
    with pytest.raises(StatusError) as caught:
        await tasks.logs(run_id)
    assert (caught.value.status_code, server.count("/logs")) == (status, 1)
    is_clear(caught.value, server)


@pytest.mark.parametrize("status", [500, 403])
async def test_an_error_page_is_not_poured_out(
    server: TaskImitation, tasks: TaskClient, status: int
) -> None:
    run_id = server.add(OVER)
    page = b"<html><body>" + b"<p>blocked</p>" * 5000 + b"</body></html>"
    server.fail(TaskFault("status", LOGS, status=status, body=page, times=100))
    with pytest.raises(StatusError) as caught:
        await tasks.logs(run_id)
    is_clear(caught.value, server)


@pytest.mark.parametrize("call", ["logs", "status", "logs_many"])
async def test_a_web_page_instead_of_an_answer_is_said_to_be_one(
    server: TaskImitation, tasks: TaskClient, call: str
) -> None:
    run_id = server.add(OVER)
    server.fail(TaskFault("html", "/tasks/", times=100))
    with pytest.raises(ProtocolError) as caught:
        await CALLS[call](tasks, run_id)
    is_clear(caught.value, server, "HTML")


@pytest.mark.parametrize("kind", ["half", "short", "drop", "reset"])
@pytest.mark.parametrize("call", ["logs", "logs_many"])
async def test_of_a_truncated_log_what_arrived_is_kept(
    server: TaskImitation, tasks: TaskClient, kind: Any, call: str
) -> None:
    script = invented(4, 300, ended=True)
    run_id = server.add(script)
    server.fail(TaskFault(kind, LOGS, after=9000, times=100))
    with pytest.raises(BlaxelError) as caught:
        await CALLS[call](tasks, run_id)
    is_clear(caught.value, server)
    partial = caught.value.partial
    run = partial if call == "logs" else partial[0]
    kept = [entry.data for entry in run.entries(range(len(run.events)))]
    assert len(kept) > 20
    assert kept == script.events[: len(kept)]
    assert 0 < len(run.text) < len(truth(script.events)["text"])
    assert truth(script.events)["text"].startswith(run.text)
    assert len(run.events.to_arrow()) == len(kept)


@pytest.mark.parametrize("kind", ["half", "short", "drop", "reset", "trickle", "delay"])
async def test_a_log_that_fails_once_is_read_in_the_end(
    server: TaskImitation, tasks: TaskClient, kind: Any
) -> None:
    run_id = server.add(OVER)
    server.fail(TaskFault(kind, LOGS, after=500, step=300, seconds=0.005))
    run = await tasks.logs(run_id)
    assert [entry.data for entry in run.entries(range(len(run.events)))] == OVER.events


@pytest.mark.parametrize("after", [-1, 0, 700])
async def test_a_stream_that_never_works_leaves_the_batch_log(
    server: TaskImitation, tasks: TaskClient, after: int
) -> None:
    """Every connection drops; what happens is read from the log, and the end is found."""
    script = recorded("01-success", 0.02)
    run_id = server.add(script)
    server.fail(TaskFault("drop", STREAM, after=after, times=1000))
    run = await tasks.run(run_id)
    assert truth([entry.data for entry in run.entries(range(len(run.events)))]) == truth(
        script.events
    )
    assert run.status == "completed"


async def test_a_stream_that_answers_with_a_web_page_ends_well(
    server: TaskImitation, tasks: TaskClient
) -> None:
    script = recorded("01-success", 0.02)
    run_id = server.add(script)
    server.fail(TaskFault("html", STREAM, times=1000))
    run = await tasks.run(run_id)
    assert run.text == truth(script.events)["text"]


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_in_mid_follow_ends_it_and_keeps_what_came(
    server: TaskImitation, tasks: TaskClient, status: int
) -> None:
    script = invented(5, 60)
    run_id = server.add(script.held(30))
    server.go_on(run_id)
    run = tasks.run(run_id)
    waiting = asyncio.ensure_future(run.finish())
    while len(run.events) < 30:  # noqa: ASYNC110  # a run has no event to wait for
        await asyncio.sleep(0.005)
    server.fail(TaskFault("status", "/tasks/", status=status, times=1000))
    await asyncio.to_thread(server.refuse, 0.0)  # the stream ends
    with pytest.raises(StatusError) as caught:
        await waiting
    assert caught.value.status_code == status
    is_clear(caught.value, server)
    kept = [entry.data for entry in run.entries(range(len(run.events)))]
    assert kept == script.events[:30]


async def test_several_logs_of_which_one_fails(server: TaskImitation, tasks: TaskClient) -> None:
    """The others are there, and the error says how many are not."""
    ids = [server.add(recorded(name, ended=True)) for name in ("01-success", "02-failed")]
    with pytest.raises(BlaxelError) as caught:
        await tasks.logs_many([ids[0], "no-such-run", ids[1]])
    is_clear(caught.value, server, "1 of 3", "no-such-run")
    assert [len(run.events) for run in caught.value.partial] == [28, 0, 17]


async def test_nothing_listens(server: TaskImitation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection is an error with the address, soon."""
    server.refuse(600)
    monkeypatch.setattr("blaxel_jupyter.task_api.READ_PATIENCE", 0.5)
    monkeypatch.setattr("blaxel_jupyter.task_client.READ_PATIENCE", 0.5)
    async with TaskClient() as tasks:
        with pytest.raises(TransportError) as caught:
            await tasks.logs("some-run")
    is_clear(caught.value, server, "127.0.0.1")


async def test_a_follow_gives_up_when_the_service_stays_away(
    server: TaskImitation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came is kept, and the run can be awaited again."""
    monkeypatch.setattr("blaxel_jupyter.task_client.FOLLOW_PATIENCE", 0.5)
    script = invented(5, 60)
    run_id = server.add(script.held(30))
    server.go_on(run_id)
    async with TaskClient() as tasks:
        run = tasks.run(run_id)
        waiting = asyncio.ensure_future(run.finish())
        while len(run.events) < 30:  # noqa: ASYNC110  # a run has no event to wait for
            await asyncio.sleep(0.005)
        await asyncio.to_thread(server.refuse, 2.0)
        with pytest.raises(FollowError) as caught:
            await waiting
        is_clear(caught.value, server)
        assert len(run.events) == 30
        server.let_go(run_id)
        while True:
            try:
                await run.finish()
            except FollowError:
                continue
            break
    assert run.text == truth(script.events)["text"]


async def test_a_closed_client_leaves_no_socket_and_no_task(server: TaskImitation) -> None:
    run_id = server.add(OVER)
    before = asyncio.all_tasks()
    async with TaskClient() as tasks:
        await tasks.logs(run_id)
        await tasks.logs_many([run_id] * 20, concurrency=5)
    assert asyncio.all_tasks() == before
    async with asyncio.timeout(5):
        while server.connections:  # noqa: ASYNC110  # the server is in a thread of its own
            await asyncio.sleep(0.01)


async def test_a_cancelled_read_leaves_no_task(server: TaskImitation, tasks: TaskClient) -> None:
    run_id = server.add(OVER)
    server.fail(TaskFault("stall", LOGS, after=100, times=10))
    before = asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(tasks.logs(run_id), 0.3)
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("run_id", ["", " ", "..", "a\nb", "x" * 500])
async def test_what_is_no_run_id_is_asked_of_nobody(
    server: TaskImitation, tasks: TaskClient, run_id: str
) -> None:
    with pytest.raises(ValueError, match="run id"):
        await tasks.logs(run_id)
    assert server.requests == []


async def test_a_strange_run_id_stays_in_its_place(
    server: TaskImitation, tasks: TaskClient
) -> None:
    """No part of it becomes a path or a query."""
    with pytest.raises(NotFoundError):
        await tasks.status("a/../b?x=1#y%2f")
    assert all(not seen.query for seen in server.requests)
    assert {seen.path.rsplit("/", 1)[-1] for seen in server.requests} == {"status"}
