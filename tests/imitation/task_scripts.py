"""What an imitated run says and when, and the forms in which a server tells it again.

Pure: no IO but reading the examples, no clock. ``tasks.py`` plays the scripts; tests use them as the truth.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal
from uuid import UUID

from tests import blackbox_examples as examples
from tests.blackbox_examples import Event

HOLD = math.inf
"""As a step's delay: wait until the test lets the run go on."""
TERMINAL = ("finish", "error", "abort")
_DELTAS = ("text-delta", "reasoning-delta")
_FINAL = {
    "tool-output-available": "output-available",
    "tool-output-error": "output-error",
    "tool-output-denied": "output-denied",
    "tool-input-error": "output-error",
}


@dataclass(frozen=True, slots=True)
class Script:
    """A run: (seconds to wait, event) one after another, and everything a server knows besides."""

    steps: tuple[tuple[float, Event], ...]
    status: str = "completed"
    """The canonical word at the end."""
    error: str | None = None
    run_id: str = "7d9a1c02-0b5e-4f6a-9c3d-1e2f3a4b5c6d"
    chat_id: str = "chat_3fa1"
    message_id: str = "msg_a1b2c3d4e5"
    prompt: str = "Do it."
    owner: Literal["me", "other"] = "me"
    ended: bool = False
    """Over before the server started, its buffer forgotten: nothing is live."""
    thread: tuple[dict[str, Any], ...] = ()
    """Messages of earlier runs of the same chat."""
    parts: tuple[dict[str, Any], ...] | None = None
    """The stored message parts; None = made from the events."""
    reconstructed: tuple[Event, ...] | None = None
    """The events told from the parts; None = by the mapping of protocol 4.2."""

    @property
    def events(self) -> list[Event]:
        """Every event of the run in order."""
        return [event for _, event in self.steps]

    def paced(self, seconds: float) -> Script:
        """Return the same run with an event every ``seconds``."""
        return replace(self, steps=tuple((seconds, event) for _, event in self.steps))

    def held(self, every: int) -> Script:
        """Return the same run that waits to be let on before each ``every``-th event."""
        steps = ((0.0 if n % every else HOLD, event) for n, (_, event) in enumerate(self.steps))
        return replace(self, steps=tuple(steps))


def scripted(events: Iterable[Event], pace: float = 0.0, **members: Any) -> Script:
    """Return a run that says ``events``, one every ``pace`` seconds."""
    return Script(tuple((pace, event) for event in events), **members)


def recorded(name: str, pace: float = 0.0, **members: Any) -> Script:
    """Return an example as a run: ``01-success``, ``02-failed``, ``03-cancelled``, ``05-interrupted``.

    ``pace`` is the seconds between two events; ``01-success.capture`` has times of its own, which are
    multiplied by it.
    """
    stem = name.partition(".")[0]
    envelope = next(n for n in reversed(examples.LOGS) if n.startswith(stem))
    known = {key: examples.document(envelope)[key] for key in ("status", "error")}
    known |= _identity(stem, examples.document(envelope))
    events = examples.events(f"{name}.ndjson")
    times = examples.received(f"{name}.ndjson")
    if times is None:
        delays = [pace] * len(events)
    else:
        before = [times[0], *times]
        delays = [(now - then) / 1000 * pace for then, now in zip(before, times, strict=False)]
    return Script(tuple(zip(delays, events, strict=True)), **{**known, **members})


def _identity(stem: str, envelope: dict[str, Any]) -> dict[str, Any]:
    known = {"run_id": envelope["runId"], "chat_id": envelope["chatId"]}
    task = f"{stem}.task.json"
    if task in examples.TASKS:
        details = examples.document(task)
        known["message_id"] = details["assistantMessageId"]
        parts = next(m for m in details["messages"] if m["id"] == known["message_id"])["parts"]
        known["parts"] = tuple(parts)
    return known


# Stored parts, and the log told from them (protocol 4.2)


def parts_of(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return the message parts that a server stores for ``events``."""
    parts: list[dict[str, Any]] = []
    tools: dict[str, dict[str, Any]] = {}
    for event in events:
        kind, tool = event["type"], event.get("toolCallId")
        if kind in _DELTAS or kind == "reasoning":
            _append_text(parts, kind.partition("-")[0], str(event.get("delta", event.get("text"))))
        elif tool is not None and kind.startswith("tool-"):
            if tool not in tools:
                tools[tool] = {
                    "type": "dynamic-tool",
                    "toolCallId": tool,
                    "state": "input-streaming",
                }
                parts.append(tools[tool])
            _store(tools[tool], event)
    return parts


def _append_text(parts: list[dict[str, Any]], kind: str, text: str) -> None:
    if parts and parts[-1]["type"] == kind:
        parts[-1]["text"] += text
    else:
        parts.append({"type": kind, "text": text, "state": "done"})


def _store(part: dict[str, Any], event: Event) -> None:
    if "toolName" in event:
        part.setdefault("toolName", event["toolName"])
    if event["type"] in _FINAL and not event.get("preliminary"):
        part["state"] = _FINAL[event["type"]]
    elif event["type"] == "tool-input-available":
        part["state"] = "input-available"
    part.update({key: event[key] for key in ("input", "output", "errorText") if key in event})


def told_again(parts: Sequence[dict[str, Any]], script: Script, status: str) -> list[Event]:
    """Return the log that is reconstructed from stored parts, with its synthesised ``finish``."""
    events: list[Event] = []
    message = script.message_id
    for part in parts:
        kind = part["type"]
        if kind == "text":
            if not any(event["type"] == "text-start" for event in events):
                events.append({"type": "text-start", "id": message})
            if part["text"]:
                events.append({"type": "text-delta", "id": message, "delta": part["text"]})
        elif kind == "reasoning":
            block = f"{message}:r{len(events)}"
            events.append({"type": "reasoning-start", "id": block})
            events.append({"type": "reasoning-delta", "id": block, "delta": part["text"]})
            events.append({"type": "reasoning-end", "id": block})
        elif "toolCallId" in part:
            events += _tool_again(part)
    return [*events, {"type": "finish", "runId": script.run_id, "status": status}]


def _tool_again(part: dict[str, Any]) -> list[Event]:
    name = part.get("toolName") or part["type"].partition("-")[2]
    identity = {"toolCallId": part["toolCallId"], "toolName": name}
    events: list[Event] = [{"type": "tool-call-start", **identity}]
    if "input" in part:
        events.append({"type": "tool-input-available", **identity, "input": part["input"]})
    if part["state"] == "output-available":
        output = part.get("output")
        events.append({"type": "tool-output-available", **identity, "output": output})
    elif part["state"] == "output-error":
        text = part.get("errorText")
        events.append({"type": "tool-output-error", **identity, "errorText": text})
    elif part["state"] == "output-denied":
        events.append({"type": "tool-output-denied", **identity})
    return events


def merged(events: Sequence[Event]) -> list[Event]:
    """Return a ``merged`` log: each ended tool call's events once more behind its end (protocol 3.5)."""
    told: list[Event] = []
    seen: dict[str, list[Event]] = {}
    for event in events:
        told.append(event)
        tool = event.get("toolCallId")
        if tool is None:
            continue
        seen.setdefault(tool, []).append(event)
        if event["type"] in _FINAL and not event.get("preliminary"):
            told += seen.pop(tool)
    return told


def rechunked(events: Iterable[Event], random: Random) -> list[Event]:
    """Return the same run with neighbouring deltas of one block joined and cut at other places."""
    joined: list[Event] = []
    for event in events:
        last = joined[-1] if joined else {}
        same = all(last.get(key) == event.get(key) for key in ("type", "id"))
        if same and event["type"] in _DELTAS:
            joined[-1] = {**last, "delta": last["delta"] + event["delta"]}
        else:
            joined.append(event)
    return [piece for event in joined for piece in _pieces(event, random)]


def _pieces(event: Event, random: Random) -> list[Event]:
    if event["type"] not in _DELTAS:
        return [event]
    text = event["delta"]
    count = random.randint(0, min(4, len(text)))
    cuts = sorted(random.sample(range(len(text) + 1), count))
    bounds = zip([0, *cuts], [*cuts, len(text)], strict=True)
    return [{**event, "delta": text[start:stop]} for start, stop in bounds]


# Runs of any length


def invented(seed: int, length: int, **members: Any) -> Script:
    """Return a made-up run of about ``length`` events: text, reasoning and tools that interleave."""
    random = Random(seed)
    block = f"msg_{seed:06x}"
    run_id = str(UUID(int=random.getrandbits(128), version=4))
    events: list[Event] = [
        {"type": "start", "runId": run_id},
        {"type": "session-init", "tools": ["bash"], "mcpServers": [], "plugins": [], "skills": []},
        {"type": "text-start", "id": block},
    ]
    turn = 0
    while len(events) < length - 2:
        turn += 1
        events += [
            {"type": "text-delta", "id": block, "delta": _words(random)}
            for _ in range(random.randint(1, 4))
        ]
        if random.random() < 0.4:
            events += _thought(f"rsn_{turn}", random)
        events += _calls(turn, random)
    usage = {"input_tokens": 10 * turn, "output_tokens": 3 * turn}
    events.append({"type": "result", "num_turns": turn, "total_cost_usd": 0.01, "usage": usage})
    events.append({"type": "finish", "runId": run_id, "status": "completed"})
    return scripted(events, run_id=run_id, message_id=block, **members)


def _words(random: Random) -> str:
    words = ["and ", "then ", "ä ", "🧪", "the same ", "the same ", "\n", "``", " it ", "é"]
    return "".join(random.choice(words) for _ in range(random.randint(1, 5)))


def _thought(block: str, random: Random) -> list[Event]:
    deltas = [
        {"type": "reasoning-delta", "id": block, "delta": _words(random)}
        for _ in range(random.randint(1, 3))
    ]
    return [
        {"type": "reasoning-start", "id": block},
        *deltas,
        {"type": "reasoning-end", "id": block},
    ]


def _calls(turn: int, random: Random) -> list[Event]:
    names = [f"tc_{turn}_{n}" for n in range(random.choice([0, 1, 1, 2, 3]))]
    events: list[Event] = []
    for name in names:
        identity = {"toolCallId": name, "toolName": "bash"}
        command = {"command": f"echo {random.randint(1, 3)}"}
        events.append({"type": "tool-call-start", **identity})
        events.append({"type": "tool-input-available", **identity, "input": command})
    for name in random.sample(names, len(names)):
        identity = {"toolCallId": name, "toolName": "bash"}
        code = random.choice([0, 0, 0, 1])
        output = {"stdout": _words(random), "exitCode": code}
        events.append({"type": "tool-output-available", **identity, "output": output})
    return events


# The truth that every telling of one run keeps (protocol 3.5)


def truth(events: Iterable[Event]) -> dict[str, Any]:
    """Return joined text, joined reasoning, and each tool call's name, input and result, in order."""
    text: list[str] = []
    reasoning: list[str] = []
    tools: dict[str, dict[str, Any]] = {}
    for event in events:
        kind = event["type"]
        if kind == "text-delta":
            text.append(event["delta"])
        elif kind in ("reasoning-delta", "reasoning"):
            reasoning.append(event.get("delta", event.get("text")))
        elif kind.startswith("tool-"):
            call = tools.setdefault(event["toolCallId"], {})
            for key in ("toolName", "input", "output", "errorText"):
                if key in event:
                    call[key] = event[key]
    return {"text": "".join(text), "reasoning": "".join(reasoning), "tools": tools}


def as_json(event: object) -> str:
    """Return compact JSON with real characters, as the samples are written."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"))
