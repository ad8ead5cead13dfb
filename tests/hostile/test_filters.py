"""Hostile lines and expressions in ``run.logs.filter``: it tells what it keeps, or why not, and soon."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import pytest

from blaxel_jupyter.filters import Filter, FilterError
from blaxel_jupyter.patience import patience
from blaxel_jupyter.table import LOGS, Table
from tests.hostile.payloads import FILTERS, HUGE, LINES, Huge, Payload

ENDLESS = ["/(a+)+$/", "/(a|a)*$/", "/(a|aa)+b/", "/a+a+a+a+a+a+b/", "/(?:a+)+b/", "/((a+)+)+b/i"]


def logs(*lines: str) -> Table:
    """Return a table of lines."""
    table = Table(LOGS, constants={"sandbox": "box", "process": "job"})
    table.extend(len(lines), text=list(lines), stream="stdout", kind="line")
    return table


@pytest.mark.parametrize("expression", ENDLESS)
def test_an_endless_expression_is_an_error(
    expression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up after a time that nobody needs, with the place; then all is as it was."""
    monkeypatch.setattr("blaxel_jupyter.filters.PATIENCE", 0.3)
    table = logs("harmless", "b" + "a" * 5000 + "!")
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(FilterError, match="takes too long"):
        table.filter(f"x OR {expression}")
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert len(table.filter("harmless")) == 1


def test_somebody_elses_alarm_goes_on() -> None:
    """An alarm that was set before is due when it was, or at once."""
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 1000)
        with patience(100, ValueError()):
            assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 100
        assert 900 < signal.getitimer(signal.ITIMER_REAL)[0] <= 1000
        assert rung == []
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_on_another_thread_it_filters_all_the_same() -> None:
    """There is no limit there, and no error."""
    kept: list[Any] = []
    thread = threading.Thread(target=lambda: kept.extend(logs("a1", "b").filter("/a\\d/")))
    thread.start()
    thread.join()
    assert [row["text"] for row in kept] == ["a1"]


@pytest.mark.parametrize("one", LINES, ids=str)
def test_a_line_is_found_by_what_is_seen(one: Payload) -> None:
    """The text that a reader sees, quoted, keeps the line; no part of it is an operator."""
    quoted = one.seen.replace("\\", "\\\\").replace('"', '\\"')
    table = logs("other", one.text)
    assert [row["seq"] for row in table.filter(f'"{quoted}"')] == [1]
    assert len(table.filter("level:fatal OR level:error OR -level:error")) == 2


@pytest.mark.parametrize("one", HUGE, ids=str)
def test_huge_lines_take_little(one: Huge) -> None:
    """Levels, texts and expressions of huge lines are linear."""
    start = time.monotonic()
    table = logs(one.text[:2_000_000])
    assert len(table.filter("-level:fatal -/no such/")) == 1
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("expression", FILTERS)
def test_any_expression_is_read_or_refused(expression: str) -> None:
    """An expression is a filter or an error that says where; it is never run."""
    error: FilterError | None = None
    try:
        Filter(expression)
    except FilterError as refused:
        error = refused
    assert error is None or 0 <= error.at <= len(expression)
