"""Plans of faults between client and server: every byte is there, or the gap says how many are not.

``python -m tests.faults --plans 1000`` carries out as many as one likes; here are a few of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest

from blaxel_jupyter import SandboxClient
from tests.faults.plans import Kind, plan
from tests.faults.runs import PATIENCE, compared, outcomes
from tests.imitation import Habits, Imitation, imitation

SEEDS = range(1000, 1024)


@pytest.fixture(scope="module")
def server() -> Iterator[Imitation]:
    with imitation(Habits(keepalive=0.5, ndjson_keepalive=0.2)) as running:
        yield running


async def test_runs_under_plans_of_faults_are_exact(server: Imitation) -> None:
    found = await outcomes(server.url, SEEDS, 4)
    assert {one.seed: one.problem for one in found if one.problem} == {}
    assert sum(len(one.faults) for one in found) > 2 * len(SEEDS)


def test_a_seed_is_always_the_same_plan() -> None:
    assert plan(7) == plan(7)
    assert plan(7) != plan(8)
    assert {fault.kind for seed in range(200) for fault in plan(seed).faults} == set(get_args(Kind))
    assert max(fault.seconds for seed in SEEDS for fault in plan(seed).faults) < PATIENCE


async def test_a_run_with_other_bytes_is_found_out(server: Imitation) -> None:
    """The comparison can fail: another plan's process is not this one's."""
    async with SandboxClient(url=server.url) as sandbox:
        run = await sandbox.exec(plan(1).command, wait=True)
    assert compared(run, plan(1)) == ""
    assert "bytes of" in compared(run, plan(2))
