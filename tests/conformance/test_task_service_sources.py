"""Where a log comes from: the live buffer, the stored parts, both; what a crash leaves; slow readers."""

from __future__ import annotations

import json
import signal
import sqlite3
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blaxel_jupyter.local.live_run import LiveRun, Place
from blaxel_jupyter.local.task_store import Run
from tests.local_service import LocalService, until
from tests.local_tasks import calls, create, details, ended, log, stream, tasks, text, types

STORY = "I count.\n$ echo one\nThen I wait.\n> Why?\n$ echo two; sleep 0.5\nThat was all."


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LocalService]:
    """A service of this test's own."""
    service = LocalService(tmp_path).start()
    yield service
    service.end()


@pytest.fixture
def client(service: LocalService) -> Iterator[httpx.Client]:
    """A client of the task API."""
    with tasks(service) as client:
        yield client


def captured(*groups: tuple[int, list[dict[str, Any]]]) -> str:
    """Return a recording of events that arrived at the given milliseconds."""
    rows = [{"recvMs": time, "event": event} for time, events in groups for event in events]
    return "\n".join(json.dumps({"seq": seq, **row}) for seq, row in enumerate(rows))


def deltas(first: int, count: int, width: int = 0) -> list[dict[str, Any]]:
    """Return numbered pieces of text."""
    numbers = range(first, first + count)
    return [{"type": "text-delta", "id": "m", "delta": f"{n:0{width}d} "} for n in numbers]


def call(name: str, output: str | None = None) -> list[dict[str, Any]]:
    """Return the events of one tool call."""
    whose = {"toolCallId": name, "toolName": "bash"}
    events: list[dict[str, Any]] = [
        {"type": "tool-call-start", **whose},
        {"type": "tool-input-available", **whose, "input": {"command": name}},
    ]
    if output is not None:
        events.append({"type": "tool-output-available", **whose, "output": {"stdout": output}})
    return events


def test_one_run_from_every_source(service: LocalService, client: httpx.Client) -> None:
    """Live, from the buffer, rebuilt, and rebuilt after a crash: the same text, calls and status."""
    run_id = create(client, STORY + "\n$ sleep 0.6")
    live = stream(client, f"/tasks/{run_id}/logs/stream")
    events = [next(live) for _ in range(3)]
    until(lambda: len(calls(log(client, run_id)["events"])) == 3)
    buffered = log(client, run_id, raw="true")
    assert (buffered["source"], buffered["status"]) == ("buffer", "running")
    assert [json.loads(line[6:]) for line in buffered["rawEvents"]] == buffered["events"]
    events += live
    assert events[: len(buffered["events"])] == buffered["events"]
    ended(client, run_id)
    rebuilt = log(client, run_id)
    assert (rebuilt["source"], rebuilt["status"]) == ("reconstructed", "completed")
    assert text(rebuilt["events"]) == text(events)
    assert calls(rebuilt["events"]) == calls(events)
    assert list(calls(rebuilt["events"])) == list(calls(events))
    assert not {"start", "session-init", "result"} & set(types(rebuilt["events"]))
    assert details(client, run_id)["inMemory"] is None
    assert list(stream(client, f"/tasks/{run_id}/logs/stream")) == rebuilt["events"]
    before = details(client, run_id)
    service.end(signal.SIGKILL)
    service.start()
    with tasks(service) as again:
        assert log(again, run_id) == rebuilt
        assert details(again, run_id) == before
        assert again.get("/tasks").json()["tasks"][0]["runId"] == run_id


def test_long_run_is_merged(client: httpx.Client) -> None:
    """When the buffer had to drop its beginning, the parts give it: all text once and in order."""
    early = [*deltas(0, 20_000), *call("first", "done"), *deltas(20_000, 45_000), *call("open")]
    late = [{"type": "finish", "runId": "x", "status": "completed"}]
    prompt = captured((0, early), (1, deltas(65_000, 10)), (3_600_000, late))
    run_id = create(client, prompt, agent="replay")
    until(lambda: details(client, run_id)["inMemory"]["eventCount"] == len(early) + 10)
    memory = details(client, run_id)["inMemory"]
    assert memory["droppedEvents"] > 0
    wanted = "".join(f"{n} " for n in range(65_010))
    merged = log(client, run_id)
    assert (merged["source"], merged["status"]) == ("merged", "running")
    assert text(merged["events"]) == wanted
    known = calls(early)
    assert calls(merged["events"]) == known
    assert merged["eventCount"] < 50_010
    with client.stream("GET", f"/tasks/{run_id}/logs/stream") as answer:
        shown = _until_text(answer.iter_lines(), "65009 ")
    assert text(shown) == wanted
    client.patch(f"/tasks/{run_id}", json={"action": "cancel"})
    assert text(log(client, run_id)["events"]) == wanted


def _until_text(lines: Iterator[str], last: str) -> list[dict[str, Any]]:
    events = []
    for line in lines:
        if line.startswith("data: "):
            events.append(json.loads(line[6:]))
            if events[-1].get("delta") == last:
                break
    return events


def test_slow_reader_gets_everything_and_costs_nothing(
    service: LocalService, client: httpx.Client
) -> None:
    """A reader that stops while 40 MB pass by gets all text once; the service's memory is bounded."""
    bulk = [
        {"type": "text-delta", "id": "m", "delta": f"{n:07d}" + "." * 1000} for n in range(40_000)
    ]
    path = service.folder / "recording.ndjson"
    end = [{"type": "finish", "runId": "x", "status": "completed"}]
    path.write_text(
        captured((0, deltas(0, 5)), (1500, bulk), (1500, call("c", "out")), (1600, end))
    )
    run_id = create(client, str(path), agent="replay")
    with client.stream("GET", f"/tasks/{run_id}/logs/stream") as answer:
        lines = answer.iter_lines()
        shown = _until_text(lines, "4 ")
        with tasks(service) as other:
            ended(other, run_id, 60)
            assert details(other, run_id)["inMemory"]["bytes"] <= 32 * 1024 * 1024
        shown += [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert len(shown) < 40_000  # it was left behind, and caught up from the parts
    wanted = text(deltas(0, 5)) + "".join(f"{n:07d}" + "." * 1000 for n in range(40_000))
    assert text(shown) == wanted
    assert calls(shown)["c"]["output"] == {"stdout": "out"}
    assert shown[-1] == {"type": "finish", "runId": run_id, "status": "completed"}
    until(lambda: details(client, run_id)["inMemory"] is None)


def test_reader_that_hangs_up_is_forgotten(client: httpx.Client) -> None:
    """Streams are counted while they are open, also silent ones; the run goes on without them."""
    run_id = create(client, "Hello\n$ sleep 60")
    for _ in range(3):
        with client.stream("GET", f"/tasks/{run_id}/logs/stream") as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("data: ")
            until(lambda: details(client, run_id)["inMemory"]["readers"] == 1)
    until(lambda: details(client, run_id)["inMemory"]["readers"] == 0)
    assert details(client, run_id)["status"] == "running"
    client.patch(f"/tasks/{run_id}", json={"action": "cancel"})
    assert details(client, run_id)["inMemory"] is None


def test_killed_service_leaves_an_interrupted_run(
    service: LocalService, client: httpx.Client
) -> None:
    """``kill -9`` in mid-run: interrupted, its step killed, all but the last second of text kept."""
    begun = [*deltas(0, 30), *call("done", "out"), *deltas(30, 30)]
    endless = [{"type": "finish", "runId": "x", "status": "completed"}]
    replayed = create(client, captured((0, begun), (9_999_999, endless)), agent="replay")
    worked = create(client, "Said.\n$ echo first\n$ echo $$ > pid; while :; do sleep .1; done")
    waiting = [create(client, "$ sleep 60") for _ in range(7)][-1]
    folder = Path(
        service.facts["dir"],
        "sandboxes",
        "local",
        "work",
        "tasks",
        details(client, worked)["chatId"],
    )
    pid = int(until(lambda: (folder / "pid").exists() and (folder / "pid").read_text()))
    until(lambda: _stored_text(service, replayed).endswith("59 "))
    service.end(signal.SIGKILL)
    assert psutil.pid_exists(pid)
    service.start()
    with tasks(service) as again:
        for run_id in (replayed, worked, waiting):
            shown = details(again, run_id)
            assert (shown["status"], shown["completedAt"]) == ("interrupted", None)
            assert shown["error"] == "Run interrupted by a server restart"
            assert again.get(f"/tasks/{run_id}/status").json()["status"] == "interrupted"
        facts = log(again, replayed)
        assert (facts["source"], text(facts["events"])) == ("reconstructed", text(begun))
        assert calls(facts["events"]) == calls(begun)
        facts = log(again, worked)
        assert "finish" not in types(facts["events"])
        assert text(facts["events"]) == "Said.\n"
        assert ["output" in each for each in calls(facts["events"]).values()] == [True, False]
        until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")
        assert list(stream(again, f"/tasks/{worked}/logs/stream")) == facts["events"]
        answer = again.post(f"/tasks/{worked}/continue", json={"prompt": "$ cat pid"})
        assert ended(again, answer.json()["runId"])["status"] == "completed"


def _stored_text(service: LocalService, run_id: str) -> str:
    """Return the text of a run as another program reads it from the database."""
    path = f"{service.facts['dir']}/tasks.sqlite3"
    query = "SELECT part FROM parts JOIN runs USING (message_id) WHERE run_id = ? ORDER BY position"
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute(query, (run_id,)).fetchall()
    return "".join(json.loads(part).get("text", "") for (part,) in rows)


def test_stopped_service_interrupts_its_runs(service: LocalService, client: httpx.Client) -> None:
    """SIGTERM: the step is stopped, the run is interrupted, at a time that is known."""
    run_id = create(client, "$ echo $$ > pid; while :; do sleep .1; done")
    folder = Path(
        service.facts["dir"],
        "sandboxes",
        "local",
        "work",
        "tasks",
        details(client, run_id)["chatId"],
    )
    pid = int(until(lambda: (folder / "pid").exists() and (folder / "pid").read_text()))
    service.end(signal.SIGTERM)
    assert not psutil.pid_exists(pid)
    service.start()
    with tasks(service) as again:
        shown = details(again, run_id)
        assert (shown["status"], shown["error"]) == (
            "interrupted",
            "Run interrupted by a server restart",
        )
        assert shown["completedAt"] is not None


def test_run_that_cannot_be_saved_stays_in_memory(
    service: LocalService, client: httpx.Client
) -> None:
    """While the database is held, the log is merged and whole; then it is saved and the same."""
    run_id = create(client, "$ sleep 0.7; echo out\nSaid.")
    until(lambda: details(client, run_id)["status"] == "running")
    path = f"{service.facts['dir']}/tasks.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        shown = ended(client, run_id)
        assert shown["status"] == "completed"
        merged = log(client, run_id)
        assert merged["source"] == "merged"
        assert merged["events"][-1]["type"] == "finish"
    until(lambda: log(client, run_id)["source"] == "reconstructed")
    rebuilt = log(client, run_id)
    assert text(rebuilt["events"]) == text(merged["events"]) == "Said."
    assert calls(rebuilt["events"]) == calls(merged["events"])
    assert details(client, run_id)["status"] == "completed"


def test_silent_stream_is_kept_alive(client: httpx.Client) -> None:
    """After 15 seconds of silence a stream says that it is still there, with a comment."""
    run_id = create(client, "$ sleep 60")
    with client.stream("GET", f"/tasks/{run_id}/logs/stream") as answer:
        began = time.monotonic()
        assert next(line for line in answer.iter_lines() if line.startswith(":")) == ": keep-alive"
        assert 14 < time.monotonic() - began < 25
    client.patch(f"/tasks/{run_id}", json={"action": "cancel"})


def test_database_is_private(service: LocalService, client: httpx.Client) -> None:
    """Nobody else may read what runs have printed."""
    ended(client, create(client, "x"))
    for path in Path(service.facts["dir"]).glob("tasks.sqlite3*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_unreadable_database_is_moved_aside(service: LocalService) -> None:
    """A file that is no database is kept under another name, and the service starts with a new one."""
    folder = Path(service.facts["dir"])
    service.end()
    for path in folder.glob("tasks.sqlite3*"):
        path.unlink()
    (folder / "tasks.sqlite3").write_bytes(b"no database at all" * 100)
    service.start()
    with tasks(service) as client:
        assert ended(client, create(client, "x"))["status"] == "completed"
    (kept,) = folder.glob("tasks.sqlite3.unreadable-*")
    assert kept.read_bytes().startswith(b"no database")


def test_running_task_keeps_the_service(tmp_path: Path) -> None:
    """A service that exits when idle waits for the end of a run, then goes."""
    service = LocalService(tmp_path).start("--idle", "0.4")
    try:
        with tasks(service) as client:
            row = {"type": "text-delta", "id": "m", "delta": "x"}
            create(client, captured((0, [row]), (2500, [row])), agent="replay")
        assert service.process is not None
        with pytest.raises(subprocess.TimeoutExpired):
            service.process.wait(2.2)
        assert service.process.wait(10) == 0
    finally:
        service.end()


EVENTS = st.lists(
    st.one_of(
        st.builds(lambda n: {"type": "text-delta", "id": f"t{n}", "delta": "x"}, st.integers(0, 1)),
        st.just({"type": "reasoning-delta", "id": "r", "delta": "y"}),
        st.just({"type": "reasoning-end", "id": "r"}),
        st.builds(lambda n: call(f"c{n}")[0], st.integers(0, 2)),
        st.builds(lambda n: call(f"c{n}", "out")[2], st.integers(0, 2)),
        st.just({"type": "session-init"}),
    ),
    min_size=3,
    max_size=40,
)


@settings(deadline=None, max_examples=300)
@given(EVENTS, st.integers(1, 12), st.sets(st.integers(0, 30), max_size=3))
def test_reader_of_a_small_buffer(events: list[dict[str, Any]], most: int, turns: set[int]) -> None:
    """However little is kept and whenever one reads: text once and in order, all calls as they are."""
    live = LiveRun(Run("r", "owner", "c", "m", 0), max_events=most)
    place, shown, said = Place(), [], []
    for number, event in enumerate(events):
        if event["type"].endswith("-delta"):
            event = event | {"delta": f"{event['delta']}{number} "}
        said.append(event)
        live.emit(event)
        if number in turns:
            shown += [json.loads(each.data) for each in live.read(place)]
        late = [json.loads(each.data) for each in live.events()]
        assert (text(late), calls(late)) == (text(said), calls(said))
    shown += [json.loads(each.data) for each in live.read(place)]
    for kind in ("text-delta", "reasoning-delta"):
        assert _joined(shown, kind) == _joined(said, kind)
    assert calls(shown) == calls(said)
    assert live.read(place) == []


def _joined(events: list[dict[str, Any]], kind: str) -> str:
    return "".join(event["delta"] for event in events if event["type"] == kind)
