"""Fold a run's events into what they tell: text blocks, tool calls, totals (tasks protocol 3 and 6).

Events are paired by id, never by adjacency; the same event twice changes nothing. What was never said
stays None. Pure: imports task only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Literal

import msgspec

from blaxel_jupyter.task import FOLDED, Event, text_of
from blaxel_jupyter.tool_values import read_input, read_output
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
_EXIT_CODE = re.compile(r"Exit code (-?\d{1,10})\b")
_CODES = {
    "text-delta": "d",
    "tool-call-start": "s",
    "tool-input-available": "i",
    "tool-output-available": "o",
}
_RUNS = re.compile("d+|sio|.")
"""Events that are taken in one step: pieces of text, and whole tool calls."""

_KIND, _DELTA, _BLOCK_ID = attrgetter("kind"), attrgetter("delta"), attrgetter("block_id")

Kind = Literal["text", "reasoning"]


class ToolCall(msgspec.Struct, gc=False):
    """One tool call, keyed by its id; positions are the events' ``seq``, JSON values are JSON texts."""

    call_index: int
    tool_call_id: str
    item: int
    tool_name: str | None = None
    state: str = "started"
    input: str | None = None
    output: str | None = None
    command: str | None = None
    path: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    exit_code: int | None = None
    error_text: str | None = None
    start_seq: int | None = None
    input_seq: int | None = None
    end_seq: int | None = None
    started_at: int | None = None
    input_at: int | None = None
    ended_at: int | None = None

    @property
    def parent_tool_call_id(self) -> str | None:
        """The call that this one is nested in: what stands before the last ``:`` (tasks protocol 3.3)."""
        return self.tool_call_id.rpartition(":")[0] or None

    @property
    def is_error(self) -> bool | None:
        """Whether it failed; None while it has not ended."""
        if self.end_seq is None:
            return None
        return self.state != "output-available" or self.exit_code not in (None, 0)

    @property
    def duration_ms(self) -> int | None:
        """From its input (else its start) to its end as received live, in milliseconds; else None.

        What came together tells no duration.
        """
        begun = self.started_at if self.input_seq is None else self.input_at
        if begun is None or self.ended_at is None or begun == self.ended_at:
            return None
        return round((self.ended_at - begun) / 1000)


class TextBlock(msgspec.Struct, gc=False):
    """One uninterrupted stretch of text or reasoning."""

    kind: Kind
    block_id: str | None
    segment: int
    first_seq: int | None
    last_seq: int | None
    pieces: list[str] = []
    closed: bool = False

    @property
    def text(self) -> str:
        """The joined text."""
        return "".join(self.pieces)

    @property
    def chars(self) -> int:
        """Its length in code points."""
        return sum(map(len, self.pieces))

    @property
    def n_deltas(self) -> int:
        """How many pieces it came in; says nothing in a reconstructed log."""
        return len(self.pieces)


class Other(msgspec.Struct, gc=False):
    """Any other event of the run: files, the result, an error, an unknown type."""

    type: str | None
    seq: int
    event: Event


Item = ToolCall | TextBlock | Other


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
        codes = "".join([_CODES.get(kind, ".") for kind in map(_KIND, events)])
        for found in _RUNS.finditer(codes):
            begin, end = found.span()
            run = events[begin:end]
            if codes[begin] == "d":
                self._pieces(first + begin, run)
            elif len(run) == 1 or not self._whole_call(first + begin, *run):
                for i in range(begin, end):
                    self.add(first + i, events[i])

    def _pieces(self, seq: int, run: Sequence[Event]) -> None:
        """Take text deltas that follow one another."""
        self.add(seq, run[0])
        texts = list(map(_DELTA, run))
        opened = self._open.get(run[0].block_id)
        if opened is None or None in texts or len(set(map(_BLOCK_ID, run))) > 1:
            for i in range(1, len(run)):
                self.add(seq + i, run[i])
        elif len(run) > 1:
            block, place = opened
            block.pieces += texts[1:]
            block.last_seq = seq + len(run) - 1
            self.text_chars += sum(map(len, texts[1:]))
            self.n_text_deltas += len(run) - 1
            self.touched.append(place)  # last: a reader on another thread then sees all of it

    def _whole_call(self, seq: int, start: Event, given: Event, ended: Event) -> bool:
        """Take the three events of a new call in one step; False where they are not that."""
        key = start.tool_call_id
        if key is None or key in self.calls or ended.preliminary:
            return False
        if not given.tool_call_id == ended.tool_call_id == key:
            return False
        self._open.clear()
        name = start.tool_name or given.tool_name or ended.tool_name
        if not start.tool_name == given.tool_name == ended.tool_name:
            start.tool_name = given.tool_name = ended.tool_name = name
        call = ToolCall(len(self.calls), key, len(self.items), name, "output-available")
        call.start_seq, call.input_seq, call.end_seq = seq, seq + 1, seq + 2
        self._take_input(call, given)
        self._take_output(call, ended)
        self.calls[key] = call
        self.items.append(call)
        self.touched.append(call.item)
        return True

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
            not final or (state, _text(event.output)) == (call.state, call.output)
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
            call.output = _text(event.output)
            call.stdout, call.stderr, call.exit_code = read_output(event.output)
        call.error_text = None if event.preliminary else event.failure
        if call.exit_code is None and call.error_text:
            found = _EXIT_CODE.match(call.error_text)
            call.exit_code = int(found[1]) if found else None

    @staticmethod
    def _take_input(call: ToolCall, event: Event) -> None:
        if call.input is None and event.input:
            call.input = _text(event.input)
            call.command, call.path = read_input(event.input)

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
        take_usage(self.usage, data)

    def _placed(self, item: Item) -> int:
        self.items.append(item)
        return len(self.items) - 1


def _kind(event: Event) -> Kind:
    return "reasoning" if event.kind.startswith("reasoning") else "text"


def _text(raw: msgspec.Raw) -> str | None:
    return str(raw, "utf-8", "replace") if raw else None
