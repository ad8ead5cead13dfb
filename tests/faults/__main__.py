"""Carry out plans by their seeds and say which runs were not exact: ``python -m tests.faults --help``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter

from tests.faults.runs import Outcome, outcomes
from tests.imitation import Habits, imitation


def main() -> int:
    """Run the plans; return how many were not exact, at most 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--plans", type=int, default=100, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="this one alone, telling what was done")
    parser.add_argument("--at-once", type=int, default=8)
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.plans) if asked.seed is None else [asked.seed]
    with imitation(Habits(keepalive=0.5, ndjson_keepalive=0.2), own_process=True) as server:
        found = asyncio.run(outcomes(server.url, seeds, asked.at_once, _tell))
    if asked.seed is not None:
        print("\n".join(found[0].faults))
    kinds = Counter(fault.partition(" ")[0] for one in found for fault in one.faults)
    wrong = [one for one in found if one.problem]
    ends = Counter(one.integrity for one in found)
    print(f"{len(found)} plans, {sum(kinds.values())} faults ({dict(kinds)}), {dict(ends)}")
    print(f"{sum(one.size for one in found):,} bytes, {len(wrong)} runs not exact")
    for one in wrong:
        print(f"seed {one.seed}: {one.problem}")
    return 1 if wrong else 0


def _tell(done: int, outcome: Outcome) -> None:
    if outcome.problem or done % 50 == 0:
        print(f"{done}: seed {outcome.seed} {outcome.problem or 'exact'}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
