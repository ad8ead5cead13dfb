"""Plans of faults between client and server: every byte is there, or the gap says how many are not.

``python -m tests.faults --plans 1000`` carries out as many as one likes; here are a few of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest

from blaxel_jupyter import SandboxClient
from tests.faults.__main__ import summary
from tests.faults.compare import compared, is_start_of, pieces
from tests.faults.plans import Kind, Server, StartKind, plan
from tests.faults.runs import KEY, PATIENCE, QUICK, Outcome, outcomes
from tests.faults.tasks import faults as task_faults
from tests.faults.tasks import task_outcomes
from tests.imitation import Imitation, imitation

QUICKEST = 8.0
SEEDS = [
    seed
    for seed in range(1000, 1020)
    if all(fault.seconds < QUICKEST for fault in (*plan(seed).faults, *plan(seed).starts))
][:4]
"""Plans whose connections are not silent for long: that takes the time it takes."""


@pytest.fixture(scope="module")
def server() -> Iterator[Imitation]:
    with imitation(QUICK) as running:
        yield running


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account's key, which goes to the sandbox and nowhere else."""
    monkeypatch.setenv("BL_API_KEY", KEY)
    monkeypatch.setenv("BL_WORKSPACE", "team")


async def test_runs_under_plans_of_faults_are_exact(server: Imitation) -> None:
    found = await outcomes(server.url, SEEDS, 6)
    assert {one.seed: one.problem for one in found if one.problem} == {}
    assert sum(len(one.faults) for one in found) > 2 * len(SEEDS)


def test_a_seed_is_always_the_same_plan() -> None:
    assert plan(7) == plan(7)
    assert plan(7) != plan(8)
    plans = [plan(seed) for seed in range(100)]
    assert {fault.kind for one in plans for fault in one.faults} == set(get_args(Kind))
    assert {fault.kind for one in plans for fault in one.starts} == set(get_args(StartKind))
    assert {one.server for one in plans} == set(get_args(Server))
    assert max(fault.seconds for one in plans for fault in one.faults) < PATIENCE


async def test_a_run_with_other_bytes_is_found_out(server: Imitation) -> None:
    """The comparison can fail: another plan's process is not this one's."""
    async with SandboxClient(url=server.url) as sandbox:
        run = await sandbox.exec(plan(1).command, wait=True)
    assert compared(run, plan(1)) == is_start_of(run, plan(1)) == ""
    assert "other bytes" in compared(run, plan(2)) or "add up" in compared(run, plan(2))
    assert is_start_of(run, plan(2)) != ""


@pytest.mark.parametrize(
    ("data", "gaps", "found"),
    [
        (b"abcdef", [], [[b"abcdef"]]),
        (b"abef", [2], [[b"ab", b"ef"]]),
        (b"af", [2, 2], [[b"a", b"", b"f"]]),
        (b"abcf", [2], [[b"abc", b"f"]]),
        (b"abef", [1], []),
        (b"abxf", [2], []),
        (b"ab", [], []),
    ],
)
def test_pieces(data: bytes, gaps: list[int], found: list[list[bytes]]) -> None:
    """Gaps add up only where they make the very bytes out of what was written."""
    assert list(pieces(data, b"abcdef", gaps)) == found


async def test_what_was_not_exact_is_told_with_the_command_that_repeats_it() -> None:
    found = [Outcome(3, "stdout: other bytes", faults=["cut @ 7: /x"]), Outcome(4, "", "complete")]
    told = "\n".join(summary(found, 1.0))
    assert "not exact: 1" in told
    assert "python -m tests.faults --seed 3" in told
    assert "exact, complete: 1" in told


async def test_task_runs_under_faults_have_every_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same faults before the task API; ``python -m tests.faults --tasks`` carries out more."""
    monkeypatch.setenv("BLACKBOX_API_URL", "")  # the plans set them: they are put back afterwards
    monkeypatch.setenv("BLACKBOX_API_KEY", "")
    quick = [s for s in range(20) if all(fault.seconds < QUICKEST for fault in task_faults(s))]
    found = await task_outcomes(quick[:3], 3)
    assert {one.seed: one.problem for one in found if one.problem} == {}
    assert sum(len(one.faults) for one in found) > 3
