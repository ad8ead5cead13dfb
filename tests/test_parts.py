"""Parts and events, in both directions: what protocol 4.2 promises to keep is kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blaxel_jupyter.parts import Parts, events_of
from tests.blackbox_examples import content, document

PAIRS = ["01-success", "03-cancelled"]
LINES = [
    "01-success.ndjson",
    "01-success.reconstructed.ndjson",
    "02-failed.ndjson",
    "03-cancelled.ndjson",
    "04-tolerance.ndjson",
    "05-interrupted.ndjson",
    "06-continued.reconstructed.ndjson",
]


def message_of(task: dict[str, Any]) -> tuple[str, list[Any]]:
    """Return the id and parts of the run's own message."""
    name = task["assistantMessageId"]
    found = next(each for each in task["messages"] if each["id"] == name)
    return name, found["parts"]


def lines(name: str) -> list[dict[str, Any]]:
    """Return the events of a file with one a line."""
    return [json.loads(line) for line in content(name).splitlines()]


def stored(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the parts of a run, after a JSON round trip."""
    parts = Parts()
    for event in events:
        parts.feed(event)
    parts.close()
    return list(json.loads(json.dumps(parts.parts)))


def kept(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what a round trip must preserve (protocol 4.2)."""
    text = reasoning = ""
    calls: dict[str, dict[str, Any]] = {}
    for event in events:
        kind = event["type"]
        if kind == "text-delta":
            text += event["delta"]
        elif kind in ("reasoning-delta", "reasoning"):
            reasoning += event.get("delta", event.get("text"))
        elif kind.startswith("tool-") and kind != "tool-input-delta":
            call = calls.setdefault(event["toolCallId"], {})
            call["state"] = kind.replace("tool-input-start", "tool-call-start")
            for field in ("toolName", "input", "output", "errorText"):
                if field in event:
                    call[field] = event[field]
    return {"text": text, "reasoning": reasoning, "calls": calls, "order": list(calls)}


@pytest.mark.parametrize("name", PAIRS)
def test_example_is_reconstructed(name: str) -> None:
    """The stored parts of an example give exactly the events of its reconstructed log."""
    task = document(f"{name}.task.json")
    finish = {"type": "finish", "runId": task["runId"], "status": task["status"]}
    events = [*events_of(*message_of(task)), finish]
    assert events == document(f"{name}.logs.reconstructed.json")["events"]


@pytest.mark.parametrize("name", PAIRS)
def test_example_is_stored(name: str) -> None:
    """The events of a run give the example's stored parts, but for step marks, ids and tool kinds."""
    _, wanted = message_of(document(f"{name}.task.json"))
    parts = [part for part in stored(lines(f"{name}.ndjson")) if part["type"] != "files"]
    for part in parts:
        if part["type"] == "reasoning":
            del part["id"]
    wanted = [part for part in wanted if part["type"] != "step-start"]
    for part in wanted:
        if part["type"] == "dynamic-tool":
            part["type"] = f"tool-{part.pop('toolName')}"
    assert parts == wanted


@pytest.mark.parametrize("name", LINES)
def test_round_trip_keeps_what_matters(name: str) -> None:
    """Text, reasoning, order of calls, inputs, outputs, errors and states survive storage."""
    events = lines(name)
    back = events_of("msg", stored(events))
    assert kept(back) == kept(events)
    assert events_of("msg", stored(back)) == back


def test_text_is_cut_where_a_call_intervenes() -> None:
    """One text id before and after a call is two parts, also when the call was known before."""
    events = lines("01-success.ndjson")
    kinds = [part["type"] for part in stored(events)]
    assert kinds[:5] == ["text", "tool-Glob", "tool-Grep", "text", "tool-Edit"]


def test_open_blocks_stay_open() -> None:
    """Text and reasoning that were cut off in the middle are stored as streaming, and not ended."""
    parts = Parts()
    parts.feed({"type": "reasoning-start", "id": "r"})
    parts.feed({"type": "reasoning-delta", "id": "r", "delta": "Half a"})
    assert parts.parts == [{"type": "reasoning", "id": "r", "text": "Half a", "state": "streaming"}]
    types = [event["type"] for event in events_of("m", parts.parts)]
    assert types == ["reasoning-start", "reasoning-delta"]


def test_preliminary_output_is_replaced() -> None:
    """A partial output is stored as one, and gives way to the final one; a late one is ignored."""
    parts = Parts()
    output = {"type": "tool-output-available", "toolCallId": "c", "toolName": "bash"}
    parts.feed(output | {"output": "a", "preliminary": True})
    assert events_of("m", parts.parts)[-1] == output | {"output": "a", "preliminary": True}
    parts.feed(output | {"output": "ab"})
    parts.feed(output | {"output": "late", "preliminary": True})
    assert events_of("m", parts.parts)[-1] == output | {"output": "ab"}


def test_changes_are_told() -> None:
    """Each change names its part, so that only that one is written."""
    parts = Parts()
    parts.feed({"type": "text-delta", "id": "m", "delta": "a"})
    parts.feed({"type": "tool-call-start", "toolCallId": "c", "toolName": "bash"})
    assert parts.changed == {0, 1}
    parts.changed.clear()
    parts.feed({"type": "tool-input-available", "toolCallId": "c", "input": {}})
    assert parts.changed == {1}
    assert parts.feed({"type": "start", "runId": "r"}) is None


def test_unknown_parts_pass_through() -> None:
    """A part of unknown type becomes an event of that type; what is no part is left out."""
    file = {"type": "file", "url": "data:,", "mediaType": "text/plain"}
    strange: list[object] = [file, {"type": "novel", "x": 1}, None, 7, "text", [], {}, {"type": 3}]
    assert events_of("m", strange) == [file, {"type": "novel", "x": 1}]


@pytest.mark.parametrize("state", ["output-available", "output-denied", "odd", None, 3, []])
def test_incomplete_tool_parts(state: object) -> None:
    """Whatever a tool part lacks, its call is still there."""
    part = {"type": "tool-mcp__a-b", "toolCallId": "c", "state": state}
    events = events_of("m", [part])
    assert events[0] == {"type": "tool-call-start", "toolCallId": "c", "toolName": "mcp__a-b"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
FIELDS = st.dictionaries(
    st.sampled_from(["id", "toolCallId", "toolName", "input", "output", "text", "delta", "state"])
    | st.sampled_from(["errorText", "preliminary", "transient", "rawInput", "reason", "error"]),
    JSON,
    max_size=6,
)
TYPES = st.sampled_from(
    [
        *(
            "text",
            "reasoning",
            "tool-x",
            "dynamic-tool",
            "text-delta",
            "reasoning-delta",
            "text-end",
        ),
        *("tool-call-start", "tool-input-available", "tool-output-available", "tool-output-error"),
        *("tool-input-error", "tool-output-denied", "tool-approval-request", "data-x", "start"),
    ]
)
ANY = st.builds(lambda kind, rest: {**rest, "type": kind}, TYPES, FIELDS) | JSON


@given(st.lists(ANY, max_size=8))
def test_never_raises_on_content(things: list[Any]) -> None:
    """Anything JSON can hold is read, in both directions."""
    assert isinstance(events_of("m", things), list)
    parts = Parts()
    for each in things:
        if isinstance(each, dict):
            parts.feed(each)
    assert isinstance(events_of("m", parts.parts), list)


@given(st.lists(st.integers(0, 3), max_size=30))
def test_any_order_of_deltas_and_calls(turns: list[int]) -> None:
    """However text, reasoning and calls interleave, a stored run says the same."""
    events: list[dict[str, Any]] = []
    for number, turn in enumerate(turns):
        if turn < 2:
            events.append({"type": "text-delta", "id": f"t{turn}", "delta": f"{number} "})
        elif turn == 2:
            events.append({"type": "reasoning-delta", "id": "r", "delta": f"{number} "})
        else:
            call = {"toolCallId": f"c{number % 3}", "toolName": "bash"}
            events.append({"type": "tool-call-start", **call})
            events.append({"type": "tool-output-available", **call, "output": number})
    assert kept(events_of("m", stored(events))) == kept(events)
