"""Put a mark in the place of each secret, before a text is shown.

It knows values and the spellings that programs give them; which values are secret, and where a text goes,
is not its matter. What it does is best effort: a program that wants to show a secret finds a way.
Pure; imported by the tables, the runs and what shows them.
"""

from __future__ import annotations

import base64
import html
import json
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import AnyStr

from blaxel_jupyter.panel.escapes import visible_text
from blaxel_jupyter.wire import Lines, split_text

LEAST = 8
"""Characters of a value, or of a line of it, from which on it is masked: shorter ones are in any text."""

CUT = 4
"""Characters of a value from which on it is masked where the end of a text cuts it off."""

WRAPPED = (64, 76)
"""Characters after which base64 is wrapped (``openssl``, ``base64`` and MIME)."""

LONGEST_WALK = 100_000
"""Characters of a line whose escapes are read one by one to find a value that they cut through."""

_ESCAPES = re.compile(
    r"\x1b\[[\x30-\x3f]{0,256}[\x20-\x2f]{0,16}[\x40-\x7e]"
    r"|\x1b[\]PX^_][^\x07\x18\x1a\x1b\x80-\x9f\n]{0,2000}(?:\x07|\x1b\\)|\x07"
)
_ESCAPES_BYTES = re.compile(_ESCAPES.pattern.encode())
"""What most escapes look like, to take them out of many lines at once; the others are read one by one."""
_C1 = re.compile("[\x90\x98\x9b\x9d-\x9f]")
_C1_BYTES = re.compile(rb"\xc2[\x90\x98\x9b\x9d-\x9f]")


class Masks:
    """Values that are not to be shown, each with its name.

    Masked are, of each value of 8 characters or more: the value itself, line by line; its base64 at any
    place in a longer text; and as it is written in URLs, JSON, HTML and hexadecimal. Its mark is
    ``[NAME masked]``. A pickle, a copy by ``pickle`` and the repr hold no value.

    Args:
        values: names and values.
    """

    __slots__ = ("_bytes", "_marks")

    def __init__(self, values: Iterable[tuple[str, str]] = ()) -> None:
        self._marks: dict[str, str] = {}
        for name, value in values:
            mark = f"[{re.sub(r'[^A-Za-z0-9_. -]', '_', name)[:60]} masked]"
            for needle in _spellings(value):
                self._marks.setdefault(needle, mark)
        self._bytes = {
            needle.encode("utf-8", "replace"): mark for needle, mark in self._marks.items()
        }

    def __bool__(self) -> bool:
        """Tell whether there is anything to mask."""
        return bool(self._marks)

    def __repr__(self) -> str:
        """Return how many values are known by name, and no value."""
        return f"<Masks of {len(set(self._marks.values()))} values>"

    def __reduce__(self) -> tuple[type[Masks], tuple[()]]:
        """Leave the values out of a pickle."""
        return Masks, ()

    def __deepcopy__(self, _memo: object) -> Masks:
        """Return itself: it never changes."""
        return self

    def __or__(self, other: Masks) -> Masks:
        """Return what masks the values of both."""
        if not other or other is self:
            return self
        if not self:
            return other
        both = Masks()
        both._marks = {**other._marks, **self._marks}
        both._bytes = {**other._bytes, **self._bytes}
        return both

    # Whole texts ----------------------------------------------------------------------------------------

    def apply(self, text: str) -> tuple[str, int]:
        """Mask a text of one or many lines; return it, and how many values were masked."""
        if not self._marks or not text:
            return text, 0
        lines, count = self.lines(text.split("\n"))
        return ("\n".join(lines), count) if count else (text, 0)

    def text(self, text: str) -> str:
        """Return a text, masked."""
        return self.apply(text)[0]

    def lines(self, lines: Sequence[str]) -> tuple[list[str], int]:
        r"""Mask lines, none of which has a ``\n``; return them, and how many values were masked."""
        lines = list(lines)
        joined = "\n".join(lines) if self._marks else ""
        if not joined:
            return lines, 0
        count = 0
        if spans := _spans(joined, self._marks):
            joined, count = _replaced(joined, spans), len(spans)
            lines = joined.split("\n")
        if _has_escapes(joined) and self._hides(_bare(joined), self._marks):
            for i, line in enumerate(lines):
                lines[i], more = self._disguised(line)
                count += more
        return lines, count

    def places(self, data: bytes) -> list[int]:
        """Return for each value in lines of UTF-8 which line it is in; plain lines are not even decoded."""
        spans = _spans(data, self._bytes) if self._bytes else []
        if not (self._bytes and _has_escapes(data) and self._hides(_bare(data), self._bytes)):
            return list(_line_numbers(data, spans))
        masked = enumerate(map(self.apply, split_text(data)))
        return [number for number, (_, count) in masked for _ in range(count)]

    def piece(self, text: str, *, begins: bool = True) -> str:
        """Mask a line that has not ended: the beginning of a value at its end is masked, too.

        Args:
            text: the line so far.
            begins: False where its beginning was cut off: what may be the end of a value there is masked.
        """
        if not self._marks or not text:
            return text
        text = self.text(text)
        end = text if not text.endswith(" masked]") else ""
        for needle, mark in self._marks.items() if end else ():
            if at := _begun(text, needle):
                text = text[:-at] + mark
                break
        if not begins:
            for needle, mark in self._marks.items():
                if at := _ended(text, needle):
                    return mark + text[at:]
        return text

    def held_back(self, text: str) -> int:
        """Return how many characters at the end of a text may be the beginning of a value."""
        return max((_begun(text, needle, 1) for needle in self._marks), default=0)

    # How ------------------------------------------------------------------------------------------------

    @staticmethod
    def _hides(bare: AnyStr, needles: Mapping[AnyStr, str]) -> bool:
        """Tell whether escapes may cut through a value in a text of which most escapes were taken out."""
        return any(needle in bare for needle in needles) or _has_escapes(bare)

    def _disguised(self, line: str) -> tuple[str, int]:
        """Mask a line through whose values escapes go; only what is masked loses its colours."""
        if not _has_escapes(line):
            return line, 0
        states, count = line.split("\r"), 0
        for i, state in enumerate(states):
            bare = visible_text(state) if len(state) <= LONGEST_WALK else _bare(state)
            if spans := _spans(bare, self._marks):
                states[i] = _replaced(bare, spans)
                count += len(spans)
        return ("\r".join(states), count) if count else (line, 0)


NONE = Masks()
"""Masks nothing."""


class Screen:
    """Know which rows of a table hold values that are masked when they are shown, and how many.

    One writer calls ``look`` before it publishes rows; readers on other threads take no lock.

    Args:
        masks: the values.
        every: look at a row whenever it is shown, not before: for tables of which little is.
    """

    def __init__(self, masks: Masks = NONE, *, every: bool = False) -> None:
        self.masks = masks
        self._every = every
        self.count = 0
        self._rows = array("Q")

    def look(self, start: int, stop: int, columns: Iterable[object]) -> None:
        """Take note of rows that are about to be appended, by the values of their text columns."""
        if not self.masks or self._every:
            return
        found: set[int] = set()
        for values in columns:
            if isinstance(values, Lines):
                places = self.masks.places(values.data)
            elif isinstance(values, list):
                places = self._in_list(values)
            else:  # one for all rows, or not known yet
                places = list(range(stop - start)) if self._may_be(values) else []
            self.count += 0 if callable(values) else len(places)
            found.update(places)
        self._rows.extend(start + row for row in sorted(found))

    def shown(self, values: list[object], start: int) -> list[object]:
        """Return values of rows from ``start`` on, masked."""
        if self._every and self.masks:
            return [self.masks.text(each) if isinstance(each, str) else each for each in values]
        rows = self._rows
        first = bisect_left(rows, start)
        last = bisect_left(rows, start + len(values), first)
        if first == last:
            return values
        values = list(values)
        for row in rows[first:last]:
            value = values[row - start]
            values[row - start] = self.masks.text(value) if isinstance(value, str) else value
        return values

    def _in_list(self, values: list[object]) -> list[int]:
        texts = [value if isinstance(value, str) else "" for value in values]
        if not self.masks.apply("\n".join(texts))[1]:
            return []
        counts = enumerate(self.masks.apply(text)[1] for text in texts)
        return [row for row, count in counts for _ in range(count)]

    def _may_be(self, value: object) -> bool:
        return callable(value) or (isinstance(value, str) and self.masks.apply(value)[1] > 0)


def _spans(text: AnyStr, needles: Mapping[AnyStr, str]) -> list[tuple[int, int, str]]:
    """Find values: where they begin and end, those that overlap as one, and their marks."""
    found = [
        (at, at + len(needle), mark)
        for needle, mark in needles.items()
        if needle in text
        for at in _places(text, needle)
    ]
    found.sort(key=lambda span: (span[0], -span[1]))
    spans: list[tuple[int, int, str]] = []
    for start, end, mark in found:
        if spans and start < spans[-1][1]:
            first, before, kept = spans[-1]
            spans[-1] = first, max(before, end), kept
        else:
            spans.append((start, end, mark))
    return spans


def _line_numbers(data: bytes, spans: list[tuple[int, int, str]]) -> Iterator[int]:
    number = before = 0
    for start, _, _ in spans:
        number += data.count(b"\n", before, start)
        before = start
        yield number


def _bare(text: AnyStr) -> AnyStr:
    """Take out most escapes: each that is usual at once wherever it is, then the others one by one."""
    if isinstance(text, str):
        return _without(text, "\x1b", "", _ESCAPES)
    return _without(text, b"\x1b", b"", _ESCAPES_BYTES)


def _without(text: AnyStr, begin: AnyStr, nothing: AnyStr, pattern: re.Pattern[AnyStr]) -> AnyStr:
    for _ in range(16):
        at = text.find(begin)
        match = pattern.match(text, at) if at >= 0 else None
        if match is None:
            break
        text = text.replace(match[0], nothing)
    return pattern.sub(nothing, text) if _has_escapes(text) else text


def _spellings(value: str) -> Iterator[str]:
    """Yield the texts that show a value, none with a line break."""
    whole = value.strip()
    for line in {whole, *(line.strip() for line in whole.splitlines())}:
        if len(line) >= LEAST and "\n" not in line and "\r" not in line:
            yield line
    if len(whole) < LEAST:
        return
    data = whole.encode("utf-8", "replace")
    written = [json.dumps(whole)[1:-1], json.dumps(whole, ensure_ascii=False)[1:-1]]
    written += [html.escape(whole), html.escape(whole, quote=False), data.hex(), data.hex().upper()]
    for plain in ("", "/", " /"):  # quote(safe=""), quote, quote_plus
        percent = _percent(data, plain)
        written += [percent, re.sub("%..", lambda match: match[0].lower(), percent)]
    written += _base64(data)
    yield from (text for text in written if len(text) >= LEAST and not re.search(r"[\n\r]", text))


def _percent(data: bytes, safe: str) -> str:
    """Write bytes as in a URL; where a space is safe, it is a plus sign."""
    safe_bytes = (
        b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~" + safe.encode()
    )
    text = "".join(chr(byte) if byte in safe_bytes else f"%{byte:02X}" for byte in data)
    return text.replace(" ", "+")


def _base64(data: bytes) -> Iterator[str]:
    """Yield the characters that are the same wherever the bytes stand in what is encoded."""
    for before in range(3):
        text = base64.b64encode(bytes(before) + data + b"\0\0").decode()
        text = text[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        yield text
        yield text.replace("+", "-").replace("/", "_")
    whole = base64.b64encode(data).decode()[: len(data) * 8 // 6]
    for width in WRAPPED:
        if len(whole) > width:
            yield from (whole[at : at + width] for at in range(0, len(whole), width))


def _places(text: AnyStr, needle: AnyStr) -> Iterator[int]:
    at = text.find(needle)
    while at >= 0:
        yield at
        at = text.find(needle, at + 1)


def _replaced(text: str, spans: list[tuple[int, int, str]]) -> str:
    parts, at = [], 0
    for start, end, mark in spans:
        parts += [text[at:start], mark]
        at = end
    return "".join([*parts, text[at:]])


def _begun(text: str, needle: str, least: int = CUT) -> int:
    """Return how many characters at the end of a text are the beginning of a value, but not all of it."""
    end = text[-(len(needle) - 1) :]
    return next(
        (len(end) - at for at in _places(end, needle[:least]) if needle.startswith(end[at:])), 0
    )


def _ended(text: str, needle: str) -> int:
    """Return how many characters at the beginning of a text are the end of a value, but not all of it."""
    begin = text[: len(needle) - 1]
    ends = [at + CUT for at in _places(begin, needle[-CUT:])]
    return next((end for end in reversed(ends) if needle.endswith(begin[:end])), 0)


def _has_escapes(text: str | bytes) -> bool:
    """Tell whether a text has what is not seen when it is shown."""
    if isinstance(text, bytes):
        return b"\x1b" in text or b"\x07" in text or _C1_BYTES.search(text) is not None
    return "\x1b" in text or "\x07" in text or (not text.isascii() and _C1.search(text) is not None)
