"""The imitation of BLACKBOX tells a run as the authored examples and the protocol say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import httpx
import pytest

from tests import blackbox_examples as examples
from tests.imitation.task_scripts import merged, parts_of, rechunked, told_again, truth
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


@contextmanager
def talking(habits: TaskHabits) -> Iterator[tuple[TaskImitation, httpx.Client]]:
    """Yield an imitation and a plain HTTP client with its key."""
    with (
        task_imitation(habits) as server,
        httpx.Client(base_url=server.url, trust_env=False) as client,
    ):
        client.headers["Authorization"] = f"Bearer {server.key}"
        yield server, client


def streamed(client: httpx.Client, run_id: str) -> list[dict[str, object]]:
    """Read a stream to its end."""
    return events_in(client.get(f"/tasks/{run_id}/logs/stream").text)


def events_in(text: str) -> list[dict[str, object]]:
    datas = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        lines = [line[6:] for line in block.split("\n") if line.startswith("data: ")]
        datas += ["\n".join(lines)] if lines else []
    return [json.loads(data) for data in datas if data != "[DONE]"]


@pytest.mark.parametrize("name", ["01-success", "03-cancelled"])
def test_a_log_told_again_from_the_stored_parts_is_that_of_the_example(name: str) -> None:
    script = recorded(name)
    told = examples.document(f"{name}.logs.reconstructed.json")["events"]
    assert script.parts is not None
    assert told_again(script.parts, script, script.status) == told


@pytest.mark.parametrize("name", ["01-success", "02-failed", "03-cancelled", "05-interrupted"])
def test_every_way_of_telling_a_run_keeps_its_text_and_tools(name: str) -> None:
    script = recorded(name)
    parts = parts_of(script.events)
    for told in (
        told_again(parts, script, script.status),
        merged(script.events),
        rechunked(script.events, Random(5)),
    ):
        assert truth(told) == truth(script.events)


@pytest.mark.parametrize(
    "habits",
    [
        TaskHabits(),
        TaskHabits(crlf=True, ids=True, two_lines=True, done=True, keepalive=0.01, chop=7),
    ],
    ids=["plain", "odd"],
)
def test_a_live_stream_carries_every_event_however_it_is_written(habits: TaskHabits) -> None:
    with talking(habits) as (server, client):
        run_id = server.add(recorded("01-success", 0.001), play=False)
        assert streamed(client, run_id) == examples.events("01-success.ndjson")
        again = examples.events("01-success.reconstructed.ndjson")
        assert streamed(client, run_id) == again
        log = client.get(f"/tasks/{run_id}/logs").json()
        assert (log["source"], log["status"], log["events"]) == (
            "reconstructed",
            "completed",
            again,
        )


def test_a_stream_without_replay_tells_only_what_is_new() -> None:
    with talking(TaskHabits(replay=False)) as (server, client):
        script = invented(3, 40).held(10)
        run_id = server.add(script)
        server.go_on(run_id)
        server.go_on(run_id)
        with client.stream("GET", f"/tasks/{run_id}/logs/stream") as answer:
            server.let_go(run_id)
            new = events_in(answer.read().decode())
        assert new == script.events[20:]


def test_a_run_plays_on_while_its_streams_are_cut() -> None:
    with talking(TaskHabits(rechunk=1)) as (server, client):
        script = invented(1, 120).held(4)
        run_id = server.add(script)
        server.fail(TaskFault("cut", STREAM, times=20))
        lengths = set()
        while server.faults_left:
            try:
                lengths.add(len(client.get(f"/tasks/{run_id}/logs/stream").content))
            except httpx.HTTPError:
                lengths.add(-1)
        assert len(lengths) > 3
        assert truth(streamed(client, run_id)) == truth(script.events)


def test_keys_decide_and_are_not_kept() -> None:
    with talking(TaskHabits()) as (server, client):
        run_id = server.add(recorded("02-failed"))
        answers = {
            "": client.get("/tasks", headers={"Authorization": ""}),
            "sk-wrong": client.get("/tasks", headers={"Authorization": "Bearer sk-wrong"}),
            server.other_key: client.get(
                f"/tasks/{run_id}/status", headers={"Authorization": f"Bearer {server.other_key}"}
            ),
            server.key: client.get("/tasks/none/status"),
        }
        assert [answer.status_code for answer in answers.values()] == [401, 401, 403, 404]
        assert all(isinstance(answer.json()["error"], str) for answer in answers.values())
        assert [seen.who for seen in server.requests] == ["nobody", "unknown", "other", "me"]
        assert server.key not in "".join(f"{seen!r}{seen.headers}" for seen in server.requests)


def test_faults_come_as_ordered() -> None:
    with talking(TaskHabits()) as (server, client):
        run_id = server.add(recorded("02-failed"))
        where = f"/tasks/{run_id}/logs"
        server.fail(TaskFault("status", LOGS, status=429, retry_after="3"))
        server.fail(TaskFault("html", LOGS))
        server.fail(TaskFault("half", LOGS))
        server.fail(TaskFault("short", LOGS))
        limited = client.get(where)
        assert (limited.status_code, limited.headers["Retry-After"]) == (429, "3")
        assert client.get(where).text.startswith("<!doctype html>")
        with pytest.raises(json.JSONDecodeError):
            client.get(where).json()
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(where)
        assert client.get(where).json()["status"] == "failed"
        server.refuse(30)
        with pytest.raises(httpx.ConnectError):
            client.get(where)


def test_a_created_run_runs_is_listed_and_can_be_cancelled() -> None:
    with talking(TaskHabits()) as (server, client):
        created = client.post("/tasks", json={"prompt": "one two three"}).json()
        assert truth(streamed(client, created["runId"]))["text"] == "one two three "
        held = server.add(invented(2, 30).held(5))
        assert (
            client.get("/tasks", params={"status": "running"}).json()["tasks"][0]["runId"] == held
        )
        assert client.get(f"/tasks/{held}/status").json()["status"] == "in_progress"
        answer = client.patch(f"/tasks/{held}", json={"action": "cancel"}).json()
        assert (answer["success"], answer["status"]) == (True, "cancelled")
        assert client.patch(f"/tasks/{held}", json={}).status_code == 400
