r"""Look at many lines at once as they are shown: find words and patterns in them.

All lines are one text with ``\n`` between, which no shown line holds: one search of it is many times as
fast as one of each line, and only the lines that it finds are looked at. Pure; imported by filters and
levels.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from itertools import accumulate

from blaxel_jupyter.panel.escapes import is_plain, last_state, visible_text

_COLOUR = re.compile(r"\x1b\[[0-9;:]{0,256}m")


class Shown:
    """Some lines of a log.

    Args:
        lines: The lines as they are in the log; None is an empty one.
    """

    def __init__(self, lines: Sequence[str | None]) -> None:
        self.texts = _as_shown([line or "" for line in lines])
        self.size = len(self.texts)

    @cached_property
    def joined(self) -> str:
        r"""The lines as one text."""
        return "\n".join(self.texts)

    @cached_property
    def lower(self) -> str:
        """The same in lower case."""
        return self.joined.lower()

    @cached_property
    def _starts(self) -> list[int]:
        return _starts(self.texts)

    @cached_property
    def _lower_texts(self) -> list[str]:
        return self.lower.split("\n")

    @cached_property
    def _lower_starts(self) -> list[int]:
        return self._starts if self.joined.isascii() else _starts(self._lower_texts)

    def with_words(self, words: Iterable[str]) -> set[int]:
        """Return which lines have one of some words, which are in lower case."""
        found: set[int] = set()
        for word in words:
            count = 0 if "\n" in word else self.lower.count(word)
            if count * 4 > self.size:  # in many lines: one after the other is quicker
                found.update([row for row, line in enumerate(self._lower_texts) if word in line])
            elif count:
                found.update(_lines(self._lower_starts, partial(self.lower.find, word)))
        return found

    def with_pattern(self, pattern: re.Pattern[str], literal: str = "") -> Iterable[int]:
        r"""Return which lines a pattern is found in, each once.

        Args:
            pattern: It knows ``^`` and ``$`` at each line and takes no ``\n``.
            literal: What every line that it is found in has.
        """
        search = pattern.search

        def at(start: int) -> int:
            match = search(self.joined, start)
            return match.start() if match else -1

        if not literal:
            return _lines(self._starts, at)
        count = self.joined.count(literal)
        if count * 8 > self.size:
            return _lines(self._starts, at)
        near = _lines(self._starts, partial(self.joined.find, literal)) if count else ()
        return [line for line in near if search(self.texts[line])]


def _lines(starts: list[int], find: Callable[[int], int]) -> list[int]:
    """Return the lines where something is found that ``find`` looks for from a place on; -1 is none."""
    lines: list[int] = []
    line, n = -1, len(starts)
    while (line := line + 1) < n and (at := find(starts[line])) >= 0:
        line = bisect_right(starts, at, line) - 1
        lines.append(line)
    return lines


def _starts(texts: list[str]) -> list[int]:
    return list(accumulate((len(text) + 1 for text in texts[:-1]), initial=0))


def _as_shown(lines: list[str]) -> list[str]:
    joined = "".join(lines)
    if (joined.isascii() and joined.isprintable()) or is_plain(joined):
        return lines
    # Colours alone are taken out of all lines at once: with nothing else in a line it is as it is shown.
    bare = _COLOUR.sub("", "\n".join(lines)).split("\n")
    if len(bare) != len(lines):  # a value with line feeds of its own
        return [visible_text(last_state(line)) for line in lines]
    if is_plain("".join(bare)):
        return bare
    return [
        text if is_plain(text) else visible_text(last_state(line))
        for text, line in zip(bare, lines, strict=True)
    ]
