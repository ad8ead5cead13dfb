"""What a target is: one decoder, fed bytes, and the property that must hold whatever they are.

A target raises AssertionError, or lets through what the decoder must not raise; everything else is well.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

SEEDS = Path(__file__).parent / "seeds"


@dataclass(frozen=True, slots=True)
class Target:
    """One decoder.

    ``words`` are what its language is made of: fuzzers put them in; ``largest`` is the longest input in
    bytes that they make.
    """

    name: str
    check: Callable[[bytes], None]
    words: tuple[bytes, ...]
    largest: int

    def seeds(self) -> list[Path]:
        """Return the committed inputs, those that found something among them."""
        return sorted((SEEDS / self.name).glob("*"))


TARGETS: dict[str, Target] = {}
"""All targets by name, as soon as ``tests.fuzz.targets`` is imported."""


def target(
    *words: bytes, largest: int = 2048
) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    """Make a target of a function; its name is the function's."""

    def made(check: Callable[[bytes], None]) -> Callable[[bytes], None]:
        name = check.__name__.replace("_", "-")
        TARGETS[name] = Target(name, check, words, largest)
        return check

    return made


def ways(data: bytes) -> list[list[bytes]]:
    """Return the same bytes whole, byte by byte, and cut at places that depend on the bytes alone.

    Of long ones the beginning alone is cut byte by byte.
    """
    chance = random.Random(zlib.crc32(data))
    places = sorted(chance.randrange(len(data) + 1) for _ in range(5))
    cut = [data[begin:end] for begin, end in pairwise([0, *places, len(data)])]
    start = min(len(data), 200)
    single = [data[i : i + 1] for i in range(start)]
    return [[data], [*single, data[start:]], cut]


def alike(values: Sequence[object]) -> None:
    """Check that all are equal."""
    for value in values[1:]:
        assert value == values[0], f"{value!r}\nis not\n{values[0]!r}"


def text_of(data: bytes) -> str:
    """Return bytes as text that a user could type or a line could be."""
    return data.decode("utf-8", "replace")
