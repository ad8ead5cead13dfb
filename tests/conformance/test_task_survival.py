"""One run from every source, and what survives ``kill -9``: of the local service, and of the kernel."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blaxel_jupyter import TaskClient, TaskRun, local
from tests.kernels import kernel
from tests.local_service import until
from tests.notebook_runs import own_folders

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # jupyter_client's sockets

LOAD = "%load_ext blaxel_jupyter\n%task use local"
STORY = """I look around; that takes no time.
$ echo one; echo two >&2
> Why is that so?
```sh optional
printf 'a\\tb\\nä 🧪'
exit 3
```
Now I wait.
$ {step}
And so on, to the end.
$ sleep .3; echo three
That was all."""
TEXT = "I look around; that takes no time.\nNow I wait.\nAnd so on, to the end.\nThat was all."
CALL = ("tool_call_id", "tool_name", "state", "input", "output", "command", "stdout", "stderr")
CALL += ("exit_code", "is_error", "error_text")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """Folders of the test's own; the service that runs at its end is stopped."""
    with own_folders(tmp_path):
        yield tmp_path


def crash() -> None:
    """End the local service as a crash does."""
    service = local.find()
    assert service is not None
    os.kill(service.pid, signal.SIGKILL)
    until(lambda: local.find() is None)


def held(folder: Path) -> str:
    """Return the story with a step that waits until the test lets it go."""
    return STORY.format(step=f"until [ -e {folder}/go ]; do sleep .05; done")


def let_go(folder: Path) -> None:
    """Let the waiting step end."""
    (folder / "go").touch()


def facts(run: TaskRun) -> dict[str, Any]:
    """Return what every telling of a run keeps: status, joined text, reasoning, and the tool calls."""
    calls = [{name: row[name] for name in CALL} for row in run.tool_calls.records()]
    for call in calls:
        call["output"] = call["output"] and json.loads(call["output"])
        call["input"] = call["input"] and json.loads(call["input"])
    blocks = run.text_blocks.records()
    reasoning = "".join(block["text"] for block in blocks if block["kind"] == "reasoning")
    return {"status": run.status, "text": run.text, "reasoning": reasoning, "calls": calls}


async def wait_for(condition: Any) -> None:
    """Wait until a run that is followed on this loop has come so far."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # a run has no event to wait for
            await asyncio.sleep(0.01)


# One run, every source ------------------------------------------------------------------------------------


async def test_one_run_from_every_source(folder: Path) -> None:
    """Live, from the buffer, merged, rebuilt, and rebuilt after a crash: the same text, calls and status."""
    async with TaskClient("local") as tasks:
        live = await tasks.create(held(folder))
        following = asyncio.ensure_future(live.finish())
        await wait_for(lambda: len(live.tool_calls) == 3)
        buffered = await tasks.logs(live.run_id)
        merged = await tasks.logs(live.run_id)
        so_far = facts(live)
        let_go(folder)
        await merged
        await following
        rebuilt = await tasks.logs(live.run_id)
        without = await tasks.logs(live.run_id, include_deltas=False)
        await asyncio.to_thread(crash)
        again = await tasks.logs(live.run_id)
        burst = tasks.run(live.run_id)
        await burst
    assert (live.source, buffered.source, merged.source) == ("stream", "buffer", "merged")
    assert (rebuilt.source, again.source) == ("reconstructed", "reconstructed")
    assert facts(buffered) == so_far
    assert buffered.status == "running"
    whole = facts(live)
    assert (whole["status"], whole["text"]) == ("completed", TEXT)
    assert [call["exit_code"] for call in whole["calls"]] == [0, 3, 0, 0]
    assert whole["calls"][1]["stdout"] == "a\tb\nä 🧪"
    for other in (merged, rebuilt, without, again, burst):
        assert facts(other) == whole, other
        assert other.warnings == []
        assert live.differences(other, form=False) == []
    assert live.warnings == []
    listed = live.differences(again)
    assert {"start events: 1 / 0", "session-init events: 1 / 0"} <= set(listed)
    assert any(line.startswith("tool calls with a duration:") for line in listed)
    # What only a live reading can know is not made up by the others.
    assert None not in live.tool_calls.column("duration_ms")[2:], "they began while it was read"
    for other in (rebuilt, again, burst):
        assert set(other.tool_calls.column("duration_ms")) == {None}
        assert set(other.events.column("received")) == {None}
    types = [{*run.events.column("type")} for run in (live, rebuilt)]
    assert types[0] - types[1] == {"start", "session-init", "result"}


def test_the_same_in_cells(folder: Path) -> None:
    """A cell, another kernel's follow, and a log after a crash tell the same run."""
    names = ("status", "text", "tool_calls.records()")
    asked = ", ".join(f"str(_task.{name})" for name in names[:2])
    asked += f", [[row[name] for name in {CALL!r}] for row in _task.tool_calls]"
    with kernel(folder, LOAD) as first, kernel(folder, LOAD) as second:
        shown = first.start(f"%%task\n{held(folder)}").until("> bash: until")
        run_id = first_id(second)
        followed = second.start(f"%task_logs {run_id} -f").until("> bash: until")
        let_go(folder)
        followed.finish()
        shown.finish()
        assert shown.error is None, shown.lines
        live = first.value(asked)
        assert live[:2] == ("completed", TEXT)
        assert second.value(asked) == live
        crash()
        again = second.run(f"%task_logs {run_id}")
        assert again.error is None, again.lines
        assert second.value(asked) == live
    said = [line for line in told(shown.stdout) if not line.startswith("-- result")]
    assert [line for line in told(followed.stdout) if not line.startswith("-- result")] == said
    assert told(again.stdout) == said


def first_id(running: Any) -> str:
    """Return the id of the only run there is, as a user would find it."""
    running.run("rows = %task list")
    [run_id] = running.value("[row['run_id'] for row in rows]")
    return str(run_id)


def told(printed: str) -> list[str]:
    """Return the lines of a story without what only a live telling knows: durations."""
    found = []
    for line in printed.splitlines():
        head, _, took = line.rpartition("· " if "·" in line else "= ")
        timed = took.replace(".", "").removesuffix("s").removesuffix("m").strip().isdigit()
        if not timed:
            found.append(line)
        elif head.rstrip(" ·").strip():
            found.append(head.rstrip(" ·"))
    return found


# The service is killed ------------------------------------------------------------------------------------


async def test_service_dies_under_a_follow() -> None:
    """The run is interrupted, what had arrived is kept, and nothing is made up about the rest."""
    async with TaskClient("local") as tasks:
        live = await tasks.create(STORY.format(step="sleep 60"))
        following = asyncio.ensure_future(live.finish())
        await wait_for(lambda: len(live.tool_calls) == 3)
        before = facts(live)
        await asyncio.to_thread(crash)
        await following
        rebuilt = await tasks.logs(live.run_id)
        status = await tasks.status(live.run_id)
        listed = await tasks.list()
    assert (live.status, status.status) == ("interrupted", "interrupted")
    assert [task.status for task in listed] == ["interrupted"]
    assert live.final
    for run in (live, rebuilt):
        assert facts(run) == before | {"status": "interrupted"}
    assert live.tool_calls[2]["is_error"] is None
    assert live.tool_calls[2]["duration_ms"] is None


@pytest.mark.parametrize("prefix", ["", "%%time\n"], ids=["awaiting", "blocking"])
def test_service_dies_under_a_cell(folder: Path, prefix: str) -> None:
    """The cell ends with two lines that say so; the story so far stays, told once."""
    with kernel(folder, LOAD) as running:
        shown = running.start(f"{prefix}%%task\n{STORY.format(step='sleep 60')}").until(
            "> bash: sleep 60"
        )
        crash()
        shown.finish()
        assert shown.error is not None
        assert len(shown.lines) <= 2, shown.lines
        assert "was interrupted. All of it is in _task.events" in shown.lines[0]
        assert shown.stdout.count("I look around") == 1
        assert shown.stdout.count("> bash: sleep 60") == 1
        assert running.value("_task.status, _task.text") == (
            "interrupted",
            "I look around; that takes no time.\nNow I wait.\n",
        )
        assert running.value("[r['exit_code'] for r in _task.tool_calls]") == [0, 3, None]
        shown = running.run("%%task\nAgain.")
        assert shown.error is None, shown.lines


def test_service_dies_while_nobody_looks(folder: Path) -> None:
    """A run that had ended before the crash is as complete as ever; one that had not is interrupted."""
    with kernel(folder, LOAD) as running:
        running.run("%%task -q -o done\n$ echo x\nDone.")
        running.run("%%task --bg -q -o cut\nUp.\n$ sleep 60")
        until(lambda: running.value("len(cut.tool_calls)"))
        crash()
        running.run("%task_logs {done.run_id} {cut.run_id} -q")
        assert running.value("[(r.status, r.text) for r in _task]") == [
            ("completed", "Done."),
            ("interrupted", "Up.\n"),
        ]
        until(lambda: running.value("cut.final"))
        assert running.value("cut.status, cut.text") == ("interrupted", "Up.\n")


# The kernel is killed -------------------------------------------------------------------------------------


def test_kernel_dies_and_a_new_one_has_everything(folder: Path) -> None:
    """A ``--bg`` run outlives its kernel; ``%task_logs -f`` in a new one tells each piece once."""
    with kernel(folder, LOAD) as first:
        first.run(f"%%task --bg\n{held(folder)}")
        until(lambda: len(first.value("_task.tool_calls.records()[2:]")) == 1)
        run_id = first.value("_task.run_id")
        first.kill()
    with kernel(folder, LOAD) as second:
        shown = second.start(f"%task_logs {run_id} -f").until("> bash: until")
        let_go(folder)
        shown.finish()
        assert shown.error is None, shown.lines
        assert second.value("_task.status, _task.text, _task.warnings") == ("completed", TEXT, [])
        assert second.value("[r['exit_code'] for r in _task.tool_calls]") == [0, 3, 0, 0]
        durations = second.value("[r['duration_ms'] is None for r in _task.tool_calls]")
        assert durations[:2] == [True, True], "they ended before anybody here looked"
        assert durations[3] is False
    for line in (
        *TEXT.splitlines(),
        "> bash: sleep .3; echo three",
        "  │ three",
        "~ Why is that so?",
    ):
        assert shown.stdout.splitlines().count(line) == 1, line


def test_kernel_and_service_die(folder: Path) -> None:
    """Both gone in mid-run: a new kernel starts a service that knows the run and what it had told."""
    with kernel(folder, LOAD) as first:
        first.run("%%task --bg\n" + STORY.format(step="sleep 60"))
        until(lambda: len(first.value("_task.tool_calls.records()[2:]")) == 1)
        first.kill()
        crash()
    with kernel(folder, LOAD) as second:
        shown = second.run(f"%task_logs {first_id(second)} -f")
        assert shown.error is None, shown.lines
        assert second.value("_task.status, _task.source") == ("interrupted", "reconstructed")
        assert second.value("[r['exit_code'] for r in _task.tool_calls]") == [0, 3, None]
        assert "Now I wait." in shown.stdout
