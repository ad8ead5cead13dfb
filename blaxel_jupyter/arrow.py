"""Lay values out as Arrow does: the buffers of one column of a batch.

By join and accumulate, not value by value; it knows no table. Pure: the standard library only.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Literal

Type = Literal["int64", "string", "timestamp", "bool", "float64"]


def buffers_of(kind: Type, values: list[Any], size: int) -> list[object]:
    """Return the Arrow buffers of one column, validity first.

    Raises:
        OverflowError: More than one value, and their text is longer than ``size`` bytes.
    """
    valid = _bits([value is not None for value in values]) if None in values else None
    if kind == "string":
        return [valid, *_text_buffers([text or "" for text in values] if valid else values, size)]
    if kind == "bool":
        return [valid, _bits(values)]
    zero = 0.0 if kind == "float64" else 0
    numbers = [zero if value is None else value for value in values] if valid else values
    return [valid, array("d" if kind == "float64" else "q", numbers)]


def _text_buffers(texts: list[str], size: int) -> list[object]:
    joined = "".join(texts)
    if joined.isascii():
        data, lengths = joined.encode(), map(len, texts)
    else:
        encoded = list(map(str.encode, texts))
        data, lengths = b"".join(encoded), map(len, encoded)
    if len(data) > size:
        raise OverflowError
    return [array("i", accumulate(lengths, initial=0)), data]


def uniform_buffers(kind: Type, value: Any, n: int, size: int) -> list[object]:
    """Return the buffers of ``n`` equal values.

    Raises:
        OverflowError: As for ``buffers_of``.
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
