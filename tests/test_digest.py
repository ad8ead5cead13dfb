"""What a failed run says of its end: the exit code in words, the first error, the last error block."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blaxel_jupyter.digest import Errors, First, around, errors
from blaxel_jupyter.process import Process
from blaxel_jupyter.runs import DIGESTED, Controls, SandboxRun
from blaxel_jupyter.table import LOGS, Table

TRACEBACK = [
    "Traceback (most recent call last):",
    '  File "app.py", line 1, in <module>',
    "    main()",
    "ValueError: no",
]
JAVA = ["java.io.IOException: x", "\tat a.B.c(B.java:1)", "Caused by: y", "\t... 3 more"]


async def _nothing(*_: Any) -> None:
    """Stand where a sandbox would be: these runs are never followed."""


def run_of(*lines: str, stream: str = "stdout", **facts: Any) -> SandboxRun:
    """Return an ended run with these lines."""
    facts = {"status": "failed", "exit_code": 1} | facts
    process = Process(name="job", pid="1", command="make", **facts)
    controls = Controls(follow=_nothing, stop=_nothing, kill=_nothing)
    run = SandboxRun(process, controls, sandbox="box")
    run.logs.extend(len(lines), text=list(lines), stream=stream, kind="line", origin="live")
    run._final = True
    return run


@pytest.mark.parametrize(
    ("lines", "first", "block"),
    [
        (["ok", *TRACEBACK, "bye"], 1, (1, 5)),
        (["ERROR: one", "ok", *TRACEBACK], 0, (2, 6)),
        ([*TRACEBACK, "", "During handling of the above, another:", "", *TRACEBACK], 0, (0, 11)),
        (["ok", *JAVA, "", "bye"], 1, (1, 5)),
        (["ok", "  indented, no error", "ERROR x", "ERROR y", "ok"], 2, (2, 4)),
        (["\x1b[31mERROR\x1b[0m x"], 0, (0, 1)),
    ],
)
def test_errors_are_found(lines: list[str], first: int, block: tuple[int, int]) -> None:
    """The first error line and the whole of the last block, tracebacks and causes included."""
    assert errors(run_of(*lines).logs) == Errors(first, range(*block))


def test_far_apart() -> None:
    """Errors at both ends of a long log are found, and context is kept around both."""
    run = run_of("ERROR a", *(f"line {i}" for i in range(20_000)), "ERROR z")
    assert errors(run.logs) == Errors(0, range(20_001, 20_002))
    assert list(run.error_context(2).column("seq")) == [0, 1, 2, 19_999, 20_000, 20_001]
    assert list(run.error_context(0).column("seq")) == [0, 20_001]


@pytest.mark.parametrize(
    ("errors_at", "reach", "first", "block"),
    [
        ([10, 19_990], None, 10, (19_990, 19_991)),
        ([10, 19_990], 5_000, 10, (19_990, 19_991)),
        ([9_000, 19_990], 5_000, None, (19_990, 19_991)),
        ([10, 9_000], 5_000, 10, None),
        ([4_999], 5_000, 4_999, None),
        ([5_000], 5_000, None, None),
        ([15_000], 5_000, None, (15_000, 15_001)),
        ([14_999], 5_000, None, None),
    ],
)
def test_a_bounded_look(
    errors_at: list[int], reach: int | None, first: int | None, block: tuple[int, int] | None
) -> None:
    """With a reach, errors are looked for in both ends alone, and what is between is not guessed."""
    lines = [f"line {i}" for i in range(20_000)]
    for row in errors_at:
        lines[row] = "ERROR x"
    found = errors(run_of(*lines).logs, reach=reach)
    known = None if first is None and block is None else Errors(first, block and range(*block))
    assert found == known


def test_the_first_error_is_found_while_lines_arrive() -> None:
    """A look goes on where the one before ended, and ends with the first line found."""
    lines = [f"line {i}" for i in range(20_000)]
    lines[11_000] = lines[12_000] = "ERROR x"
    logs, first = run_of(*lines).logs, First()
    first.look(logs, 1_000)
    assert (first.row, first.looked) == (None, 1_000)
    first.look(logs, 1_000)
    first.look(logs, 20_000)
    assert first.row == 11_000
    assert errors(logs, first, reach=0) == Errors(11_000, None)


def test_what_was_not_found_is_no_context() -> None:
    """The filter around errors names those that are known."""
    assert around(Errors(None, range(5, 7)), 2) == "seq:3..8"
    assert around(Errors(5, None), 2) == "seq:3..7"


async def test_a_long_log_is_explained_beside_the_loop() -> None:
    """A header of a long log does not look for errors itself; ``explain`` does, and it stays known."""
    lines = [*["ok"] * DIGESTED, "ERROR x", "bye"]
    run = run_of(*lines, exit_code=137)
    assert run.header()["digest"] == {"meaning": "killed", "first": None, "block": None}
    assert run.header()["final"]
    run.claim()
    assert not run.header()["final"], "the follow is about to look for errors"
    await run.explain()
    wanted = {"meaning": "killed", "first": DIGESTED, "block": [DIGESTED, DIGESTED + 1]}
    assert (run.header()["digest"], run.header()["final"]) == (wanted, True)
    run.release(None)
    run.note("a word of ours")
    assert run.header()["digest"] == wanted


def test_the_end_of_a_long_stderr_stands_in() -> None:
    """Lines of stderr far from the end are found, as many as follow one another, at most a block."""
    run = run_of(*["ok"] * 10)
    run.logs.extend(700, text=[f"usage {i}" for i in range(700)], stream="stderr", kind="line")
    run.logs.extend(9_000, text=["bye"] * 9_000, stream="stdout", kind="line")
    assert errors(run.logs) == Errors(210, range(210, 710))


def test_context_that_overlaps_is_one() -> None:
    """A row near both is there once."""
    run = run_of("a", "b", "ERROR x", "c", "ERROR y", "d", "e")
    assert list(run.error_context(1).column("seq")) == [1, 2, 3, 4, 5]
    assert len(run.error_context()) == 7
    with pytest.raises(ValueError, match="-1"):
        run.error_context(-1)


def test_the_end_of_stderr_stands_in() -> None:
    """Without a line that says error, what stderr said last is shown; without that, nothing."""
    run = run_of("one", "two")
    assert len(run.error_context()) == 0
    run.logs.extend(2, text=["sh: foo: not found", "gave up"], stream="stderr", kind="line")
    run.logs.extend(1, text=["cleaning"], stream="stdout", kind="line")
    assert errors(run.logs) == Errors(2, range(2, 4))
    assert run.error_context(0).column("text") == ["sh: foo: not found", "gave up"]


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        *((137, "killed"), (143, "terminated"), (124, "timed out"), (127, "command not found")),
        *((3, None), (None, None), (-1, None)),
    ],
)
def test_the_header_says_what_a_code_means(code: int | None, meaning: str | None) -> None:
    """A run that failed tells the meaning of its code and where its errors are."""
    digest = run_of("ok", "ERROR x", exit_code=code).header()["digest"]
    assert digest == {"meaning": meaning, "first": 1, "block": [1, 2]}


def test_a_run_that_is_well_has_no_digest() -> None:
    """Neither success nor a run that goes on is explained, whatever its log says."""
    assert run_of("ERROR x", status="completed", exit_code=0).header()["digest"] is None
    assert run_of("ERROR x", status="running", exit_code=None).header()["digest"] is None


def test_a_timeout_is_told_as_one() -> None:
    """A run that was killed for its time says so, whatever its code."""
    run = run_of("ok", status="killed", exit_code=137)
    run.timed_out = True
    assert run.header()["digest"] == {"meaning": "timed out", "first": None, "block": None}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["ok", " in", "", "ERROR x", "Caused by: y", *TRACEBACK])))
def test_the_block_begins_and_ends_well(lines: list[str]) -> None:
    """Whatever the log, the block lies in it, begins with an error and does not come before the first."""
    table = Table(LOGS, constants={"sandbox": "b", "process": "p"})
    table.extend(len(lines), text=lines, stream="stdout", kind="line")
    found = errors(table)
    if found is None:
        assert all(not line.strip() or line in {"ok", " in", *TRACEBACK[1:3]} for line in lines)
        return
    assert found.first <= found.block.start < found.block.stop <= len(lines)
    assert lines[found.block.start] not in {"ok", " in", "", *TRACEBACK[1:3]}
    assert lines[found.block.stop - 1] not in {"ok", ""}
