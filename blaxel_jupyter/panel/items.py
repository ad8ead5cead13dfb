"""Pack an agent run's story for the panel: the items that events changed, in bounded batches.

A position is one of ``Fold.touched``: the page says up to which it knows all, and gets each item
changed since, once, as it stands now. Imported by the widget.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from blaxel_jupyter.fold import Fold
from blaxel_jupyter.masks import NONE, Masks
from blaxel_jupyter.panel.rows import Batch, fact
from blaxel_jupyter.panel.story import (
    Section,
    depth,
    one_line,
    other_head,
    other_sections,
    tool_head,
    tool_sections,
)
from blaxel_jupyter.task_items import Item, TextBlock, ToolCall

BATCH_CHARACTERS = 1 << 17
"""Text of one message at most, unless a single item is longer: about 10 ms in a browser."""

BATCH_ITEMS = 200
"""Items of one message at most."""

SHOWN_TEXT = 200_000
"""Characters of one text block that are shown; the rest is counted."""


class TaskLike(Protocol):
    """What the panel reads of an agent run: its story and a dict of facts (see ``LogPanel``)."""

    @property
    def fold(self) -> Fold:
        """What its events tell, written by one thread; another object when they were read anew."""

    def header(self) -> dict[str, Any]:
        """Return how the run stands now."""


class Items:
    """What the panel shows of an agent run: an item a text block, tool call or other event."""

    view = "task"
    verbs = ("detach", "follow", "cancel")
    helpless = "this panel cannot cancel the run"
    paged = False

    def __init__(self, run: TaskLike) -> None:
        self._run = run
        self._reading = run.fold, 0  # swapped at once: pages are asked for on another thread
        self._told: dict[
            int, tuple[int, int, str]
        ] = {}  # of text blocks: pieces, characters, the end
        self._masks: Masks = getattr(run, "masks", NONE)
        self._last: tuple[int, dict[str, Any]] | None = None

    @property
    def epoch(self) -> int:
        """How often the events were read anew: positions hold within one epoch."""
        return self._reading[1]

    def total(self) -> int:
        """Return how many changes there were."""
        return len(self._reading[0].touched)

    def orders(self, verb: str, source: object) -> list[tuple[Any, ...]]:
        """Return what a button's verb is for the callback, as its arguments; nothing if it is unknown."""
        return [(verb,)] if verb in self.verbs and source is None else []

    def facts(self) -> dict[str, Any]:
        """Return the header, each value one that travels as JSON."""
        return {name: fact(value) for name, value in self._run.header().items()}

    def title(self) -> str:
        """Return the run in one line, not sanitised."""
        header = self._run.header()
        return f"task {header['run_id']}, {header['status']}"

    def more(self, sent: int) -> bool:
        """Tell whether there are changes beyond those."""
        return sent < self.total()

    def renew(self) -> bool:
        """Take over another fold if the run has one; tell whether all is to be sent again."""
        before, epoch = self._reading
        now = self._run.fold
        if now is before:
            return False
        self._told, self._last = {}, None
        self._reading = now, epoch + 1
        return True

    def news(self, sent: int) -> Batch | None:
        """Pack what changed from position ``sent`` on: of a text, what is new; None if nothing is.

        The item changed last is looked at once more: its event may have been half taken in.
        """
        fold, _ = self._reading
        if len(fold.touched) > sent:
            batch, entries = self._packed(sent, len(fold.touched) - sent, live=True)
            i = fold.touched[sent + batch[0]["n"] - 1]
            self._last = i, _settled(entries[i])
            return batch
        if self._last is None:
            return None
        (i, before), self._last = self._last, None
        entry = self._entry(fold, i, live=True)
        if _settled(entry) == before and not entry.get("text"):
            return None
        return self._message(sent, 0, sent, [entry])

    def page(self, first: int, n: int) -> Batch:
        """Pack what changed from position ``first`` on, as far as one message takes, texts whole."""
        return self._packed(first, n, live=False)[0]

    def _packed(self, first: int, n: int, *, live: bool) -> tuple[Batch, dict[int, Any]]:
        fold, _ = self._reading
        version, size = len(fold.touched), 0
        entries: dict[int, dict[str, Any]] = {}
        touched = fold.touched[first : first + n]
        n = len(touched)
        for position, i in enumerate(touched):
            if i in entries:
                continue
            if size >= BATCH_CHARACTERS or len(entries) == BATCH_ITEMS:
                n = position
                break
            entries[i] = self._entry(fold, i, live=live)
            size += _size(entries[i])
        return self._message(first, n, version, list(entries.values())), entries

    def _message(self, first: int, n: int, version: int, entries: list[dict[str, Any]]) -> Batch:
        packed = json.dumps(entries, ensure_ascii=False, separators=(",", ":"))
        packed = self._masks.text(
            packed
        )  # what was JSON is JSON: a mark has nothing that is escaped
        content = {"from": first, "n": n, "v": version, "epoch": self.epoch}
        return content, [packed.encode("utf-8", "replace")]

    def _entry(self, fold: Fold, i: int, *, live: bool) -> dict[str, Any]:
        item: Item = fold.items[i]
        if isinstance(item, TextBlock):
            return self._text(i, item, live=live)
        if isinstance(item, ToolCall):
            return _tool(i, item)
        head = other_head(item, fold)
        return {
            "i": i,
            "kind": head.group,
            "name": head.name,
            "summary": head.summary,
            "failed": head.failed,
            "sections": _sections(list(other_sections(item, head))),
        }

    def _text(self, i: int, block: TextBlock, *, live: bool) -> dict[str, Any]:
        pieces, at, held = self._told.get(i, (0, 0, "")) if live else (0, 0, "")
        closed = block.closed
        n = len(block.pieces)
        text = held + "".join(block.pieces[pieces:n])
        # What may be the beginning of a secret is told once more, with what comes after it.
        sure = len(text) if closed else len(text) - self._masks.held_back(text)
        held, text = text[sure:], self._masks.text(text[:sure])
        if live:
            self._told[i] = n, at + len(text), held
        text += self._masks.piece(held)
        cut = max(0, at + len(text) - SHOWN_TEXT)
        shown = text[: max(0, SHOWN_TEXT - at)]
        entry = {"i": i, "kind": block.kind, "at": min(at, SHOWN_TEXT), "text": shown}
        return {**entry, "closed": closed, "cut": cut}


def _tool(i: int, call: ToolCall) -> dict[str, Any]:
    head = tool_head(call)
    return {
        "i": i,
        "kind": "tool",
        "id": one_line(call.tool_call_id),
        "parent": one_line(call.parent_tool_call_id),
        "depth": depth(call),
        "name": head.name,
        "state": call.state,
        "failed": head.failed,
        "summary": head.summary,
        "outcome": head.outcome,
        "ms": call.duration_ms,
        "sections": _sections(list(tool_sections(call))),
    }


def _sections(sections: list[Section]) -> list[list[str | int]]:
    return [list(section) for section in sections]


def _size(entry: dict[str, Any]) -> int:
    parts = (len(s[2]) + len(s[4]) for s in entry.get("sections", ()))
    return 200 + len(entry.get("text", "")) + sum(parts)


def _settled(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what of an entry stays the same when it is sent again without news."""
    return {name: value for name, value in entry.items() if name not in ("at", "text")}
