"""Say what a run is told as: stretches of text, tool calls, and other events.

Pure: imports task_events and tool_values.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from blaxel_jupyter.task_events import Event, Events
from blaxel_jupyter.tool_values import Given, Returned, read_input, read_output

_EXIT_CODE = re.compile(r"Exit code (-?\d{1,10})\b")

Kind = Literal["text", "reasoning"]


_NOTHING = msgspec.Raw()


class ToolCall(msgspec.Struct, gc=False):
    """One tool call, keyed by its id; positions are the events' ``seq``, JSON values are JSON texts."""

    call_index: int
    tool_call_id: str
    item: int
    tool_name: str | None = None
    state: str = "started"
    given: msgspec.Raw = _NOTHING
    returned: msgspec.Raw = _NOTHING
    error_text: str | None = None
    start_seq: int | None = None
    input_seq: int | None = None
    end_seq: int | None = None
    started_at: int | None = None
    input_at: int | None = None
    ended_at: int | None = None
    asked: Given | None = None
    got: Returned | None = None

    @property
    def input(self) -> str | None:
        """What it was given, as JSON text."""
        return _text(self.given)

    @property
    def output(self) -> str | None:
        """What came back, as JSON text."""
        return _text(self.returned)

    @property
    def command(self) -> str | None:
        """The shell command that it was given."""
        return self._asked()[0]

    @property
    def path(self) -> str | None:
        """The file that it was given."""
        return self._asked()[1]

    @property
    def stdout(self) -> str | None:
        """What a command wrote to stdout, where the output says so."""
        return self._got()[0]

    @property
    def stderr(self) -> str | None:
        """What a command wrote to stderr, where the output says so."""
        return self._got()[1]

    @property
    def exit_code(self) -> int | None:
        """The exit code of the output, or of an error text that begins with it (tasks protocol 3.7)."""
        code = self._got()[2]
        if code is None and self.error_text:
            found = _EXIT_CODE.match(self.error_text)
            code = int(found[1]) if found else None
        return code

    def _asked(self) -> Given:
        """Read the input when somebody looks, once."""
        if self.asked is None:
            self.asked = read_input(self.given)
        return self.asked

    def _got(self) -> Returned:
        if self.got is None:
            self.got = read_output(self.returned)
        return self.got

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
    item: int
    pieces: list[str] = []
    closed: bool = False
    counted: tuple[int, int] = (0, 0)

    @property
    def text(self) -> str:
        """The joined text."""
        return "".join(self.pieces)

    @property
    def chars(self) -> int:
        """Its length in code points; each piece is counted once."""
        n, chars = self.counted
        more = self.pieces[n:]
        self.counted = n + len(more), chars + sum(map(len, more))  # swapped at once
        return self.counted[1]

    @property
    def n_deltas(self) -> int:
        """How many pieces it came in; says nothing in a reconstructed log."""
        return len(self.pieces)


class Other(msgspec.Struct, gc=False):
    """Any other event of the run: files, the result, an error, an unknown type."""

    type: str | None
    seq: int
    said: Event
    log: Events | None = None

    @property
    def event(self) -> Event:
        """The event, with its text."""
        if self.log is not None:
            self.log.whole()
        return self.said


Item = ToolCall | TextBlock | Other


def _text(raw: msgspec.Raw) -> str | None:
    return str(raw, "utf-8", "replace") if raw else None
