"""Tell an agent's run as rows of a log, so that it can stand beside processes in one panel.

Text is told as it was received, line by line as lines are complete; what was told never changes.
Pure; imported by what merges runs.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from blaxel_jupyter.fold import Fold
from blaxel_jupyter.masks import NONE, Masks
from blaxel_jupyter.panel.items import TaskLike
from blaxel_jupyter.panel.story import (
    Section,
    one_line,
    other_head,
    other_sections,
    seconds,
    tool_head,
)
from blaxel_jupyter.panel.task_text import NEVER_ENDED, other_line, told
from blaxel_jupyter.table import LOGS, Table
from blaxel_jupyter.task_items import Item, Kind, Other, TextBlock, ToolCall

READ_ANEW = (
    "the run was read anew and tells its text differently: it is told again, from its beginning"
)
TELLS_LESS = "the run was read anew and tells less text than it did before"
NO_PLACE = (
    "the log has no text; this is the run's message, whose place among the calls is not known"
)
"""What is said where what is told cannot be put in order."""

OUTPUT = 1 << 20
"""Characters of one output that are told; of longer ones the beginning and the end."""


class Line(NamedTuple):
    """One row: what it says, its stream and kind, when it was received (UTC microseconds, or None)."""

    text: str
    stream: str = "system"
    received: int | None = None
    kind: str = "line"


class TaskLines:
    """A task's run that reads as a process's: ``logs``, and a header with the same facts.

    The agent's text is stdout; its reasoning (``~``), the begin of a tool call (``>``) and its end (``=``)
    and other events (``--``) are system; what a tool returned is stdout or stderr. The columns
    ``sandbox`` and ``process`` are None and the run's id. Call ``update`` to take in what is new, always
    by one thread at a time.
    """

    def __init__(self, run: TaskLike) -> None:
        self._run = run
        self.run_id = str(run.header()["run_id"])
        self._masks: Masks = getattr(run, "masks", NONE)
        constants = {"sandbox": None, "process": self.run_id}
        self.logs = Table(LOGS, constants=constants, masks=self._masks)
        self._teller = _Teller(run)
        self._ended = False

    def update(self) -> None:
        """Append what the run tells since the last call."""
        final = bool(self._run.header()["final"])
        fold = self._run.fold
        lines: list[Line] = []
        try:
            if self._teller.fold is not fold:
                self._teller.go_on_with(fold)
            lines.extend(self._teller.new(final=final))  # what came before an exception stays in it
        except _Differs:
            lines.append(Line(READ_ANEW, kind="notice"))
            self._teller = _Teller(self._run)
            lines.extend(self._teller.new(final=final))
        self._ended = final
        if lines:
            text, stream, received, kind = (list(column) for column in zip(*lines, strict=True))
            self.logs.extend(
                len(lines), text=text, stream=stream, received=received, kind=kind, origin=None
            )

    def header(self) -> dict[str, Any]:
        """Return the run's facts in the words of a process's header."""
        header = self._run.header()
        final = bool(header["final"]) and self._ended
        ended = header["status"] != "completed" and header["error"]
        return {
            "sandbox": "",
            "process": self.run_id,
            "command": one_line(header.get("prompt")) or "agent task",
            "status": header["status"],
            "exit_code": None,
            "started": header["started"],
            "ended": header["ended"],
            "lines": len(self.logs),
            "bytes": self._teller.characters,
            "integrity": "complete" if final else "following",
            "local": header["local"],
            "final": final,
            "message": header["message"],
            "verbs": header.get("verbs", [] if final else ["cancel"]),
            "digest": {"meaning": one_line(ended), "first": None, "block": None} if ended else None,
            "masked": self.logs.masked,
            "partial": [[s, self._masks.piece(line)] for s, line in self._teller.partial()],
        }


class _Differs(Exception):
    """Another reading of the run does not begin with the text that was told."""


class _Teller:
    """Read one fold from where it stopped, and tell each thing once."""

    def __init__(self, run: TaskLike) -> None:
        self.fold = run.fold
        self.characters = 0
        self._run = run
        self._seen = 0
        self._texts: dict[int, _Text] = {}
        self._begun: set[str] = set()  # calls whose begin was told
        self._ended: set[str] = set()  # calls whose end was told
        self._last = ""  # the call told last
        self._placed: set[int] = set()  # other events of this fold that were looked at
        self._others: Counter[str] = Counter()
        self._again: Counter[str] = Counter()  # other events that a fold read anew tells once more
        self._taken: dict[Kind, _Sum] = {"text": _Sum(), "reasoning": _Sum()}
        self._skipped: dict[Kind, _Sum] = {}  # of text that a fold read anew tells once more
        self._begun_line: dict[Kind, str] = {}  # with which the text after that goes on

    def go_on_with(self, fold: Fold) -> None:
        """Take over another reading of the run: what was told is not told again."""
        begun = [(state.block.kind, state.rest) for state in self._texts.values() if state.rest]
        self._begun_line = dict(begun)
        if len(self._begun_line) < len(begun):
            raise _Differs  # nobody knows which of them goes on
        self._skipped = {kind: _Sum() for kind, taken in self._taken.items() if taken.n}
        self._again = self._others.copy()
        self.fold, self._seen, self._placed, self._texts = fold, 0, set(), {}

    def new(self, *, final: bool) -> Iterator[Line]:
        """Yield what is new; the last lines of texts and calls without an end when all is final."""
        fold = self.fold
        until = len(fold.touched)
        # The item touched last is looked at again: its event may have been half taken in.
        touched = fold.touched[max(0, self._seen - 1) : until]
        last = {i: at for at, i in enumerate(touched)}
        before = -1
        for at, i in enumerate(touched):
            if i != before or last[i] == at:  # a text is touched with each of its pieces
                yield from self._item(i, fold.items[i], last=last[i] == at)
            before = i
        self._seen = until
        if final:
            yield from self._over()
            if self._skipped:
                self._skipped = {}
                yield Line(TELLS_LESS, kind="notice")
            for call in list(fold.calls.values()):
                if call.end_seq is None and call.tool_call_id not in self._ended:
                    self._ended.add(call.tool_call_id)
                    yield Line(f"= {_named(call)} · {NEVER_ENDED}")

    def partial(self) -> list[list[str]]:
        """Return the lines of texts that have not ended, as ``[stream, text]``."""
        states = [state for state in list(self._texts.values()) if state.rest]
        return [[state.stream, state.mark + state.rest] for state in states]

    def _item(self, i: int, item: Item, *, last: bool) -> Iterator[Line]:
        """Tell what is new of an item; a call's end where its last event stands."""
        if isinstance(item, TextBlock):
            yield from self._text(i, item)
        elif isinstance(item, ToolCall):
            yield from self._over()
            yield from self._call(item, last=last)
        elif i not in self._placed:
            self._placed.add(i)
            yield from self._other(item)

    # Text -----------------------------------------------------------------------------------------------

    def _text(self, i: int, block: TextBlock) -> Iterator[Line]:
        state = self._texts.get(i)
        if state is None:
            yield from self._over(block)
            if block.first_seq is None:
                yield Line(NO_PLACE, kind="notice")
            state = self._texts[i] = _Text(block)
        first, n = state.pieces, len(block.pieces)
        if first < n:
            times = self._times(block, first, n)
            for piece, at in zip(block.pieces[first:n], times, strict=True):
                if untold := self._untold(state, piece):
                    yield from self._piece(state, untold, at)
            state.pieces = n
        if block.closed:
            yield from self._ended_text(state)

    def _untold(self, state: _Text, piece: str) -> str:
        """Leave out what a reading before this one told; it must be the same."""
        kind = state.block.kind
        skipped, taken = self._skipped.get(kind), self._taken[kind]
        if skipped is None:
            return piece
        known = taken.n - skipped.n
        skipped.add(piece[:known])
        if skipped.n == taken.n:
            del self._skipped[kind]
            if skipped.checksum != taken.checksum:
                raise _Differs
            state.rest = self._begun_line.pop(kind, "")
        return piece[known:]

    def _piece(self, state: _Text, piece: str, received: int | None) -> Iterator[Line]:
        self._taken[state.block.kind].add(piece)
        self.characters += len(piece)
        state.received = received
        *whole, rest = piece.split("\n")
        for line in whole:
            state.begun.append(line)
            yield Line(state.mark + state.rest, state.stream, received)
            state.begun.clear()
        state.begun.append(rest)

    def _over(self, begun: TextBlock | None = None) -> Iterator[Line]:
        """Tell the last lines of texts that are over now that ``begun`` begins; None: all of them."""
        for state in list(self._texts.values()):
            block = state.block
            if begun is None or begun.kind != block.kind or begun.block_id == block.block_id:
                yield from self._ended_text(state)

    def _ended_text(self, state: _Text) -> Iterator[Line]:
        rest, state.rest = state.rest, ""
        if rest:
            yield Line(state.mark + rest, state.stream, state.received)

    def _times(self, block: TextBlock, start: int, n: int) -> Sequence[int | None]:
        """Return when the pieces from ``start`` to ``n`` came, where pieces and events go together."""
        first, last, times = block.first_seq, block.last_seq, self._received()
        if first is None or last is None or last - first + 1 != n:
            return [None] * (n - start)
        if times is not None and last < len(times):
            return times[first + start : first + n]
        return [None] * (n - start)

    def _received(self) -> Sequence[int | None] | None:
        events = getattr(self._run, "events", None)
        return None if events is None else events.column("received")

    # Tools and other events -----------------------------------------------------------------------------

    def _call(self, call: ToolCall, *, last: bool) -> Iterator[Line]:
        key, ended = call.tool_call_id, call.end_seq is not None
        if key not in self._begun and (ended or call.input_seq is not None):
            self._begun.add(key)
            self._last = key
            at = call.started_at if call.input_seq is None else call.input_at
            yield Line(f"> {_named(call)}", received=at)
        if not ended or not last or key in self._ended:
            return
        self._ended.add(key)
        parts = [] if self._last == key else [_named(call)]  # others came in between
        self._last = key
        for section in told(call, OUTPUT):
            yield from _section(section, call.ended_at)
        if call.is_error:
            parts.append(f"failed: {tool_head(call).outcome}")
        if call.duration_ms is not None:
            parts.append(seconds(call.duration_ms / 1000))
        if parts:
            yield Line(f"= {' · '.join(parts)}", received=call.ended_at)

    def _other(self, item: Other) -> Iterator[Line]:
        key = item.event.json
        if self._again[key]:
            self._again[key] -= 1
            return
        self._others[key] += 1
        head = other_head(item, self.fold)
        if head.group == "other":
            return
        yield from self._over()
        times = self._received()
        at = times[item.seq] if times is not None and item.seq < len(times) else None
        line = f"-- {other_line(head.group, head.name, head.summary)} --"
        yield Line(line, "stderr" if head.failed else "system", at)
        if head.group == "files":
            yield from _section(next(other_sections(item, head)), at)


class _Text:
    """A text block under way: how many pieces were taken, and the line that has not ended."""

    __slots__ = ("begun", "block", "mark", "pieces", "received", "stream")

    def __init__(self, block: TextBlock) -> None:
        self.block = block
        self.pieces = 0
        self.begun: list[str] = []  # joined when it is asked for: a line may come in many pieces
        self.received: int | None = None
        is_text = block.kind == "text"
        self.mark, self.stream = ("", "stdout") if is_text else ("~ ", "system")

    @property
    def rest(self) -> str:
        """The line that has not ended."""
        if len(self.begun) > 1:
            self.begun[:] = ["".join(self.begun)]
        return "".join(self.begun)

    @rest.setter
    def rest(self, text: str) -> None:
        self.begun[:] = [text]


class _Sum:
    """How much text there was, and its checksum."""

    __slots__ = ("checksum", "n")

    def __init__(self) -> None:
        self.n = self.checksum = 0

    def add(self, text: str) -> None:
        self.n += len(text)
        self.checksum = zlib.crc32(text.encode("utf-8", "surrogatepass"), self.checksum)


def _named(call: ToolCall) -> str:
    head = tool_head(call)
    return f"{head.name}: {head.summary}" if head.summary else head.name


def _section(section: Section, received: int | None) -> Iterator[Line]:
    stream = "stderr" if section.form == "error" else "stdout"
    for line in section.text.removesuffix("\n").split("\n"):
        yield Line(line, stream, received)
    if section.cut:
        yield Line(f"{section.cut:,} more characters", "system", received, "notice")
        for line in section.tail.removesuffix("\n").split("\n"):
            yield Line(line, stream, received)
