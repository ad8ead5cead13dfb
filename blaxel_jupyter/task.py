"""Say what an agent task, its status and its recorded events are (tasks protocol 2, 3).

Pure: no socket, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from blaxel_jupyter.errors import ProtocolError
from blaxel_jupyter.json_values import lenient, text_of, time_of, words_of

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


def status_of(raw: str | None) -> str:
    """Return a status in our words; one that nobody knows stays as it is and counts as not ended."""
    return STATUSES.get(raw or "", raw or "unknown")
