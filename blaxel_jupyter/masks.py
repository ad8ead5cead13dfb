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
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

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
        self._bytes = [needle.encode("utf-8", "replace") for needle in self._marks]

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
        both._bytes = list({*self._bytes, *other._bytes})
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
        if spans := self._spans(joined):
            joined, count = _replaced(joined, spans), len(spans)
            lines = joined.split("\n")
        if _has_escapes(joined) and self._hides(joined):
            for i, line in enumerate(lines):
                lines[i], more = self._disguised(line)
                count += more
        return lines, count

    def count(self, data: bytes) -> int:
        """Count the values in lines of UTF-8; most have none, which is found out without decoding them."""
        if not self._bytes or not self._may_have(data):
            return 0
        return self.lines(split_text(data))[1]

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

    def _may_have(self, data: bytes) -> bool:
        if any(needle in data for needle in self._bytes):
            return True
        if b"\x1b" not in data and b"\x07" not in data and b"\xc2" not in data:
            return False
        bare = _ESCAPES_BYTES.sub(b"", data)
        return any(needle in bare for needle in self._bytes) or _has_escapes_bytes(bare)

    def _spans(self, text: str) -> list[tuple[int, int, str]]:
        """Find the values: where they begin and end, those that overlap as one, and their marks."""
        found = [
            (at, at + len(needle), mark)
            for needle, mark in self._marks.items()
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

    def _hides(self, text: str) -> bool:
        """Tell whether escapes may cut through a value in a text."""
        bare = _ESCAPES.sub("", text)
        return any(needle in bare for needle in self._marks) or _has_escapes(bare)

    def _disguised(self, line: str) -> tuple[str, int]:
        """Mask a line through whose values escapes go; only what is masked loses its colours."""
        if not _has_escapes(line):
            return line, 0
        states, count = line.split("\r"), 0
        for i, state in enumerate(states):
            bare = visible_text(state) if len(state) <= LONGEST_WALK else _ESCAPES.sub("", state)
            if spans := self._spans(bare):
                states[i] = _replaced(bare, spans)
                count += len(spans)
        return ("\r".join(states), count) if count else (line, 0)


NONE = Masks()
"""Masks nothing."""


class Screen:
    """Know which rows of a table hold values that are masked when they are shown, and how many.

    One writer calls ``look`` before it publishes rows; readers on other threads take no lock.
    """

    def __init__(self, masks: Masks = NONE) -> None:
        self.masks = masks
        self.count = 0
        self._starts: list[int] = []
        self._stops: list[int] = []

    def look(self, start: int, stop: int, columns: Iterable[object]) -> None:
        """Take note of rows that are about to be appended, by the values of their text columns."""
        if not self.masks:
            return
        count, known = 0, True
        for values in columns:
            if isinstance(values, Lines):
                count += self.masks.count(values.data)
            elif isinstance(values, list):
                texts = [value for value in values if isinstance(value, str)]
                count += self.masks.apply("\n".join(texts))[1]
            elif isinstance(values, str):
                count += self.masks.apply(values)[1]
            elif callable(values):  # nobody knows yet
                known = False
        if count or not known:
            self.count += count
            self._stops.append(stop)
            self._starts.append(start)

    def shown(self, values: list[object], start: int) -> list[object]:
        """Return values of rows from ``start`` on, masked."""
        if not self.masks or not self._has(start, start + len(values)):
            return values
        at = [i for i, value in enumerate(values) if isinstance(value, str)]
        lines, count = self.masks.lines([str(values[i]) for i in at])
        if len(lines) != len(at):  # values of several lines
            lines, count = [self.masks.text(str(values[i])) for i in at], 1
        if count:
            values = list(values)
            for i, line in zip(at, lines, strict=True):
                values[i] = line
        return values

    def _has(self, start: int, stop: int) -> bool:
        """Tell whether any of some rows may hold a value."""
        at = bisect_right(self._stops, start)
        return at < len(self._starts) and self._starts[at] < stop


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


def _places(text: str, needle: str) -> Iterator[int]:
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


def _has_escapes(text: str) -> bool:
    """Tell whether a text has what is not seen when it is shown."""
    if "\x1b" in text or "\x07" in text:
        return True
    return not text.isascii() and _C1.search(text) is not None


def _has_escapes_bytes(data: bytes) -> bool:
    return (
        b"\x1b" in data
        or b"\x07" in data
        or re.search(rb"\xc2[\x90\x98\x9b\x9d-\x9f]", data) is not None
    )
