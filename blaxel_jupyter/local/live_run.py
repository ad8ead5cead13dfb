"""Hold one run while it goes on: its events in a bounded buffer, its message's parts, its readers.

Events are encoded once; readers go by position at their own pace and cost a number each. What the
buffer had to drop is given back from the parts, its text exactly once. Knows no HTTP and no file.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from blaxel_jupyter.clock import Clock
from blaxel_jupyter.local.task_store import Run
from blaxel_jupyter.local.waiters import Waiters
from blaxel_jupyter.parts import Event, Part, Parts, each_event

MAX_EVENTS = 50_000
"""Events of one run that are kept in memory."""
MAX_BYTES = 32 * 1024 * 1024
"""Bytes of JSON of one run that are kept in memory; the newest event is kept in any case."""
BLOCK = 256 * 1024
"""Bytes of events that a reader takes at a time."""
PIECE = 64 * 1024
"""Characters of a long text that a reader is told at a time."""

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
    """Where a reader is: the position of the event it reads next, and the mark before that event.

    ``missed`` is what it has still to be told before that, of events that were dropped.
    """

    position: int = 0
    mark: Mark = field(default_factory=Mark)
    missed: Iterator[Event] = field(default_factory=lambda: iter(()))


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
        self,
        run: Run,
        *,
        clock: Clock | None = None,
        max_events: int = MAX_EVENTS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.run = run
        self._clock = clock or Clock()
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
        self.waiters = Waiters()
        """Readers that wait until there may be more to read."""

    def now(self) -> int:
        """Return the time in Unix milliseconds, by the run's own clock."""
        return self._clock.now() // 1000

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
        self.waiters.wake()
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

    def events(self) -> list[Encoded]:
        """Return all events so far: the parts' for what was dropped, then the buffer's."""
        return self.read(Place(), limit=None)

    def read(self, place: Place, limit: int | None = BLOCK) -> list[Encoded]:
        """Return the next events and move the place behind them; none if there are none yet.

        Text comes exactly once and in order. Where events were dropped, tool calls that changed among
        them are told as they are now, so that their later events may repeat it (protocol 3.5).
        """
        found: list[Encoded] = []
        size = 0
        for encoded in self._next(place):
            found.append(encoded)
            size += len(encoded.data)
            if limit is not None and size >= limit:
                break
        return found

    def _next(self, place: Place) -> Iterator[Encoded]:
        """Yield what comes next for a reader, whose place is moved before each."""
        while True:
            yield from map(encode, place.missed)
            if place.position < self._first:
                parts = self._missed(place.position, place.mark, self._dropped)
                place.missed = each_event(self.run.message_id, parts)
                place.position, place.mark = self._first, self._dropped
            elif place.position < self.count:
                encoded, place.mark = self._events[place.position - self._first]
                place.position += 1
                yield encoded
            else:
                return

    def _missed(self, first: int, mark: Mark, until: Mark) -> Iterator[Part]:
        """Rebuild what was dropped between two marks, when it is asked for, long text in pieces.

        Of tool calls those that were changed by the event at ``first`` or a later one.
        """
        for position in range(until.parts):
            part = self.parts.parts[position]
            if part["type"] in ("text", "reasoning"):
                begun, last = position == mark.parts - 1, position == until.parts - 1
                end = until.written if last else len(part["text"])
                if position >= mark.parts - 1:
                    yield from _pieces(part, position, mark.written if begun else 0, end)
            elif self._changed_at[position] >= first:
                yield part

    def take_changes(self) -> dict[int, Part]:
        """Return the parts that were changed since this was last asked, by position."""
        changes = {position: self.parts.parts[position] for position in sorted(self.parts.changed)}
        self.parts.changed.clear()
        return changes

    def give_back(self, positions: Iterable[int]) -> None:
        """Take note that these changes could not be saved."""
        self.parts.changed.update(positions)


def _pieces(part: Part, position: int, start: int, end: int) -> Iterator[Part]:
    """Cut text out of a part, in pieces: one of them is what waits for a slow reader."""
    name = {"id": part.get("id") or f"part-{position}"} if part["type"] == "reasoning" else {}
    named = name if end - start > PIECE else {}
    for at in range(start, end, PIECE):
        to = min(at + PIECE, end)
        cut = {"state": "streaming"} if to < len(part["text"]) else {}
        yield part | named | {"text": part["text"][at:to]} | cut
