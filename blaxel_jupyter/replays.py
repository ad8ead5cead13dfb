"""Find what of a repeated log is new: a stream that begins again, a batch read beside a stream.

The service gives no cursor, so content is compared (tasks protocol 2.7): joined text by position, tool
events by id, all else by equality; chunks may differ each time. Pure: imports task_events, fold.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence

from blaxel_jupyter.fold import TERMINAL
from blaxel_jupyter.task_events import Event, read_event

Key = tuple[object, ...]

_TEXTS = {
    "text-delta": "text",
    "text": "text",
    "reasoning-delta": "reasoning",
    "reasoning": "reasoning",
    "tool-input-delta": "input",
}
_FRAMES = frozenset(
    {"text-start", "text-end", "reasoning-start", "reasoning-end", "start-step", "finish-step"}
)
_DETAILED = frozenset({"tool-approval-request", "tool-approval-response"})
BURST = 20_000
"""Microseconds between two chunks of which the second counts as past, where the batch has it, too."""

HEADS = frozenset({"resume", "start", "session-init"})
"""Events that stand only at the beginning of a run (tasks protocol 3.3)."""


class _Text:
    """Text that grows; joined when it is compared."""

    def __init__(self) -> None:
        self.size = 0
        self._pieces: list[str] = []

    def append(self, piece: str) -> None:
        self._pieces.append(piece)
        self.size += len(piece)

    def part(self, begin: int, end: int) -> str:
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0][begin:end]


class Held:
    """What a record holds, by content.

    Args:
        events: what it holds already.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.first: Key | None = None
        self.texts: dict[Key, _Text] = {}
        self.counts: Counter[Key] = Counter()
        self.calls: set[str] = set()
        self.ended = False
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Note an event that was recorded."""
        if self.first is None:
            self.first = key_of(event)
        text = _text(event)
        if text is None:
            self.ended |= event.type in TERMINAL
            self.calls |= {event.tool_call_id} if event.tool_call_id else set()
            self.counts[key_of(event)] += 1
            return
        kind, name = _block(event)
        self.texts.setdefault((kind, name), _Text()).append(text)
        self.texts.setdefault((kind,), _Text()).append(text)


class Replay:
    """One carrier that tells a run again from its beginning, compared with what is held.

    ``diverged`` says that it told held text otherwise: the record is no beginning of what it tells.

    Args:
        held: the record; whoever takes what is new adds it there.
        whole: compare all text of a kind as one, and leave block frames out: block ids, frames and
            the last event are made up in a reconstructed log (tasks protocol 3.5).
    """

    def __init__(self, held: Held, *, whole: bool = False) -> None:
        self.diverged = False
        self._held = held
        self._whole = whole
        self._counts = Counter(held.counts)
        self._calls = set(held.calls)
        self._sizes = {key: text.size for key, text in held.texts.items()}
        self._ended = held.ended
        self._seen: Counter[Key] = Counter()
        self._at: Counter[Key] = Counter()

    def new(self, event: Event) -> Event | None:
        """Return the event if it is new, its new part if it is a text that goes on, else None."""
        text = _text(event)
        if text is None:
            return None if self._is_held_empty(event) else self._new_event(event)
        return self._new_text(event, text)

    def _is_held_empty(self, event: Event) -> bool:
        """Whether it adds nothing to a text that is held: chunks differ each time, empty ones, too."""
        if event.kind not in _TEXTS:
            return False
        key = _block(event)
        return 0 < self._sizes.get(key, 0) >= self._at[key]

    def _new_text(self, event: Event, text: str) -> Event | None:
        kind, name = _block(event)
        key: Key = (kind,) if self._whole else (kind, name)
        begin, size = self._at[key], self._sizes.get(key, 0)
        self._at[key] = end = begin + len(text)
        if begin >= size:
            return event
        told = min(end, size)
        self.diverged |= self._held.texts[key].part(begin, told) != text[: told - begin]
        return None if end <= size else _rest(event, text[size - begin :])

    def _new_event(self, event: Event) -> Event | None:
        if self._whole and self._sizes and event.kind in _FRAMES:
            return None
        if self._whole and self._ended and event.type in TERMINAL:
            return None
        if self._whole and event.type == "tool-call-start" and event.tool_call_id in self._calls:
            return None  # made up for a call that began without one
        key = key_of(event)
        self._seen[key] += 1
        held = self._counts[key]
        # A call's event says the same each time it is told, and a merged log tells it twice.
        return None if self._seen[key] <= held or (held and event.tool_call_id) else event


class Sorter:
    """Sort what one connection brings: which events are new, and which of them came live.

    Args:
        held: the record; whoever takes what is new adds it there.
        past: the batch log, read after the connection was opened; None where it could not be read.
        at: when that was, UTC microseconds.
        live: all that comes is live, since the run was created just now.
    """

    def __init__(
        self, held: Held, past: Sequence[Event] | None, at: int, *, live: bool = False
    ) -> None:
        self._held = held
        self._past = past or []
        self._told = Held(self._past)
        self._past_told = Replay(self._told)
        self._at = self._before = at
        self._live = live
        self._replay: Replay | None = None
        self._skip = 0

    def is_replay(self, event: Event) -> bool:
        """Tell whether a connection that begins with this event tells the run from its beginning."""
        first = key_of(event)
        return event.type in HEADS or first in (self._held.first, self._told.first)

    def begin(self, heard: Sequence[Event]) -> None:
        """Take note of how the connection begins: all that it has brought so far."""
        if self.is_replay(heard[0]):
            self._replay = Replay(self._held)
        else:
            self._skip = overlap(self._past, heard)

    def sort(self, events: Sequence[Event], at: int) -> tuple[list[Event], list[int | None]]:
        """Return the new ones of a chunk that came at ``at``, and when each came live, else None."""
        new: list[Event] = []
        times: list[int | None] = []
        burst = at <= self._at or at - self._before <= BURST
        for event in events:
            if self._replay is None:
                fresh = self._beyond(event)
                is_past = at <= self._at
            else:
                fresh = self._replay.new(event)
                is_past = self._past_told.new(event) is None or at <= self._at
            if fresh is not None:
                new.append(fresh)
                times.append(None if is_past and burst and not self._live else at)
        self._before = at
        return new, times

    def _beyond(self, event: Event) -> Event | None:
        """Return what is left of an event after the part of the stream that the batch told."""
        text = _text(event)
        size = len(text) if text else event.kind not in _TEXTS
        skipped, self._skip = min(self._skip, size), max(0, self._skip - size)
        if not skipped:
            return event
        return _rest(event, text[skipped:]) if text and skipped < size else None


def key_of(event: Event) -> Key:
    """Return what makes an event the same as another one, wherever each was read."""
    if event.tool_call_id is not None and not event.preliminary and event.kind not in _DETAILED:
        return event.type, event.tool_call_id
    return event.type, json.dumps(event.data, sort_keys=True) if event.data else event.json


def overlap(batch: Sequence[Event], stream: Sequence[Event]) -> int:
    """Tell how much of a batch's end a stream begins with, that tells only what is new.

    Chunks may differ, so characters of text are compared, and other events by what they are.

    Args:
        batch: the log, read after the stream was opened.
        stream: what the stream has brought so far. More of the batch may be on its way.

    Returns:
        Characters of text and other events, counted together.
    """
    marks: dict[Key, str] = {}
    said, heard = _content(batch, marks), _content(stream, marks)
    # Backwards: looking for the last place is quadratic where text repeats itself, for the first it is not.
    at = said[::-1].find(heard[::-1]) if heard else -1
    return at + len(heard) if at >= 0 else _common(said, heard)


def _common(said: str, heard: str) -> int:
    """Return how long the longest beginning of one text is that another one ends with."""
    back = [0]  # for each beginning of heard, the longest shorter one that it ends with
    n = 0
    for letter in heard[1:]:
        while n and heard[n] != letter:
            n = back[n - 1]
        n += heard[n] == letter
        back.append(n)
    n = 0
    for letter in said[max(0, len(said) - len(heard)) :]:
        while n and (n == len(heard) or heard[n] != letter):
            n = back[n - 1]
        n += n < len(heard) and heard[n] == letter
    return n


def _content(events: Sequence[Event], marks: dict[Key, str]) -> str:
    """Write events as one text: their characters, and a private character for every other event."""
    parts = []
    for event in events:
        text = _text(event)
        if text is None and event.kind not in _TEXTS:
            key = key_of(event)
            text = marks.setdefault(key, chr(0xF0000 + len(marks) % 0xFFFE))
        parts.append(text or "")
    return "".join(parts)


def is_told(event: Event) -> bool:
    """Tell whether every log tells it: text, its frames and tool calls, unlike what only a buffer has."""
    return event.tool_call_id is not None or event.kind in _TEXTS or event.kind in _FRAMES


def _text(event: Event) -> str | None:
    """Return the text that an event adds; None for one that adds none."""
    kind = _TEXTS.get(event.kind)
    if kind is None:
        return None
    if kind == "input":
        return event.input_delta or None
    return (event.text if event.delta is None else event.delta) or None


def _block(event: Event) -> tuple[str, str | None]:
    kind = _TEXTS[event.kind]
    return kind, event.tool_call_id if kind == "input" else event.block_id


def _rest(event: Event, text: str) -> Event:
    """Return the event with the rest of its text only."""
    own = "text" if event.delta is None else "delta"
    name = "inputTextDelta" if _TEXTS[event.kind] == "input" else own
    whose = {"id": event.block_id, "toolCallId": event.tool_call_id, "toolName": event.tool_name}
    # Where no reader can read all of it, what counts is kept.
    members = event.data or {key: value for key, value in whose.items() if value is not None}
    said = json.dumps({**members, name: text}, ensure_ascii=False)
    return read_event(said.encode("utf-8", "replace"), event.kind)
