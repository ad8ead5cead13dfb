"""Tell an agent's run as plain text: whole, or piece by piece while it goes on.

Everything is sanitised and bounded, and nothing is told twice. Pure; imported by what prints a run
and by its saved output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from blaxel_jupyter.fold import Fold
from blaxel_jupyter.panel import static
from blaxel_jupyter.panel.frames import of_story, ours
from blaxel_jupyter.panel.items import TaskLike
from blaxel_jupyter.panel.story import (
    LINE,
    SHOWN,
    Section,
    clip,
    cost,
    depth,
    lines_of,
    one_line,
    other_head,
    other_sections,
    seconds,
    tokens,
    tool_head,
    tool_sections,
)
from blaxel_jupyter.task_items import Item, Kind, Other, TextBlock, ToolCall

OUTPUT_LINES = 20
"""Lines of one output that are told, half of them its last."""

TEXT_LINES = 1000
"""Lines of one text block that a saved output keeps, half of them its last."""

NEVER_ENDED = "never finished"
"""What is said of a tool call without an end in a run that is over."""

GUTTER = "  │ "
"""Before each line of an output: nothing but outputs has it."""

PREVIEW = 100
"""Characters of reasoning on its one line."""

_DIM, _RED, _BOLD, _OFF = "\x1b[2m", "\x1b[31m", "\x1b[1m", "\x1b[0m"


class Few(NamedTuple):
    """What is kept of many lines: the first, what is said of those left out, the last."""

    first: list[str]
    note: str
    last: list[str]


def few(section: Section, limit: int) -> Few:
    """Keep at most ``limit`` lines of a section, each as received."""
    before, after = lines_of(section.text), lines_of(section.tail) if section.cut else []
    if len(before) + len(after) <= limit:
        return Few(before, _left_out(section.cut), after)
    if not section.cut:
        before, after = before[: limit // 2], before[-(limit // 2) :]
        n = len(lines_of(section.text)) - len(before) - len(after)
        return Few(before, f"… {n:,} more line{'' if n == 1 else 's'} …", after)
    first, last = before[: limit // 2], after[-(limit // 2) :]
    dropped = sum(len(line) + 1 for line in before[len(first) :] + after[: len(after) - len(last)])
    return Few(first, _left_out(section.cut + dropped), last)


def _left_out(characters: int) -> str:
    return f"… {characters:,} more characters …" if characters else ""


class Printer:
    """Tell a run in pieces: each call returns what is new.

    Args:
        colour: keep the colours of outputs, and add some, for a terminal.
    """

    def __init__(self, colour: bool = False) -> None:
        self._colour = colour
        self._fold: Fold | None = None
        self._seen = 0
        self._texts: dict[int, _Text] = {}
        self._asked: set[str] = set()  # calls whose input was told
        self._ended: set[str] = set()  # calls whose end was told
        self._last_call = ""
        self._seen_others: set[int] = set()
        self._others: Counter[str] = Counter()
        self._taken: Counter[Kind] = Counter()  # characters
        self._again: Counter[str] = Counter()  # other events, and characters of text,
        self._skip: Counter[Kind] = Counter()  # that a fold read anew tells once more

    def new(self, fold: Fold, *, final: bool) -> str:
        """Return what the run tells since the last call: whole lines, each with its line feed.

        The last line of a text comes when the text is over or all is ``final``; a tool call in two
        parts, when its input is known and when it has ended.
        """
        lines: list[str] = []
        if self._fold is not fold:
            lines += self._finished(None)
            self._fold, self._seen, self._texts, self._seen_others = fold, 0, {}, set()
            self._again, self._skip = self._others.copy(), self._taken.copy()
        until = len(fold.touched)
        # The item touched last is looked at again: its event may have been half taken in.
        for i in dict.fromkeys(fold.touched[max(0, self._seen - 1) : until]):
            lines += self._item(i, fold.items[i], fold)
        self._seen = until
        if final:
            lines += self._finished(None)
            for call in list(fold.calls.values()):
                lines += self._never_ended(call)
        return "".join(f"{line}\n" for line in lines)

    def whole(self, i: int, item: Item, fold: Fold, *, final: bool) -> list[str]:
        """Return the lines of one item as it stands, the last one included."""
        lines = [*self._item(i, item, fold), *self._finished(None)]
        if final and isinstance(item, ToolCall):
            lines += self._never_ended(item)
        return lines

    def _item(self, i: int, item: Item, fold: Fold) -> Iterator[str]:
        if isinstance(item, TextBlock):
            state = self._texts.get(i)
            if state is None:
                yield from self._finished(item)
                state = self._texts[i] = _Text(item)
            yield from self._text(state)
        elif isinstance(item, ToolCall):
            yield from self._finished(None)
            yield from self._call(item)
        elif i not in self._seen_others:
            self._seen_others.add(i)
            yield from self._other(item, fold)

    # Text -----------------------------------------------------------------------------------------------

    def _text(self, state: _Text) -> Iterator[str]:
        block = state.block
        n = len(block.pieces)
        text = "".join(block.pieces[state.pieces : n])
        state.pieces = n
        skipped = min(len(text), self._skip[block.kind])
        self._skip[block.kind] -= skipped
        self._taken[block.kind] += len(text) - skipped
        text = state.rest + text[skipped:]
        if block.kind == "reasoning":
            state.rest = text[: LINE * 4]
        else:
            *whole, state.rest = text.split("\n")
            for line in whole:
                yield from self._line(state, line)
        if block.closed:
            yield from self._over(state)

    def _line(self, state: _Text, line: str) -> Iterator[str]:
        if line or state.told:  # no empty lines before a text
            line = line if state.told else line.lstrip(" ")
            state.told = True
            yield of_story(plain(line, self._colour))

    def _finished(self, begun: TextBlock | None) -> Iterator[str]:
        """Tell the last lines of texts that are over now that ``begun`` begins; None: all of them."""
        for state in self._texts.values():
            block = state.block
            if begun is None or begun.kind != block.kind or begun.block_id == block.block_id:
                yield from self._over(state)

    def _over(self, state: _Text) -> Iterator[str]:
        rest, state.rest = state.rest, ""
        if state.block.kind == "text":
            if rest:
                yield from self._line(state, rest)
        elif (line := one_line(rest, PREVIEW)) and not state.told:
            state.told = True
            yield self._styled(_DIM, f"~ {line}")

    # Tools and other events -----------------------------------------------------------------------------

    def _call(self, call: ToolCall) -> Iterator[str]:
        key, indent, ended = call.tool_call_id, "  " * depth(call), call.end_seq is not None
        if key not in self._asked and (ended or call.input_seq is not None):
            self._asked.add(key)
            self._last_call = key
            yield f"{indent}> {self._named(call)}"
        if ended and key not in self._ended:
            self._ended.add(key)
            for section in told(call):
                yield from self._section(section, indent + GUTTER)
            if line := self._end(call):
                yield f"{indent}  {line}"
            self._last_call = key

    def _end(self, call: ToolCall) -> str:
        parts = []
        if self._last_call != call.tool_call_id:  # others came in between: say whose it is
            parts.append(self._named(call))
        if call.is_error:
            parts.append(self._styled(_RED, f"failed: {tool_head(call).outcome}"))
        if call.duration_ms is not None:
            parts.append(seconds(call.duration_ms / 1000))
        return f"= {' · '.join(parts)}" if parts else ""

    def _never_ended(self, call: ToolCall) -> Iterator[str]:
        if call.end_seq is None and call.tool_call_id not in self._ended:
            self._ended.add(call.tool_call_id)
            yield f"{'  ' * depth(call)}  = {self._named(call)} · {NEVER_ENDED}"

    def _named(self, call: ToolCall) -> str:
        head = tool_head(call)
        name = self._styled(_BOLD, head.name)
        return f"{name}: {head.summary}" if head.summary else name

    def _other(self, item: Other, fold: Fold) -> Iterator[str]:
        key = item.event.json
        if self._again[key]:
            self._again[key] -= 1
            return
        self._others[key] += 1
        head = other_head(item, fold)
        if head.group == "other":
            return
        yield from self._finished(None)
        line = ours(other_line(head.group, head.name, head.summary))
        yield self._styled(_RED, line) if head.failed else line
        if head.group == "files":
            yield from self._section(next(other_sections(item, head)), GUTTER)

    def _section(self, section: Section, indent: str) -> Iterator[str]:
        kept = few(section, OUTPUT_LINES)
        for line in kept.first:
            yield (indent + plain(line, self._colour)).rstrip()
        if kept.note:
            yield indent + self._styled(_DIM, kept.note)
        for line in kept.last:
            yield (indent + plain(line, self._colour)).rstrip()

    def _styled(self, style: str, text: str) -> str:
        return f"{style}{text}{_OFF}" if self._colour else text


class _Text:
    """A text block under way: how many pieces were taken, and the line that has not ended."""

    __slots__ = ("block", "pieces", "rest", "told")

    def __init__(self, block: TextBlock) -> None:
        self.block = block
        self.pieces = 0
        self.rest = ""
        self.told = False


def text(run: TaskLike, *, save: static.Save = "tail", tail: int = 200) -> str:
    """Return the run as plain text without any escape.

    Args:
        run: The run.
        save: ``tail`` keeps the last ``tail`` items of the story and says how many there were,
            ``all`` keeps all, ``none`` the header only.
        tail: Items kept by ``save="tail"``.
    """
    header = run.header()
    items = list(run.fold.items)
    first = static.first_kept(len(items), save, tail)
    lines = [summary(header), *facts(header)]
    if note := static.kept_note(len(items), first, "items"):
        lines.append(note)
    printer = Printer()
    for i, item in enumerate(items[first:], first):
        if isinstance(item, TextBlock) and item.kind == "text":
            kept = few(text_section(item), TEXT_LINES)
            left_out = [kept.note] if kept.note else []
            lines += (of_story(plain(line)) for line in [*kept.first, *left_out, *kept.last])
        else:
            lines += printer.whole(i, item, run.fold, final=bool(header["final"]))
    return "\n".join(lines)


def summary(header: dict[str, Any]) -> str:
    """Return how a run stands, in one line."""
    calls, failed, unfinished = (
        header[name] for name in ("tool_calls", "tool_errors", "unfinished")
    )
    parts = [f"task {one_line(header['run_id'])}", one_line(header["status"])]
    if header["started"] is not None and header["ended"] is not None:
        parts.append(seconds(header["ended"] - header["started"]))
    parts.append(f"{header['events']:,} event{'' if header['events'] == 1 else 's'}")
    parts.append(f"{calls:,} tool call{'' if calls == 1 else 's'}")
    parts += [f"{failed:,} failed"] if failed else []
    parts += [f"{unfinished:,} unfinished"] if unfinished else []
    parts += tokens(header["input_tokens"], header["output_tokens"])
    parts += cost(header["total_cost_usd"])
    parts += [f"from {one_line(header['source'])}"] if header["source"] else []
    return " · ".join(parts)


def facts(header: dict[str, Any]) -> list[str]:
    """Return what is said below the first line: the prompt, what went wrong, what to do next."""
    lines = [f"prompt: {one_line(header['prompt'])}"] if header["prompt"] else []
    lines += [f"error: {one_line(header['error'], 1000)}"] if header["error"] else []
    if n := header["warnings"]:
        lines.append(f"{n:,} warning{'' if n == 1 else 's'}: see the run's warnings")
    return lines + ([one_line(header["message"], 1000)] if header["message"] else [])


def told(call: ToolCall, limit: int = SHOWN) -> Iterator[Section]:
    """Yield what came back from a call, without an error that its line tells whole.

    Args:
        call: the call.
        limit: characters of one text at most; of longer ones the beginning and the end.
    """
    outcome = tool_head(call).outcome
    for section in tool_sections(call, limit):
        repeated = section.label == "error" and one_line(section.text) in outcome
        if section.label not in ("command", "input") and not repeated:
            yield section


def other_line(group: str, name: str, words: str) -> str:
    """Return the line of an event that is neither text nor a tool call."""
    what = f"unknown event {name}" if group == "unknown" else name
    return f"{what}: {words}" if words else what


def text_section(block: TextBlock) -> Section:
    """Return a text block as a section, without empty lines around it."""
    return Section(block.kind, "text", *clip(block.text.strip("\n").lstrip(" "), SHOWN))


def plain(line: str, colour: bool = False) -> str:
    """Make one line of any length safe to print; what is too long is counted."""
    cut = len(line) - static.MAX_CHARACTERS
    shown = static.plain(line if cut <= 0 else line[: static.MAX_CHARACTERS], colour)
    return shown if cut <= 0 else f"{shown}… {cut:,} more characters"
