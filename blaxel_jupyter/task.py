"""Say what an agent task, its status and its events are, and read one event (tasks protocol 2, 3).

Content never makes a reader raise: what has another type than expected counts as absent, and stays in
the event's text. Pure: no socket, no clock.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from blaxel_jupyter.errors import ProtocolError

STATUSES = {
    **dict.fromkeys(("queued", "pending"), "queued"),
    **dict.fromkeys(("running", "in_progress", "processing", "saving"), "running"),
    **dict.fromkeys(("completed", "done", "success"), "completed"),
    **dict.fromkeys(("failed", "error", "timeout"), "failed"),
    **dict.fromkeys(("cancelled", "canceled", "stopped"), "cancelled"),
    "interrupted": "interrupted",
}
"""Every spelling of a status that was seen, and the one that we use (tasks protocol 3.6)."""

ENDED = frozenset({"completed", "failed", "cancelled", "interrupted"})
"""Statuses that never change again."""

FOLDED = {"tool-input-start": "tool-call-start"}
"""Types with two names (tasks protocol 3.2)."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a strict reader raises on what it cannot read."""

_EMPTY = msgspec.Raw()
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
_TEXTS = (
    "kind",
    "block_id",
    "tool_call_id",
    "tool_name",
    "delta",
    "text",
    "error_text",
    "error_message",
    "input_delta",
)
_VALUES = (
    *("input", "output", "error", "files", "status", "started_at", "metadata"),
    *("usage", "total_cost_usd", "num_turns", "duration_ms"),
)


class TaskEvent(msgspec.Struct, frozen=True, gc=False):
    """One numbered event of a run, as in the table ``events``.

    ``seq`` counts from 0 in the order of receipt; ``payload`` is the event's own JSON text, untouched;
    ``received`` is our clock in UTC microseconds, None for what was there before we listened.
    """

    seq: int
    run_id: str
    type: str | None
    block_id: str | None
    tool_call_id: str | None
    tool_name: str | None
    text: str | None
    payload: str
    received: int | None
    source: str | None

    @property
    def data(self) -> Any:
        """The payload as a Python value; None if it is not JSON that Python reads."""
        return lenient(self.payload.encode("utf-8", "replace"))


class Task(msgspec.Struct, frozen=True):
    """One run as ``GET /tasks`` lists it; what the service does not say is None. Times are aware (UTC)."""

    run_id: str
    status: str
    chat_id: str | None = None
    model: str | None = None
    created: datetime | None = None
    started: datetime | None = None
    completed: datetime | None = None
    assistant_message_id: str | None = None
    status_raw: str | None = None

    @classmethod
    def parse(cls, item: Mapping[str, Any]) -> Task:
        """Read one item of a list, or the details of a run."""
        raw = text_of(item.get("status"))
        return cls(
            run_id=text_of(item.get("runId")) or text_of(item.get("taskId")) or "",
            status=status_of(raw),
            chat_id=text_of(item.get("chatId")),
            model=text_of(item.get("model")),
            created=time_of(item.get("createdAt")),
            started=time_of(item.get("startedAt")),
            completed=time_of(item.get("completedAt")),
            assistant_message_id=text_of(item.get("assistantMessageId")),
            status_raw=raw,
        )


class TaskStatus(msgspec.Struct, frozen=True):
    """How a run stands (tasks protocol 2.5): ``status`` in our words, ``status_raw`` in the service's.

    ``progress`` (0 to 100) is the service's: elapsed time, no evidence of work done.
    """

    run_id: str
    status: str
    status_raw: str | None = None
    progress: float | None = None
    error: str | None = None
    started: datetime | None = None
    completed: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether the status never changes again."""
        return self.status in ENDED

    @classmethod
    def parse(cls, answer: object) -> TaskStatus:
        """Read the answer of ``/status``.

        Raises:
            ProtocolError: it is not an object with a status.
        """
        if not isinstance(answer, dict) or not isinstance(answer.get("status"), str):
            raise ProtocolError("The service's answer holds no status. Try again in a moment.")
        progress = answer.get("progress")
        return cls(
            run_id=text_of(answer.get("runId")) or "",
            status=status_of(answer["status"]),
            status_raw=answer["status"],
            progress=progress if isinstance(progress, int | float) else None,
            error=words_of(answer.get("error")),
            started=time_of(answer.get("startedAt")),
            completed=time_of(answer.get("completedAt")),
        )


class Event(msgspec.Struct, gc=False, rename=_NAMES.get):
    """One event as read: the members that the tables need, and its JSON text with all the others.

    ``kind`` is the type as sent, "" where there is none; ``payload`` is bytes-like.
    """

    kind: str = ""
    block_id: str | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    delta: str | None = None
    text: str | None = None
    input: msgspec.Raw = _EMPTY
    output: msgspec.Raw = _EMPTY
    error_text: str | None = None
    error_message: str | None = None
    error: msgspec.Raw = _EMPTY
    input_delta: str | None = None
    preliminary: bool | None = None
    files: msgspec.Raw = _EMPTY
    status: msgspec.Raw = _EMPTY
    started_at: msgspec.Raw = _EMPTY
    metadata: msgspec.Raw = _EMPTY
    usage: msgspec.Raw = _EMPTY
    total_cost_usd: msgspec.Raw = _EMPTY
    num_turns: msgspec.Raw = _EMPTY
    duration_ms: msgspec.Raw = _EMPTY
    payload: bytes | msgspec.Raw = b""

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
        if self._texts is not None:
            for event, text in zip(self, self._texts(), strict=True):
                event.payload = text
            self._texts = None
        return self


def with_texts(events: Sequence[Event]) -> Sequence[Event]:
    """Return events that have their JSON texts."""
    return events.whole() if isinstance(events, Events) else events


_EVENT_READER = msgspec.json.Decoder(Event)


_SURROGATE = re.compile("[\ud800-\udfff]")


def read_event(raw: bytes | msgspec.Raw) -> Event:
    """Read one event from JSON text that some reader can read; what has another type counts as absent."""
    try:
        event = _EVENT_READER.decode(raw)
    except UNREADABLE:
        event = _picked(lenient(raw))
    event.payload = raw
    return event


def status_of(raw: str | None) -> str:
    """Return a status in our words; one that nobody knows stays as it is and counts as not ended."""
    return STATUSES.get(raw or "", raw or "unknown")


def time_of(value: object) -> datetime | None:
    """Read an ISO 8601 time; None where it is none, UTC where it names no zone."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time


def text_of(value: object) -> str | None:
    """Return a text, None for anything else and for an empty one."""
    return value if isinstance(value, str) and value else None


def text_in(raw: bytes | msgspec.Raw) -> str | None:
    """Read a text from its JSON text, None for anything else."""
    return text_of(lenient(raw)) if raw else None


def words_of(value: object) -> str | None:
    """Read an error in either shape: a text, or an object with a message (tasks protocol 2)."""
    if isinstance(value, dict):
        value = value.get("message") or value.get("error") or json.dumps(value, ensure_ascii=False)
    return text_of(value)


def lenient(body: bytes | msgspec.Raw) -> Any:
    """Decode JSON as far as any reader can: NaN, lone surrogates and bytes that are not UTF-8 pass."""
    try:
        return msgspec.json.decode(body)
    except UNREADABLE:
        try:
            return json.loads(str(body, "utf-8", "replace"), strict=False)
        except (ValueError, RecursionError):
            return None


def is_json(data: bytes) -> bool:
    """Tell whether any reader can read it."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except UNREADABLE:
        return lenient(data) is not None
    return True


def dumped(value: object) -> bytes:
    """Write a value as JSON again, as it would have been sent."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def words_in(raw: bytes | msgspec.Raw | None) -> str | None:
    """Read an error in either shape from its JSON text."""
    return words_of(lenient(raw)) if raw else None


def _picked(value: object) -> Event:
    """Take what has the right type out of an event that has something else, too."""
    members = value if isinstance(value, dict) else {}
    texts: dict[str, Any] = {
        field: _SURROGATE.sub("\ufffd", member)
        for field in _TEXTS
        if isinstance(member := members.get(_NAMES.get(field, field)), str)
    }
    raws: dict[str, Any] = {
        field: msgspec.Raw(dumped(members[name]))
        for field in _VALUES
        if (name := _NAMES.get(field, field)) in members
    }
    return Event(**texts, **raws, preliminary=members.get("preliminary") is True)
