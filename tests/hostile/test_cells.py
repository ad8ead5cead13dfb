"""Hostile text in cells, as a user gets it in a real shell: outputs, names, errors, tables and completions.

Processes are real, of the local service; what only a server could say comes from a hostile one.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from blaxel_jupyter import (
    BlaxelError,
    ProcessError,
    SandboxClient,
    TaskClient,
    TaskError,
    bridge,
    complete,
)
from blaxel_jupyter.magic_names import is_plain_name
from blaxel_jupyter.panel.escapes import is_plain
from blaxel_jupyter.panel.frames import of_log
from blaxel_jupyter.transport import status_error
from tests.hostile.payloads import BYTES, LINES, NAMES, Payload
from tests.hostile.server import SHAPES, Hostile, hostile
from tests.hostile.stories import events
from tests.imitation.tasks import TaskHabits, TaskImitation, scripted, task_imitation
from tests.notebook_runs import own_folders
from tests.shells import Shell, extended
from tests.test_complete import tab

WRITTEN = [one for one in LINES if one.name != "surrogates"]
"""What a process can write: lone surrogates are no bytes."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders of the file's own, with a service."""
    path = tmp_path_factory.mktemp("cells")
    with own_folders(path):
        yield path


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Iterator[InteractiveShell]:
    """One shell for the file."""
    with extended() as shell:
        shell.run_line_magic("sandbox", "use local")
        yield shell


@pytest.fixture
def shell(loaded: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> Shell:
    """The shell with ``local`` selected."""
    loaded.magics_manager.registry["BlaxelMagics"].sandbox = "local"
    return Shell(loaded, capsys)


@pytest.fixture(scope="module")
def server() -> Iterator[Hostile]:
    """A hostile server."""
    with hostile() as running:
        yield running


def is_harmless(text: str) -> bool:
    """Tell whether a text does nothing to a terminal and hides nothing."""
    return all(map(is_plain, text.split("\n")))


def test_lines_are_printed_as_text(shell: Shell, folder: Path) -> None:
    """What a process writes to either stream is printed line by line, harmless; the run has it exactly."""
    data = "".join(f"{one.text}\n" for one in WRITTEN).encode()
    (folder / "lines").write_bytes(data)
    shell.run(f"%%sandbox_exec --plain -o all\ncat {folder}/lines; cat {folder}/lines >&2")
    wanted = [of_log(one.seen) for one in WRITTEN]
    assert shell.out.split("\n")[:-1] == wanted
    assert shell.err.split("\n")[:-1] == wanted
    assert shell["all"].stdout_bytes == shell["all"].stderr_bytes == data
    assert [row["text"] for row in shell["all"].logs[: len(WRITTEN)]] == [
        one.text for one in WRITTEN
    ]
    shell.run("%sandbox_logs {all.name} --plain --stdout")
    assert shell.out.split("\n")[:-1] == wanted


@pytest.mark.parametrize("name", BYTES)
def test_bytes_come_back(shell: Shell, folder: Path, name: str) -> None:
    """Whatever bytes a process writes, to either stream, exactly they are in the run."""
    (folder / "bytes").write_bytes(BYTES[name])
    shell.run(f"%%sandbox_exec --plain -o raw\ncat {folder}/bytes; cat {folder}/bytes >&2")
    run = shell["raw"]
    assert run.stdout_bytes == run.stderr_bytes == BYTES[name]
    assert run.integrity == "complete"
    assert is_harmless(shell.out + shell.err)


def test_escapes_that_come_in_pieces(shell: Shell) -> None:
    """An escape, and a character, that the process writes a byte at a time is the same as at once."""
    pieces = r"'\033' ']0;ow' 'ned' '\007title\n' '\033[3' '1mred\n' '\342' '\202' '\254\n' '\033P' 'x\n'"
    shell.run(f'%%sandbox_exec --plain\nfor p in {pieces}; do printf "$p"; sleep .05; done')
    assert shell.out == "title\nred\n€\n␛Px\n"


@pytest.mark.parametrize("one", NAMES, ids=str)
def test_a_process_name(folder: Path, one: Payload) -> None:
    """A name is a name or is refused; no file is made by it anywhere but among the logs."""
    before = {path for path in folder.parent.rglob("*") if "blaxel-jupyter" not in path.parts}

    async def run() -> str:
        async with SandboxClient("local") as sandbox:
            done = await sandbox.exec("echo x", name=one.text, wait=True)
            assert (await sandbox.process(one.text)).name == one.text
            return done.stdout

    refused: Exception | None = None
    try:
        assert bridge.call(run) == "x\n"
    except (BlaxelError, ValueError) as error:
        refused = error
    assert is_harmless(str(refused))
    assert len(str(refused)) < 3000
    after = {path for path in folder.parent.rglob("*") if "blaxel-jupyter" not in path.parts}
    assert after <= before


@pytest.mark.parametrize("one", [one for one in NAMES[:-1] if "\0" not in one.text], ids=str)
def test_a_command(shell: Shell, one: Payload) -> None:
    """A command line is kept exactly, and named in one harmless line."""
    shell.shell.run_cell_magic(
        "sandbox_exec", "--plain --no-raise-error", f"true\n: '#' # {one.text}"
    )
    shell.run("None")
    run = shell["_sandbox"]
    assert one.text.strip() in run.command
    ps: Any = shell.run("%sandbox ps")
    assert is_harmless(ps._repr_html_())


@pytest.mark.parametrize("one", NAMES[:-1], ids=str)
def test_a_variable(shell: Shell, one: Payload) -> None:
    """The name of an environment variable is one, or is refused in a harmless line."""
    quoted = one.text.replace("'", "'\"'\"'")
    with pytest.raises((UsageError, BlaxelError)) as refused:
        shell.shell.run_cell_magic("sandbox_exec", f"-e '{quoted}=x'", "env")
    assert is_harmless(str(refused.value))
    assert "owned" not in os.listdir()


def is_an_error_line(error: BlaxelError) -> bool:
    """Tell whether an error is one harmless line that names the server and ends in our words."""
    [line] = error._render_traceback_()
    assert line == f"{type(error).__name__}: {error}"
    return is_harmless(line) and "127.0.0.1" in line and len(line) < 600 and line.endswith(".")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("one", LINES, ids=str)
def test_what_a_server_says_in_an_error(server: Hostile, one: Payload, shape: str) -> None:
    """Its words are one harmless part of one line."""
    server.text, server.shape = one.text, shape
    status, body = server.answer()
    error = status_error("GET", f"{server.url}/process", status, {}, body)
    assert is_an_error_line(error)


@pytest.mark.parametrize("one", LINES, ids=str)
def test_an_error_is_harmless(one: Payload) -> None:
    """Whatever an error quotes, it shows as text in a terminal, in a cell and in a log."""
    for error in (BlaxelError(f"a\n{one.text}"), TaskError(one.text, task="x")):
        assert is_harmless(str(error))
        assert is_harmless("\n".join(error._render_traceback_()))
        assert all(map(is_plain, traceback.format_exception_only(error)[-1].split("\n")))
    assert ProcessError(one.text, process="x", exit_code=1).args == (str(BlaxelError(one.text)),)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_error_of_a_server(server: Hostile, shape: str) -> None:
    """The same over a socket."""
    server.text, server.shape = LINES[1].text, shape

    async def ask() -> None:
        async with SandboxClient(url=server.url) as sandbox:
            await sandbox.processes()

    with pytest.raises(BlaxelError) as caught:
        bridge.call(ask)
    assert is_an_error_line(caught.value)


@pytest.mark.parametrize("one", NAMES, ids=str)
def test_a_table_of_processes(server: Hostile, shell: Shell, one: Payload) -> None:
    """What a server calls its processes stands in cells, escaped and cut; Tab offers only plain names."""
    server.text, server.shape = one.text, ""
    shell.run(f"%sandbox use {server.url}")
    rows: Any = shell.run("%sandbox ps")
    html = rows._repr_html_()
    assert html.count("<") == 2 + 2 * 2 + 2 * 2 * 7 + 2
    assert is_harmless(html)
    assert len(html) < 15_000
    offered = tab(shell.shell, "%sandbox stop ")
    assert (one.text in offered) == is_plain_name(one.text)


@pytest.mark.parametrize("one", [*LINES, *NAMES], ids=str)
def test_a_completion(shell: Shell, one: Payload) -> None:
    """Tab writes no code into a cell: only names that are nothing but names."""
    complete.remember("local", one.text)
    complete.remember_sandboxes(one.text)
    complete.remember_runs(one.text)
    for typed in ("%sandbox stop ", "%sandbox use ", "%sandbox_logs ", "%task status "):
        assert one.text not in tab(shell.shell, typed) or is_plain_name(one.text)


def test_a_task_is_printed_as_text(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an agent says, does and fails with is printed harmless, and our words are ours alone."""
    told = [event for i, one in enumerate(WRITTEN) for event in events(one.text, i)]
    with task_imitation(TaskHabits()) as service:
        service.environment(monkeypatch)
        run_id = service.add(scripted(told, ended=True))
        shell.run("%task use blackbox")
        shell.run(f"%task_logs {run_id} --plain")
        assert is_harmless(shell.out + shell.err)
        assert "window.canary" in shell.out
        for line in ("%task list", f"%task status {run_id}", f"%task_logs {run_id} -q"):
            shell.run(line)
            assert is_harmless(shell.out + shell.err)


@pytest.fixture(scope="module")
def service() -> Iterator[TaskImitation]:
    """A task service without runs."""
    with task_imitation(TaskHabits()) as running:
        yield running


@pytest.mark.parametrize("one", NAMES, ids=str)
def test_a_run_id(one: Payload, service: TaskImitation, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id is asked for as one part of a path, or is refused before anything is asked."""
    service.environment(monkeypatch)

    async def ask() -> None:
        async with TaskClient() as tasks:
            await tasks.status(one.text)

    with pytest.raises((BlaxelError, ValueError)) as caught:
        bridge.call(ask)
    assert is_harmless(str(caught.value))
    assert len(str(caught.value)) < 600
    asked = [seen.path for seen in service.requests if one.text in seen.path]
    assert set(asked) <= {f"/tasks/{one.text}/status"}
