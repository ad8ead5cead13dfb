"""A waiting cell in a real kernel: what it shows, what an interrupt does, what stays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.kernels import Kernel, Shown, kernel
from tests.local_service import until
from tests.notebook_runs import own_folders

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # jupyter_client's sockets

LOAD = "%load_ext blaxel_jupyter\n%sandbox use local"
WIDGET = "application/vnd.jupyter.widget-view+json"
PREFIXES = {"awaiting": "", "blocking": "%%time\n"}


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One kernel for the file, with ``local`` selected."""
    folder = tmp_path_factory.mktemp("cell")
    with own_folders(folder), kernel(folder, LOAD) as running:
        yield running


def sleeps(mark: str) -> bool:
    """Whether a process of this machine sleeps for this odd time."""
    found = psutil.process_iter(["cmdline"])
    return any((process.info["cmdline"] or [])[:2] == ["sleep", mark] for process in found)


def is_short(shown: Shown) -> None:
    """Assert that an error takes one or two lines and no traceback."""
    assert shown.error is not None
    assert 1 <= len(shown.lines) <= 2, shown.lines
    assert "Traceback" not in "".join(shown.lines)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_first_interrupt_stops(notebook: Kernel, prefix: str) -> None:
    """■ sends stop; the cell waits for the real end and shows the last words."""
    shown = notebook.start(
        f"{PREFIXES[prefix]}%%sandbox_exec -n stop-{prefix}\n"
        "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep .05; done"
    ).until("up\n")
    notebook.interrupt()
    shown.finish()
    assert shown.stdout.startswith("up\nbye\n")
    is_short(shown)
    assert f"stop-{prefix} was stopped" in shown.lines[0]
    facts = "_sandbox.status, _sandbox.exit_code, _sandbox.stdout, _sandbox.integrity"
    assert notebook.value(facts) == ("stopped", 9, "up\nbye\n", "complete")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_second_interrupt_kills(notebook: Kernel, prefix: str) -> None:
    """A process that ignores stop is killed by the second ■, whatever it has started, too."""
    mark = {"awaiting": "611.25", "blocking": "612.25"}[prefix]
    shown = notebook.start(
        f"{PREFIXES[prefix]}%%sandbox_exec -n kill-{prefix}\n"
        f"trap 'echo no' TERM; echo up; while :; do sleep {mark}; done"
    ).until("up\n")
    until(lambda: sleeps(mark))
    notebook.interrupt()
    shown.until("no\n")
    notebook.interrupt()
    shown.finish()
    is_short(shown)
    assert "was killed" in shown.lines[0]
    until(lambda: not sleeps(mark))
    assert notebook.value("_sandbox.status") == "killed"


@pytest.mark.parametrize("prefix", PREFIXES)
def test_detach_leaves_it_running(notebook: Kernel, prefix: str) -> None:
    """``--on-interrupt detach``: the cell ends without an error, the process goes on to its end."""
    shown = notebook.start(
        f"{PREFIXES[prefix]}%%sandbox_exec -n off-{prefix} --on-interrupt detach\n"
        "echo up; sleep 1; echo after"
    ).until("up\n")
    notebook.interrupt()
    shown.finish()
    assert shown.error is None
    assert f"%sandbox_logs off-{prefix} -f" in shown.stdout
    assert notebook.value("_sandbox.status") == "running"
    until(lambda: notebook.value("_sandbox.final"))
    assert notebook.value("_sandbox.stdout, _sandbox.exit_code") == ("up\nafter\n", 0)


def test_on_interrupt_kill(notebook: Kernel) -> None:
    """``--on-interrupt kill`` kills at the first ■."""
    shown = notebook.start(
        "%%sandbox_exec --on-interrupt kill\ntrap 'echo no' TERM; echo up; sleep 613.25"
    ).until("up\n")
    notebook.interrupt()
    shown.finish()
    assert "was killed" in shown.lines[0]
    assert "no\n" not in shown.stdout


@pytest.mark.parametrize("prefix", PREFIXES)
def test_interrupt_while_the_start_waits(notebook: Kernel, prefix: str) -> None:
    """■ ends a cell that still waits for a port, in one line, and the process that was started."""
    name = f"port-{prefix}"
    shown = notebook.start(
        f"{PREFIXES[prefix]}%%sandbox_exec -n {name} --wait-for-port 59998\nsleep 614.25"
    )
    until(lambda: sleeps("614.25"))
    notebook.interrupt()
    shown.finish(20)
    is_short(shown)
    assert "%sandbox ps" in shown.lines[0]
    until(lambda: not sleeps("614.25"))


def test_script_is_gone_when_the_start_is_interrupted(notebook: Kernel) -> None:
    """The file of ``--lang`` does not stay when the cell is interrupted before the process is known."""
    before = set(Path("/tmp").glob("blaxel-jupyter-*"))
    shown = notebook.start(
        "%%sandbox_exec -n port-lang --lang python --wait-for-port 59998\n"
        "import subprocess; subprocess.run(['sleep', '615.25'])"
    )
    until(lambda: sleeps("615.25"))
    notebook.interrupt()
    is_short(shown.finish(20))
    until(lambda: set(Path("/tmp").glob("blaxel-jupyter-*")) <= before)
    notebook.run("%sandbox kill port-lang")


def test_interrupted_follow_of_logs_leaves_it_running(notebook: Kernel) -> None:
    """■ while ``%sandbox_logs -f`` follows ends the cell, never the process."""
    notebook.run("%%sandbox_exec --bg -n watched -o first\necho up; sleep 60")
    shown = notebook.start("%sandbox_logs watched -f").until("up\n")
    notebook.interrupt()
    shown.finish()
    assert shown.error is None
    assert notebook.value("first.status, _sandbox.stdout") == ("running", "up\n")
    notebook.run("%sandbox kill watched")


def test_interrupts_are_the_kernels_again_afterwards(notebook: Kernel) -> None:
    """After a waiting cell ■ raises KeyboardInterrupt as ever."""
    notebook.run("%%sandbox_exec\ntrue")
    shown = notebook.start("import time\nprint('in', flush=True)\ntime.sleep(60)").until("in\n")
    notebook.interrupt()
    shown.finish()
    assert shown.error is not None
    assert shown.error["ename"] == "KeyboardInterrupt"


def test_failure_is_two_lines(notebook: Kernel) -> None:
    """A failed cell leaves the output and two lines, the second its last word."""
    shown = notebook.run("%%sandbox_exec -n bad\necho out; echo first >&2; echo last >&2; exit 3")
    is_short(shown)
    assert shown.error is not None
    assert shown.error["ename"] == "ProcessError"
    assert shown.lines[1] == "Its output ends with: last"
    assert (shown.stdout, shown.stderr) == ("out\n", "first\nlast\n")


def test_comms_are_served_while_a_cell_waits(notebook: Kernel) -> None:
    """A message to a comm that comes while the cell waits is handled before the cell ends."""
    notebook.run(
        "import comm\n"
        "heard = []\n"
        "def opened(c, message): c.on_msg(lambda m: heard.append(m['content']['data']))\n"
        "comm.get_comm_manager().register_target('echo', opened)\n"
        "mine = comm.create_comm(target_name='echo')\n"
        "mine.on_msg(lambda m: heard.append(_sandbox.status))"
    )
    identifier = notebook.value("mine.comm_id")
    shown = notebook.start("%%sandbox_exec\necho up; sleep 1.5; echo down").until("up\n")
    notebook.comm(identifier, {})
    shown.finish()
    assert notebook.value("heard") == ["running"]


def test_text_is_live_without_widgets(notebook: Kernel) -> None:
    """As papermill and ``jupyter execute`` run it, lines are stream text while they come."""
    shown = notebook.start("%%sandbox_exec\necho one; sleep 1; echo two").until("one\n")
    assert not shown.ended
    assert "two" not in shown.stdout
    shown.finish()
    assert shown.stdout == "one\ntwo\n"
    assert not shown.displays


def test_a_flood_is_cut_and_says_so(notebook: Kernel) -> None:
    """Without widgets 10,000 lines are printed, then the last 200; the variable has them all."""
    shown = notebook.run("%%sandbox_exec -o flood\nseq 1 30000")
    lines = shown.stdout.split("\n")
    note = "-- 19800 more lines; flood.logs has all of them --"
    expected = [*map(str, range(1, 10001)), note, *map(str, range(29801, 30001)), ""]
    assert lines == expected
    assert notebook.value("len(flood.logs), flood.integrity") == (30000, "complete")


def test_panel_becomes_static(notebook: Kernel) -> None:
    """With widgets a panel is shown, and replaced by HTML and text that need no kernel."""
    shown = notebook.run("%%sandbox_exec\nseq 1 300; echo '<b>' >&2", widgets=True)
    [display] = shown.displays
    assert WIDGET in display
    last = shown.updates[-1]
    assert set(last) == {"text/html", "text/plain"}
    assert "&lt;b&gt;" in last["text/html"]
    assert "300" in last["text/plain"]
    assert re.search(r"^100$", last["text/plain"], re.MULTILINE) is None
    assert shown.text == ""


@pytest.mark.parametrize(("save", "lines"), [("all", 300), ("none", 0), ("tail", 200)])
def test_save(notebook: Kernel, save: str, lines: int) -> None:
    """``--save`` decides how much of the output stays in the notebook."""
    shown = notebook.run(f"%%sandbox_exec --save {save}\nseq 1001 1300", widgets=True)
    kept = re.findall(r"^\s*(1[0-3]\d\d)$", shown.updates[-1]["text/plain"], re.MULTILINE)
    assert len(kept) == lines
    assert len(re.findall(r"\b1[0-3]\d\d\b", shown.updates[-1]["text/html"])) >= lines


def test_plain_and_quiet_with_widgets(notebook: Kernel) -> None:
    """``--plain`` and ``-q`` are heeded where widgets could be shown; so is the configured display."""
    shown = notebook.run("%%sandbox_exec --plain\necho text", widgets=True)
    assert (shown.stdout, shown.displays) == ("text\n", [])
    shown = notebook.run("%%sandbox_exec -q\necho text", widgets=True)
    assert (shown.text, shown.displays) == ("", [])
    notebook.run("%config BlaxelMagics.display = 'plain'")
    shown = notebook.run("%%sandbox_exec\necho text", widgets=True)
    assert (shown.stdout, shown.displays) == ("text\n", [])
    notebook.run("%config BlaxelMagics.display = 'auto'")


def test_logs_with_widgets(notebook: Kernel) -> None:
    """An ended process's logs are static at once; a running one's panel becomes so."""
    notebook.run("%%sandbox_exec -n shown -q\necho text")
    shown = notebook.run("%sandbox_logs shown", widgets=True)
    assert [set(display) for display in shown.displays] == [{"text/html", "text/plain"}]
    notebook.run("%%sandbox_exec -n live --bg -q\nsleep .5; echo later")
    shown = notebook.run("%sandbox_logs live -f", widgets=True)
    assert WIDGET in shown.displays[0]
    assert "later" in shown.updates[-1]["text/plain"]


def test_other_code_in_the_cell(notebook: Kernel) -> None:
    """What stands beside ``%sandbox_logs`` in a cell runs in its order."""
    notebook.run("%%sandbox_exec -n beside --bg -q\nsleep .4; echo late")
    shown = notebook.run("%sandbox_logs beside -f -o got\nprint('after', got.status)\nx = 1")
    assert shown.stdout == "late\nafter completed\n"
    shown = notebook.run("y = 2\n%sandbox_logs beside\nprint(x + y)")
    assert shown.stdout == "late\n3\n"


def test_options_are_expanded_alike_however_the_cell_waits(notebook: Kernel) -> None:
    """``{expr}`` in the magic's line is IPython's, in a cell that awaits as in one that blocks."""
    notebook.run("which = 'x'")
    for prefix in PREFIXES.values():
        notebook.run(f"{prefix}%%sandbox_exec -n name-{{which}} -q\ntrue")
        assert notebook.value("_sandbox.name") == "name-x"


def test_run_all_waits_for_each_cell(notebook: Kernel) -> None:
    """Cells sent at once run one after the other."""
    first = notebook.start("%%sandbox_exec -o a\nsleep .3; echo 1")
    second = notebook.start("%%sandbox_exec -o b\necho 2")
    assert first.finish().stdout == "1\n"
    assert second.finish().stdout == "2\n"
    assert notebook.value("a.stdout + b.stdout") == "1\n2\n"


def test_wait_in_a_cell(notebook: Kernel) -> None:
    """A run's ``wait``, ``stop`` and ``await`` work in plain cells, under the kernel's loop."""
    notebook.run(
        "%%sandbox_exec --bg -o back\ntrap 'exit 4' TERM; echo up; while :; do sleep .05; done"
    )
    until(lambda: notebook.value("back.stdout") == "up\n")
    shown = notebook.run("try: back.wait(timeout=0.3)\nexcept TimeoutError as error: print(error)")
    assert shown.error is None
    assert shown.stdout
    notebook.run("back.stop()")
    assert notebook.value("back.wait().exit_code, back.status") == (4, "stopped")
    notebook.run("%%sandbox_exec --bg -o again\nsleep .3; echo x")
    shown = notebook.run("run = await again\nprint(run is again, run.stdout)")
    assert shown.stdout == "True x\n\n"


def test_nested_run_of_the_kernels_own_loop(notebook: Kernel) -> None:
    """``run()`` waits for a client's call and for the user's own coroutine, in a plain cell."""
    shown = notebook.run(
        "import asyncio\n"
        "from blaxel_jupyter import SandboxClient, run\n"
        "async def mine():\n"
        "    async with SandboxClient('local') as sandbox:\n"
        "        return (await sandbox.exec('echo own loop', wait=True)).stdout\n"
        "print(run(mine()), run(asyncio.sleep(0.01, 'slept')))"
    )
    assert shown.error is None, shown.lines
    assert shown.stdout == "own loop\n slept\n"
    assert notebook.run("print(1)").stdout == "1\n"
