"""What goes wrong with a task, as a user sees it in a cell: short, the next step, no key; what came stays."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.imitation.task_scripts import truth
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
from tests.kernels import Kernel, Shown, kernel
from tests.local_service import until
from tests.notebook_runs import own_folders

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # jupyter_client's sockets

WRONG = "sk-CANARY-wr0ng"
OVER = recorded("01-success", ended=True)
LONG = invented(4, 300, ended=True)
FOREIGN = replace(invented(9, 20, ended=True), owner="other")
LIVE = invented(6, 60)

READS = ["%task_logs {id}", "%task_logs {id} -f", "%task status {id}", "%task cancel {id}"]
WRITES = ["%%task\nDo it.", "%task list"]


@pytest.fixture(scope="module")
def server() -> Iterator[TaskImitation]:
    with task_imitation(TaskHabits(after_end="buffer")) as running:
        for script in (OVER, LONG, FOREIGN):
            running.add(script)
        yield running


@pytest.fixture(scope="module")
def shared(server: TaskImitation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel whose environment has the key in it, and that is patient for half a second only."""
    folder: Path = tmp_path_factory.mktemp("bad-tasks")
    with own_folders(folder), pytest.MonkeyPatch.context() as patch:
        server.environment(patch)
        with kernel(folder, "import os\n%load_ext blaxel_jupyter") as running:
            running.run(
                "from blaxel_jupyter import task_api, task_client\n"
                "task_api.READ_PATIENCE = task_client.READ_PATIENCE = 0.5\n"
                "task_client.FOLLOW_PATIENCE = 1.0"
            )
            yield running


@pytest.fixture
def notebook(shared: Kernel, server: TaskImitation) -> Iterator[Kernel]:
    """The kernel with the right key and address; no fault of another test is left."""
    shared.run("_task = None")
    yield shared
    server._server.faults.clear()
    shared.run(
        f"os.environ.update(BLACKBOX_API_KEY={server.key!r}, BLACKBOX_API_URL={server.url!r})"
    )


def told(server: TaskImitation, shown: Shown, kind: str, *says: str, ends: str) -> None:
    """Assert that a cell ended with one or two lines, the last words the next step, no key anywhere."""
    lines = shown.lines
    assert 1 <= len(lines) <= 2, lines
    assert lines[0].startswith(f"{kind}: "), lines
    text = "\n".join(lines)
    for words in says:
        assert words in text
    assert text.endswith(ends), text
    assert len(text) < 400
    everything = text + shown.text + str(shown.displays) + str(shown.updates) + str(shown.error)
    for key in (server.key, server.other_key, WRONG):
        assert key not in everything
    assert not re.search(r"Traceback|File \"|0x[0-9a-f]{6}|\x1b|<html|<!doctype", everything)


def cell(source: str, run_id: str) -> str:
    """Write a run's id into a cell."""
    return source.replace("{id}", run_id)


# Who may not --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [*READS, *WRITES])
def test_wrong_key(notebook: Kernel, server: TaskImitation, source: str) -> None:
    """A refused key is named by its variable; the right one is taken from the next cell on."""
    notebook.run(f"os.environ['BLACKBOX_API_KEY'] = {WRONG!r}")
    shown = notebook.run(cell(source, OVER.run_id))
    told(server, shown, "AuthError", "answered 401: Unauthorized", ends="Check BLACKBOX_API_KEY.")
    assert shown.stdout == ""
    notebook.run(f"os.environ['BLACKBOX_API_KEY'] = {server.key!r}")
    shown = notebook.run(f"%task status {OVER.run_id}")
    assert shown.error is None, shown.lines
    assert shown.stdout == f"Run {OVER.run_id}: completed\n"


@pytest.mark.parametrize("source", READS)
def test_run_of_someone_else(notebook: Kernel, server: TaskImitation, source: str) -> None:
    """It is said whose it may be, and which key to look at."""
    shown = notebook.run(cell(source, FOREIGN.run_id))
    ends = "The run is another user's, or the plan has no Agent API: check BLACKBOX_API_KEY."
    told(server, shown, "AuthError", "answered 403: Forbidden", ends=ends)


@pytest.mark.parametrize("source", READS)
def test_unknown_run(notebook: Kernel, server: TaskImitation, source: str) -> None:
    """The run is named, and how to see those there are."""
    shown = notebook.run(cell(source, "no-such-run"))
    ends = "%task list shows the runs there are."
    told(server, shown, "NotFoundError", "'no-such-run'", ends=ends)


@pytest.mark.parametrize("source", READS)
@pytest.mark.parametrize("run_id", ["..", "' '", "a\x07b", "x" * 300])
def test_what_is_no_run_id(
    notebook: Kernel, server: TaskImitation, source: str, run_id: str
) -> None:
    """It is told in one line, and nobody is asked."""
    before = len(server.requests)
    shown = notebook.run(cell(source, run_id))
    told(server, shown, "UsageError", "is no run id", ends="shows the runs that there are.")
    assert len(shown.lines) == 1
    assert len(server.requests) == before


@pytest.mark.parametrize("source", [*READS, *WRITES])
def test_no_credential(notebook: Kernel, server: TaskImitation, source: str) -> None:
    """Both ways to go on are named; nothing is run on this machine instead."""
    notebook.run("del os.environ['BLACKBOX_API_KEY']")
    shown = notebook.run(cell(source, OVER.run_id))
    told(server, shown, "UsageError", "Set BLACKBOX_API_KEY", ends="(no account, no isolation).")
    shown = notebook.run("%task use blackbox")
    ends = "Set it to a key from app.blackbox.ai; the target `local` needs none."
    told(server, shown, "CredentialsError", "BLACKBOX_API_KEY missing", ends=ends)


# What breaks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [*READS, *WRITES])
def test_server_error(notebook: Kernel, server: TaskImitation, source: str) -> None:
    """The server's own words, and what to do."""
    server.fail(TaskFault("status", "/tasks", status=500, times=100))
    shown = notebook.run(cell(source, OVER.run_id))
    ends = "Try again, or look at the server's log."
    told(server, shown, "StatusError", "answered 500: Internal server error", ends=ends)


def test_error_words_are_made_short_and_harmless(notebook: Kernel, server: TaskImitation) -> None:
    """A long error body with escapes and line feeds is one short line."""
    body = b'{"error": "\\u001b[2Jone\\ntwo ' + b"word " * 400 + b'<b>last</b>"}'
    server.fail(TaskFault("status", "/tasks", status=500, body=body, times=100))
    shown = notebook.run(cell(READS[0], OVER.run_id))
    ends = "Try again, or look at the server's log."
    told(server, shown, "StatusError", "one two word", "last", ends=ends)


@pytest.mark.parametrize("source", [*READS, *WRITES])
def test_html_answer(notebook: Kernel, server: TaskImitation, source: str) -> None:
    """A web page in the place of an answer is told as that, not shown."""
    server.fail(TaskFault("html", "/tasks", times=100))
    shown = notebook.run(cell(source, OVER.run_id))
    ends = "Check BLACKBOX_API_URL." if "logs" in source else "Check the address."
    told(server, shown, "ProtocolError", "an HTML page", ends=ends)


def test_html_of_a_gateway(notebook: Kernel, server: TaskImitation) -> None:
    """So is the page of a gateway that stays in the way."""
    page = b"<html><body>" + b"<p>bad gateway</p>" * 500 + b"</body></html>"
    server.fail(TaskFault("status", "/tasks", status=502, body=page, times=1000))
    shown = notebook.run(cell(READS[0], OVER.run_id))
    ends = "Try again in a moment."
    told(server, shown, "StatusError", "502: an HTML page from a gateway", ends=ends)


@pytest.mark.parametrize("source", ["%task_logs {id}", *WRITES])
def test_refused_connection(notebook: Kernel, server: TaskImitation, source: str) -> None:
    """The address is named, without what it may carry, and what to look at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    notebook.run(f"os.environ['BLACKBOX_API_URL'] = 'http://127.0.0.1:{port}/api/v1'")
    shown = notebook.run(cell(source, OVER.run_id))
    where = f"Cannot reach http://127.0.0.1:{port}: "
    ends = "Check the address and that the server runs."
    told(server, shown, "TransportError", where, ends=ends)


@pytest.mark.parametrize("url", ["ftp://h", "not a url", f"http://me:{WRONG}@/x"])
def test_an_address_that_is_none(notebook: Kernel, server: TaskImitation, url: str) -> None:
    """It is told which variable is wrong."""
    notebook.run(f"os.environ['BLACKBOX_API_URL'] = {url!r}")
    shown = notebook.run("%task list")
    assert shown.error is not None
    assert "BLACKBOX_API_URL" in "\n".join(shown.lines)
    assert len(shown.lines) <= 2
    assert WRONG not in "\n".join(shown.lines)


# What arrived is kept ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["half", "short", "drop", "reset"])
@pytest.mark.parametrize("widgets", [False, True])
def test_truncated_body(notebook: Kernel, server: TaskImitation, kind: Any, widgets: bool) -> None:
    """What came of a cut log is shown and is in ``_task``; the error says how much it is."""
    server.fail(TaskFault(kind, LOGS, after=9000, times=100))
    shown = notebook.run(cell(READS[0], LONG.run_id), widgets=widgets)
    told(server, shown, "ProtocolError", "came cut", "are kept", ends="Read it again.")
    kept = notebook.value("[r['payload'] for r in _task.events]")
    assert 20 < len(kept) < len(LONG.events)
    assert f"{len(kept)} events" in shown.lines[0]
    text = notebook.value("_task.text")
    assert 0 < len(text) < len(truth(LONG.events)["text"])
    assert truth(LONG.events)["text"].startswith(text)
    story = shown.displays[0]["text/plain"] if widgets else shown.stdout
    blocks = notebook.value("[r['text'] for r in _task.text_blocks if r['kind'] == 'text']")
    assert blocks[0].split("\n")[0] in story
    assert "never finished" not in story, "the log is cut, not the run"
    assert "> bash: echo" in story
    if widgets:
        assert set(shown.displays[0]) == {"text/html", "text/plain"}


def test_truncated_once_is_nobodys_business(notebook: Kernel, server: TaskImitation) -> None:
    """A log that comes whole at the second time is just shown."""
    server.fail(TaskFault("short", LOGS))
    shown = notebook.run(cell(READS[0], LONG.run_id))
    assert shown.error is None, shown.lines
    assert notebook.value("_task.text") == truth(LONG.events)["text"]


def test_several_of_which_one_is_cut(notebook: Kernel, server: TaskImitation) -> None:
    """The others are whole, and of that one there is what arrived."""
    server.fail(TaskFault("half", f"{LONG.run_id}{LOGS}", times=100))
    shown = notebook.run(f"%task_logs {OVER.run_id} {LONG.run_id} nobody")
    told(server, shown, "BlaxelError", "2 of 3 logs could not be read", ends="")
    counts = notebook.value("[len(run.events) for run in _task]")
    assert counts[0] == len(OVER.events)
    assert 20 < counts[1] < len(LONG.events)
    assert counts[2] == 0
    lines = shown.stdout.splitlines()
    assert len(lines) == 3
    assert "came cut" in lines[1]
    assert "'nobody'" in lines[2]


@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("prefix", ["", "%%time\n"], ids=["awaiting", "blocking"])
def test_refusal_in_mid_follow(
    notebook: Kernel, server: TaskImitation, status: int, prefix: str
) -> None:
    """A follow that is refused on its way ends the cell; what was told stays told, and in ``_task``."""
    script = replace(LIVE.held(30), run_id=f"held-{status}-{len(prefix)}")
    server.add(script)
    server.go_on(script.run_id)
    running = notebook.start(f"{prefix}%task_logs {script.run_id} -f")
    running.until("> bash: echo")
    server.fail(TaskFault("status", "/tasks/", status=status, times=1000))
    server.refuse(0.0)
    running.finish()
    kind = {401: "AuthError", 403: "AuthError", 404: "NotFoundError"}[status]
    told(server, running, kind, ends=".")
    told_before = notebook.value("len(_task.events)")
    assert told_before == 30
    text = notebook.value("_task.text")
    assert truth(LIVE.events)["text"].startswith(text)
    assert text


@pytest.mark.parametrize("body", [None, b"<html><body>maintenance</body></html>"])
@pytest.mark.parametrize("status", [200, 500])
def test_a_service_that_stumbles_in_mid_follow(
    notebook: Kernel, server: TaskImitation, status: int, body: bytes | None
) -> None:
    """A 500, or a page, of a service that has told about the run is no end: it is asked again."""
    script = replace(LIVE.held(30), run_id=f"held-stumbles-{status}-{body is None}")
    server.add(script)
    server.go_on(script.run_id)
    running = notebook.start(f"%task_logs {script.run_id} -f").until("> bash: echo")
    body = body if status == 500 or body else b"not JSON"
    server.fail(TaskFault("status", "/tasks/", status=status, body=body, times=2))
    server.refuse(0.0)
    server.let_go(script.run_id)
    running.finish()
    assert running.error is None, running.lines
    assert notebook.value("_task.text") == truth(LIVE.events)["text"]
    assert notebook.value("_task.status") == "completed"


def test_service_stays_away_in_mid_follow(notebook: Kernel, server: TaskImitation) -> None:
    """The cell gives up with what it has; ``-f`` again, when the service is back, has it all."""
    script = replace(LIVE.held(30), run_id="held-away")
    server.add(script)
    server.go_on(script.run_id)
    running = notebook.start(f"%task_logs {script.run_id} -f").until("> bash: echo")
    server.refuse(3.0)
    running.finish()
    told(server, running, "FollowError", "stopped after 30 events", ends="Await the run to go on.")
    assert notebook.value("len(_task.events)") == 30
    until(lambda: reachable(server))
    server.let_go(script.run_id)
    shown = notebook.run(f"%task_logs {script.run_id} -f")
    assert shown.error is None, shown.lines
    assert notebook.value("_task.text") == truth(LIVE.events)["text"]


def reachable(server: TaskImitation) -> bool:
    """Whether the server takes connections again."""
    port = int(server.url.split(":")[2].split("/")[0])
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_create_whose_answer_is_lost(notebook: Kernel, server: TaskImitation) -> None:
    """It is not asked twice, and it is said that the run may be there all the same."""
    before = server.count("/tasks")
    server.fail(TaskFault("drop", "/tasks", method="POST", after=-1, times=5))
    shown = notebook.run("%%task\nDo it.")
    told(server, shown, "TransportError", "may have been created", ends="%task list shows it.")
    assert server.count("/tasks") == before + 1


@pytest.mark.parametrize("source", ["%%task\nDo it.", "%task_logs {id}", "%task list"])
@pytest.mark.parametrize("prefix", ["", "%%time\n"], ids=["awaiting", "blocking"])
def test_interrupt_while_no_answer_comes(
    notebook: Kernel, server: TaskImitation, source: str, prefix: str
) -> None:
    """■ ends a cell whose question is not answered, in one line that says how to look."""
    server.fail(TaskFault("delay", "/tasks", seconds=30, times=9))
    before = len(server.requests)
    running = notebook.start(prefix + cell(source, OVER.run_id))
    until(lambda: len(server.requests) > before)
    notebook.interrupt()
    running.finish(10)
    told(server, running, "BlaxelError", "Interrupted before", ends="tell what still runs.")


def test_interrupt_while_several_are_read(notebook: Kernel, server: TaskImitation) -> None:
    """■ ends the reading of several; what was read is kept."""
    server.fail(TaskFault("delay", f"{LONG.run_id}{LOGS}", seconds=30, times=9))
    running = notebook.start(f"%task_logs {OVER.run_id} {LONG.run_id}").until("completed")
    notebook.interrupt()
    running.finish(10)
    ends = "%task_logs reads the others again."
    told(server, running, "BlaxelError", "Interrupted: 1 of 2 logs read", ends=ends)
    assert notebook.value("[len(run.events) for run in _task]") == [len(OVER.events), 0]


def test_stream_that_never_works(notebook: Kernel, server: TaskImitation) -> None:
    """The run is read from its log instead: the cell shows all of it and ends well."""
    server.fail(TaskFault("drop", STREAM, after=-1, times=1000))
    shown = notebook.run("%%task\nDo it.")
    assert shown.error is None, shown.lines
    assert notebook.value("_task.status") == "completed"
    assert notebook.value("_task.text").strip() in shown.stdout
