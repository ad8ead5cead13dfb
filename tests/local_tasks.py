"""Talk to the task half of a real local service: create runs, wait for them, read their logs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx

from tests.local_service import LocalService, until

Event = dict[str, Any]
UNKNOWN = "00000000-0000-4000-8000-000000000000"
OF_A_RUN = [
    ("GET", ""),
    ("GET", "/status"),
    ("GET", "/logs"),
    ("GET", "/logs/stream"),
    ("POST", "/continue"),
    ("PATCH", ""),
]
"""The routes of one run: method, and path below it."""
ENDLESS = """{"recvMs":0,"event":{"type":"text-delta","id":"m","delta":"x"}}
{"recvMs":99999999,"event":{"type":"finish","status":"completed"}}"""
"""A recording that takes a day to replay."""
FINAL = ("completed", "failed", "cancelled", "interrupted")


def tasks(service: LocalService, key: str = "token") -> httpx.Client:
    """Return a client of the task API, of one of the two users."""
    headers = {"Authorization": f"Bearer {service.facts[key]}"}
    return httpx.Client(base_url=f"{service.url}/api/v1", headers=headers, timeout=60)


def create(client: httpx.Client, prompt: str, **members: Any) -> str:
    """Start a run; return its id."""
    answer = client.post("/tasks", json={"prompt": prompt, **members})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["runId"])


def details(client: httpx.Client, run_id: str) -> dict[str, Any]:
    """Return a run's details."""
    answer = client.get(f"/tasks/{run_id}")
    assert answer.status_code == 200, answer.text
    facts: dict[str, Any] = answer.json()
    return facts


def ended(client: httpx.Client, run_id: str, seconds: float = 20) -> dict[str, Any]:
    """Wait for a run's end; return its details."""
    until(lambda: client.get(f"/tasks/{run_id}/status").json()["status"] in FINAL, seconds)
    return details(client, run_id)


def log(client: httpx.Client, run_id: str, **query: str) -> dict[str, Any]:
    """Return a run's log."""
    answer = client.get(f"/tasks/{run_id}/logs", params=query)
    assert answer.status_code == 200, answer.text
    facts: dict[str, Any] = answer.json()
    assert facts["eventCount"] == len(facts["events"])
    return facts


def stream(client: httpx.Client, path: str, **query: str) -> Iterator[Event]:
    """Yield a stream's events as they come; every block is one data line or a comment."""
    with client.stream("GET", path, params=query) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            assert not line or line.startswith(("data: ", ":")), line
            if line.startswith("data: "):
                yield json.loads(line[6:])


def live(
    client: httpx.Client, prompt: str, path: str = "", **members: Any
) -> tuple[str, list[Event]]:
    """Run a prompt under a stream that is open before it begins; return its id and its events.

    It waits in the queue until then, behind eight others.
    """
    others = [create(client, ENDLESS, agent="replay") for _ in range(8)]
    run_id = create(client, prompt, **members)
    path = path or f"/tasks/{run_id}/logs/stream"
    with client.stream("GET", path, params={"runId": run_id}) as answer:
        for other in others:
            client.patch(f"/tasks/{other}", json={"action": "cancel"})
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    return run_id, events


def text(events: list[Event]) -> str:
    """Return the joined text."""
    return "".join(event["delta"] for event in events if event["type"] == "text-delta")


def calls(events: list[Event]) -> dict[str, Event]:
    """Return what is known at the end about each tool call, in order of first appearance."""
    found: dict[str, Event] = {}
    for event in events:
        if "toolCallId" in event and event["type"] != "tool-input-delta":
            call = found.setdefault(event["toolCallId"], {})
            call.update({k: v for k, v in event.items() if k not in ("type", "toolCallId")})
    return found


def types(events: list[Event]) -> list[str]:
    """Return the events' types, a run of the same type as one."""
    found: list[str] = []
    for event in events:
        if not found or found[-1] != event["type"]:
            found.append(event["type"])
    return found
