"""Lay values out as Arrow does: the buffers of one column of a batch.

A column at a time, not value by value; those of text nanoarrow builds itself. It knows no table. Pure:
the standard library only.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Literal

Type = Literal["int64", "string", "timestamp", "bool", "float64"]


def buffers_of(kind: Type, values: list[Any]) -> list[object]:
    """Return the Arrow buffers of one column that is no text, validity first."""
    valid = _bits([value is not None for value in values]) if None in values else None
    if kind == "bool":
        return [valid, _bits(values)]
    zero = 0.0 if kind == "float64" else 0
    numbers = [zero if value is None else value for value in values] if valid else values
    return [valid, array("d" if kind == "float64" else "q", numbers)]


def check_size(texts: list[Any], size: int) -> None:
    """Check that a column of text fits in ``size`` bytes.

    Raises:
        OverflowError: More than one value, and their text may be longer.
    """
    if len(texts) > 1 and 4 * sum(map(len, filter(None, texts))) > size:
        raise OverflowError


def line_buffers(lines: bytes, size: int) -> list[object]:
    r"""Return the buffers of text that is UTF-8 with ``\n`` between values; other bytes become U+FFFD.

    Raises:
        OverflowError: More than one value, and their text is longer than ``size`` bytes.
    """
    values = lines.split(b"\n")
    if not lines.isascii():
        try:
            lines.decode()
        except UnicodeDecodeError:
            values = [value.decode("utf-8", "replace").encode() for value in values]
    data = b"".join(values)
    if len(data) > size and len(values) > 1:
        raise OverflowError
    return [None, array("i", accumulate(map(len, values), initial=0)), data]


def uniform_buffers(kind: Type, value: Any, n: int, size: int) -> list[object]:
    """Return the buffers of ``n`` equal values.

    Raises:
        OverflowError: More than one value, and their text is longer than ``size`` bytes.
    """
    valid = bytes((n + 7) // 8) if value is None else None
    if kind == "string":
        data = (value or "").encode()
        if len(data) * n > size and n > 1:
            raise OverflowError
        return [valid, array("i", [len(data) * i for i in range(n + 1)]), data * n]
    if kind == "bool":
        return [valid, (b"\xff" if value else b"\0") * ((n + 7) // 8)]
    return [valid, array("d" if kind == "float64" else "q", [value or 0]) * n]


def _bits(values: Sequence[object]) -> bytes:
    """Pack truth values into a bitmap, least significant bit first."""
    digits = "".join(["1" if value else "0" for value in reversed(values)])
    return int(digits or "0", 2).to_bytes((len(values) + 7) // 8, "little")
