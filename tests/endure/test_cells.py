"""A notebook in use holds what it held after its first cells: ``python -m tests.endure cells`` runs 500."""

from __future__ import annotations

from pathlib import Path

from tests.endure.cells import Measure, measures, problems, slopes


def test_cells_leave_nothing_behind_in_the_kernel(tmp_path: Path) -> None:
    """No thread, descriptor, task, comm, widget or file more for a cell."""
    found = measures(tmp_path, 40, 8)
    # One that comes late is no leak, one in each ten cells is; memory is told by the long run.
    assert problems(slopes(found[2:]), memory=1.0, others=0.09) == []


def test_what_grows_is_told() -> None:
    """One more descriptor in twenty cells is too many."""
    calm = [Measure(n, 70.0, 50, 9, 2, 0, 0, 0) for n in range(0, 100, 20)]
    assert problems(slopes(calm)) == []
    leaky = [Measure(n, 70.0 + n, 50 + n // 20, 9, 2, n, 0, 0) for n in range(0, 100, 20)]
    told = problems(slopes(leaky))
    assert [line.partition(" ")[0] for line in told] == ["memory", "descriptors", "comms"]
