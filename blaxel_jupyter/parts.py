"""Turn the stored parts of an agent's message into task events, and events into parts.

The two directions mirror each other (protocol 4.2 of the tasks): joined text, order of tool calls,
inputs, outputs and states survive, chunks and times do not. Pure: imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

Event = dict[str, Any]
"""One task event as JSON gives it: ``type`` and whatever else it has."""
Part = dict[str, Any]
"""One part of a stored message as JSON gives it."""

LIFECYCLE = frozenset(
    (
        *(
            "resume",
            "start",
            "session-init",
            "result",
            "message-metadata",
            "finish",
            "error",
            "abort",
        ),
        *("start-step", "finish-step", "tool-input-delta"),
    )
)
"""Event types of which no part is kept (protocol 3.5): they belong to the run, not to the message."""

_GIVEN = ("input-available", "approval-requested", "approval-responded")
_ERROR = ("errorText", "errorMessage", "error")


def events_of(message_id: str, parts: Sequence[object]) -> list[Event]:
    """Return the events that a message's parts stand for, in part order (protocol 4.2).

    All text has the message's id, with one ``text-start`` before the first of it; reasoning has the
    part's id, or one made of the message's id and the event's position. ``step-start`` is dropped, a
    part of unknown type becomes an event of that type, and what is no part at all is left out: strange
    content never raises. ``finish`` is the caller's to add, from the run's status.
    """
    return list(each_event(message_id, parts))


def each_event(message_id: str, parts: Iterable[object]) -> Iterator[Event]:
    """Yield the events of :func:`events_of` one by one, as the parts come."""
    count = 0
    texts = False
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(part, dict) or not isinstance(kind, str) or kind == "step-start":
            continue
        if kind == "text":
            events = _prose(message_id, part, begun=texts)
            texts = True
        elif kind == "reasoning":
            events = _reasoning(part, f"{message_id}:r{count}")
        elif _is_tool(part, kind):
            events = _tool(part, kind)
        else:
            events = [dict(part)]
        count += len(events)
        yield from events


def _prose(message_id: str, part: Part, *, begun: bool) -> list[Event]:
    events: list[Event] = [] if begun else [{"type": "text-start", "id": message_id}]
    if text := _text(part, "text"):
        events.append({"type": "text-delta", "id": message_id, "delta": text})
    return events


def _reasoning(part: Part, made_up: str) -> list[Event]:
    """A block that was cut off while it was written stays open."""
    name = part.get("id")
    name = name if isinstance(name, str) and name else made_up
    events: list[Event] = [{"type": "reasoning-start", "id": name}]
    if text := _text(part, "text"):
        events.append({"type": "reasoning-delta", "id": name, "delta": text})
    if part.get("state") != "streaming":
        events.append({"type": "reasoning-end", "id": name})
    return events


def _is_tool(part: Part, kind: str) -> bool:
    named = kind == "dynamic-tool" or kind.startswith("tool-")
    return named and isinstance(part.get("toolCallId"), str)


def _tool(part: Part, kind: str) -> list[Event]:
    name = part.get("toolName") if kind == "dynamic-tool" else kind.partition("-")[2]
    whose: Event = {"toolCallId": part["toolCallId"]}
    if isinstance(name, str):
        whose["toolName"] = name
    state = part.get("state")
    events: list[Event] = [{"type": "tool-call-start", **whose}]
    if "input" in part and state != "input-streaming":
        given = {"type": "tool-input-available", **whose, "input": part["input"]}
        if "callProviderMetadata" in part:
            given["providerMetadata"] = part["callProviderMetadata"]
        events.append(given)
    elif state in _GIVEN:
        events.append({"type": "tool-input-available", **whose, "input": None})
    if state == "output-denied":
        reason = {"reason": part["reason"]} if "reason" in part else {}
        events.append({"type": "tool-output-denied", **whose, **reason})
    elif state == "output-error" and "rawInput" in part and "input" not in part:
        raw = {"input": part["rawInput"], "errorText": _text(part, "errorText")}
        events.append({"type": "tool-input-error", **whose, **raw})
    elif state == "output-error" or (state != "output-available" and "errorText" in part):
        text = _text(part, "errorText")
        events.append({"type": "tool-output-error", **whose, "errorText": text})
    elif state == "output-available" or "output" in part:
        output = {"type": "tool-output-available", **whose, "output": part.get("output")}
        events.append(output | ({"preliminary": True} if part.get("preliminary") is True else {}))
    return events


def _text(holder: Mapping[str, Any], *names: str) -> str:
    """Return the first of these members that is text; "" if none is."""
    return next((holder[name] for name in names if isinstance(holder.get(name), str)), "")


class Parts:
    """The parts of one message, built of its run's events as they come.

    Text and reasoning are cut into a new part wherever another part intervenes. Tool events are
    idempotent for each ``toolCallId``, so the doubles of a merged log do no harm. Never raises on
    content. No part is left by events of ``LIFECYCLE`` types, transient data, and unknown ``tool-…``
    events of a call.
    """

    def __init__(self) -> None:
        self.changed: set[int] = set()
        """Positions of the parts that were made or changed since the owner last cleared this."""
        self.written = 0
        """Characters of the last part's text, if that is text or reasoning; else 0."""
        self._parts: list[Part] = []
        self._calls: dict[str, int] = {}
        self._open: tuple[str, object] | None = None
        self._pieces: list[str] = []

    def __len__(self) -> int:
        """Return the number of parts."""
        return len(self._parts)

    @property
    def parts(self) -> list[Part]:
        """The parts in order of first appearance; they change in place as events come."""
        if (
            len(self._pieces) > 1
        ):  # joined here: adding each delta to a long text would be quadratic
            self._pieces = ["".join(self._pieces)]
            self._parts[-1]["text"] = self._pieces[0]
        return self._parts

    def feed(self, event: Mapping[str, Any]) -> int | None:
        """Take the next event; return the position of the part it went into, None if into none."""
        kind = event.get("type")
        if not isinstance(kind, str) or kind in LIFECYCLE:
            return None
        if kind in _PROSE:
            return self._prose(kind, event)
        if kind.startswith("tool-") and isinstance(event.get("toolCallId"), str):
            return self._tool(kind, event)
        if event.get("transient") is True:
            return None
        return self._add(dict(event))

    def close(self) -> None:
        """End the open text or reasoning; what comes next begins a new part."""
        if self._open is not None:
            self.parts[-1]["state"] = "done"
            self.changed.add(len(self._parts) - 1)
            self._open = None
            self._pieces.clear()

    def _add(self, part: Part) -> int:
        self.close()
        self.written = 0
        self._parts.append(part)
        self.changed.add(len(self._parts) - 1)
        return len(self._parts) - 1

    def _prose(self, kind: str, event: Mapping[str, Any]) -> int | None:
        which, _, what = kind.partition("-")
        block = (which, event.get("id"))
        text = _text(event, "delta", "text") if what in ("delta", "") else ""
        if text and self._open != block:
            name = {"id": event["id"]} if which == "reasoning" and event.get("id") else {}
            self._add({"type": which, **name, "text": "", "state": "streaming"})
            self._open, self._pieces = block, [""]
        if text:
            self._pieces.append(text)
            self.written += len(text)
            self.changed.add(len(self._parts) - 1)
        position = len(self._parts) - 1 if self._open == block else None
        if what in ("end", "") and self._open == block:
            self.close()
        return position

    def _tool(self, kind: str, event: Mapping[str, Any]) -> int | None:
        change = _TOOLS.get(kind)
        if change is None:
            return None
        self.close()
        call = event["toolCallId"]
        if call not in self._calls:
            self._calls[call] = self._add(
                {"type": "dynamic-tool", "toolCallId": call, "state": "input-streaming"}
            )
        position = self._calls[call]
        part = self._parts[position]
        name = event.get("toolName")
        if part["type"] == "dynamic-tool" and isinstance(name, str):
            part["type"] = f"tool-{name}"
        change(part, event)
        self.changed.add(position)
        return position


def _ended(part: Part) -> bool:
    return part["state"].startswith("output-") and "preliminary" not in part


def _start(part: Part, event: Mapping[str, Any]) -> None:
    """Nothing more is known yet."""


def _input(part: Part, event: Mapping[str, Any]) -> None:
    part["input"] = event.get("input")
    if "providerMetadata" in event:
        part["callProviderMetadata"] = event["providerMetadata"]
    if not part["state"].startswith("output-"):
        part["state"] = "input-available"


def _input_error(part: Part, event: Mapping[str, Any]) -> None:
    _end(part, "output-error")
    part.pop("input", None)
    part |= {"rawInput": event.get("input"), "errorText": _text(event, *_ERROR)}


def _output(part: Part, event: Mapping[str, Any]) -> None:
    preliminary = event.get("preliminary") is True
    if preliminary and _ended(part):
        return
    _end(part, "output-available")
    part["output"] = event.get("output")
    if preliminary:
        part["preliminary"] = True


def _output_error(part: Part, event: Mapping[str, Any]) -> None:
    _end(part, "output-error")
    part["errorText"] = _text(event, *_ERROR)


def _denied(part: Part, event: Mapping[str, Any]) -> None:
    _end(part, "output-denied")
    if "reason" in event:
        part["reason"] = event["reason"]


def _end(part: Part, state: str) -> None:
    for stale in ("preliminary", "output", "errorText", "rawInput", "reason"):
        part.pop(stale, None)
    part["state"] = state


def _approval(state: str) -> Callable[[Part, Mapping[str, Any]], None]:
    def change(part: Part, event: Mapping[str, Any]) -> None:
        if not part["state"].startswith("output-"):
            part["state"] = state

    return change


_PROSE = frozenset(
    (
        *("text", "text-start", "text-delta", "text-end"),
        *("reasoning", "reasoning-start", "reasoning-delta", "reasoning-end"),
    )
)
_TOOLS: dict[str, Callable[[Part, Mapping[str, Any]], None]] = {
    "tool-call-start": _start,
    "tool-input-start": _start,
    "tool-input-available": _input,
    "tool-input-error": _input_error,
    "tool-output-available": _output,
    "tool-output-error": _output_error,
    "tool-output-denied": _denied,
    "tool-approval-request": _approval("approval-requested"),
    "tool-approval-response": _approval("approval-responded"),
}
