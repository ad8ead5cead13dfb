"""``%task_logs`` on several runs, in a real IPython shell against a real local service."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell

from blaxel_jupyter import BlaxelError, TaskRuns
from tests.local_service import until
from tests.notebook_runs import own_folders
from tests.shells import Shell, extended

TEXT = "I look.\nThat was all."


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    """One shell and one local service for the file."""
    with own_folders(tmp_path_factory.mktemp("several")), extended() as shell:
        yield shell


@pytest.fixture
def shell(loaded: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> Shell:
    """The shell with ``local`` selected."""
    shell = Shell(loaded, capsys)
    shell.run("%task use local")
    return shell


@pytest.fixture
def ended(shell: Shell) -> str:
    """The id of a run that has ended, with two tool calls."""
    shell.run("%%task -q -o ended\nI look.\n$ true\n$ echo x\nThat was all.")
    return str(shell["ended"].run_id)


def test_several(shell: Shell, ended: str) -> None:
    """Several are read at once, told in a line each, and their tables stack."""
    shell.run("%%task -q --no-raise-error -o failed\n$ echo x; exit 3")
    failed = shell["failed"].run_id
    shell.run(f"%task_logs {ended} {failed} -o both --raw")
    both = shell["both"]
    assert isinstance(both, TaskRuns)
    assert [run.run_id for run in both] == [ended, failed]
    first, second = shell.out.splitlines()
    assert first.startswith(f"TaskRun {ended}: completed, ")
    assert second.endswith("reconstructed: Step 1 failed with exit code 3: echo x; exit 3")
    assert [row["status"] for row in both.summary] == ["completed", "failed"]
    assert [row["run_id"] for row in both.tool_calls] == [ended, ended, failed]
    assert len(both.events) == sum(len(run.events) for run in both)
    assert all(run.raw_events for run in both)
    shell.run(f"%task_logs {ended} {failed} -q --no-deltas")
    assert shell.out == ""
    assert "text-delta" not in shell["_task"].events.column("type")


def test_several_of_which_some_fail(shell: Shell, ended: str) -> None:
    """The others are there, each line says its reason, and the error says how many are not."""
    error = shell.fail(f"%task_logs nobody {ended} nothing -o many")
    assert str(error).startswith("2 of 3 logs could not be read; the others are there. ")
    assert "%task list" in str(error)
    *lines, told = shell.out.splitlines()
    assert told == f"BlaxelError: {error}"
    assert [re.sub(r"^TaskRun (\S+):.*", r"\1", line) for line in lines] == [
        "nobody",
        ended,
        "nothing",
    ]
    assert "There is no task run 'nobody'" in lines[0]
    assert "There is no task run 'nothing'" in lines[2]
    assert [run.text for run in shell["many"]] == ["", TEXT, ""]
    assert isinstance(error, BlaxelError)
    assert error.partial is shell["many"]


def test_several_are_followed_at_once(shell: Shell, ended: str) -> None:
    """``-f`` on several follows them side by side: what begins meanwhile has a duration in each."""
    for name in ("one", "two"):
        shell.run(f"%%task --bg -q -o {name}\nUp.\n$ sleep 1\n$ sleep .3\nDown.")
    ids = [shell[name].run_id for name in ("one", "two")]
    until(lambda: all(len(shell[name].tool_calls) for name in ("one", "two")))
    shell.run(f"%task_logs {ids[0]} {ended} {ids[1]} -f -o all")
    assert [run.status for run in shell["all"]] == ["completed"] * 3
    assert [run.text for run in shell["all"]] == ["Up.\nDown.", TEXT, "Up.\nDown."]
    for at in (0, 2):
        calls = shell["all"][at].tool_calls.records()
        assert calls[1]["duration_ms"] is not None, "the second call came live"
    assert [line.split(":")[0] for line in shell.out.splitlines()] == [
        f"TaskRun {run_id}" for run_id in (ids[0], ended, ids[1])
    ]


def test_follow_of_several_goes_on_without_the_one_that_fails(shell: Shell) -> None:
    """An unknown run among them is told at the end; the others are followed to theirs."""
    shell.run("%%task --bg -q -o slow\n$ sleep .4\nThen.")
    error = shell.fail(f"%task_logs nobody {shell['slow'].run_id} -f -o some")
    assert str(error).startswith("1 of 2 runs could not be followed")
    assert "'nobody'" in str(error)
    assert (shell["some"][1].status, shell["some"][1].text) == ("completed", "Then.")
