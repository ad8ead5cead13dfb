"""The task magics in a real IPython shell, against a real local service: each option, as text."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell

from blaxel_jupyter import NotFoundError, StatusError, TaskError, TaskRun
from blaxel_jupyter.task_magics import TaskMagics
from tests.local_service import until
from tests.notebook_runs import own_folders
from tests.shells import Shell, extended

STORY = "I look.\n$ echo one; echo two >&2\n> Why?\n$ ls /no/such # optional\nThat was all."
TOLD = [
    "I look.",
    "> bash: echo one; echo two >&2",
    "  │ one",
    "  │ two",
    "~ Why?",
    "> bash: ls /no/such",
    "  │ ls: cannot access '/no/such': No such file or directory",
    "  = failed: exit code 2",
    "That was all.",
    "-- finish: completed --",
]
TEXT = "I look.\nThat was all."


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    """One shell and one local service for the file."""
    with own_folders(tmp_path_factory.mktemp("tasks")), extended() as shell:
        yield shell


def magics(shell: InteractiveShell) -> TaskMagics:
    """Return the loaded magics."""
    found: TaskMagics = shell.magics_manager.registry["TaskMagics"]
    return found


@pytest.fixture
def bare(loaded: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> Shell:
    """The shell with no service selected."""
    magics(loaded).service = ""
    loaded.magics_manager.registry["BlaxelMagics"].sandbox = ""
    return Shell(loaded, capsys)


@pytest.fixture
def shell(bare: Shell) -> Shell:
    """The shell with ``local`` selected."""
    bare.run("%task use local")
    return bare


@pytest.fixture
def ended(shell: Shell) -> str:
    """The id of a run that has ended; its output was swallowed."""
    shell.run(f"%%task -q -o ended\n{STORY}")
    return str(shell["ended"].run_id)


# Which service ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    ["%%task\n$ touch here", "%task_logs x", "%task_logs x y", "%task list", "%task cancel x"],
)
def test_no_service_is_guessed(bare: Shell, cell: str) -> None:
    """With none selected nothing runs, and the error names the two ways to select one."""
    line = bare.misuse(cell)
    assert "Set BLACKBOX_API_KEY" in line
    assert "%task use local" in line


def test_bare_task_says_what_is_selected(bare: Shell) -> None:
    """Bare ``%task`` tells the selection, or how to make one."""
    bare.run("%task")
    assert bare.out.startswith("No task service is selected. Set BLACKBOX_API_KEY")
    bare.run("%task use local")
    assert bare.out == (
        "Task service: local. Agents run on this machine, as you, without isolation.\n"
    )
    bare.run("%task")
    assert bare.out == "Task service: local\n"


def test_selected_local_sandbox_is_where_tasks_run(bare: Shell) -> None:
    """Where sandboxes are local, so are tasks, as long as there is no key."""
    bare.run("%sandbox use local")
    bare.run("%task")
    assert bare.out == "Task service: local\n"


def test_key_selects_blackbox(bare: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``BLACKBOX_API_KEY`` set it is BLACKBOX, whatever runs sandboxes; ``use local`` overrides it."""
    bare.run("%sandbox use local")
    monkeypatch.setenv("BLACKBOX_API_KEY", "sk-CANARY")
    bare.run("%task")
    assert bare.out == "Task service: BLACKBOX\n"
    bare.run("%task use blackbox")
    assert bare.out == "Task service: BLACKBOX.\n"
    bare.run("%task use local")
    bare.run("%task")
    assert bare.out == "Task service: local\n"


def test_blackbox_without_a_key_is_not_selected(shell: Shell) -> None:
    """It is said at once which variable is missing, and what was selected stays."""
    assert "BLACKBOX_API_KEY missing" in str(shell.fail("%task use blackbox"))
    shell.run("%task")
    assert shell.out == "Task service: local\n"


def test_a_key_that_cannot_be_used_is_told(bare: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is set but broken is not passed by for the local service."""
    bare.run("%sandbox use local")
    monkeypatch.setenv("BLACKBOX_API_KEY", "sk-CANARY\nX-Other: 1")
    error = bare.fail("%%task\n$ touch here")
    assert "BLACKBOX_API_KEY" in str(error)
    assert "CANARY" not in str(error) + bare.out + bare.err


# %%task -------------------------------------------------------------------------------------------------


def test_story_and_result(shell: Shell) -> None:
    """What the agent says and does is told in order; the run is in ``_task``, with its tables."""
    shell.run(f"%%task\n{STORY}")
    told = [line for line in shell.out.splitlines() if not re.fullmatch(r"  = [\d.]+ m?s", line)]
    told = [re.sub(r" · [\d.]+ m?s$", "", line) for line in told]
    assert told[:-2] == TOLD[:-1]
    assert re.fullmatch(r"-- result: success · .* · 2 turns --", told[-2])
    assert told[-1] == TOLD[-1]
    assert shell.err == ""
    run = shell["_task"]
    assert isinstance(run, TaskRun)
    assert (run.status, run.source, run.text, run.error) == ("completed", "stream", TEXT, None)
    assert run.warnings == []
    calls = run.tool_calls.records()
    facts = [(one["command"], one["stdout"], one["stderr"], one["exit_code"]) for one in calls]
    assert facts[0] == ("echo one; echo two >&2", "one\n", "two\n", 0)
    assert facts[1][3] == 2
    assert [one["is_error"] for one in calls] == [False, True]
    assert [(one["kind"], one["text"]) for one in run.text_blocks.records()] == [
        ("text", "I look.\n"),
        ("reasoning", "Why?\n"),
        ("text", "That was all."),
    ]
    [row] = run.summary.records()
    assert (row["run_id"], row["n_tool_calls"], row["n_tool_errors"]) == (run.run_id, 2, 1)


def test_durations_are_measured(shell: Shell) -> None:
    """A call that begins and ends while the cell follows has its duration, in the table and the story."""
    shell.run("%%task\n$ sleep .3\n$ sleep .4")
    assert 350 < shell["_task"].tool_calls[1]["duration_ms"] < 5000
    assert re.search(r"> bash: sleep \.4\n  = (\d{3} ms|[\d.]+ s)\n", shell.out)


def test_prompt_is_literal(shell: Shell) -> None:
    """Braces, dollars and percent signs of the body are the agent's; those of the line IPython's."""
    shell.shell.user_ns["which"] = "chosen"
    shell.run("%%task -o {which}\n{which} $which %time !ls\n$ echo '{which}' \"$HOME\" | head -c 7")
    run = shell["chosen"]
    assert run.text == "{which} $which %time !ls\n"
    assert run.tool_calls[0]["stdout"] == "{which}"


def test_failure_is_two_lines_and_leaves_the_run(shell: Shell) -> None:
    """A failed run raises a TaskError of two lines; the variable has what was told."""
    error = shell.fail("%%task -o bad\nSo.\n$ echo x; exit 3\nnever said")
    assert isinstance(error, TaskError)
    run = shell["bad"]
    assert error.task == run.run_id
    assert str(error).splitlines() == [
        f"Run {run.run_id} failed. All of it is in bad.events, .tool_calls and .text.",
        "The service says: Step 1 failed with exit code 3: echo x; exit 3",
    ]
    assert (run.status, run.text, run.tool_calls[0]["exit_code"]) == ("failed", "So.\n", 3)
    assert "Traceback" not in shell.out + shell.err
    assert "  = failed: exit code 3" in shell.out
    assert "never said" not in shell.out


def test_no_raise_error(shell: Shell) -> None:
    """With ``--no-raise-error`` a failed run is a result."""
    shell.run("%%task --no-raise-error\n$ exit 4")
    assert shell["_task"].status == "failed"


def test_model_agent_repo_and_branch_reach_the_service(shell: Shell) -> None:
    """What is asked for is what the run has; what the service refuses is told in its words."""
    shell.run(
        "%%task --model any/model --repo https://github.com/o/r --branch main -q\n$ echo here"
    )
    [row] = shell["_task"].summary.records()
    assert (row["model"], row["repo_url"], row["base_branch"]) == (
        "any/model",
        "https://github.com/o/r",
        "main",
    )
    error = shell.fail("%%task --agent nobody\nHello")
    assert isinstance(error, StatusError)
    assert "agent must be one of" in str(error)


def test_bg_returns_at_once(shell: Shell) -> None:
    """``--bg`` returns while it runs; the run is followed all the same."""
    shell.run("%%task --bg -o back\nFirst.\n$ sleep .4\nThen.")
    assert (shell.out, shell["back"].final) == ("", False)
    until(lambda: shell["back"].final)
    assert (shell["back"].status, shell["back"].text) == ("completed", "First.\nThen.")


def test_quiet_and_plain(shell: Shell) -> None:
    """``-q`` shows nothing and still sets the variable; ``--plain`` is text."""
    shell.run("%%task -q -o silent\nhidden")
    assert (shell.out, shell.err, shell["silent"].text) == ("", "", "hidden")
    shell.run("%%task --plain --save all\nseen")
    assert shell.out.startswith("seen\n")


def test_text_is_sanitised(shell: Shell) -> None:
    """Escapes of text and outputs do nothing to the terminal; the run has them as they came."""
    text = "\x1b]0;title\x07\x1b[2Jplain \u202edlrow"
    shell.run(f"%%task\n{text}\n$ printf '\\033]8;;http://x\\007\\033[2Jout\\033[31mred\\n'")
    assert not re.search("[\x1b\x07\u202e]", shell.out)
    assert "plain" in shell.out
    assert "outred" in shell.out
    assert shell["_task"].text == f"{text}\n"
    assert shell["_task"].tool_calls[0]["stdout"] == "\x1b]8;;http://x\x07\x1b[2Jout\x1b[31mred\n"


def test_under_time(shell: Shell) -> None:
    """``%%time`` above it works and shows both."""
    shell.run("%%time\n%%task\ntimed")
    assert shell.out.startswith("timed\n")
    assert "Wall time" in shell.out


# %task_logs -----------------------------------------------------------------------------------------------


def test_logs_of_an_ended_run(shell: Shell, ended: str) -> None:
    """The same story from what is stored; no times are made up."""
    shell.run(f"%task_logs {ended}")
    assert (shell.out.splitlines(), shell.err) == (TOLD, "")
    run = shell["_task"]
    assert (run.status, run.source, run.text) == ("completed", "reconstructed", TEXT)
    live = shell["ended"].tool_calls.records()
    read = run.tool_calls.records()
    for name in ("tool_call_id", "command", "stdout", "stderr", "exit_code", "is_error", "state"):
        assert [row[name] for row in read] == [row[name] for row in live]
    assert {row["duration_ms"] for row in read} == {None}
    assert run.raw_events is None
    shell.run(f"%task_logs {ended} -q -o silent")
    assert (shell.out, shell["silent"].text) == ("", TEXT)
    shell.run(f"%task_logs {ended} --plain -f")
    assert shell.out.splitlines() == TOLD


def test_raw(shell: Shell, ended: str) -> None:
    """``--raw`` keeps the event lines as the service sent them."""
    shell.run(f"%task_logs {ended} --raw")
    run = shell["_task"]
    assert len(run.raw_events) == len(run.events)
    assert run.raw_events[-1] == (
        f'data: {{"type":"finish","runId":"{ended}","status":"completed"}}'
    )


def test_no_deltas(shell: Shell, ended: str) -> None:
    """``--no-deltas`` leaves the pieces out of the events; the text is the message's, and it is said so."""
    shell.run(f"%task_logs {ended} --no-deltas")
    run = shell["_task"]
    assert "text-delta" not in run.events.column("type")
    assert (run.text, run.source) == (TEXT, "reconstructed+messages")


def test_logs_so_far_then_follow(shell: Shell) -> None:
    """Without ``-f`` it returns at once and says what goes on; with it, each piece is told once."""
    shell.run("%%task --bg -q -o slow\nFirst.\n$ echo a; sleep .7\nThen.")
    run_id = shell["slow"].run_id
    until(lambda: len(shell["slow"].tool_calls))
    shell.run(f"%task_logs {run_id} -o now")
    assert shell.out.splitlines() == [
        "First.",
        "> bash: echo a; sleep .7",
        f"-- running: %task_logs {run_id} -f follows it --",
    ]
    assert (shell["now"].status, shell["now"].source) == ("running", "buffer")
    assert [row["is_error"] for row in shell["now"].tool_calls] == [None]
    shell.run(f"%task_logs {run_id} -f -o all")
    lines = [re.sub(r"(=|·) [\d.]+ m?s.*", "", line).rstrip() for line in shell.out.splitlines()]
    assert [line for line in lines if line] == [
        "First.",
        "> bash: echo a; sleep .7",
        "  │ a",
        "Then.",
        "-- result: success",
        "-- finish: completed --",
    ]
    assert (shell["all"].status, shell["all"].text) == ("completed", "First.\nThen.")
    shell["now"].wait(20)
    assert shell["now"].text == "First.\nThen."


@pytest.mark.parametrize("options", ["--no-deltas", "--raw", "--no-deltas --raw"])
def test_other_options_while_it_is_followed(shell: Shell, options: str) -> None:
    """Events stay in order, each once; the raw lines are those of the whole run."""
    shell.run("%%task --bg -q -o slow\nFirst.\n$ sleep .5\nThen.")
    until(lambda: len(shell["slow"].tool_calls))
    shell.run(f"%task_logs {shell['slow'].run_id} -f {options}")
    run = shell["_task"]
    shell["slow"].wait(20)
    assert run.text == "First.\nThen."
    assert list(run.events.column("type")) == list(shell["slow"].events.column("type"))
    assert run.warnings == []
    if "raw" in options:
        assert run.raw_events[-1].startswith('data: {"type":"finish"')
    else:
        assert run.raw_events is None


def test_logs_of_a_failed_run_raise_nothing(shell: Shell) -> None:
    """Looking at a failure is no failure."""
    shell.run("%%task -q --no-raise-error -o failed\n$ exit 3")
    shell.run(f"%task_logs {shell['failed'].run_id} -f")
    assert shell["_task"].status == "failed"
    assert "failed: exit code 3" in shell.out
    assert "Step 1 failed with exit code 3" in shell.out


# %task ------------------------------------------------------------------------------------------------


def test_list(shell: Shell, ended: str) -> None:
    """Runs are a table, page by page, with aware times; the status narrows it."""
    rows = {row["run_id"]: row for row in shell.run("%task list --limit 100").records()}
    row = rows[ended]
    assert row["status"] == "completed"
    assert row["created"] <= row["started"] <= row["completed"]
    assert row["created"].tzinfo is not None
    assert row["chat_id"] == shell["ended"].chat_id
    [first] = shell.run("%task list --limit 1").records()
    [second] = shell.run("%task list --limit 1 --page 2").records()
    assert first["run_id"] != second["run_id"]
    failed = shell.run("%task list --status failed").records()
    assert {row["status"] for row in failed} <= {"failed"}
    assert ended not in {row["run_id"] for row in failed}


def test_status_and_cancel(shell: Shell, ended: str) -> None:
    """A run's status is told; cancel ends it; one that has ended stays as it is."""
    shell.run("%%task --bg -q -o long\nUp.\n$ sleep 60")
    run_id = shell["long"].run_id
    until(lambda: len(shell["long"].tool_calls))
    shell.run(f"%task status {run_id}")
    assert shell.out == f"Run {run_id}: running (in_progress)\n"
    shell.run(f"%task cancel {run_id}")
    assert shell["long"].wait(20).status == "cancelled"
    shell.run(f"%task status {run_id}")
    assert shell.out == f"Run {run_id}: cancelled\n"
    shell.run(f"%task cancel {ended}")
    assert shell.out == f"Run {ended}: completed\n"
    for action in ("status", "cancel"):
        error = shell.fail(f"%task {action} nobody")
        assert isinstance(error, NotFoundError)
        assert "'nobody'" in str(error)


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("%task frobnicate", "use, list, status, cancel"),
        ("%task use", "local or blackbox"),
        ("%task use elsewhere", "local or blackbox"),
        ("%task status", "%task status RUN_ID"),
        ("%task cancel", "%task cancel RUN_ID"),
        ("%task list --page 0", "page counts from 1"),
        ("%task list --limit 101", "limit is 1 to 100"),
        ("%task list --page one", "--page"),
        ("%%task list\nx", "the body is the prompt"),
        ("%%task\n  \n", "The cell is empty"),
        ("%%task --nonsense\nx", "--nonsense"),
        ("%%task --model 'open\nx", "quot"),
        ("%%task -o 1a\nx", "-o"),
        ("%%task --on-interrupt stop\nx", "--on-interrupt"),
        ("%%task --save some\nx", "--save"),
        ("%task_logs", "run_id"),
        ("%task_logs x -o 1a", "-o"),
        ("%task_logs ..", "no run id"),
        ("%task_logs ' ' x", "no run id"),
        ("%task status ..", "no run id"),
    ],
)
def test_misuse_is_one_line(shell: Shell, cell: str, says: str) -> None:
    """What is typed wrong is told in one line that names it."""
    assert says in shell.misuse(cell)


# Help -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("magic", ["%task", "%%task", "%task_logs"])
def test_help_tells_every_option(shell: Shell, magic: str) -> None:
    """``--help`` and ``?`` tell every option, and run nothing."""
    before = len(shell.run("%task list --limit 100"))
    shell.run(f"{magic} --help" + ("\nHello" if magic.startswith("%%") else ""))
    printed = shell.out
    assert len(shell.run("%task list --limit 100")) == before
    found = shell.shell.object_inspect_text(magic)
    function = getattr(magics(shell.shell), magic.lstrip("%"))
    for action in function.parser._actions:
        for option in action.option_strings:
            assert re.search(rf"(?<![\w-]){option}\b", printed), option
            assert option in found
    assert "%%%%" not in printed


def test_reload_and_unload_leave_nothing(shell: Shell) -> None:
    """``%reload_ext`` keeps one of each; after ``%unload_ext`` no magic, no completion, no client is left."""
    shell.run("%reload_ext blaxel_jupyter")
    shell.run("%task use local")
    shell.run("%%task\nAgain.")
    assert shell.out.startswith("Again.\n")
    old = magics(shell.shell)
    shell.run("%unload_ext blaxel_jupyter")
    assert "TaskMagics" not in shell.shell.magics_manager.registry
    assert old._clients == {}
    known = shell.shell.magics_manager.magics
    assert not {"task", "task_logs"} & (set(known["line"]) | set(known["cell"]))
    assert "not found" in shell.misuse("%task list")
    assert "not found" in shell.misuse("%%task\nHello")
    shell.run("%load_ext blaxel_jupyter")
