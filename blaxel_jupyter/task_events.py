"""Read one event of an agent task: its members that tables and the story need, and its JSON text.

Content never makes a reader raise: what has another type than expected counts as absent, and stays in
the event's text (tasks protocol 3). Pure: no socket, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Union, cast

import msgspec

from blaxel_jupyter.json_values import UNREADABLE, dumped, lenient, words_in

FOLDED = {"tool-input-start": "tool-call-start"}
"""Types with two names (tasks protocol 3.2)."""

_NOTHING = msgspec.Raw()
_NAMES = {
    "kind": "type",
    "block_id": "id",
    "tool_call_id": "toolCallId",
    "tool_name": "toolName",
    "error_text": "errorText",
    "error_message": "errorMessage",
    "input_delta": "inputTextDelta",
    "started_at": "startedAt",
    "metadata": "messageMetadata",
}
_OUTCOME = ("input", "output", "error")
_FACTS = (
    *("files", "status", "started_at", "metadata"),
    *("usage", "total_cost_usd", "num_turns", "duration_ms"),
)
_WORDS = ("error_text", "error_message", "input_delta")


class Event(msgspec.Struct, gc=False, rename=_NAMES.get):
    """One event as read: members that are missing, or have another type, are None or empty.

    ``kind`` is the type as sent, "" where there is none; ``payload`` is bytes-like. Every event has the
    members of the table ``events``; of the others it has those that go with its kind, so that a piece of
    text, as most events are, stays small.
    """

    block_id: str | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    delta: str | None = None
    text: str | None = None
    payload: bytes | msgspec.Raw = b""

    kind = ""
    input = output = error = _NOTHING
    files = status = started_at = metadata = _NOTHING
    usage = total_cost_usd = num_turns = duration_ms = _NOTHING
    error_text = error_message = input_delta = cast("str | None", None)
    preliminary = cast("bool | None", None)

    @property
    def type(self) -> str | None:
        """The type under its one name."""
        return FOLDED.get(self.kind, self.kind) or None

    @property
    def failure(self) -> str | None:
        """What went wrong, under any of its names (tasks protocol 3.2)."""
        return self.error_text or self.error_message or words_in(self.error)

    @property
    def json(self) -> str:
        """The untouched JSON text; bytes that are not UTF-8 are U+FFFD."""
        return str(self.payload, "utf-8", "replace")

    @property
    def data(self) -> dict[str, Any]:
        """All members; empty where the event is no object."""
        value = lenient(self.payload)
        return value if isinstance(value, dict) else {}


def _shape(name: str, raws: Iterable[str], *, tag: str | None, **words: type) -> type[Event]:
    """Make the class of events that have the named members in addition."""
    fields: list[tuple[str, Any, Any]] = [(word, kind | None, None) for word, kind in words.items()]
    fields += [(raw, msgspec.Raw, _NOTHING) for raw in raws]
    options: dict[str, Any] = {"gc": False, "rename": _NAMES.get, "bases": (Event,)}
    if tag is None:
        fields.append(("kind", str, ""))
    else:
        options |= {"tag_field": "type", "tag": tag, "namespace": {"kind": tag}}
    return cast("type[Event]", msgspec.defstruct(name, fields, **options))


_MORE = {**dict.fromkeys(_WORDS, str), "preliminary": bool}
_ANY = _shape("AnyEvent", (*_OUTCOME, *_FACTS), tag=None, **_MORE)
"""Has all members: how an event of an unknown kind is read."""

_TEXT_KINDS = [
    *("text-start", "text-delta", "text-end", "text"),
    *("reasoning-start", "reasoning-delta", "reasoning-end", "reasoning"),
]
_TOOL_KINDS = [
    *("tool-call-start", "tool-input-start", "tool-input-delta", "tool-input-available"),
    *("tool-input-error", "tool-approval-request", "tool-approval-response"),
    *("tool-output-available", "tool-output-error", "tool-output-denied"),
]
_OTHER_KINDS = [
    *("resume", "start", "session-init", "start-step", "finish-step", "files", "file", "result"),
    *("message-metadata", "source-url", "source-document", "custom", "finish", "error", "abort"),
    *("auth-error", "retry-notification", "system-Compact"),
]
KINDS: dict[str, type[Event]] = {
    **{kind: _shape("TextEvent", (), tag=kind) for kind in _TEXT_KINDS},
    **{kind: _shape("ToolEvent", _OUTCOME, tag=kind, **_MORE) for kind in _TOOL_KINDS},
    **{kind: _shape("OtherEvent", ("error", *_FACTS), tag=kind, **_MORE) for kind in _OTHER_KINDS},
}
"""The kinds of events that are known (tasks protocol 3.2), and what each is read as."""

KnownEvent: Any = Union[tuple(KINDS.values())]  # noqa: UP007  # made at run time
"""An event of any known kind: what a decoder of many events is made for."""


class Events(list[Event]):
    """The events of one log; each gets its JSON text when somebody asks for that of one of them.

    Args:
        events: what was read.
        texts: returns their texts, in order; None where they have theirs.
    """

    def __init__(
        self,
        events: Iterable[Event] = (),
        texts: Callable[[], Iterable[msgspec.Raw]] | None = None,
    ) -> None:
        super().__init__(events)
        self._texts = texts

    def whole(self) -> Events:
        """Return them with their texts. Two threads at once do it twice, with the same result."""
        if texts := self._texts:
            for event, text in zip(self, texts(), strict=True):
                event.payload = text
            self._texts = None
        return self


def with_texts(events: Sequence[Event]) -> Sequence[Event]:
    """Return events that have their JSON texts."""
    return events.whole() if isinstance(events, Events) else events


_READER = msgspec.json.Decoder(KnownEvent)
_ANY_READER = msgspec.json.Decoder(_ANY)
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_event(raw: bytes | msgspec.Raw, name: str = "") -> Event:
    """Read one event from JSON text that some reader can read; what has another type counts as absent.

    Args:
        raw: the JSON text.
        name: stands in for a missing type.
    """
    try:
        event: Event = _READER.decode(raw)
    except UNREADABLE:
        event = _unknown(raw, name)
    event.payload = raw
    return event


def _unknown(raw: bytes | msgspec.Raw, name: str) -> Event:
    """Read an event that is of no known kind, or that has members of another type than expected."""
    try:
        event = _ANY_READER.decode(raw)
    except UNREADABLE:
        event = _picked(lenient(raw))
    event.kind = event.kind or name
    return event


def _picked(value: object) -> Event:
    """Take what has the right type out of an event that has something else, too."""
    members = value if isinstance(value, dict) else {}
    event = _ANY()
    for field in ("kind", "block_id", "tool_call_id", "tool_name", "delta", "text", *_WORDS):
        if isinstance(member := members.get(_NAMES.get(field, field)), str):
            setattr(event, field, _SURROGATE.sub("\ufffd", member))
    for field in (*_OUTCOME, *_FACTS):
        if (name := _NAMES.get(field, field)) in members:
            setattr(event, field, msgspec.Raw(dumped(members[name])))
    event.preliminary = members.get("preliminary") is True
    return event
