"""Keys are nowhere but where they came from and in the request: searched for in all that is left behind.

Each kind of place that credentials come from has a world of its own: the environment, a ``.env`` file, the
command line tool's login. In each, every magic is used, rightly and wrongly, with all loggers at debug.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.canary import CAUGHT, DEBUG, SEEN, Search, everything
from tests.imitation import Fault, Habits, Imitation, imitation
from tests.kernels import Kernel, kernel
from tests.notebook_runs import own_folders, run, write
from tests.test_target import Plane, routed, served

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # jupyter_client's sockets

OURS = secrets.token_hex(3)  # a run of this file looks for its own keys only
ACCOUNT = f"sk-CANARY/acc0unt+k3y=~%x{OURS}"
BLACKBOX = f"sk-CANARY-bl4ckb0x/k3y+1{OURS}"
PASSED = f"sk-CANARY-p4ssed0n/v4lue+{OURS}"
REFRESH = f"sk-CANARY-r3fresh-t0ken{OURS}"
DEVICE = f"sk-CANARY-d3vice-c0de1{OURS}"
TOKEN = "e30." + base64.b64encode(b'{"exp": 4000000000}').decode().rstrip("=") + f".CANARY-{OURS}"
SEARCH = Search(ACCOUNT, BLACKBOX, PASSED, REFRESH, DEVICE, TOKEN)

HURRY = """
import time
from blaxel_jupyter import retries
retries.retried.__kwdefaults__['clock'] = lambda: time.monotonic() * 50  # gives up fifty times as soon
"""
LOGIN = f"""\
context:
  workspace: team
workspaces:
- name: team
  credentials:
    access_token: {TOKEN}
    refresh_token: {REFRESH}
    device_code: {DEVICE}
"""


@dataclass(frozen=True)
class World:
    """A kernel with credentials from one kind of place, and the servers that it meets."""

    place: str
    notebook: Kernel
    folder: Path
    plane: Plane
    server: Imitation


@pytest.fixture(scope="module")
def server() -> Iterator[Imitation]:
    with imitation(Habits()) as running:
        yield running


@pytest.fixture(scope="module")
def plane() -> Iterator[Plane]:
    """A control plane that knows the account's key, and renews no login."""
    plane = Plane()
    plane.key = ACCOUNT
    with served(routed(plane)) as url:
        plane.url = f"{url}/v0"
        yield plane


@pytest.fixture(scope="module", params=["environment", "dotenv", "login"])
def world(
    request: pytest.FixtureRequest,
    plane: Plane,
    server: Imitation,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    """A world for each kind of place."""
    place: str = request.param
    folder = tmp_path_factory.mktemp(place)
    keys = {"BL_API_KEY": ACCOUNT, "BL_WORKSPACE": "team", "BLACKBOX_API_KEY": BLACKBOX}
    with own_folders(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("BL_API_URL", plane.url)
        patch.setenv("BL_SANDBOX_BOX_URL", server.url)
        patch.setenv("BLACKBOX_API_URL", "http://127.0.0.1:9/api/v1")
        patch.setenv("API_KEY", PASSED)
        (folder / "tmp").mkdir()
        patch.setenv("TMPDIR", str(folder / "tmp"))
        work = folder / "work"
        work.mkdir()
        if place == "environment":
            for name, value in keys.items():
                patch.setenv(name, value)
        elif place == "dotenv":
            (work / ".env").write_text("".join(f"{name}='{keys[name]}'\n" for name in keys))
        else:
            (folder / ".blaxel").mkdir()
            (folder / ".blaxel" / "config.yaml").write_text(LOGIN)
        with kernel(work, DEBUG, "import os\n%load_ext blaxel_jupyter", HURRY) as running:
            yield World(place, running, folder, plane, server)


CELLS = [
    "%sandbox",
    "%sandbox use box",
    "%sandbox use nope",
    "%sandbox use http://127.0.0.1:9/",
    "%sandbox use http://[bad/",
    "%sandbox use nonsense://x",
    "%sandbox list",
    "%sandbox create new",
    "%sandbox delete new",
    "%sandbox use box",
    "%sandbox",
    "%sandbox ps",
    "%%sandbox_exec -e API_KEY -n loud\necho out $API_KEY; echo err $API_KEY >&2; exit 3",
    "%%time\n%%sandbox_exec -e API_KEY\necho $API_KEY",
    "%%sandbox_exec -e API_KEY --lang python\nimport os\nraise SystemExit(os.environ['API_KEY'])",
    "%%sandbox_exec -e NOT_SET -e API_KEY\ntrue",
    "%%sandbox_exec -e API_KEY --cwd /no/such\ntrue",
    "%%sandbox_exec -e API_KEY -n loud/..\ntrue",
    "%%sandbox_exec -e API_KEY --nonsense\ntrue",
    "%%sandbox_exec -e API_KEY --expand\necho {nothing}",
    "%%sandbox_exec -e API_KEY --timeout 0\ntrue",
    "%%sandbox_exec -e API_KEY\n",
    "_sandbox",
    "_sandbox.logs",
    "_sandbox.error_context()",
    "%sandbox_logs loud",
    "%sandbox_logs loud -f --stderr",
    "%sandbox_logs nobody",
    "%sandbox_logs nobody -f",
    "%sandbox stop nobody",
    "%sandbox kill nobody",
    "%sandbox --help",
    "%sandbox_exec?",
    "%task",
    "%task use blackbox",
    "%task list",
    "%%task\nDo it.",
    "%task_logs nobody",
    "%task status nobody",
    "%task cancel nobody",
    "import blaxel_jupyter.cli as cli; cli.doctor()",
    "%xmode Verbose\n%sandbox use nope",
    "%sandbox_logs nobody",
    "%tb",
    "%xmode Context\n%task list",
]
EVERYWHERE = [cell for cell in CELLS if "-e API_KEY" in cell or "sandbox_exec" not in cell][1:30:2]
"""Every other cell, for the worlds in which only the place of the credentials differs."""

FAULTS = {
    "none": [],
    "401": [Fault("status", status=401, times=40)],
    "500": [Fault("status", status=500, times=40)],
    "drop": [Fault("drop", after=5, times=40)],
}


@pytest.mark.parametrize(
    ("fault", "widgets"),
    [("none", True), ("none", False), ("401", True), ("500", False), ("drop", True)],
)
def test_cells(world: World, fault: str, widgets: bool) -> None:
    """No cell shows a key, whatever goes wrong, at debug level, in verbose tracebacks."""
    cells = CELLS if world.place == "environment" and widgets else EVERYWHERE
    failed = 0
    for cell in cells if fault == "none" else ["%sandbox use box", *CELLS[11:15], *CELLS[25:31]]:
        world.server.reset()
        for one in FAULTS[fault]:
            world.server.fail(one)
        shown = world.notebook.run(cell, widgets=widgets)
        failed += shown.error is not None or "UsageError" in shown.stderr
        SEARCH.clean(everything(shown), f"the cell {cell!r} at {fault}", "cells")
    world.server.reset()
    assert failed >= 4, "nothing went wrong"


MAGICS = [
    ("sandbox", "use nope", None),
    ("sandbox", "list", None),
    ("sandbox", "create new", None),
    ("sandbox_logs", "nobody -s box", None),
    ("sandbox_logs", "nobody -s nope", None),
    ("sandbox_exec", "-s box -e API_KEY --cwd /no/such", "true"),
    ("sandbox_exec", "-s box -e API_KEY -n a/b", "true"),
    ("sandbox_exec", "-s box -e API_KEY -e NOT_SET", "true"),
    ("sandbox_exec", "-s http://127.0.0.1:9 -e API_KEY", "true"),
    ("sandbox_exec", "-s box -e API_KEY", "exit 3"),
    ("task", "list", None),
    ("task_logs", "nobody", None),
    ("task", "Do it.", "Do it."),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_tracebacks_with_locals(world: World, fault: str) -> None:
    """Not even a traceback that tells every local variable has one."""
    for magic, line, body in MAGICS if fault == "none" else MAGICS[3:8:2]:
        for one in FAULTS[fault]:
            world.server.fail(one)
        shown = world.notebook.run(CAUGHT.format(magic=magic, line=line, body=body))
        world.server.reset()
        assert shown.error is None, shown.lines
        SEARCH.clean(everything(shown), f"a traceback of {magic} {line} at {fault}", "tracebacks")


ELSEWHERE = """
def away():
    names = ['BL_API_KEY', 'BL_API_URL', 'BLACKBOX_API_KEY', 'BL_WORKSPACE', 'HOME']
    kept, folder = {{name: os.environ.pop(name, None) for name in names}}, os.getcwd()
    os.chdir({work!r})
    os.environ['HOME'] = {home!r}
    def back():
        os.chdir(folder)
        os.environ.update({{name: value for name, value in kept.items() if value is not None}})
    return back
back = away()
"""


@pytest.mark.parametrize("broken", ["dotenv", "yaml", "address", "value", "missing"])
def test_unusable_credentials(world: World, broken: str) -> None:
    """An error about a credential holds none, and none of the others, in any variable on its way."""
    work, home = world.folder / "broken", world.folder / "home"
    (home / ".blaxel").mkdir(parents=True, exist_ok=True)
    work.mkdir(exist_ok=True)
    blackbox = f"BLACKBOX_API_KEY='{BLACKBOX}'\n"
    keys = f"BL_API_KEY='{ACCOUNT}'\nBL_WORKSPACE=team\n{blackbox}"
    dotenv = {
        "dotenv": keys + f"OTHER='{DEVICE}",
        "yaml": blackbox,
        "address": f"{keys}BL_API_URL=https://me:{REFRESH}@host.example\n",
        "value": f"BL_API_KEY='{ACCOUNT} {DEVICE}'\nBLACKBOX_API_KEY='{BLACKBOX} 2'\nBL_WORKSPACE=team",
        "missing": f"BL_CLIENT_CREDENTIALS={ACCOUNT}\n",
    }[broken]
    config = LOGIN.replace("workspace: team", "other: x") + ("  x: [\n" if broken == "yaml" else "")
    (work / ".env").write_text(dotenv)
    (home / ".blaxel" / "config.yaml").write_text(config)
    world.notebook.run(ELSEWHERE.format(work=str(work), home=str(home)))
    caught = 0
    try:
        for magic, line in (("sandbox", "list"), ("task", "list"), ("sandbox", "use other")):
            shown = world.notebook.run(CAUGHT.format(magic=magic, line=line, body=None))
            caught += "CredentialsError" in shown.stdout
            SEARCH.clean(everything(shown), f"{magic} {line}, {broken}", "tracebacks")
    finally:
        world.notebook.run("back()")
        (work / ".env").unlink()
        (home / ".blaxel" / "config.yaml").unlink()
    assert caught, "no credential was complained about"


OBJECTS = """
import pickle
from blaxel_jupyter import LogPanel, SandboxClient, TaskClient, credentials
from blaxel_jupyter.masks import Masks
box = SandboxClient('box')
await box.processes()
def told():
    run = _sandbox
    things = [run, run.logs, run.logs.masks, run.process, box, TaskClient(), LogPanel(run), run.header()]
    things += [get_ipython().magics_manager.registry[name] for name in ('BlaxelMagics', 'TaskMagics')]
    for read in (credentials.blaxel, credentials.blackbox, credentials.sources):
        try:
            yield repr(read())
        except Exception as error:
            things.append(error)
    for thing in things:
        yield repr(thing)
        yield repr(vars(thing)) if hasattr(thing, '__dict__') else ''
        for protocol in (0, 4):
            try:
                yield repr(pickle.dumps(thing, protocol))
            except Exception as error:
                yield repr(error)
print('\\n'.join(told()))
"""


def test_reprs_and_pickles(world: World) -> None:
    """No object shows one by itself: not the public ones, nor any other of the package."""
    world.notebook.run("%%sandbox_exec -s box -e API_KEY -q\ntrue")
    for code in (OBJECTS, SEEN):
        shown = world.notebook.run(code)
        assert shown.error is None, shown.lines
        assert "<SandboxRun" in shown.stdout
        SEARCH.clean(shown.stdout, "a repr or a pickle", "objects")


def test_what_the_local_service_keeps(world: World) -> None:
    """Nothing of a process's variables is on disk, nor are the user's own handed to the service."""
    world.notebook.run(
        "%%sandbox_exec -s local -e API_KEY -n keeps --bg -q -o keeps\necho up; sleep 60"
    )
    deadline = time.monotonic() + 30
    while "up" not in world.notebook.value("keeps.stdout"):
        assert time.monotonic() < deadline
    facts = json.loads((world.folder / "runtime" / "blaxel-local.json").read_text())
    SEARCH.clean(
        Path(f"/proc/{facts['pid']}/environ").read_bytes(), "the service's environment", "processes"
    )
    SEARCH.folder(world.folder / "state", "files")
    SEARCH.folder(world.folder / "runtime", "files")
    for path in (world.folder / "state").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0, path
    world.notebook.run("keeps.kill()")


def test_process_list(world: World) -> None:
    """No command line has one, and no environment but those of whoever was given it."""
    world.notebook.run("%%sandbox_exec -s local -e API_KEY --bg -q -o holds\nsleep 60")
    given = psutil.Process(int(world.notebook.value("holds.process.pid")))
    holders = {os.getpid(), world.notebook.value("os.getpid()"), given.pid}
    holders |= {child.pid for child in given.children(recursive=True)}
    for process in psutil.process_iter(["cmdline", "name"]):
        SEARCH.clean("\0".join(process.info["cmdline"] or []), "a command line", "processes")
        if process.pid in holders:
            continue
        with contextlib.suppress(OSError):  # gone, or another user's
            environ = Path(f"/proc/{process.pid}/environ").read_bytes()
            SEARCH.clean(environ, str(process.info), "processes")
    world.notebook.run("holds.kill()")


SAVED = """
import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter
notebook = nbformat.read('saved.ipynb', as_version=4)
NotebookClient(notebook, allow_errors=True, store_widget_state=True).execute()
nbformat.write(notebook, 'saved.ipynb')
open('saved.html', 'w').write(HTMLExporter().from_notebook_node(notebook)[0])
"""
"""Does what ``jupyter execute`` and ``jupyter nbconvert`` do, in one process."""


def test_files(world: World) -> None:
    """Notebook with widget state, HTML export, history, logs, temporary files: none has one."""
    work = world.folder / "work"
    expected = {"debug.log", "history.sqlite"}
    if world.place == "environment":
        state = "from ipywidgets import Widget\nWidget.get_manager_state()"
        panel = "%config BlaxelMagics.display = 'panel'"
        sources = [DEBUG, "import os\n%load_ext blaxel_jupyter", HURRY, panel, *CELLS[9:29], state]
        write(work / "saved.ipynb", sources)
        (work / "save.py").write_text(SAVED)
        run("save", cwd=work)
        assert "[API_KEY masked]" in (work / "saved.html").read_text()
        assert '"widgets"' in (work / "saved.ipynb").read_text()
        expected |= {"saved.ipynb", "saved.html"}
    (work / ".env").unlink(missing_ok=True)
    (world.folder / ".blaxel" / "config.yaml").unlink(missing_ok=True)
    assert expected <= SEARCH.folder(world.folder, "files")
    print(SEARCH.told())


def test_the_search_would_find_them() -> None:
    """In a cell's output, in base64, in an address."""
    assert SEARCH.places.total() > 300
    for key in SEARCH.keys:
        for text in (key, base64.b64encode(b"x" + key.encode()).decode(), json.dumps(key)):
            with pytest.raises(AssertionError):
                Search(key).clean(f"<{text}>", "here")
