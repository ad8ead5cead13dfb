"""What goes wrong, as a user sees it in a cell: one or two lines, the next step, no credential."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.imitation import Fault, Habits, Imitation, imitation
from tests.kernels import Kernel, Shown, kernel
from tests.notebook_runs import own_folders
from tests.test_target import Plane, routed, served

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # jupyter_client's sockets

SECRET = "CANARY-5up3r"


@pytest.fixture(scope="module")
def server() -> Iterator[Imitation]:
    with imitation(Habits()) as running:
        yield running


@pytest.fixture(scope="module")
def plane() -> Iterator[Plane]:
    """A control plane that refuses every key but its own."""
    plane = Plane()
    with served(routed(plane)) as url:
        plane.url = f"{url}/v0"
        yield plane


@pytest.fixture(scope="module")
def notebook(
    plane: Plane, server: Imitation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kernel]:
    """A kernel whose environment has an account's key in it."""
    folder: Path = tmp_path_factory.mktemp("bad")
    with own_folders(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("BL_API_URL", plane.url)
        patch.setenv("BL_API_KEY", SECRET)
        patch.setenv("BL_WORKSPACE", "team")
        patch.setenv("BL_SANDBOX_BOX_URL", server.url)
        with kernel(folder, "%load_ext blaxel_jupyter") as running:
            yield running


def told(shown: Shown, kind: str, *says: str) -> str:
    """Assert that a cell ended with a short error that ends with the next step; return it."""
    lines = shown.lines
    assert 1 <= len(lines) <= 2, lines
    assert lines[0].startswith(f"{kind}: "), lines
    text = "\n".join(lines)
    for words in says:
        assert words in text
    everything = text + shown.text + str(shown.displays) + str(shown.error)
    assert SECRET not in everything
    assert not re.search(r"Traceback|File \"|0x[0-9a-f]{6}|\x1b", everything)
    assert shown.stdout == ""
    return text


@pytest.mark.parametrize("cell", ["%%sandbox_exec\ntrue", "%sandbox_logs x", "%sandbox ps"])
def test_no_sandbox_selected(notebook: Kernel, cell: str) -> None:
    """Nothing runs anywhere, and both ways to select one are named."""
    notebook.run("get_ipython().magics_manager.registry['BlaxelMagics'].sandbox = ''")
    told(notebook.run(cell), "UsageError", "%sandbox use NAME", "%sandbox use local")


@pytest.mark.parametrize(
    "cell", ["%sandbox use nope", "%%sandbox_exec -s nope\ntrue", "%sandbox_logs x -s nope"]
)
def test_unknown_sandbox(notebook: Kernel, plane: Plane, cell: str) -> None:
    """It is said that there is none of this name, and how to see and make them."""
    plane.key = SECRET
    told(notebook.run(cell), "NotFoundError", "'nope'", "%sandbox list", "%sandbox create nope")


@pytest.mark.parametrize(
    "cell",
    ["%sandbox use mine", "%sandbox list", "%%sandbox_exec -s mine\ntrue", "%sandbox create new"],
)
def test_wrong_key(notebook: Kernel, plane: Plane, cell: str) -> None:
    """A refused key is named by its variable, never shown."""
    plane.key = "another"
    told(notebook.run(cell), "AuthError", "401", "Check the API key", "BL_API_KEY")


def test_wrong_key_at_the_sandbox(notebook: Kernel, server: Imitation) -> None:
    """The same when the sandbox itself refuses it."""
    server.fail(Fault("status", method="POST", status=401))
    told(notebook.run("%%sandbox_exec -s box\ntrue"), "AuthError", "401", "BL_API_KEY")


@pytest.mark.parametrize("cell", ["%sandbox_logs nobody", "%sandbox_logs nobody -f"])
def test_unknown_process(notebook: Kernel, cell: str) -> None:
    """It is said where it was looked for, and how to list those there are."""
    notebook.run("%sandbox use box")
    told(notebook.run(cell), "NotFoundError", "no process 'nobody' in box", "%sandbox ps")


@pytest.mark.parametrize("action", ["stop", "kill"])
def test_unknown_process_to_end(notebook: Kernel, action: str) -> None:
    """Stop and kill of what is not there are told, too."""
    notebook.run("%sandbox use box")
    told(notebook.run(f"%sandbox {action} nobody"), "NotFoundError", "nobody", "Check the name.")


def test_name_taken(notebook: Kernel) -> None:
    """A running process of that name is not touched, and the two ways out are named."""
    notebook.run("%sandbox use box")
    notebook.run("%%sandbox_exec -n taken --bg -o first\nsleep 60")
    shown = notebook.run("%%sandbox_exec -n taken\ntrue")
    told(shown, "StatusError", "'taken' is still running", "another name", "%sandbox stop taken")
    assert notebook.value("first.status") == "running"
    notebook.run("%sandbox kill taken")


def test_bad_folder(notebook: Kernel) -> None:
    """The folder is named, also behind a long command."""
    notebook.run("%sandbox use box")
    shown = notebook.run("%%sandbox_exec --cwd /no/such\n" + "echo a long line of shell\n" * 50)
    told(shown, "StatusError", "/no/such", "does not exist")


def test_unreachable_server(notebook: Kernel) -> None:
    """The address is named, without what it may carry, and what to look at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://me:{SECRET}@127.0.0.1:{port}"
    notebook.run("%sandbox use box")
    for cell in (f"%%sandbox_exec -s {url}\ntrue", f"%sandbox_logs x -s {url}"):
        told(
            notebook.run(cell),
            "TransportError",
            f"Cannot reach http://127.0.0.1:{port}",
            "Check the address and that the server runs.",
        )


def test_unreachable_control_plane(notebook: Kernel) -> None:
    """The same for the control plane."""
    notebook.run(
        "import os; url = os.environ['BL_API_URL']; os.environ['BL_API_URL'] = 'http://127.0.0.1:9'"
    )
    try:
        told(notebook.run("%sandbox list"), "TransportError", "Cannot reach http://127.0.0.1:9")
    finally:
        notebook.run("os.environ['BL_API_URL'] = url")


@pytest.mark.parametrize(
    "cell", ["%%sandbox_exec\ntrue", "%%sandbox_exec -n x\ntrue", "%sandbox_logs x", "%sandbox ps"]
)
def test_html_502_for_longer_than_the_patience(
    notebook: Kernel, server: Imitation, cell: str
) -> None:
    """A gateway's page is told as that, not shown; the command was not started twice."""
    notebook.run("%sandbox use box")
    server.reset()
    server.fail(Fault("status", path="^/process", times=1000, status=502))
    shown = notebook.run(cell)
    starts = server.requests["POST /process"]
    server.reset()
    text = told(shown, "StatusError", "answered 502", "HTML page from a gateway", "Try again")
    assert "<" not in text
    assert starts <= 1


def test_short_502_is_not_seen(notebook: Kernel, server: Imitation) -> None:
    """One that passes is nobody's business."""
    notebook.run("%sandbox use box")
    server.fail(Fault("status", path="^/process", method="GET", times=3, status=502))
    shown = notebook.run("%%sandbox_exec -n passing\necho all well")
    assert shown.error is None, shown.lines
    assert shown.stdout == "all well\n"


def test_what_is_no_sandbox(notebook: Kernel, plane: Plane) -> None:
    """A URL where something else answers is told as that."""
    plane.key = SECRET
    shown = notebook.run(f"%%sandbox_exec -s {plane.url.removesuffix('/v0')}/sandboxes/x\ntrue")
    told(shown, "NotFoundError", "404")
    told(notebook.run("%sandbox use ftp://h"), "BlaxelError", "http://127.0.0.1:8080")


def test_no_credential_at_all(notebook: Kernel) -> None:
    """Which variables are missing, where they were looked for, and the way without an account."""
    notebook.run("import os; key = os.environ.pop('BL_API_KEY')")
    try:
        shown = notebook.run("%sandbox use elsewhere")
        told(shown, "CredentialsError", "BL_API_KEY", "~/.blaxel/config.yaml", "bl login", "local")
    finally:
        notebook.run("os.environ['BL_API_KEY'] = key")
