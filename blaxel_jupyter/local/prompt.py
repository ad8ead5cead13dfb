"""Read a prompt the way the local agent does: prose, reasoning and shell steps, in order.

It runs nothing. Pure text in, facts out; the rules are :func:`read_prompt`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

SHELLS = ("sh", "bash", "shell")
"""First words of a fence's info string that make its block a step."""
MOST_DELTAS = 400
"""Pieces into which all prose of a prompt is cut at most; longer prose has longer pieces."""
WORDS = 4
"""Words in a piece of short prose."""

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*([^`]*)")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_WORD = re.compile(r"\s*\S+\s*")


Kind = Literal["text", "reasoning"]


@dataclass(frozen=True, slots=True)
class Prose:
    """Lines that the agent says (``text``) or thinks (``reasoning``), each with its line end."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """A shell command; a failing ``optional`` one does not end the run. ``bash`` if a fence says so."""

    command: str
    optional: bool = False
    bash: bool = False


Item = Prose | Step


def read_prompt(prompt: str) -> list[Item]:
    """Return what a prompt asks for, in order.

    - A fenced block whose info string begins with ``sh``, ``bash`` or ``shell`` is one step;
      ``optional`` further on in the info string marks it so. An unclosed block reaches to the end.
    - A line that begins with ``$ `` is one step; ``# optional`` at its end marks it so.
    - Lines that begin with ``> `` are reasoning.
    - All else is prose, exactly as written; so are blocks of other languages, whole.

    Steps without a command and prose of white space alone are left out.
    """
    items: list[Item] = []
    for kind, group in groupby(_read(prompt), key=_kind_of):
        found = list(group)
        if kind is not None:
            found = [Prose(kind, "".join([one.text for one in found if isinstance(one, Prose)]))]
        items += found
    return [
        item for item in items if (item.text if isinstance(item, Prose) else item.command).strip()
    ]


def _kind_of(item: Item) -> Kind | None:
    return item.kind if isinstance(item, Prose) else None


def _read(prompt: str) -> Iterator[Item]:
    lines = iter(_LINE.findall(prompt.replace("\r\n", "\n")))
    for line in lines:
        if fence := _FENCE.fullmatch(line.rstrip("\n")):
            words = fence[2].split()
            block = list(_block(lines, fence[1]))
            if words and words[0].lower() in SHELLS:
                body = "".join(block[:-1] if _closes(block, fence[1]) else block)
                optional = "optional" in words[1:]
                yield Step(body.rstrip("\n"), optional, words[0].lower() == "bash")
            else:
                yield Prose("text", line + "".join(block))
        elif line.startswith("$ "):
            command, _, comment = line[2:].rpartition("#")
            optional = comment.strip() == "optional" and command[-1:].isspace()
            yield Step((command if optional else line[2:]).strip(), optional)
        elif line.startswith("> "):
            yield Prose("reasoning", line[2:])
        else:
            yield Prose("text", line)


def _block(lines: Iterator[str], mark: str) -> Iterator[str]:
    """Yield the lines of a fenced block, with the line that closes it."""
    for line in lines:
        yield line
        if _closes([line], mark):
            return


def _closes(block: list[str], mark: str) -> bool:
    last = block[-1].strip() if block else ""
    return len(last) >= len(mark) and not last.strip(mark[0])


def pieces(text: str, words: int) -> list[str]:
    """Cut prose into pieces of so many words; joined they are the text."""
    found = _WORD.findall(text)
    return ["".join(found[start : start + words]) for start in range(0, len(found), words)]


def pace(items: list[Item]) -> int:
    """Return how many words a piece has, so that all prose is at most ``MOST_DELTAS`` pieces."""
    words = sum(len(item.text.split()) for item in items if isinstance(item, Prose))
    return max(WORDS, -(-words // MOST_DELTAS))
