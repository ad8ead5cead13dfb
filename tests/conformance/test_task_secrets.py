"""The key of the task service is nowhere but in the environment and in the request, however a run ends."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.canary import CAUGHT, DEBUG, SEEN, Search, everything
from tests.imitation.tasks import (
    LOGS,
    STREAM,
    TaskFault,
    TaskHabits,
    TaskImitation,
    invented,
    recorded,
    task_imitation,
)
from tests.kernels import Kernel, kernel
from tests.notebook_runs import own_folders, run, write

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # jupyter_client's sockets

CANARY = "sk-CANARY/5up3r+s3cr3t=~%x"
OVER = recorded("01-success", ended=True)
LONG = invented(4, 300, ended=True)
FOREIGN = replace(invented(9, 20, ended=True), owner="other")

PATIENCE = """
from blaxel_jupyter import task_api, task_client
task_api.READ_PATIENCE = task_client.READ_PATIENCE = task_client.FOLLOW_PATIENCE = 0.3
task_api.TaskApi.status.__kwdefaults__['patience'] = 0.3
"""
SEARCH = Search(CANARY)
is_clean = SEARCH.clean


@pytest.fixture(scope="module")
def server() -> Iterator[TaskImitation]:
    with task_imitation(TaskHabits(after_end="buffer")) as running:
        running.key = running._server.keys["me"] = CANARY
        for script in (OVER, LONG, FOREIGN):
            running.add(script)
        yield running


@pytest.fixture(scope="module")
def folder(server: TaskImitation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders of the file's own, and an environment that holds the key."""
    folder = tmp_path_factory.mktemp("secrets")
    with own_folders(folder), pytest.MonkeyPatch.context() as patch:
        server.environment(patch)
        yield folder


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[Kernel]:
    """A kernel at debug level that is patient for half a second only."""
    load = "import os\n%load_ext blaxel_jupyter\n%config BlaxelMagics.display = 'auto'"
    with kernel(folder, DEBUG, load, PATIENCE) as running:
        yield running


@pytest.fixture
def notebook(shared: Kernel, server: TaskImitation) -> Iterator[Kernel]:
    """The kernel; no fault of another test is left."""
    yield shared
    server._server.faults.clear()


def test_the_key_is_found_where_it_is_left(notebook: Kernel) -> None:
    """The search would see it: in a cell's output, in base64, and in an address."""
    shown = notebook.run("print(os.environ['BLACKBOX_API_KEY'])")
    for encode in (str, lambda text: base64.b64encode(text.encode()).decode(), urllib.parse.quote):
        with pytest.raises(AssertionError):
            is_clean(f"x{encode(shown.stdout)}", "a cell")


CELLS = [
    "%task",
    "%task use blackbox",
    "%task list",
    "%%task\nDo it.",
    "%%time\n%%task\nDo it.",
    f"%task_logs {OVER.run_id} --raw",
    f"%task_logs {OVER.run_id} -f --no-deltas",
    f"%task_logs {OVER.run_id} {LONG.run_id} nobody",
    f"%task_logs {FOREIGN.run_id}",
    "%task_logs nobody -f",
    f"%task status {OVER.run_id}",
    f"%task cancel {OVER.run_id}",
    "%task --help",
    "%task?",
    "%xmode Verbose\n%task_logs nobody",
    "%tb",
    "%task_logs ..",
]
FAULTS = {
    "none": [],
    "401": [TaskFault("status", "/tasks", status=401, times=200)],
    "500": [TaskFault("status", "/tasks", status=500, times=200)],
    "html": [TaskFault("html", "/tasks", times=200)],
    "cut": [TaskFault("short", "/tasks", times=200)],
    "drop": [TaskFault("drop", LOGS, after=500, times=200), TaskFault("drop", STREAM, times=50)],
}


@pytest.mark.parametrize(
    ("fault", "widgets"), [("none", True), *zip(FAULTS, [False, True] * 3, strict=True)]
)
def test_cells(notebook: Kernel, server: TaskImitation, fault: str, widgets: bool) -> None:
    """No magic shows it, whatever goes wrong, at debug level, in verbose tracebacks."""
    for cell in CELLS:
        server._server.faults.clear()
        for one in FAULTS[fault]:
            server.fail(one)
        is_clean(everything(notebook.run(cell, widgets=widgets)), f"the cell {cell!r} at {fault}")


@pytest.mark.parametrize(
    ("magic", "line"),
    [
        ("task_logs", "nobody"),
        ("task_logs", FOREIGN.run_id),
        ("task_logs", f"{OVER.run_id} nobody"),
        ("task", "status nobody"),
        ("task", "list"),
        ("task_logs", OVER.run_id),
    ],
)
@pytest.mark.parametrize("fault", ["none", "401", "html", "drop"])
def test_tracebacks_with_locals(
    notebook: Kernel, server: TaskImitation, magic: str, line: str, fault: str
) -> None:
    """Not even a traceback that tells every local variable has it."""
    for one in FAULTS[fault]:
        server.fail(one)
    shown = notebook.run(CAUGHT.format(magic=magic, line=line, body=None))
    assert shown.error is None, shown.lines
    is_clean(everything(shown), f"a traceback of %{magic} {line}")


def test_refused_connection(notebook: Kernel) -> None:
    """The error of a connection that is refused does not show it, nor that of a bad address."""
    before = notebook.value("os.environ['BLACKBOX_API_URL']")
    for url in ("http://127.0.0.1:9/api/v1", "nonsense", "http://[bad/"):
        notebook.run(f"os.environ['BLACKBOX_API_URL'] = {url!r}")
        is_clean(everything(notebook.run("%task list")), url)
    notebook.run(f"os.environ['BLACKBOX_API_URL'] = {before!r}")


def test_reprs(notebook: Kernel) -> None:
    """No object of the package shows it, while a run is followed and after."""
    notebook.run("%%task --bg -q -o back\nDo it.")
    for _ in range(2):
        shown = notebook.run(SEEN)
        assert shown.error is None, shown.lines
        assert "TaskClient" in shown.stdout
        assert "<TaskRun" in shown.stdout
        is_clean(shown.stdout, "a repr")
        notebook.run("back.wait()")


def test_steps_of_the_local_agent_do_not_have_it(notebook: Kernel) -> None:
    """The local service and what its agent runs get no credential of the user's."""
    notebook.run("%task use local")
    shown = notebook.run(
        "%%task\n$ env; cat /proc/$PPID/environ | tr '\\0' '\\n'; cat /proc/$PPID/cmdline"
    )
    assert shown.error is None, shown.lines
    assert "PATH=" in notebook.value("_task.tool_calls[0]['stdout']")
    is_clean(notebook.value("_task.tool_calls[0]['stdout']"), "a step's environment")
    notebook.run("%task use blackbox")


def test_process_list(notebook: Kernel) -> None:
    """No process was started with it in its command line."""
    for process in psutil.process_iter(["cmdline"]):
        is_clean("\0".join(process.info["cmdline"] or []), "a command line")


def test_files(notebook: Kernel, folder: Path) -> None:
    """Notebook, history, logs and state files: none has it."""
    write(folder / "saved.ipynb", [DEBUG, "%load_ext blaxel_jupyter", *CELLS])
    run("jupyter", "execute", "--inplace", "--allow-errors", "saved.ipynb", cwd=folder)
    assert "NotFoundError" in (folder / "saved.ipynb").read_text("utf-8")
    names = SEARCH.folder(folder)
    assert {"saved.ipynb", "debug.log", "history.sqlite", "blaxel-local.json"} <= names


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_an_answer_that_repeats_the_key(
    notebook: Kernel, server: TaskImitation, status: int
) -> None:
    """A service that says the key in its error does not get it into the notebook."""
    body = json.dumps({"error": f"Invalid API key: {CANARY}."}).encode()
    for cell in ("%task list", "%%task\nDo it.", f"%task_logs {OVER.run_id}"):
        server.fail(TaskFault("status", "/tasks", status=status, body=body, times=50))
        shown = notebook.run(cell)
        server._server.faults.clear()
        assert shown.error is not None
        is_clean(everything(shown), f"the error of {cell!r}")


# The last one: from here on the key is in what the user typed himself, history and prompts.


@pytest.mark.parametrize("widgets", [True, False])
def test_an_agent_that_says_the_key(notebook: Kernel, widgets: bool) -> None:
    """In its text, its calls, its errors: masked where it is shown, exact in the data."""
    notebook.run("%task use local")
    shown = notebook.run(
        f"%%task\nI say {CANARY} and so on.\n> I think {CANARY}\n$ echo out {CANARY}\n"
        f"$ echo {CANARY} >&2; exit 3",
        widgets=widgets,
    )
    assert shown.error is not None
    assert everything(shown).count("[BLACKBOX_API_KEY masked]") > 5
    is_clean(everything(shown), "a story")
    said = notebook.value(
        "_task.text, _task.tool_calls[0]['stdout'], _task.tool_calls[1]['stderr']"
    )
    assert all(CANARY in text for text in said)
    for name in ("events", "tool_calls", "text_blocks", "summary"):
        for table in (f"_task.{name}", f"TaskRuns([_task]).{name}"):
            shown = notebook.run(f"from blaxel_jupyter.task_runs import TaskRuns\n{table}")
            assert "<table" in shown.displays[0]["text/html"]
            is_clean(everything(shown), table)
    shown = notebook.run(
        "from blaxel_jupyter import LogPanel, SandboxClient\n"
        "run = await SandboxClient('local').exec('echo hi', wait=True)\n"
        "panel = LogPanel(run, _task)\nwhile panel.flush(): pass\ndisplay(panel, panel.logs)",
        widgets=True,
    )
    assert shown.error is None, shown.lines
    is_clean(everything(shown), "a panel of a process and a task")
    shown = notebook.run("%task_logs {_task.run_id} {_task.run_id}", widgets=widgets)
    is_clean(everything(shown), "two runs")
    notebook.run("%task use blackbox")
