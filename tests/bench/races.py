"""Race contenders: each at every size, several times, in alternating order, none of them silently left out.

A race knows what is compared and what a reader is shown of it; how one run is made is its module's affair.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from tests.bench.fresh import Sample

SLOW = 8.0
"""Seconds: a contender that took longer at a size is run there once more, not ``repeat`` times."""


@dataclass(frozen=True, slots=True)
class Race:
    """Contenders that do the same, ours first.

    ``shown`` is the member of a sample that is compared (less is better), in ``unit``; ``limit`` seconds
    is when a contender is cut off. ``tiny`` and ``hurry`` are size and limit for a smoke test. Where
    cost ``grows``, one that was cut off at a size does not run at larger ones: it would be, too.
    ``together`` runs go on at a time, where they mostly wait; there are ``most`` of each at most.
    """

    name: str
    title: str
    contenders: tuple[str, ...]
    sizes: dict[str, Any]
    tiny: Any
    unit: str = "s"
    shown: str = "seconds"
    limit: float = 60.0
    grows: bool = False
    hurry: float = 30.0
    together: int = 1
    most: int = 100

    def quick(self) -> Race:
        """Return the same race at its smallest size, to see that it runs."""
        return replace(self, sizes={"tiny": self.tiny}, limit=min(self.limit, self.hurry))


Sampler = Callable[[Race, str, Any], Sample]
"""Runs one contender of a race once, at one size."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the issue's table: its races, and what they have in common while they run."""

    races: tuple[Race, ...]
    world: Callable[[], AbstractContextManager[Sampler]]


@dataclass(slots=True)
class Result:
    """What a contender did at one size; no samples: it was cut off at a smaller one already."""

    race: Race
    contender: str
    size: str
    samples: list[Sample] = field(default_factory=list)

    @property
    def cut_off(self) -> bool:
        """Whether it was not done in time."""
        return self.median("seconds") is None

    def median(self, member: str) -> float | None:
        """Return the median of a figure; None where it is not there, or a run was not done in time."""
        values = [sample.get(member) for sample in self.samples]
        return None if not values or None in values else statistics.median(values)

    @property
    def verdict(self) -> str:
        """What the worst of its runs delivered; "" where nothing is to be said."""
        told = [sample["verdict"] for sample in self.samples if sample.get("verdict")]
        return next((verdict for verdict in told if verdict != "exact"), "exact" if told else "")


def run(race: Race, sample: Sampler, repeat: int) -> list[Result]:
    """Run a race; its results are in the order of contenders, then sizes."""
    results = {
        (contender, size): Result(race, contender, size)
        for contender in race.contenders
        for size in race.sizes
    }
    lock, number = threading.Lock(), count(1)

    def once(contender: str, size: str) -> None:
        mine = results[contender, size]
        smaller = list(race.sizes)[: list(race.sizes).index(size)]
        if race.grows and any(results[contender, label].cut_off for label in smaller):
            return
        began = time.monotonic()
        found = sample(race, contender, race.sizes[size])
        with lock:
            mine.samples.append(found)
            took = time.monotonic() - began
            told = f"{race.name}: {contender}, {size}, run {len(mine.samples)}: {took:.1f} s"
            print(f"{next(number):4} {told}", file=sys.stderr, flush=True)

    turns = range(min(repeat, race.most))
    if race.together > 1:  # they wait: all at once, as many as may be
        jobs = [(name, size) for _ in turns for size in race.sizes for name in race.contenders]
        with ThreadPoolExecutor(race.together) as pool:
            list(pool.map(once, *zip(*jobs, strict=True)))
        return list(results.values())
    for size in race.sizes:
        for turn in turns:
            for name in race.contenders if turn % 2 == 0 else race.contenders[::-1]:
                if _goes_on(results[name, size], turn):
                    once(name, size)
    return list(results.values())


def _goes_on(result: Result, turn: int) -> bool:
    """Tell whether a contender runs once more: one that is slow has two runs, one cut off has one."""
    seconds = [sample["seconds"] for sample in result.samples]
    return None not in seconds and (turn < 2 or max(seconds, default=0) <= SLOW)


def by_contender(results: list[Result]) -> Iterator[tuple[str, list[Result]]]:
    """Yield each contender with its results in the order of sizes."""
    for contender in dict.fromkeys(result.contender for result in results):
        yield contender, [result for result in results if result.contender == contender]
