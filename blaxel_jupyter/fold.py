"""Fold a run's events into what they tell: text blocks, tool calls, totals (tasks protocol 3 and 6).

Events are paired by id, never by adjacency; the same event twice changes nothing. What was never said
stays None. Pure: imports json_values, task_events, task_items and usage.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any

from blaxel_jupyter.json_values import lenient, text_in
from blaxel_jupyter.task_events import KINDS, Event, Events
from blaxel_jupyter.task_items import Item, Kind, Other, TextBlock, ToolCall
from blaxel_jupyter.usage import USAGE, take_usage

OUTCOMES = {
    "tool-input-error": "input-error",
    "tool-output-available": "output-available",
    "tool-output-error": "output-error",
    "tool-output-denied": "output-denied",
}
"""Events that end a tool call, and its state then."""

TERMINAL = frozenset({"finish", "error", "abort"})

_FAMILIES = ("data-", "ask-user-question")
_NOT_FATAL = ("retry-notification", "system-Compact", "result")


class _Codes(dict[type[Event], str]):
    def __missing__(self, kind: type[Event]) -> str:
        return "."


_CODES = _Codes(
    {
        KINDS["text-delta"]: "d",
        KINDS["reasoning-delta"]: "r",
        KINDS["tool-call-start"]: "s",
        KINDS["tool-input-available"]: "i",
        KINDS["tool-output-available"]: "o",
    }
)
_RUNS = re.compile("d+|r+|(?:sio)+|(?:(?!sio)[^dr])+")
"""Events that are taken in one step: pieces of text, whole tool calls, and all else."""

_DELTA, _BLOCK_ID = attrgetter("delta"), attrgetter("block_id")


class Fold:
    """What the events so far tell.

    ``items`` are text blocks, tool calls and other events in the order of their first event;
    ``touched`` has, for each event that changed an item, that item's position: whoever shows them reads
    on from where it stopped. Written by one thread.
    """

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.touched: list[int] = []
        self.calls: dict[str, ToolCall] = {}
        self.blocks: list[TextBlock] = []
        self.files: list[Any] = []
        self.error: str | None = None
        self.finish_status: str | None = None
        self.terminal: str | None = None
        self.started_at: str | None = None
        self.n_text_deltas = 0
        self.unknown: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self._open: dict[str | None, TextBlock] = {}
        self._open_kind: Kind = "text"
        self._segments: dict[Kind, dict[str | None, int]] = {"text": {}, "reasoning": {}}
        self._log: Events | None = None
        self._begun: dict[Kind, set[str | None]] = {"text": set(), "reasoning": set()}
        self._bills: list[Event] = []

    def add(self, seq: int, event: Event, received: int | None = None) -> None:
        """Take one event.

        Args:
            seq: its position.
            event: what it says.
            received: when it came, UTC microseconds; None unless it was received live.
        """
        _HANDLERS.get(event.kind, Fold._other)(self, seq, event, received)

    def extend(self, first: int, events: Sequence[Event]) -> None:
        """Take events that did not come live; ``first`` is the position of the first of them.

        Most of a large log is text that goes on with the block before it, and calls whose events follow
        one another: those are taken by the run.
        """
        self._log = events if isinstance(events, Events) else None
        codes = "".join(map(_CODES.__getitem__, map(type, events)))
        for found in _RUNS.finditer(codes):
            begin, end = found.span()
            run = events[begin:end]
            if codes.startswith("sio", begin):
                self._whole_calls(first + begin, run)
            elif codes[begin] in "dr" and end - begin > 1:
                self._pieces(first + begin, run)
            else:
                self._add_each(first + begin, run)
        self._log = None

    def _add_each(self, seq: int, events: Iterable[Event]) -> None:
        for i, event in enumerate(events, seq):
            _HANDLERS.get(event.kind, Fold._other)(self, i, event, None)

    def _pieces(self, seq: int, run: Sequence[Event]) -> None:
        """Take pieces of text that follow one another: at once where they are of one block."""
        texts: list[Any] = list(map(_DELTA, run))
        ids = list(map(_BLOCK_ID, run))
        if None in texts or ids.count(ids[0]) != len(ids):
            self._add_each(seq, run)
            return
        kind = _kind(run[0])
        if self._open_kind != kind:
            self._open.clear()
            self._open_kind = kind
        block = self._open.get(ids[0]) or self._opened(kind, run[0], seq)
        if block.pieces:
            block.pieces += texts
        else:
            block.pieces = texts
        block.last_seq = seq + len(texts) - 1
        if kind == "text":
            self.n_text_deltas += len(texts)
        self.touched.append(block.item)  # last: a reader on another thread then sees all of it

    def _whole_calls(self, seq: int, run: Sequence[Event]) -> None:
        """Take calls whose three events follow one another: at once those that are new."""
        calls, items, touched = self.calls, self.items, self.touched
        for start, asked, ended in zip(run[::3], run[1::3], run[2::3], strict=True):
            key, name = start.tool_call_id, start.tool_name
            same = key == asked.tool_call_id == ended.tool_call_id
            if key is None or not same or key in calls or ended.preliminary:
                self._add_each(seq, (start, asked, ended))
                seq += 3
                continue
            if not name == asked.tool_name == ended.tool_name:
                name = name or asked.tool_name or ended.tool_name
                start.tool_name = asked.tool_name = ended.tool_name = name
            self._open.clear()
            place, error = len(items), None
            if ended.error_text or ended.error_message or ended.error:
                error = ended.failure
            calls[key] = call = ToolCall(
                len(calls),
                key,
                place,
                name,
                "output-available",
                asked.input,
                ended.output,
                error,
                seq,
                seq + 1,
                seq + 2,
            )
            items.append(call)
            touched.append(place)
            seq += 3

    def adopt(self, block: TextBlock) -> None:
        """Take over a block that no event told: it has no positions, and stands last."""
        block.first_seq = block.last_seq = None
        self.blocks.append(block)
        block.item = self._placed(block)
        self.touched.append(block.item)

    @property
    def text_chars(self) -> int:
        """How much was said, in code points, without reasoning."""
        return sum([block.chars for block in self.blocks if block.kind == "text"])

    @property
    def usage(self) -> dict[str, int | float | None]:
        """What the run cost, under the summary's names."""
        usage: dict[str, int | float | None] = dict.fromkeys(USAGE)
        for event in self._bills:
            take_usage(usage, event)
        return usage

    def text(self, kind: Kind = "text") -> str:
        """Return all text of one kind, joined in order."""
        return "".join([block.text for block in self.blocks if block.kind == kind])

    def problems(self, *, ended: bool) -> Iterator[str]:
        """Say what could not be paired or is unknown; where it has ended, what never finished, too."""
        for text, n in self.warnings.items():
            yield text if n == 1 else f"{text} ({n} times)"
        for name, n in self.unknown.items():
            yield f"unknown event type {name!r}" + ("" if n == 1 else f" ({n} times)")
        for call in self.calls.values() if ended else ():
            if call.end_seq is None:
                yield f"tool call {call.tool_call_id!r} never finished"

    # Text -----------------------------------------------------------------------------------------------

    def _begin(self, seq: int, event: Event, received: int | None) -> None:
        self._begun[_kind(event)].add(event.block_id)

    def _piece(self, seq: int, event: Event, received: int | None) -> None:
        text = event.delta if event.delta is not None else event.text
        if text is None:
            self.warnings[f"{event.type} without text"] += 1
            return
        kind, key = _kind(event), event.block_id
        if kind != self._open_kind:
            self._open.clear()
            self._open_kind = kind
        block = self._open.get(key) or self._opened(kind, event, seq)
        block.last_seq = seq
        block.pieces.append(text)
        self.touched.append(block.item)
        if kind == "text":
            self.n_text_deltas += event.kind == "text-delta"
        if event.kind == kind:  # the whole block in one event
            self._open.pop(key)

    def _opened(self, kind: Kind, event: Event, seq: int) -> TextBlock:
        key, begun, segments = event.block_id, self._begun[kind], self._segments[kind]
        if event.kind != kind and key not in begun:
            self.warnings[f"{event.type} without a {kind}-start"] += 1
            begun.add(key)
        segments[key] = segment = segments.get(key, -1) + 1
        block = TextBlock(kind, key, segment, seq, seq, len(self.items))
        self.items.append(block)
        self.blocks.append(block)
        self._open[key] = block
        return block

    def _close(self, seq: int, event: Event, received: int | None) -> None:
        if _kind(event) == self._open_kind and event.block_id in self._open:
            block = self._open.pop(event.block_id)
            block.closed = True
            self.touched.append(block.item)

    # Tools ----------------------------------------------------------------------------------------------

    def _call(self, seq: int, event: Event, received: int | None) -> ToolCall | None:
        """Return the event's call, made if it is new; None and an item of its own without an id."""
        if self._open:
            self._open.clear()
        key = event.tool_call_id
        if key is None:
            self.warnings[f"{event.type} without a toolCallId"] += 1
            self._other(seq, event, received)
            return None
        call = self.calls.get(key)
        if call is None:
            if event.type != "tool-call-start":
                self.warnings[f"tool call {key!r} has no start"] += 1
            call = self.calls[key] = ToolCall(
                len(self.calls), key, len(self.items), start_seq=seq, started_at=received
            )
            self.items.append(call)
        if call.tool_name is None:
            call.tool_name = event.tool_name
        elif event.tool_name is None:
            event.tool_name = call.tool_name
        self.touched.append(call.item)
        return call

    def _tool_seen(self, seq: int, event: Event, received: int | None) -> None:
        self._call(seq, event, received)

    def _tool_input(self, seq: int, event: Event, received: int | None) -> None:
        call = self._call(seq, event, received)
        if call is None or call.input_seq is not None:
            return
        call.input_seq, call.input_at = seq, received
        if call.end_seq is None:
            call.state = "input-available"
        self._take_input(call, event)

    def _tool_end(self, seq: int, event: Event, received: int | None) -> None:
        call = self._call(seq, event, received)
        if call is None:
            return
        state = OUTCOMES[event.kind]
        final = not event.preliminary
        if call.end_seq is not None and (
            not final or (state, bytes(event.output)) == (call.state, bytes(call.returned))
        ):
            return  # the same again, or older news, as in merged logs
        call.state = state if final else "preliminary"
        if final:
            call.end_seq, call.ended_at = seq, received
        self._take_input(call, event)
        if event.output:  # an error after partial output leaves that
            call.returned, call.got = event.output, None
        call.error_text = event.failure if final else None

    @staticmethod
    def _take_input(call: ToolCall, event: Event) -> None:
        if not call.given and event.input:
            call.given, call.asked = event.input, None

    # All else -------------------------------------------------------------------------------------------

    def _other(self, seq: int, event: Event, received: int | None) -> None:
        name = event.type
        self.touched.append(self._placed(Other(name, seq, event, self._log)))
        if name is None:
            self.warnings["event without a type"] += 1
        elif name not in KINDS and not name.startswith(_FAMILIES):
            self.unknown[name] += 1
        if event.files:
            files = lenient(event.files)
            self.files += files if isinstance(files, list) else []
        if name in TERMINAL:
            self.terminal = name
        if name == "finish":
            self.finish_status = text_in(event.status) or self.finish_status
        if name == "start":
            self.started_at = text_in(event.started_at)
        if name not in _NOT_FATAL:
            self.error = event.failure or self.error
        if name == "result" or event.metadata:
            self._bills.append(event)

    def _placed(self, item: Item) -> int:
        self.items.append(item)
        return len(self.items) - 1


def _kind(event: Event) -> Kind:
    return "reasoning" if event.kind.startswith("reasoning") else "text"


_HANDLERS: dict[str, Callable[[Fold, int, Event, int | None], None]] = {
    **dict.fromkeys(("text-start", "reasoning-start"), Fold._begin),
    **dict.fromkeys(("text-delta", "reasoning-delta", "text", "reasoning"), Fold._piece),
    **dict.fromkeys(("text-end", "reasoning-end"), Fold._close),
    **dict.fromkeys(("tool-call-start", "tool-input-start", "tool-input-delta"), Fold._tool_seen),
    **dict.fromkeys(("tool-approval-request", "tool-approval-response"), Fold._tool_seen),
    "tool-input-available": Fold._tool_input,
    **dict.fromkeys(OUTCOMES, Fold._tool_end),
}
