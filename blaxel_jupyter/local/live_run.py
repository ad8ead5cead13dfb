"""Hold one run while it goes on: its events in a bounded buffer, its message's parts, its readers.

Events are encoded once; readers go by position at their own pace and cost a number each. What the
buffer had to drop is given back from the parts, its text exactly once. Knows no HTTP and no file.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from blaxel_jupyter.local.task_store import Run
from blaxel_jupyter.parts import Event, Part, Parts, events_of

MAX_EVENTS = 50_000
"""Events of one run that are kept in memory."""
MAX_BYTES = 32 * 1024 * 1024
"""Bytes of JSON of one run that are kept in memory; the newest event is kept in any case."""
BLOCK = 256 * 1024
"""Bytes of events that a reader takes at a time."""

Source = Literal["buffer", "reconstructed", "merged"]


Emit = Callable[[Event], None]
"""How an agent tells the next event of its run."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: its final status, its error, and the event that says so, not yet emitted."""

    status: str
    error: str | None
    event: Event | None


class Encoded(NamedTuple):
    """An event as JSON, escaped to ASCII; ``delta`` tells those that ``includeDeltas=false`` removes."""

    data: bytes
    delta: bool


class Mark(NamedTuple):
    """How far the parts had come: how many there were, and the characters of the last one's text."""

    parts: int = 0
    written: int = 0


@dataclass(slots=True)
class Place:
    """Where a reader is: the position of the event it reads next, and the mark before that event."""

    position: int = 0
    mark: Mark = field(default_factory=Mark)


def encode(event: Mapping[str, Any]) -> Encoded:
    """Encode an event.

    Raises:
        ValueError: it holds what JSON cannot say (infinity, not-a-number).
    """
    text = json.dumps(event, separators=(",", ":"), allow_nan=False)
    return Encoded(text.encode(), event.get("type") == "text-delta")


class LiveRun:
    """A queued or running run, and an ended one until it is saved and nobody reads it any more."""

    def __init__(
        self, run: Run, *, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES
    ) -> None:
        self.run = run
        self.parts = Parts()
        self.readers = 0
        self.saved = True
        """Whether the database has all of it."""
        self.ended = asyncio.Event()
        self.task: asyncio.Task[Any] | None = None
        self.stopped: Literal["cancelled", "interrupted"] | None = None
        """Why it is being stopped before its end."""
        self.save_at: asyncio.TimerHandle | None = None
        self._max_events, self._max_bytes = max_events, max_bytes
        self._events: list[tuple[Encoded, Mark]] = []
        self._first = 0
        self._bytes = 0
        self._dropped = Mark()
        self._changed_at: list[int] = []
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def count(self) -> int:
        """How many events there have been."""
        return self._first + len(self._events)

    @property
    def source(self) -> Source:
        """What :meth:`events` gives: the buffer, or that and the parts for what it had to drop."""
        return "merged" if self._first else "buffer"

    def facts(self) -> dict[str, Any]:
        """Return what a task's details tell about the buffer."""
        facts = {"status": self.run.status, "eventCount": self.count, "droppedEvents": self._first}
        return facts | {"bytes": self._bytes, "readers": self.readers}

    def emit(self, event: Event) -> int | None:
        """Append an event and wake the readers; return the position of the part it changed, if any.

        Raises:
            ValueError: it cannot be encoded; nothing has changed then.
        """
        encoded = encode(event)
        position = self.parts.feed(event)
        if position is not None:
            missing = len(self.parts) - len(self._changed_at)
            self._changed_at += [self.count] * missing
            self._changed_at[position] = self.count
        self._events.append((encoded, Mark(len(self.parts), self.parts.written)))
        self._bytes += len(encoded.data)
        self._drop()
        self.wake()
        return position

    def _drop(self) -> None:
        """Drop the oldest eighth when there is too much: one by one would shift the list each time."""
        if len(self._events) <= self._max_events and self._bytes <= self._max_bytes:
            return
        most, end = self._max_events * 7 // 8, 0
        while end < len(self._events) - 1 and (
            len(self._events) - end > most or self._bytes > self._max_bytes * 7 // 8
        ):
            encoded, self._dropped = self._events[end]
            self._bytes -= len(encoded.data)
            end += 1
        del self._events[:end]
        self._first += end

    def wake(self) -> None:
        """Let waiting readers look again."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    async def changed(self, seconds: float) -> bool:
        """Wait until there may be more to read, at most ``seconds``; whether there may be."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(future)
        return True

    def events(self) -> list[Encoded]:
        """Return all events so far: the parts' for what was dropped, then the buffer's."""
        return self.read(Place(), limit=None)

    def read(self, place: Place, limit: int | None = BLOCK) -> list[Encoded]:
        """Return the next events and move the place behind them; none if there are none yet.

        Text comes exactly once and in order. Where events were dropped, tool calls that changed among
        them are told as they are now, so that their later events may repeat it (protocol 3.5).
        """
        found: list[Encoded] = []
        if place.position < self._first:
            found += map(encode, self._missed(place))
            place.position, place.mark = self._first, self._dropped
        size = 0
        start = place.position - self._first
        for index in range(start, len(self._events)):
            if limit is not None and size >= limit:
                break
            encoded, place.mark = self._events[index]
            place.position += 1
            size += len(encoded.data)
            found.append(encoded)
        return found

    def _missed(self, place: Place) -> list[Event]:
        """Rebuild what was dropped between a place and the start of the buffer."""
        parts: list[Part] = []
        for position, part in enumerate(self.parts.parts[: self._dropped.parts]):
            begun = position == place.mark.parts - 1
            if part["type"] in ("text", "reasoning"):
                last = position == self._dropped.parts - 1
                end = self._dropped.written if last else len(part["text"])
                start = place.mark.written if begun else 0
                if position >= place.mark.parts - 1 and start < end:
                    cut = {"state": "streaming"} if end < len(part["text"]) else {}
                    parts.append(part | {"text": part["text"][start:end]} | cut)
            elif self._changed_at[position] >= place.position:
                parts.append(part)
        return events_of(self.run.message_id, parts)

    def take_changes(self) -> dict[int, Part]:
        """Return the parts that were changed since this was last asked, by position."""
        changes = {position: self.parts.parts[position] for position in sorted(self.parts.changed)}
        self.parts.changed.clear()
        return changes

    def give_back(self, positions: Iterable[int]) -> None:
        """Take note that these changes could not be saved."""
        self.parts.changed.update(positions)
