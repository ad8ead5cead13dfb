"""The magics in a real IPython shell, against a real local service: each option, as text."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from blaxel_jupyter import NotFoundError, ProcessError, SandboxRun, StatusError
from tests.local_service import until
from tests.notebook_runs import own_folders
from tests.shells import Shell, extended


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    """One shell and one local service for the file."""
    with own_folders(tmp_path_factory.mktemp("magics")), extended() as shell:
        yield shell


@pytest.fixture
def bare(loaded: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> Shell:
    """The shell with no sandbox selected."""
    loaded.magics_manager.registry["BlaxelMagics"].sandbox = ""
    return Shell(loaded, capsys)


@pytest.fixture
def shell(bare: Shell) -> Shell:
    """The shell with ``local`` selected."""
    bare.run("%sandbox use local")
    return bare


# %sandbox -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["%%sandbox_exec\ntouch here", "%sandbox_logs x", "%sandbox ps"])
def test_no_target_is_guessed(bare: Shell, cell: str) -> None:
    """With none selected nothing runs, and the error names the two ways to select one."""
    line = bare.misuse(cell)
    assert "%sandbox use NAME" in line
    assert "%sandbox use local" in line


def test_bare_sandbox_says_what_is_selected(bare: Shell) -> None:
    """Bare ``%sandbox`` tells the selection, or how to make one."""
    bare.run("%sandbox")
    assert bare.out.startswith("No sandbox is selected. `%sandbox use NAME`")
    bare.run("%sandbox use local")
    assert "on this machine, as you, without isolation" in bare.out
    bare.run("%sandbox")
    assert bare.out == "Selected: local\n"


def test_use_a_url(bare: Shell) -> None:
    """Any server with the sandbox API can be used by its URL; user info and query are not shown."""
    bare.run("%sandbox use local")
    client = bare.shell.magics_manager.registry["BlaxelMagics"]._client("local")
    from blaxel_jupyter import bridge

    url = bridge.call(client.url)
    bare.run(f"%sandbox use {url}")
    assert bare.out == f"Selected: {url.split('/')[2]} at {url}.\n"
    bare.run("%%sandbox_exec\necho by url")
    assert bare.out == "by url\n"
    bare.run("%sandbox use http://me:CANARY@127.0.0.1:9/?key=CANARY")
    assert "CANARY" not in bare.out
    bare.run("%sandbox")
    assert "CANARY" not in bare.out


def test_create_list_use_delete(shell: Shell) -> None:
    """Named sandboxes of the local service are made, listed, used and deleted."""
    shell.run("%sandbox create local/two --image any/image --memory 2048 --region eu")
    assert "Select it: %sandbox use local/two" in shell.out
    rows = shell.run("%sandbox list").records()
    assert {"local", "two"} <= {row["name"] for row in rows}
    shell.run("%sandbox use local/two")
    shell.run("%%sandbox_exec\npwd")
    assert "/two/" in shell.out
    shell.run("%sandbox delete local/two")
    shell.run("%sandbox")
    assert "No sandbox is selected" in shell.out
    error = shell.fail("%%sandbox_exec -s local/two\ntrue")
    assert isinstance(error, NotFoundError)
    assert "%sandbox create local/two" in str(error)


def test_ps_stop_kill(shell: Shell) -> None:
    """Processes are listed, stopped and killed by name."""
    shell.run("%%sandbox_exec --bg -n ps-1 -o one\nsleep 60")
    shell.run("%%sandbox_exec --bg -n ps-2 -o two\nsleep 60")
    rows = {row["name"]: row for row in shell.run("%sandbox ps").records()}
    assert rows["ps-1"]["status"] == "running"
    assert rows["ps-1"]["exit_code"] is None
    assert rows["ps-1"]["command"].startswith("sleep 60")
    shell.run("%sandbox stop ps-1")
    assert "%sandbox kill ps-1" in shell.out
    shell.run("%sandbox kill ps-2")
    assert shell["one"].wait(20).status == "stopped"
    assert shell["two"].wait(20).status == "killed"
    assert isinstance(shell.fail("%sandbox stop nobody"), NotFoundError)


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("%sandbox frobnicate", "use, list, create, delete, ps, stop, kill"),
        ("%sandbox use", "%sandbox use NAME"),
        ("%sandbox stop", "%sandbox stop PROCESS"),
        ("%sandbox create x --memory much", "--memory"),
        ("%%sandbox_exec --nonsense\ntrue", "--nonsense"),
        ("%%sandbox_exec -n 'open\ntrue", "quot"),
        ("%%sandbox_exec\n  \n", "The cell is empty"),
        ("%%sandbox_exec -n 123\ntrue", "pid"),
        ("%%sandbox_exec -n a/b\ntrue", "file name"),
        ("%%sandbox_exec -o 1a\ntrue", "-o"),
        ("%%sandbox_exec -e 1A=2\ntrue", "KEY=VALUE"),
        ("%%sandbox_exec -e NOT_SET_ANYWHERE\ntrue", "NOT_SET_ANYWHERE"),
        ("%%sandbox_exec --lang 'sh; rm'\ntrue", "--lang"),
        ("%%sandbox_exec --expand\necho {nope}", "NameError"),
        ("%%sandbox_exec --expand\nawk '{print}' {", "braces"),
        ("%%sandbox_exec --on-interrupt laugh\ntrue", "--on-interrupt"),
        ("%%sandbox_exec --save some\ntrue", "--save"),
        ("%%sandbox_exec --timeout soon\ntrue", "--timeout"),
        ("%%sandbox_exec --timeout 0\ntrue", "seconds above 0"),
        ("%%sandbox_exec --timeout -1\ntrue", "seconds above 0"),
        ("%%sandbox_exec --timeout nan\ntrue", "seconds above 0"),
        ("%%sandbox_exec --timeout inf\ntrue", "seconds above 0"),
        ("%sandbox_logs", "process"),
        ("%sandbox_logs x --tail many", "--tail"),
    ],
)
def test_misuse_is_one_line(shell: Shell, cell: str, says: str) -> None:
    """What is typed wrong is told in one line that names it."""
    assert says in shell.misuse(cell)


# %%sandbox_exec -------------------------------------------------------------------------------------


def test_output_and_result(shell: Shell) -> None:
    """Lines go to stdout and stderr; the run is in ``_sandbox``, exact."""
    shell.run("%%sandbox_exec\nprintf 'a\\nb'; echo c >&2")
    assert (shell.out, shell.err) == ("a\nb\n", "c\n")
    run = shell["_sandbox"]
    assert isinstance(run, SandboxRun)
    assert (run.sandbox, run.status, run.exit_code, run.integrity) == (
        "local",
        "completed",
        0,
        "complete",
    )
    assert (run.stdout, run.stderr) == ("a\nb", "c\n")


def test_body_is_literal(shell: Shell) -> None:
    """Braces, dollars, backslashes and exclamation marks of the body are the shell's alone."""
    shell.shell.user_ns["HOME"] = "python's"
    body = "x='{HOME} $HOME !ls %time \\n'; printf '%s\\n' \"$x\" \"${x%%\\}*}\""
    shell.run(f"%%sandbox_exec\n{body}")
    assert shell["_sandbox"].stdout == "{HOME} $HOME !ls %time \\n\n{HOME\n"


def test_options_of_the_line_are_expanded_by_ipython(shell: Shell) -> None:
    """``$var`` and ``{expr}`` in the magic's own line are IPython's, as in every magic."""
    shell.shell.user_ns["which"] = "line"
    shell.run("%%sandbox_exec -n var-{which} -o run\necho {which}")
    assert (shell["run"].name, shell["run"].stdout) == ("var-line", "{which}\n")


def test_name_and_out(shell: Shell) -> None:
    """``-n`` names the process, ``-o`` the variable; a running name is refused, an ended one free."""
    shell.run("%%sandbox_exec -n named -o first --bg\nsleep 60")
    assert (shell["first"].name, shell["first"].status) == ("named", "running")
    error = shell.fail("%%sandbox_exec --name named --out second\ntrue")
    assert isinstance(error, StatusError)
    assert "Choose another name" in str(error)
    shell["first"].kill()
    shell["first"].wait(20)
    shell.run("%%sandbox_exec --name named --out second\necho free")
    assert shell["second"].stdout == "free\n"
    assert shell["first"].status == "killed"


def test_failure_is_short_and_leaves_the_run(shell: Shell) -> None:
    """A non-zero exit raises a ProcessError of two lines; the variable has everything."""
    error = shell.fail("%%sandbox_exec -n fails -o bad\necho all; echo oops >&2; exit 3")
    assert isinstance(error, ProcessError)
    assert (error.process, error.exit_code, error.tail) == ("fails", 3, "oops")
    assert str(error).splitlines() == [
        "fails failed with exit code 3. All output is in bad.logs, .stdout and .stderr.",
        "Its output ends with: oops",
    ]
    assert (shell["bad"].stdout, shell["bad"].exit_code) == ("all\n", 3)
    assert "Traceback" not in shell.out + shell.err


def test_no_raise_error(shell: Shell) -> None:
    """With ``--no-raise-error`` a non-zero exit is a result."""
    shell.run("%%sandbox_exec --no-raise-error\nexit 4")
    assert (shell["_sandbox"].status, shell["_sandbox"].exit_code) == ("failed", 4)


def test_signal_and_command_not_found_are_told(shell: Shell) -> None:
    """What an exit code means stands in the error."""
    assert "command not found" in str(shell.fail("%%sandbox_exec\nno-such-command"))
    assert "ended by a signal" in str(shell.fail("%%sandbox_exec\nkill -9 $$"))


def test_cwd(shell: Shell, tmp_path: Path) -> None:
    """``--cwd`` is where it starts, quoted like in a shell; a bad one is an error that names it."""
    folder = tmp_path / "with space"
    folder.mkdir()
    shell.run(f"%%sandbox_exec --cwd '{folder}'\npwd")
    assert shell.out == f"{folder}\n"
    error = shell.fail("%%sandbox_exec --cwd /no/such\n" + "true # " + "x" * 500)
    assert isinstance(error, StatusError)
    assert "'/no/such' does not exist" in str(error)


def test_env(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """``-e KEY`` passes this environment's value, masked where it is shown; nothing else is passed."""
    monkeypatch.setenv("PASSED_ON", "the value's")
    monkeypatch.setenv("NOT_PASSED_ON", "secret")
    shell.run('%%sandbox_exec -e PASSED_ON\necho "$PASSED_ON/$NOT_PASSED_ON"')
    assert (shell.out, shell.err) == ("[PASSED_ON masked]/\n", "")
    assert shell["_sandbox"].stdout == "the value's/\n"


def test_env_value_warns(shell: Shell) -> None:
    """``-e KEY=VALUE`` works, more than once, and warns without printing the value."""
    with pytest.warns(UserWarning, match="saved with the notebook") as caught:
        shell.run('%%sandbox_exec -e A="two words" --env B==\necho "$A$B"')
    assert shell.out == "[A masked]=\n"
    assert shell["_sandbox"].stdout == "two words=\n"
    assert [warning.filename for warning in caught] == ["%%sandbox_exec"] * 2
    assert "two words" not in str(caught[0].message)


def test_timeout(shell: Shell) -> None:
    """``--timeout`` kills the process and says so, in the error and in the table."""
    error = shell.fail("%%sandbox_exec --timeout 1\necho up; sleep 60")
    assert "was killed after 1 s (timeout)" in str(error)
    assert shell["_sandbox"].status == "killed"
    assert "killed after 1 s" in shell.err


def test_bg_returns_at_once(shell: Shell) -> None:
    """``--bg`` returns while it runs; the run is followed all the same."""
    shell.run("%%sandbox_exec --bg -o back\necho one; sleep .4; echo two")
    assert (shell.out, shell["back"].status) == ("", "running")
    until(lambda: shell["back"].final)
    assert shell["back"].stdout == "one\ntwo\n"


def test_expand_for_the_shell(shell: Shell) -> None:
    """``--expand`` quotes values for the shell; a list is several words, doubled braces are braces."""
    nasty = "a b'c\"$(id)`id`\\ ; *"
    shell.shell.user_ns.update(nasty=nasty, words=["x y", "*", 3], ratio=1 / 3)
    shell.run(
        "%%sandbox_exec --expand\n"
        "printf '%s|' {nasty} {words} {ratio:.2f} {nasty!r} ${{UNSET:-brace}} { 1 + 1 }"
    )
    assert shell["_sandbox"].stdout == f"{nasty}|x y|*|3|0.33|{nasty!r}|brace|2|"


def test_expand_for_python(shell: Shell) -> None:
    """For Python the values are literals."""
    value = {"k": ["a'b", None, True, 1.5]}
    shell.shell.user_ns["value"] = value
    shell.run("%%sandbox_exec --lang python --expand\nprint({value} == eval({value!r}), {{1}})")
    assert shell.out == "True {1}\n"


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node on this machine")
def test_node_and_its_expand(shell: Shell) -> None:
    """For JavaScript the values are JSON."""
    shell.shell.user_ns["value"] = {"k": ['a"b', None, True]}
    shell.run("%%sandbox_exec --lang node --expand\nconsole.log(JSON.stringify({value}))")
    assert shell.out == '{"k":["a\\"b",null,true]}\n'


@pytest.mark.parametrize("end", ["", "raise SystemExit(5)", "import os; os.remove(__file__)"])
def test_python_script_is_gone_afterwards(shell: Shell, end: str) -> None:
    """``--lang python`` runs the body from a file that nobody else can read, and removes it."""
    shell.run(
        "%%sandbox_exec --lang python --no-raise-error\n"
        "import os, stat\n"
        "print(__file__, oct(stat.S_IMODE(os.stat(__file__).st_mode)))\n"
        f"print('é\\t\\\\', flush=True)\n{end}"
    )
    path, mode = shell["_sandbox"].stdout.splitlines()[0].split()
    assert shell["_sandbox"].stdout.splitlines()[1] == "é\t\\"
    assert mode == "0o600"
    assert not os.path.exists(path)
    assert shell["_sandbox"].exit_code == (5 if "Exit" in end else 0)


def test_script_is_gone_when_the_start_fails(shell: Shell) -> None:
    """A start that is refused leaves no script behind."""
    before = {path.name for path in Path("/tmp").glob("blaxel-jupyter-*")}
    shell.fail("%%sandbox_exec --lang python --cwd /no/such\n1")
    assert {path.name for path in Path("/tmp").glob("blaxel-jupyter-*")} <= before


def test_other_interpreters(shell: Shell) -> None:
    """``--lang`` takes any interpreter; one that is not there is told."""
    shell.run("%%sandbox_exec --lang bash\nx=(1 2); echo ${#x[@]} ${x[1]}")
    assert shell.out == "2 2\n"
    assert "command not found" in str(shell.fail("%%sandbox_exec --lang nolang\n1"))


def test_keep_alive_and_restart(shell: Shell) -> None:
    """``--keep-alive`` and ``--restart-on-failure`` reach the server; all runs' lines are there."""
    shell.run("%%sandbox_exec --keep-alive --restart-on-failure 1 --no-raise-error\necho x; exit 2")
    process = shell["_sandbox"].process
    assert (process.keep_alive, process.restart_count, process.max_restarts) == (True, 1, 1)
    assert [line for line in shell.out.splitlines() if line == "x"] == ["x", "x"]


def test_wait_for_port(shell: Shell) -> None:
    """``--wait-for-port`` returns when something listens there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = f"import socket,time; time.sleep(.3); s=socket.create_server(('127.0.0.1',{port})); time.sleep(60)"
    shell.run(
        f"%%sandbox_exec --bg -o server --wait-for-port {port}\npython3 -c {shlex.quote(code)}"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    shell["server"].kill()
    shell["server"].wait(20)


def test_wait_for_port_of_a_process_that_dies(shell: Shell) -> None:
    """A process that ends before it listens does not hold the cell."""
    assert "exit code 6" in str(shell.fail("%%sandbox_exec --wait-for-port 59999\nexit 6"))


def test_quiet_and_plain(shell: Shell) -> None:
    """``-q`` shows nothing and still sets the variable; ``--plain`` is text."""
    shell.run("%%sandbox_exec -q -o silent\necho hidden")
    assert (shell.out, shell.err, shell["silent"].stdout) == ("", "", "hidden\n")
    shell.run("%%sandbox_exec --plain --save all\necho seen")
    assert shell.out == "seen\n"


def test_text_is_sanitised(shell: Shell) -> None:
    """Escapes of the output do nothing to the terminal; ``.stdout`` has them."""
    shell.run("%%sandbox_exec\nprintf '\\033]0;title\\007\\033[2Jplain\\033[31mred\\n'")
    assert "\x1b]" not in shell.out
    assert "\x1b[2J" not in shell.out
    assert "plain" in shell.out
    assert shell["_sandbox"].stdout == "\x1b]0;title\x07\x1b[2Jplain\x1b[31mred\n"


def test_under_time(shell: Shell) -> None:
    """``%%time`` above it works and shows both."""
    shell.run("%%time\n%%sandbox_exec\necho timed")
    assert shell.out.startswith("timed\n")
    assert "Wall time" in shell.out


# %sandbox_logs --------------------------------------------------------------------------------------


def test_logs_of_an_ended_process(shell: Shell) -> None:
    """All of it, one stream, the last lines, another variable, or silent."""
    shell.run("%%sandbox_exec -n told -q\nseq 1 5; echo err >&2")
    shell.run("%sandbox_logs told")
    assert (shell.out, shell.err) == ("1\n2\n3\n4\n5\n", "err\n")
    shell.run("%sandbox_logs told --stdout --tail 2 -o tail")
    assert (shell.out, shell.err) == ("4\n5\n", "")
    assert shell["tail"].stdout == "1\n2\n3\n4\n5\n"
    shell.run("%sandbox_logs told --stderr")
    assert (shell.out, shell.err) == ("", "err\n")
    shell.run("%sandbox_logs told --all --tail 0")
    assert (shell.out, shell.err) == ("", "")
    shell.run("%sandbox_logs told -q -o silent")
    assert (shell.out, shell["silent"].stdout) == ("", "1\n2\n3\n4\n5\n")
    assert (shell["silent"].status, shell["silent"].integrity) == ("completed", "complete")
    shell.run(f"%sandbox_logs {shell['silent'].process.pid} --plain -s local")
    assert shell.out.startswith("1\n")


def test_logs_so_far_then_follow(shell: Shell) -> None:
    """Without ``-f`` it returns at once; with it, it goes on until the end, each line once."""
    shell.run("%%sandbox_exec -n slow --bg -q\necho 1; sleep .6; echo 2")
    until(lambda: shell["_sandbox"].stdout)
    shell.run("%sandbox_logs slow -o now")
    assert shell.out == "1\n"
    assert shell["now"].integrity == "following"
    shell.run("%sandbox_logs slow -f -o all")
    assert shell.out == "1\n2\n"
    assert shell["all"].integrity == "complete"
    shell["now"].wait(20)
    assert shell["now"].stdout == "1\n2\n"


def test_logs_of_a_failed_process_raise_nothing(shell: Shell) -> None:
    """Looking at a failure is no failure."""
    shell.run("%%sandbox_exec -n failed-before -q --no-raise-error\nexit 3")
    shell.run("%sandbox_logs failed-before -f")
    assert shell["_sandbox"].exit_code == 3


# Help -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("magic", ["%sandbox", "%%sandbox_exec", "%sandbox_logs"])
def test_help_tells_every_option(shell: Shell, magic: str) -> None:
    """``--help`` and ``?`` tell every option, and run nothing."""
    shell.run(f"{magic} --help" + ("\ntouch nothing" if magic.startswith("%%") else ""))
    printed = shell.out
    found = shell.shell.object_inspect_text(magic)
    name = "sandbox_magic" if magic == "%sandbox" else magic.lstrip("%")
    function = getattr(shell.shell.magics_manager.registry["BlaxelMagics"], name)
    for action in function.parser._actions:
        for option in action.option_strings:
            assert re.search(rf"(?<![\w-]){option}\b", printed), option
            assert option in found
    assert "-h" not in printed.split()


def test_unload_removes_the_magics(shell: Shell) -> None:
    """After ``%unload_ext`` they are gone; loading again brings them back."""
    shell.run("%unload_ext blaxel_jupyter")
    assert "not found" in shell.misuse("%sandbox list")
    shell.run("%load_ext blaxel_jupyter")
    shell.run("%sandbox use local")
