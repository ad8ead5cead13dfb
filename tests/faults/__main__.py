"""Carry out plans by their seeds and say which runs were not exact: ``python -m tests.faults --help``."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterable

import pytest

from tests.faults.runs import KEY, QUICK, Outcome, outcomes
from tests.faults.tasks import task_outcomes
from tests.imitation import imitation


def main() -> int:
    """Run the plans; return 1 if one was not exact."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--plans", type=int, default=100, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="this one alone, telling what was done")
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--tasks", action="store_true", help="follow task runs, not processes")
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.plans) if asked.seed is None else [asked.seed]
    began = time.monotonic()
    if asked.tasks:
        found = asyncio.run(task_outcomes(seeds, asked.at_once, _tell))
    else:
        found = _processes(seeds, asked.at_once)
    if asked.seed is not None:
        print("\n".join([*found[0].faults, *found[0].errors]))
    print("\n".join(summary(found, time.monotonic() - began, " --tasks" if asked.tasks else "")))
    return 1 if any(one.problem for one in found) else 0


def _processes(seeds: Iterable[int], at_once: int) -> list[Outcome]:
    with pytest.MonkeyPatch.context() as patch, imitation(QUICK, own_process=True) as server:
        patch.setenv("BL_API_KEY", KEY)
        patch.setenv("BL_WORKSPACE", "team")
        return asyncio.run(outcomes(server.url, seeds, at_once, _tell))


def summary(found: list[Outcome], seconds: float, option: str = "") -> list[str]:
    """Say in lines what was done and what came of it."""
    kinds = Counter(fault.partition(" @")[0] for one in found for fault in one.faults)
    wrong = [one for one in found if one.problem]
    ends = Counter(one.integrity for one in found if not one.problem)
    told = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    return [
        f"{len(found)} plans in {seconds:.0f} s, {sum(kinds.values())} faults: {told}",
        f"{sum(one.size for one in found):,} bytes written",
        f"exact, complete: {ends['complete']}",
        f"exact text, repaired by the server's log: {ends['repaired']}",
        f"gap with exact sums: {ends['gap']} ({sum(one.missing for one in found):,} bytes freed)",
        f"gap of unknown size, said so (no log to check a stream by): {ends['unchecked']}",
        f"errors told on the way, each gone on from: {sum(len(one.errors) for one in found)}",
        f"not exact: {len(wrong)}",
        *(
            f"seed {one.seed}: {one.problem}\n  python -m tests.faults{option} --seed {one.seed}"
            for one in wrong
        ),
    ]


def _tell(done: int, outcome: Outcome, seconds: float) -> None:
    if outcome.problem or seconds > 60 or done % 50 == 0:
        said = outcome.problem or "exact"
        print(f"{done}: seed {outcome.seed} {said} ({seconds:.0f} s)", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
