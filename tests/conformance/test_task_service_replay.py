"""Recorded runs sent again as runs of their own: every form of recording, its pace, its end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.blackbox_examples import FOLDER, content, document
from tests.local_service import LocalService
from tests.local_tasks import calls, create, ended, live, log, stream, tasks, text

ENDS = {
    "01-success.ndjson": "completed",
    "01-success.capture.ndjson": "completed",
    "01-success.nodeltas.ndjson": "completed",
    "01-success.sse": "completed",
    "01-success.logs.buffer.json": "interrupted",
    "01-success.logs.reconstructed.json": "completed",
    "02-failed.ndjson": "failed",
    "02-failed.sse": "failed",
    "02-failed.logs.reconstructed.json": "failed",
    "03-cancelled.ndjson": "cancelled",
    "03-cancelled.sse": "cancelled",
    "04-tolerance.ndjson": "cancelled",
    "04-tolerance.sse": "cancelled",
    "05-interrupted.ndjson": "interrupted",
    "05-interrupted.logs.merged.json": "interrupted",
    "06-continued.reconstructed.ndjson": "completed",
}
FINISH = '{"type":"finish","runId":"old","status":"completed"}'
DELTA = '{"type":"text-delta","id":"m","delta":"x"}'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """One service for this file."""
    service = LocalService(tmp_path_factory.mktemp("replay")).start()
    yield service
    service.end()


@pytest.fixture
def client(service: LocalService) -> Iterator[httpx.Client]:
    """A client of the task API."""
    with tasks(service) as client:
        yield client


def recorded(name: str) -> list[dict[str, Any]]:
    """Return the events of an example, read by the plainest means."""
    if name.endswith(".json"):
        return list(document(name)["events"])
    if name.endswith(".sse"):
        name = name.replace(".sse", ".ndjson")
    rows = [json.loads(line) for line in content(name).splitlines()]
    return [row.get("event", row) for row in rows]


def replay(client: httpx.Client, prompt: str, speed: str = "4") -> tuple[str, list[dict[str, Any]]]:
    """Replay a recording; return the new run's id and its live events."""
    return live(client, prompt, agent="replay", model=f"replay/{speed}")


@pytest.mark.parametrize("name", sorted(ENDS))
def test_example_is_replayed(client: httpx.Client, name: str) -> None:
    """All events as recorded, under the new run's id; the status is the recording's."""
    wanted = recorded(name)
    run_id, events = replay(client, str(FOLDER / name), "20" if "capture" in name else "4")
    shown = ended(client, run_id)
    for event in wanted:
        if event["type"] in ("start", "finish") and "runId" in event:
            event["runId"] = run_id
        if event["type"] == "start" and "startedAt" in event:
            event["startedAt"] = shown["startedAt"]
    assert events == wanted
    assert shown["status"] == ENDS[name]
    failed = [event["errorText"] for event in wanted if event["type"] == "error"]
    if failed:
        assert shown["error"] == failed[-1]


@pytest.mark.parametrize("name", ["01-success.ndjson", "03-cancelled.sse", "05-interrupted.ndjson"])
def test_replayed_run_is_stored(client: httpx.Client, name: str) -> None:
    """Rebuilt from its parts it says the same, and a doubled call is one."""
    run_id, events = replay(client, content(name).decode(), "0")
    ended(client, run_id)
    rebuilt = log(client, run_id)
    assert rebuilt["source"] == "reconstructed"
    assert text(rebuilt["events"]) == text(events)
    wanted = {k: v | {"toolName": v.get("toolName")} for k, v in calls(events).items()}
    assert calls(rebuilt["events"]) == wanted


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_forms_of_a_recording_in_the_prompt(client: httpx.Client, end: str) -> None:
    """Lines, capture records and stream blocks are read alike, whatever the line ends."""
    capture = f'{{"seq":0,"recvMs":5,"event":{DELTA}}}'
    blocks = ["id: 1", ": hi", "event: x", 'data: {"type":"text-delta",', 'data: "delta":"x"}', ""]
    for lines in (
        [DELTA, FINISH],
        [capture, FINISH],
        [*blocks, f"data:{FINISH}"],
        ["", DELTA, "", FINISH],
    ):
        run_id, events = replay(client, end.join(lines), "0")
        assert text(events) == "x"
        assert ended(client, run_id)["status"] == "completed"


def test_lines_that_are_no_events_are_counted(client: httpx.Client) -> None:
    """They cannot be sent; the answer of the create says how many."""
    lines = [DELTA, '{"broken', "[1]", '{"no":"type"}', '{"type":"x","n":NaN}', "[DONE]", FINISH]
    body = {"prompt": "\n".join(lines), "agent": "replay"}
    answer = client.post("/tasks", json=body).json()
    assert answer["skippedLines"] == 4
    assert ended(client, answer["runId"])["status"] == "completed"


def test_half_characters_do_no_harm(client: httpx.Client) -> None:
    """A recording may hold them in any text; the run ends, is stored and told."""
    delta = '{"type":"text-delta","id":"m","delta":"a\\ud800"}'
    run_id, events = replay(client, delta + '\n{"type":"error","errorText":"b\\udfff"}', "0")
    assert [event["type"] for event in events] == ["text-delta", "error"]
    assert ended(client, run_id)["status"] == "failed"
    assert text(log(client, run_id)["events"]) == text(events) == "a\ud800"


@pytest.mark.parametrize(
    ("speed", "least", "most"), [("1", 0.9, 5.0), ("4", 0.2, 1.5), ("0", 0.0, 0.8)]
)
def test_pace(client: httpx.Client, speed: str, least: float, most: float) -> None:
    """Events come at the recorded times, as many times faster as asked, or at once."""
    times = (1000, 1400, 1900, 1500, 2000)  # a clock that was set back costs nothing
    rows = [f'{{"seq":{n},"recvMs":{t},"event":{DELTA}}}' for n, t in enumerate(times)]
    began = time.monotonic()
    run_id = create(client, "\n".join(rows), agent="replay", model=f"replay/{speed}")
    ended(client, run_id)
    assert least <= time.monotonic() - began <= most


@pytest.mark.parametrize(
    ("prompt", "model", "says"),
    [
        ("/nowhere/at/all", None, "No such file"),
        ("/", None, "directory"),
        ("a\0b", None, "neither a recording nor a file"),
        ("no\nevents", None, "no event"),
        ("{}", None, "no event"),
        (DELTA, "replay/fast", "replay/N"),
        (DELTA, "replay/-1", "replay/N"),
        (DELTA, "replay/inf", "replay/N"),
        (DELTA, "replay/nan", "replay/N"),
        (DELTA, "gpt-5", "replay/N"),
    ],
)
def test_bad_recordings(client: httpx.Client, prompt: str, model: str | None, says: str) -> None:
    """A recording, path or speed that will not do is a 400 that says why."""
    answer = client.post("/tasks", json={"prompt": prompt, "agent": "replay", "model": model})
    assert (answer.status_code, says in answer.json()["error"]) == (400, True), answer.text


def test_cancel_of_a_replay(client: httpx.Client, tmp_path: Path) -> None:
    """It stops between two events and ends as cancelled."""
    path = tmp_path / "slow.ndjson"
    path.write_text(f'{{"recvMs":0,"event":{DELTA}}}\n{{"recvMs":9999999,"event":{FINISH}}}')
    run_id = create(client, str(path), agent="replay")
    events = stream(client, f"/tasks/{run_id}/logs/stream")
    assert next(events)["delta"] == "x"
    assert (
        client.patch(f"/tasks/{run_id}", json={"action": "cancel"}).json()["status"] == "cancelled"
    )
    assert list(events) == [{"type": "finish", "runId": run_id, "status": "cancelled"}]
