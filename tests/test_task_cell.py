"""A cell that waits for an agent task in a real kernel: what it shows, what an interrupt does, what stays."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernels import Kernel, kernel
from tests.local_service import until
from tests.notebook_runs import cells, own_folders, run, shown, write
from tests.test_cell import PREFIXES, WIDGET, is_short, sleeps

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # jupyter_client's sockets

LOAD = "%load_ext blaxel_jupyter\n%task use local"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders of the file's own, with one local service."""
    folder = tmp_path_factory.mktemp("task-cell")
    with own_folders(folder):
        yield folder


@pytest.fixture(scope="module")
def notebook(folder: Path) -> Iterator[Kernel]:
    """One kernel for the file, with ``local`` selected."""
    with kernel(folder, LOAD) as running:
        yield running


# Interrupts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", PREFIXES)
def test_first_interrupt_cancels(notebook: Kernel, prefix: str) -> None:
    """■ cancels the run; the cell waits for the real end, and what was told is kept."""
    mark = {"awaiting": "711.25", "blocking": "712.25"}[prefix]
    running = notebook.start(f"{PREFIXES[prefix]}%%task\nUp.\n$ sleep {mark}\nnever said")
    running.until(f"> bash: sleep {mark}\n")
    until(lambda: sleeps(mark))
    notebook.interrupt()
    running.finish()
    is_short(running)
    assert re.match(r"TaskError: Run \S+ was cancelled\. All of it is in _task\.", running.lines[0])
    assert running.stdout.startswith(f"Up.\n> bash: sleep {mark}\n")
    assert "never said" not in running.stdout
    assert "another interrupt leaves the run to itself" in running.stdout
    until(lambda: not sleeps(mark))
    assert notebook.value("_task.status, _task.text, _task.final") == ("cancelled", "Up.\n", True)
    assert notebook.value("[r['is_error'] for r in _task.tool_calls]") == [None]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_second_interrupt_leaves_it_to_itself(notebook: Kernel, folder: Path, prefix: str) -> None:
    """A run whose step ignores the cancel does not hold the cell: the second ■ ends the cell at once."""
    told = folder / f"told-{prefix}"
    running = notebook.start(
        f"{PREFIXES[prefix]}%%task\nUp.\n"
        f"```sh\ntrap 'touch {told}' TERM\ntouch {told}-not\nwhile :; do sleep .05; done\n```"
    ).until("Up.\n")
    until(lambda: Path(f"{told}-not").exists())
    notebook.interrupt()
    until(told.exists)
    notebook.interrupt()
    running.finish(1.5)
    assert running.error is None
    assert re.search(
        r"^Run \S+ was sent cancel and is left to itself; %task status", running.stdout, re.M
    )
    assert notebook.value("_task.status") == "running"
    until(lambda: notebook.value("_task.final"))
    assert notebook.value("_task.status") == "cancelled"


@pytest.mark.parametrize("prefix", PREFIXES)
def test_detach_leaves_it_running(notebook: Kernel, prefix: str) -> None:
    """``--on-interrupt detach``: the cell ends without an error, the run goes on to its end."""
    running = notebook.start(
        f"{PREFIXES[prefix]}%%task --on-interrupt detach\nUp.\n$ sleep .8\nThen."
    ).until("> bash: sleep .8")
    notebook.interrupt()
    running.finish()
    assert running.error is None
    run_id = notebook.value("_task.run_id")
    assert f"%task_logs {run_id} -f" in running.stdout
    assert notebook.value("_task.status") == "running"
    until(lambda: notebook.value("_task.final"))
    assert notebook.value("_task.status, _task.text") == ("completed", "Up.\nThen.")


def test_interrupted_follow_of_logs_leaves_it_running(notebook: Kernel) -> None:
    """■ while ``%task_logs -f`` follows ends the cell, never the run."""
    notebook.run("%%task --bg -q -o first\nUp.\n$ sleep 60")
    running = notebook.start("%task_logs {first.run_id} -f").until("> bash: sleep 60\n")
    notebook.interrupt()
    running.finish()
    assert running.error is None
    assert notebook.value("first.status, _task.text") == ("running", "Up.\n")
    notebook.run("%task cancel {first.run_id}")


def test_interrupted_follow_of_several_leaves_them_running(notebook: Kernel) -> None:
    """The same for several: the cell ends, the runs and their tables go on."""
    notebook.run("%%task --bg -q -o first\nUp.\n$ sleep .1")
    notebook.run("%%task --bg -q -o second\nUp.\n$ sleep 60")
    running = notebook.start("%task_logs {first.run_id} {second.run_id} -f -o both")
    running.until("completed")
    notebook.interrupt()
    running.finish()
    assert running.error is None
    assert "1 of 2 runs have ended; the others go on" in running.stdout
    assert notebook.value("second.status, both[1].status") == ("running", "running")
    notebook.run("%task cancel {second.run_id}")
    until(lambda: notebook.value("both[1].status") == "cancelled")


def test_interrupts_are_the_kernels_again_afterwards(notebook: Kernel) -> None:
    """After a waiting cell ■ raises KeyboardInterrupt as ever."""
    notebook.run("%%task\n$ true")
    running = notebook.start("import time\nprint('in', flush=True)\ntime.sleep(60)").until("in\n")
    notebook.interrupt()
    running.finish()
    assert running.error is not None
    assert running.error["ename"] == "KeyboardInterrupt"


# Waiting ------------------------------------------------------------------------------------------------


def test_failure_is_two_lines(notebook: Kernel) -> None:
    """A failed cell leaves the story and two lines, the second saying which step failed."""
    ended = notebook.run("%%task\nUp.\n$ echo last words; exit 3")
    is_short(ended)
    assert ended.error is not None
    assert ended.error["ename"] == "TaskError"
    assert (
        ended.lines[1]
        == "The service says: Step 1 failed with exit code 3: echo last words; exit 3"
    )
    assert "  │ last words\n" in ended.stdout


def test_comms_are_served_while_a_cell_waits(notebook: Kernel, folder: Path) -> None:
    """A message to a comm that comes while the cell waits is handled then: it lets the run end."""
    notebook.run(
        "import comm, pathlib\n"
        "mine = comm.create_comm(target_name='nobody')\n"
        "mine.on_msg(lambda m: pathlib.Path(m['content']['data']['touch']).touch())"
    )
    identifier = notebook.value("mine.comm_id")
    go = [folder / "go-1", folder / "go-2"]
    prompts = [f"Up.\n$ until [ -e {path} ]; do sleep .05; done\nDown." for path in go]
    running = notebook.start(f"%%task\n{prompts[0]}").until("> bash: until")
    notebook.comm(identifier, {"touch": str(go[0])})
    running.finish(20)
    assert notebook.value("_task.status") == "completed"
    notebook.run(f"%%task --bg -q -o slow\n{prompts[1]}")
    notebook.run("%%task --bg -q -o quick\n$ true")
    running = notebook.start("%task_logs {quick.run_id} {slow.run_id} -f").until("completed")
    notebook.comm(identifier, {"touch": str(go[1])})
    running.finish(20)
    assert notebook.value("[run.status for run in _task]") == ["completed", "completed"]


def test_text_is_live_without_widgets(notebook: Kernel) -> None:
    """As papermill runs it, the story is sanitised stream text while it comes."""
    running = notebook.start(
        "%%task\nOne \x1b]0;x\x07here.\n$ sleep .8; printf '\\033[31mred\\n'\nTwo."
    )
    running.until("> bash: sleep .8")
    assert not running.ended
    assert "Two." not in running.stdout
    running.finish()
    assert "\x1b" not in running.stdout
    assert running.stdout.startswith("One here.\n")
    assert "  │ red\n" in running.stdout
    assert "\nTwo.\n" in running.stdout
    assert (running.displays, running.stderr) == ([], "")


def test_a_flood_is_cut_and_says_so(notebook: Kernel, folder: Path) -> None:
    """Without widgets 10,000 lines are printed, then the last 200; the variable has them all."""
    recording = folder / "flood.ndjson"
    pieces = ["".join(f"{i}\n" for i in range(n, n + 1000)) for n in range(0, 30_000, 1000)]
    told = [{"type": "text-delta", "id": "m", "delta": piece} for piece in pieces]
    told.append({"type": "finish", "runId": "x", "status": "completed"})
    rows = [json.dumps({"recvMs": 0, "event": event}) for event in told]
    recording.write_text("\n".join(rows), "utf-8")
    numbers = [*map(str, range(10_000))]
    note = "-- {} more lines; _task.events has all of them --"
    for source in (f"%%task --agent replay\n{recording}", "%task_logs {_task.run_id}"):
        ended = notebook.run(source)
        assert ended.error is None, ended.lines
        *lines, last = ended.stdout.removesuffix("\n").split("\n")
        assert last == "-- finish: completed --"
        assert lines[:10_001] == [*numbers, note.format(30_001 - 10_000 - 200)]
        assert lines[10_001:] == [*map(str, range(29_801, 30_000))]
        assert notebook.value("_task.text.count(chr(10))") == 30_000


def test_run_all_waits_for_each_cell(notebook: Kernel) -> None:
    """Cells sent at once run one after the other."""
    first = notebook.start("%%task -o a\nOne.\n$ sleep .3")
    second = notebook.start("%%task -o b\nTwo.\n$ true")
    assert first.finish().stdout.startswith("One.\n")
    assert second.finish().stdout.startswith("Two.\n")
    assert notebook.value("a.summary[0]['completed_at'] <= b.summary[0]['created_at']")


def test_time_shows_both(notebook: Kernel) -> None:
    """Under ``%%time`` the story is live and the time is told."""
    running = notebook.start("%%time\n%%task\nOne.\n$ sleep .5\nTwo.").until("One.\n")
    assert not running.ended
    running.finish()
    assert "Two." in running.stdout
    assert "Wall time" in running.stdout


def test_wait_await_and_cancel_in_a_cell(notebook: Kernel) -> None:
    """A run's ``wait``, ``cancel`` and ``await`` work in plain cells, under the kernel's loop."""
    notebook.run("%%task --bg -o back\nUp.\n$ sleep 60")
    until(lambda: notebook.value("back.text") == "Up.\n")
    tried = notebook.run("try: back.wait(timeout=0.3)\nexcept TimeoutError as error: print(error)")
    assert tried.error is None
    assert tried.stdout
    notebook.run("back.cancel()")
    assert notebook.value("back.wait().status") == "cancelled"
    notebook.run("%%task --bg -o again\nx\n$ sleep .3")
    ended = notebook.run("run = await again\nprint(run is again, run.text)")
    assert ended.error is None, ended.lines
    assert ended.stdout == "True x\n\n"


def test_other_code_in_the_cell(notebook: Kernel) -> None:
    """What stands beside ``%task_logs`` and ``%task`` in a cell runs in its order."""
    notebook.run("%%task --bg -q -o slow\nLate.\n$ sleep .4")
    ended = notebook.run("%task_logs {slow.run_id} -f -o got\nprint('after', got.status)\nx = 1")
    assert ended.error is None, ended.lines
    assert ended.stdout.endswith("-- finish: completed --\nafter completed\n")
    ended = notebook.run("y = 2\n%task status {slow.run_id}\nprint(x + y)")
    assert ended.stdout.endswith(": completed\n3\n")
    ended = notebook.run("rows = %task list --limit 1\nprint(len(rows))")
    assert ended.stdout == "1\n"


def test_task_as_a_line_is_not_awaited(notebook: Kernel) -> None:
    """``%task list`` is a line magic beside the cell magic: it returns its table."""
    ended = notebook.run("%task list --limit 2", widgets=True)
    assert ended.error is None
    [table] = ended.displays
    assert "<table" in table["text/html"]


# With widgets -----------------------------------------------------------------------------------------------


def test_panel_becomes_static(notebook: Kernel) -> None:
    """With widgets a panel is shown, and replaced by HTML and text that need no kernel."""
    ended = notebook.run("%%task\nSee <b>.\n$ echo '<script>x</script>'", widgets=True)
    assert ended.error is None, ended.lines
    [display] = ended.displays
    assert WIDGET in display
    last = ended.updates[-1]
    assert set(last) == {"text/html", "text/plain"}
    assert "See &lt;b&gt;." in last["text/html"]
    assert "<script" not in last["text/html"]
    assert "<script>x</script>" in last["text/plain"]
    assert ended.text == ""


def test_bg_panel_becomes_static_when_the_run_ends(notebook: Kernel) -> None:
    """With ``--bg`` the cell has ended long before; its output is replaced all the same."""
    ended = notebook.run("%%task --bg -o back\nUp.\n$ sleep .5\nDown.", widgets=True)
    assert WIDGET in ended.displays[0]
    assert ended.updates == []
    updates = []
    until(lambda: updates.extend(notebook.run("1").updates) or updates)
    assert "Down." in updates[-1]["text/plain"]
    assert notebook.value("back.final")


@pytest.mark.parametrize(("save", "steps"), [("all", 230), ("none", 0), ("tail", 199)])
def test_save(notebook: Kernel, folder: Path, save: str, steps: int) -> None:
    """``--save`` decides how much of the story stays in the notebook; the header says what is left out."""
    recording = folder / "many.ndjson"
    told = [
        {"type": "tool-call-start", "toolCallId": f"c{i}", "toolName": f"tool{i}"}
        for i in range(230)
    ]
    told.append({"type": "finish", "runId": "x", "status": "completed"})
    recording.write_text(
        "\n".join(json.dumps({"recvMs": 0, "event": event}) for event in told), "utf-8"
    )
    ended = notebook.run(f"%%task --agent replay --save {save}\n{recording}", widgets=True)
    assert ended.error is None, ended.lines
    last = ended.updates[-1]
    for kind in ("text/plain", "text/html"):
        kept = {int(number) for number in re.findall(r"\btool(\d+)\b", last[kind])}
        assert kept == set(range(230 - steps, 230))
    assert "230 tool calls" in last["text/plain"]
    assert notebook.value("len(_task.tool_calls)") == 230


def test_plain_and_quiet_with_widgets(notebook: Kernel) -> None:
    """``--plain`` and ``-q`` are heeded where widgets could be shown; so is the configured display."""
    ended = notebook.run("%%task --plain\ntext", widgets=True)
    assert ended.stdout.startswith("text\n")
    assert ended.displays == []
    ended = notebook.run("%%task -q\ntext", widgets=True)
    assert (ended.text, ended.displays) == ("", [])
    notebook.run("%config BlaxelMagics.display = 'plain'")
    ended = notebook.run("%%task\ntext", widgets=True)
    assert ended.displays == []
    ended = notebook.run("%task_logs {_task.run_id}", widgets=True)
    assert ended.displays == []
    assert ended.stdout.startswith("text\n")
    notebook.run("%config BlaxelMagics.display = 'auto'")


def test_logs_with_widgets(notebook: Kernel) -> None:
    """An ended run's log is static at once; a running one's panel becomes so."""
    notebook.run("%%task -q\ntext")
    ended = notebook.run("%task_logs {_task.run_id}", widgets=True)
    assert [set(display) for display in ended.displays] == [{"text/html", "text/plain"}]
    notebook.run("%%task --bg -q -o slow\n$ sleep .5\nLater.")
    ended = notebook.run("%task_logs {slow.run_id} -f", widgets=True)
    assert WIDGET in ended.displays[0]
    assert "Later." in ended.updates[-1]["text/plain"]


def test_several_with_widgets(notebook: Kernel) -> None:
    """Several show how far they are, then one table of one row a run."""
    notebook.run("%%task -q --no-raise-error -o bad\n$ echo '<b>'; exit 3")
    notebook.run("%%task --bg -q -o slow\nUp.\n$ sleep 1.2")
    running = notebook.start("%task_logs {bad.run_id} {slow.run_id} -f -o both", widgets=True)
    running.finish()
    assert [set(display) for display in running.displays] == [{"text/plain"}]
    assert running.displays[0]["text/plain"] == "0 of 2 logs read"
    assert any("1 of 2 runs have ended" in update["text/plain"] for update in running.updates)
    last = running.updates[-1]
    rows = re.findall(r"<tr><td>.*?</tr>", last["text/html"])
    assert [re.findall(r"<td>(.*?)</td>", row)[1] for row in rows] == ["failed", "completed"]
    assert "&lt;b&gt;" in rows[0]
    assert "<b>" not in last["text/html"]
    assert running.text == ""


def test_unload_in_a_kernel_leaves_nothing(notebook: Kernel) -> None:
    """Cells are rewritten once after a reload, and not at all after an unload."""
    count = "[type(one).__name__ for one in get_ipython().input_transformers_post].count('Awaiter')"
    notebook.run("%reload_ext blaxel_jupyter\n%task use local")
    assert notebook.value(count) == 1
    assert notebook.run("%%task\nAgain.").stdout.startswith("Again.\n")
    notebook.run("%unload_ext blaxel_jupyter")
    assert notebook.value(count) == 0
    for source in ("%%task\nAgain.", "%task_logs x", "%task list"):
        assert "not found" in notebook.run(source).stderr
    assert notebook.run(LOAD).error is None


# Headless ---------------------------------------------------------------------------------------------------


def test_jupyter_execute(folder: Path) -> None:
    """A notebook that ``jupyter execute`` runs has the story as plain text and keeps nothing of widgets."""
    path = folder / "headless.ipynb"
    sources = [LOAD, "%%task\nI say \x1b[2J<b>.\n$ echo out", "%task_logs {_task.run_id}"]
    write(path, sources)
    run("jupyter", "execute", "--inplace", path.name, cwd=folder)
    _, task, logs = cells(path)
    assert {output["output_type"] for output in task["outputs"] + logs["outputs"]} == {"stream"}
    for cell in (task, logs):
        assert shown(cell).startswith("I say <b>.\n> bash: echo out\n  │ out\n")
        assert "\x1b" not in shown(cell)
    assert "widgets" not in json.loads(path.read_text("utf-8"))["metadata"]
