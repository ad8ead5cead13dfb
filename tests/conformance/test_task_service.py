"""The task routes of the local service as protocol 2 says: fields, words, codes."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest

from tests.local_service import LocalService, until
from tests.local_tasks import (
    OF_A_RUN,
    UNKNOWN,
    create,
    details,
    ended,
    live,
    log,
    stream,
    tasks,
    text,
)

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """One service for this file."""
    service = LocalService(tmp_path_factory.mktemp("tasks")).start()
    yield service
    service.end()


@pytest.fixture
def client(service: LocalService) -> Iterator[httpx.Client]:
    """The owner's client of the task API."""
    with tasks(service) as client:
        yield client


def test_create_names_run_chat_and_message(client: httpx.Client) -> None:
    """A create answers at once with the five documented members."""
    facts = client.post("/tasks", json={"prompt": "Hello"}).json()
    assert set(facts) == {"taskId", "runId", "assistantMessageId", "chatId", "agentCount"}
    assert facts["taskId"] == facts["runId"]
    assert re.fullmatch(UUID, facts["runId"])
    assert facts["agentCount"] == 1
    shown = ended(client, facts["runId"])
    assert shown["status"] == "completed"
    assert (shown["chatId"], shown["assistantMessageId"]) == (
        facts["chatId"],
        facts["assistantMessageId"],
    )


def test_message_is_an_alias_of_prompt(client: httpx.Client) -> None:
    """Either word will do, with the documented default type."""
    run_id = client.post("/tasks", json={"message": "Hello", "type": "claude"}).json()["runId"]
    ended(client, run_id)
    assert text(log(client, run_id)["events"]) == "Hello"


def test_details_of_a_run(client: httpx.Client) -> None:
    """Ids, status, times in order, no error, no repository, and both messages."""
    shown = ended(client, create(client, "Hello\n$ echo hi", model="m", agent="claude"))
    times = [shown[name] for name in ("createdAt", "startedAt", "completedAt")]
    assert all(re.fullmatch(TIME, time) for time in times)
    assert times == sorted(times)
    assert (shown["error"], shown["github"], shown["inMemory"]) == (None, None, None)
    question, reply = shown["messages"]
    assert (question["role"], reply["role"]) == ("user", "assistant")
    assert question["parts"] == [{"type": "text", "text": "Hello\n$ echo hi"}]
    assert reply["id"] == shown["assistantMessageId"]
    assert reply["parts"] == [
        {"type": "text", "text": "Hello\n", "state": "done"},
        {
            "type": "tool-bash",
            "toolCallId": "call_001",
            "state": "output-available",
            "input": {"command": "echo hi"},
            "output": {"stdout": "hi\n", "stderr": "", "exitCode": 0},
        },
    ]


def test_both_vocabularies_and_the_queue(client: httpx.Client) -> None:
    """Eight runs go on at once, the ninth waits; ``/status`` alone has other words for it."""
    runs = [create(client, "$ sleep 60") for _ in range(9)]
    until(lambda: details(client, runs[7])["status"] == "running")
    first, last = runs[0], runs[8]
    assert details(client, first)["status"] == "running"
    assert details(client, first)["inMemory"]["status"] == "running"
    assert client.get(f"/tasks/{first}/status").json()["status"] == "in_progress"
    assert client.get("/agent/status", params={"runId": first}).json()["status"] == "running"
    waiting = client.get(f"/tasks/{last}/status").json()
    assert (waiting["status"], waiting["startedAt"], waiting["progress"]) == ("pending", None, 0)
    assert log(client, last) | {"chatId": ""} == {
        "runId": last,
        "chatId": "",
        "status": "queued",
        "source": "buffer",
        "eventCount": 0,
        "events": [],
        "error": None,
    }
    shown = client.get("/tasks", params={"status": "queued"}).json()["tasks"]
    assert [task["runId"] for task in shown] == [last]
    client.patch(f"/tasks/{first}", json={"action": "cancel"})
    until(lambda: details(client, last)["status"] == "running")
    for run_id in runs[1:]:
        assert client.patch(f"/tasks/{run_id}", json={"action": "cancel"}).status_code == 200
    assert {details(client, run_id)["status"] for run_id in runs} == {"cancelled"}


def test_cancel_of_a_queued_run(client: httpx.Client) -> None:
    """It never starts; its log is a bare finish."""
    runs = [create(client, "$ sleep 60") for _ in range(9)]
    answer = client.patch(f"/tasks/{runs[8]}", json={"action": "cancel"}).json()
    assert (answer["success"], answer["status"]) == (True, "cancelled")
    facts = details(client, runs[8])
    assert (facts["status"], facts["startedAt"]) == ("cancelled", None)
    finish = {"type": "finish", "runId": runs[8], "status": "cancelled"}
    assert log(client, runs[8])["events"] == [finish]
    for run_id in runs[:8]:
        client.patch(f"/tasks/{run_id}", json={"action": "cancel"})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": 3}, "prompt must be a string"),
        ({"prompt": "x", "agent": "gemini"}, "claude, codex, grok, local, replay"),
        ({"prompt": "x", "agent": ["claude"]}, "agent must be a string"),
        ({"prompt": "x", "type": "standard"}, "agent tasks only"),
        ({"prompt": "x", "type": "odd"}, "type"),
        ({"prompt": "x", "repoUrl": "ftp://example.com/a"}, "repoUrl"),
        ({"prompt": "x", "apiKey": "k"}, "baseUrl"),
        ({"prompt": "x", "model": {}}, "model must be a string"),
    ],
)
def test_bad_creates(client: httpx.Client, body: dict[str, Any], says: str) -> None:
    """Each is a 400 whose ``error`` is a text that says what is wrong; nothing is created."""
    before = client.get("/tasks").json()
    answer = client.post("/tasks", json=body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    assert says in answer.json()["error"]
    assert client.get("/tasks").json() == before


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000, b'{"prompt":' * 9999]
)
@pytest.mark.parametrize("path", ["/tasks", "continue"])
def test_hostile_bodies(client: httpx.Client, path: str, body: bytes) -> None:
    """What is no JSON object is a 400, however deep."""
    if path == "continue":
        path = f"/tasks/{create(client, 'x')}/continue"
    answer = client.post(path, content=body)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


def test_body_size_is_bounded(client: httpx.Client) -> None:
    """A body over 64 MB is refused while it is sent."""
    block = b" " * (1 << 20)
    answer = client.post("/tasks", content=(block for _ in range(65)))
    assert (answer.status_code, list(answer.json())) == (413, ["error"])


@pytest.mark.parametrize("agent", ["claude", "codex", "grok", "local"])
def test_all_runtimes_are_the_local_agent(client: httpx.Client, agent: str) -> None:
    """Whichever is asked for, ``session-init`` says which one runs."""
    run_id, events = live(client, "x", agent=agent)
    assert (events[1]["type"], events[1]["agent"]) == ("session-init", "local")
    assert ended(client, run_id)["status"] == "completed"


def test_lone_surrogates_are_replaced(client: httpx.Client) -> None:
    """Half a character, which JSON can say and no file can hold, is U+FFFD from the start."""
    body = b'{"prompt": "a\\ud800b\\n$ echo \\udfff"}'
    run_id = client.post("/tasks", content=body).json()["runId"]
    assert ended(client, run_id)["status"] == "completed"
    facts = log(client, run_id)
    assert text(facts["events"]) == "a\ufffdb\n"


@pytest.mark.parametrize(
    ("url", "suffix"),
    [
        ("https://github.com/example-org/ledger.git", ".git"),
        ("https://secret@github.com/example-org/ledger", ""),
        ("git@github.com:example-org/ledger.git", ".git"),
    ],
)
def test_repository_is_named_and_not_cloned(client: httpx.Client, url: str, suffix: str) -> None:
    """Its facts are told, without any secret; no branch is created, and the run says so."""
    prompt = "$ sleep 60"
    run_id = create(client, prompt, repoUrl=url, selectedBranch="main")
    assert details(client, run_id)["github"] == {
        "repoUrl": f"https://github.com/example-org/ledger{suffix}",
        "owner": "example-org",
        "repo": "ledger",
        "baseBranch": "main",
        "createdBranch": None,
    }
    until(lambda: len(log(client, run_id)["events"]) > 1)
    assert "clones no repository" in log(client, run_id)["events"][1]["note"]
    client.patch(f"/tasks/{run_id}", json={"action": "cancel"})


def test_list_pages(service: LocalService) -> None:
    """Newest first, in pages, with the documented members; the second user's list is its own."""
    with tasks(service, "other_token") as client:
        runs = [create(client, "x") for _ in range(5)]
        for run_id in runs:
            ended(client, run_id)
        first = client.get("/tasks", params={"limit": 2}).json()
        assert (first["page"], first["limit"], first["hasMore"]) == (1, 2, True)
        assert [task["runId"] for task in first["tasks"]] == runs[:2:-1]
        last = client.get("/tasks", params={"limit": 2, "page": 3}).json()
        assert ([task["runId"] for task in last["tasks"]], last["hasMore"]) == (runs[:1], False)
        assert client.get("/tasks", params={"page": 9}).json()["tasks"] == []
        assert set(first["tasks"][0]) == {
            *("taskId", "runId", "chatId", "status", "model", "createdAt", "startedAt"),
            *("completedAt", "assistantMessageId"),
        }
        done = client.get("/tasks", params={"status": "completed", "limit": 100}).json()
        assert len(done["tasks"]) == 5
        assert client.get("/tasks", params={"status": "failed"}).json()["tasks"] == []


@pytest.mark.parametrize(
    "query",
    [
        *(
            "page=0",
            "page=-1",
            "page=x",
            "page=1.5",
            "page=",
            "page=99999999999999999999",
            "page=²",
        ),
        *("limit=0", "limit=101", "limit= 5", "status=done", "status=pending", "status="),
    ],
)
def test_bad_list_parameters(client: httpx.Client, query: str) -> None:
    """Each is a 400 that names the parameter."""
    answer = client.get(f"/tasks?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["error"]


@pytest.mark.parametrize("value", ["1", "TRUE", "yes", ""])
@pytest.mark.parametrize("path", ["logs?raw", "logs?includeDeltas", "logs/stream?includeDeltas"])
def test_bad_flags(client: httpx.Client, path: str, value: str) -> None:
    """Flags are the words true and false."""
    answer = client.get(f"/tasks/{create(client, 'x')}/{path}={value}")
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


def test_include_deltas_and_raw(client: httpx.Client) -> None:
    """Without deltas everything but the text is there; raw adds the same events as stream lines."""
    run_id = create(client, "Hello\n> thought\n$ echo hi")
    ended(client, run_id)
    whole = log(client, run_id)
    assert "rawEvents" not in whole
    less = log(client, run_id, includeDeltas="false", raw="true")
    assert less["events"] == [e for e in whole["events"] if e["type"] != "text-delta"]
    assert "reasoning-delta" in [e["type"] for e in less["events"]]
    assert all(line.startswith('data: {"type":') for line in less["rawEvents"])
    assert len(less["rawEvents"]) == less["eventCount"]
    streamed = list(stream(client, f"/tasks/{run_id}/logs/stream", includeDeltas="false"))
    assert streamed == less["events"]


@pytest.mark.parametrize(("method", "path"), OF_A_RUN)
def test_unknown_runs(client: httpx.Client, method: str, path: str) -> None:
    """404 with a text."""
    answer = client.request(method, f"/tasks/{UNKNOWN}{path}")
    assert (answer.status_code, answer.json()) == (404, {"error": "Task not found"})


def test_unknown_routes(client: httpx.Client) -> None:
    """What the API does not have is a 404 or 405 in its own shape."""
    for method, path in (("GET", "/nope"), ("DELETE", f"/tasks/{UNKNOWN}"), ("PUT", "/tasks")):
        answer = client.request(method, path)
        assert (answer.status_code in (404, 405), list(answer.json())) == (True, ["error"])


def test_agent_status(client: httpx.Client) -> None:
    """The four members; nulls for an unknown run, 400 without one."""
    run_id = create(client, "x")
    shown = ended(client, run_id)
    assert client.get("/agent/status", params={"runId": run_id}).json() == {
        "runId": run_id,
        "status": "completed",
        "assistantMessageId": shown["assistantMessageId"],
        "error": None,
    }
    answer = client.get("/agent/status", params={"runId": UNKNOWN})
    names = ["runId", "status", "assistantMessageId", "error"]
    assert (answer.status_code, answer.json()) == (200, dict.fromkeys(names))
    for path in ("/agent/status", "/agent/stream", "/agent/stream?runId="):
        assert client.get(path).status_code == 400
    assert client.get("/agent/stream", params={"runId": UNKNOWN}).status_code == 404


def test_agent_stream(client: httpx.Client) -> None:
    """``resume`` first, then the run from its first event to its last, live or ended."""
    run_id, events = live(client, "Hello\n$ echo hi", "/agent/stream")
    assert events[0] == {"type": "resume", "runId": run_id}
    assert (events[1]["type"], events[-1]["type"]) == ("start", "finish")
    after = list(stream(client, "/agent/stream", runId=run_id))
    assert after == [events[0], *log(client, run_id)["events"]]


def test_rename(client: httpx.Client) -> None:
    """A title is kept with the chat; a bad one is a 400."""
    run_id = create(client, "x")
    ended(client, run_id)
    answer = client.patch(f"/tasks/{run_id}", json={"title": "Ünder way"})
    assert (answer.json()["success"], answer.json()["status"]) == (True, "completed")
    assert details(client, run_id)["title"] == "Ünder way"
    for body in ({"title": ""}, {"title": "x" * 201}, {"title": 1}, {"action": "stop"}, {}):
        assert client.patch(f"/tasks/{run_id}", json=body).status_code == 400
    assert client.patch(f"/tasks/{run_id}", json={"title": "x" * 200}).status_code == 200


def test_cancel_wins_over_rename(client: httpx.Client) -> None:
    """With both, the run is cancelled and the title stays."""
    run_id = create(client, "$ sleep 60")
    answer = client.patch(f"/tasks/{run_id}", json={"action": "cancel", "title": "new"}).json()
    assert (answer["success"], answer["status"]) == (True, "cancelled")
    assert details(client, run_id)["title"] is None


def test_cancel_of_an_ended_run(client: httpx.Client) -> None:
    """Success, with the status as it was."""
    run_id = create(client, "$ exit 1")
    ended(client, run_id)
    answer = client.patch(f"/tasks/{run_id}", json={"action": "cancel"})
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    assert answer.json()["status"] == details(client, run_id)["status"] == "failed"


def test_continue(client: httpx.Client) -> None:
    """A new run on the same chat: the thread grows, files are still there, each log is its own."""
    first = create(client, "One\n$ echo 1 > kept.txt", agent="claude", model="m")
    assert ended(client, first)["status"] == "completed"
    answer = client.post(f"/tasks/{first}/continue", json={"prompt": "Two\n$ cat kept.txt"})
    facts = answer.json()
    assert set(facts) == {"runId", "assistantMessageId", "chatId", "previousRunId"}
    assert facts["previousRunId"] == first
    shown = ended(client, facts["runId"])
    assert shown["chatId"] == facts["chatId"] == details(client, first)["chatId"]
    assert [message["role"] for message in shown["messages"]] == ["user", "assistant"] * 2
    assert shown["messages"][3]["id"] == shown["assistantMessageId"]
    assert shown["messages"][3]["parts"][1]["output"]["stdout"] == "1\n"
    assert details(client, first)["messages"] == shown["messages"]
    assert shown["model"] == "m"
    assert [text(log(client, each)["events"]) for each in (first, facts["runId"])] == [
        "One\n",
        "Two\n",
    ]


def test_bad_continues(client: httpx.Client) -> None:
    """A prompt is needed, a model only goes with an agent, and the chat must be at rest."""
    run_id = create(client, "$ sleep 60")
    path = f"/tasks/{run_id}/continue"
    active = client.post(path, json={"prompt": "x"})
    assert (active.status_code, "still active" in active.json()["error"]) == (400, True)
    client.patch(f"/tasks/{run_id}", json={"action": "cancel"})
    for body, says in (({}, "prompt"), ({"prompt": "x", "model": "m"}, "model requires agent")):
        answer = client.post(path, json=body)
        assert (answer.status_code, says in answer.json()["error"]) == (400, True)
    both = client.post(path, json={"prompt": "x", "model": "m2", "agent": "codex"})
    assert ended(client, both.json()["runId"])["model"] == "m2"


def test_database_that_cannot_be_written(service: LocalService, client: httpx.Client) -> None:
    """A create that cannot be saved is a 500 that says why, and does not run."""
    before = client.get("/tasks").json()
    path = f"{service.facts['dir']}/tasks.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = client.post("/tasks", json={"prompt": "x"})
        assert (answer.status_code, "locked" in answer.json()["error"]) == (500, True)
    assert client.get("/tasks").json() == before
    assert ended(client, create(client, "x"))["status"] == "completed"


def test_progress_is_elapsed_time(client: httpx.Client) -> None:
    """0 to 99 while it runs, 100 when completed, 0 when failed."""
    good, bad = create(client, "$ sleep 0.3"), create(client, "$ exit 1")
    assert 0 <= client.get(f"/tasks/{good}/status").json()["progress"] < 100
    ended(client, good)
    ended(client, bad)
    shown = [client.get(f"/tasks/{each}/status").json() for each in (good, bad)]
    assert [facts["progress"] for facts in shown] == [100, 0]
    assert set(shown[1]) == {
        *("runId", "status", "progress", "error", "startedAt", "completedAt"),
    }
