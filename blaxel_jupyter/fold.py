"""Fold a run's events into what they tell: text blocks, tool calls, totals (tasks protocol 3 and 6).

Events are paired by id, never by adjacency; the same event twice changes nothing. What was never said
stays None. Pure: imports task, its items and usage.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any

from blaxel_jupyter.task import FOLDED, Event, text_of
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

_KNOWN = frozenset(
    {
        *(
            "resume",
            "start",
            "session-init",
            "start-step",
            "finish-step",
            "files",
            "file",
            "result",
        ),
        *("message-metadata", "source-url", "source-document", "custom", "auth-error"),
        *("retry-notification", "system-Compact", *TERMINAL),
    }
)
"""Types, beside those of text and tools, that are no surprise (tasks protocol 3.2)."""

_FAMILIES = ("data-", "ask-user-question")
_NOT_FATAL = ("retry-notification", "system-Compact", "result")


class _Codes(dict[str, str]):
    def __missing__(self, kind: str) -> str:
        return "."


_CODES = _Codes(
    {
        "text-delta": "d",
        "reasoning-delta": "r",
        "tool-call-start": "s",
        "tool-input-available": "i",
        "tool-output-available": "o",
    }
)
_RUNS = re.compile("d+|r+|sio|.")
"""Events that are taken in one step: pieces of text, and whole tool calls."""

_KIND, _DELTA, _BLOCK_ID = attrgetter("kind"), attrgetter("delta"), attrgetter("block_id")


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
        self.usage: dict[str, int | float | None] = dict.fromkeys(USAGE)
        self.error: str | None = None
        self.finish_status: str | None = None
        self.terminal: str | None = None
        self.started_at: str | None = None
        self.n_text_deltas = 0
        self.text_chars = 0
        self.unknown: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self._open: dict[str | None, tuple[TextBlock, int]] = {}
        self._open_kind: Kind = "text"
        self._segments: Counter[tuple[Kind, str | None]] = Counter()
        self._begun: set[tuple[Kind, str | None]] = set()
        self._handlers: dict[str, Callable[[int, Event, int | None], None]] = {
            "text-start": self._begin,
            "reasoning-start": self._begin,
            "text-delta": self._piece,
            "reasoning-delta": self._piece,
            "text": self._piece,
            "reasoning": self._piece,
            "text-end": self._close,
            "reasoning-end": self._close,
            "tool-call-start": self._tool_seen,
            "tool-input-delta": self._tool_seen,
            "tool-approval-request": self._tool_seen,
            "tool-approval-response": self._tool_seen,
            "tool-input-available": self._tool_input,
            **dict.fromkeys(OUTCOMES, self._tool_end),
        }

    def add(self, seq: int, event: Event, received: int | None = None) -> None:
        """Take one event.

        Args:
            seq: its position.
            event: what it says.
            received: when it came, UTC microseconds; None unless it was received live.
        """
        kind = event.kind
        self._handlers.get(FOLDED.get(kind, kind), self._other)(seq, event, received)

    def extend(self, first: int, events: Sequence[Event]) -> None:
        """Take events that did not come live; ``first`` is the position of the first of them.

        Most of a large log is text that goes on with the block before it: that is taken by the run.
        """
        codes = "".join(map(_CODES.__getitem__, map(_KIND, events)))
        for found in _RUNS.finditer(codes):
            begin, end = found.span()
            run = events[begin:end]
            if codes[begin] == "s" and end - begin == 3:
                self._whole_call(first + begin, run)
            elif codes[begin] in "dr" and len(set(map(_BLOCK_ID, run))) == 1:
                self._pieces(first + begin, run)
            else:
                for seq, event in enumerate(run, first + begin):
                    self.add(seq, event)

    def _pieces(self, seq: int, run: Sequence[Event]) -> None:
        """Take pieces of one text that follow one another."""
        texts: list[Any] = list(map(_DELTA, run))
        kind = _kind(run[0])
        if None in texts:
            for i, event in enumerate(run, seq):
                self.add(i, event)
            return
        if self._open_kind != kind:
            self._open.clear()
            self._open_kind = kind
        block, place = self._open.get(run[0].block_id) or self._opened(kind, run[0], seq)
        block.pieces += texts
        block.last_seq = seq + len(texts) - 1
        if kind == "text":
            self.text_chars += sum(map(len, texts))
            self.n_text_deltas += len(texts)
        self.touched.append(place)  # last: a reader on another thread then sees all of it

    def _whole_call(self, seq: int, events: Sequence[Event]) -> None:
        """Take the three events of a call at once if it is a new one, else one by one."""
        start, asked, ended = events
        key, name = start.tool_call_id, start.tool_name
        is_new = key is not None and key not in self.calls and not ended.preliminary
        if not (is_new and asked.tool_call_id == ended.tool_call_id == key):
            for i, event in enumerate(events, seq):
                self.add(i, event)
            return
        if not name == asked.tool_name == ended.tool_name:
            name = name or asked.tool_name or ended.tool_name
            start.tool_name = asked.tool_name = ended.tool_name = name
        if self._open:
            self._open.clear()
        calls, items = self.calls, self.items
        calls[key] = call = ToolCall(  # type: ignore[index]  # not None
            len(calls),
            key,  # type: ignore[arg-type]  # not None
            len(items),
            name,
            "output-available",
            asked.input,
            ended.output,
            None,
            seq,
            seq + 1,
            seq + 2,
        )
        if ended.error_text or ended.error_message or ended.error:
            call.error_text = ended.failure
        items.append(call)
        self.touched.append(call.item)

    def adopt(self, block: TextBlock) -> None:
        """Take over a block that no event told: it has no positions, and stands last."""
        block.first_seq = block.last_seq = None
        self.blocks.append(block)
        self.text_chars += block.chars if block.kind == "text" else 0
        self.touched.append(self._placed(block))

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
        self._begun.add((_kind(event), event.block_id))

    def _piece(self, seq: int, event: Event, received: int | None) -> None:
        text = event.delta if event.delta is not None else event.text
        if text is None:
            self.warnings[f"{event.type} without text"] += 1
            return
        kind, key = _kind(event), event.block_id
        if kind != self._open_kind:
            self._open.clear()
            self._open_kind = kind
        opened = self._open.get(key) or self._opened(kind, event, seq)
        block, place = opened
        block.last_seq = seq
        block.pieces.append(text)
        self.touched.append(place)
        if kind == "text":
            self.text_chars += len(text)
            self.n_text_deltas += event.kind == "text-delta"
        if event.kind == kind:  # the whole block in one event
            self._open.pop(key)

    def _opened(self, kind: Kind, event: Event, seq: int) -> tuple[TextBlock, int]:
        key = (kind, event.block_id)
        if event.kind != kind and key not in self._begun:
            self.warnings[f"{event.type} without a {kind}-start"] += 1
            self._begun.add(key)
        block = TextBlock(kind, event.block_id, self._segments[key], seq, seq)
        self._segments[key] += 1
        self.blocks.append(block)
        opened = self._open[event.block_id] = block, self._placed(block)
        return opened

    def _close(self, seq: int, event: Event, received: int | None) -> None:
        if _kind(event) == self._open_kind and event.block_id in self._open:
            block, place = self._open.pop(event.block_id)
            block.closed = True
            self.touched.append(place)

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
        state = OUTCOMES[event.type or ""]
        final = not event.preliminary
        if call.end_seq is not None and (
            not final or (state, bytes(event.output)) == (call.state, bytes(call.returned))
        ):
            return  # the same again, or older news, as in merged logs
        call.state = state if final else "preliminary"
        if final:
            call.end_seq, call.ended_at = seq, received
        self._take_input(call, event)
        self._take_output(call, event)

    @staticmethod
    def _take_output(call: ToolCall, event: Event) -> None:
        if event.output:  # an error after partial output leaves that
            call.returned, call.got = event.output, None
        call.error_text = None if event.preliminary else event.failure

    @staticmethod
    def _take_input(call: ToolCall, event: Event) -> None:
        if not call.given and event.input:
            call.given, call.asked = event.input, None

    # All else -------------------------------------------------------------------------------------------

    def _other(self, seq: int, event: Event, received: int | None) -> None:
        self.touched.append(self._placed(Other(event.type, seq, event)))
        name = event.type
        if name is None:
            self.warnings["event without a type"] += 1
        elif name not in _KNOWN and not name.startswith(_FAMILIES):
            self.unknown[name] += 1
        data = event.data
        if isinstance(data.get("files"), list):
            self.files += data["files"]
        if name in TERMINAL:
            self.terminal = name
        if name == "finish":
            self.finish_status = text_of(data.get("status")) or self.finish_status
        if name == "start":
            self.started_at = text_of(data.get("startedAt"))
        if name not in _NOT_FATAL:
            self.error = event.failure or self.error
        if name == "result" or "messageMetadata" in data:
            take_usage(self.usage, data)

    def _placed(self, item: Item) -> int:
        self.items.append(item)
        return len(self.items) - 1


def _kind(event: Event) -> Kind:
    return "reasoning" if event.kind.startswith("reasoning") else "text"
