"""Completion as a user gets it with Tab, from what the kernel has seen so far."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from blaxel_jupyter import complete
from tests.shells import extended


@pytest.fixture(scope="module")
def shell() -> Iterator[InteractiveShell]:
    """A shell with the extension, a selected sandbox and some processes seen."""
    with extended() as shell:
        shell.magics_manager.registry["BlaxelMagics"].sandbox = "mine"
        complete.remember("mine", "tests", "train", "tests")
        complete.remember("other", "elsewhere")
        complete.remember_runs("run-1", "run-2", "run-1")
        complete.remember_runs("seen-3")
        yield shell


def tab(shell: InteractiveShell, text: str) -> set[str]:
    """Press Tab at the end of the text, or where | stands."""
    text, _, rest = text.partition("|")
    with provisionalcompleter():
        found = shell.Completer.completions(text + rest, len(text))
        return {completion.text for completion in found}


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("%sandbox ", set(complete.ACTIONS)),
        ("%sandbox u", {"use"}),
        ("%sandbox de", {"delete"}),
        ("%sandbox use ", {"local", "mine", "other"}),
        ("%sandbox use m", {"mine"}),
        ("%sandbox stop ", {"tests", "train"}),
        ("%sandbox kill te", {"tests"}),
        ("%%sandbox_exec --sandbox ", {"local", "mine", "other"}),
        ("%%sandbox_exec -s o", {"other"}),
        ("%%sandbox_exec --lang ", {"sh", "python", "node"}),
        ("%%sandbox_exec --save ", {"tail", "all", "none"}),
        ("%%sandbox_exec --on-interrupt d", {"detach"}),
        ("%%sandbox_exec --keep", {"--keep-alive"}),
        ("%%sandbox_exec -n x --no", {"--no-raise-error"}),
        ("%sandbox_logs t", {"tests", "train"}),
        ("%sandbox_logs tests --ta", {"--tail"}),
        ("%sandbox_logs --st", {"--stdout", "--stderr"}),
        ("%%sandbox_exec --ti|\nsleep 1", {"--timeout"}),
        ("%task ", set(complete.TASK_ACTIONS)),
        ("%task c", {"cancel"}),
        ("%task use ", {"local", "blackbox"}),
        ("%task use b", {"blackbox"}),
        ("%task status ", {"run-1", "run-2", "seen-3"}),
        ("%task cancel run", {"run-1", "run-2"}),
        ("%task list --st", {"--status"}),
        ("%task list --status ca", {"cancelled"}),
        ("%task_logs s", {"seen-3"}),
        ("%task_logs run-1 r", {"run-1", "run-2"}),
        ("%task_logs run-1 --fol", {"--follow"}),
        ("%%task --agent co", {"codex"}),
        ("%%task --on-interrupt ", {"cancel", "detach"}),
        ("%%task --save a", {"all"}),
        ("%%task --mo|\nSay hello", {"--model"}),
    ],
)
def test_tab(shell: InteractiveShell, typed: str, offered: set[str]) -> None:
    """Options, sandboxes, processes and the words that an option takes."""
    known = {*complete.ACTIONS, *complete.TASK_ACTIONS, "local", "mine", "other", "tests", "train"}
    known |= {"elsewhere", "run-1", "run-2", "seen-3", "blackbox"}
    found = tab(shell, typed)
    assert offered <= found
    assert {text for text in found if text in known or text.startswith("--")} <= offered


@pytest.mark.parametrize("magic", ["%%sandbox_exec", "%sandbox_logs", "%%task", "%task_logs"])
def test_every_option_is_offered(shell: InteractiveShell, magic: str) -> None:
    """Tab after ``--`` offers all that ``--help`` tells."""
    magics = "TaskMagics" if "task" in magic else "BlaxelMagics"
    function = getattr(shell.magics_manager.registry[magics], magic.lstrip("%"))
    options = {o for action in function.parser._actions for o in action.option_strings}
    assert {o for o in options if o.startswith("--")} <= tab(shell, f"{magic} --")


def test_names_of_magics(shell: InteractiveShell) -> None:
    """The magics themselves complete."""
    assert "%%sandbox_exec" in tab(shell, "%%sandbox_e")
    assert {"%sandbox", "%sandbox_logs"} <= tab(shell, "%sandb")
    assert {"%task", "%task_logs"} <= tab(shell, "%tas")
    assert "%%task" in tab(shell, "%%tas")


def test_tab_asks_no_server(shell: InteractiveShell) -> None:
    """A sandbox whose server is away is no hindrance."""
    shell.magics_manager.registry["BlaxelMagics"].sandbox = "http://127.0.0.1:1"
    complete.remember("http://127.0.0.1:1", "seen")
    assert "seen" in tab(shell, "%sandbox_logs s")
    shell.magics_manager.registry["BlaxelMagics"].sandbox = "mine"


def test_memory_is_bounded() -> None:
    """The newest 200 processes of a sandbox are known."""
    complete.remember("many", *(f"p{i}" for i in range(300)))
    assert complete._PROCESSES["many"] == [f"p{i}" for i in range(100, 300)]


def test_newest_200_runs_are_known(shell: InteractiveShell) -> None:
    """One that is seen again is as new as that."""
    complete.remember_runs(*(f"many-{i}" for i in range(300)))
    complete.remember_runs("many-150")
    assert complete._RUNS[0] == "many-100"
    assert complete._RUNS[-2:] == ["many-299", "many-150"]
    assert len(complete._RUNS) == 200
    assert tab(shell, "%task_logs many-29") >= {f"many-29{i}" for i in range(10)}
    assert not tab(shell, "%task_logs many-0") & {"many-0"}


def test_completion_follows_a_reload_and_ends_with_an_unload() -> None:
    """After ``%reload_ext`` it knows the new selection; after ``%unload_ext`` it offers nothing of ours."""
    with extended() as shell:
        shell.run_line_magic("reload_ext", "blaxel_jupyter")
        shell.magics_manager.registry["BlaxelMagics"].sandbox = "reloaded"
        complete.remember("reloaded", "process-of-it")
        assert "process-of-it" in tab(shell, "%sandbox stop p")
        assert tab(shell, "%task us") == {"use"}
        assert len(shell.strdispatchers["complete_command"].strs["%task"].chain) == 1
        shell.run_line_magic("unload_ext", "blaxel_jupyter")
        assert "use" not in tab(shell, "%task us")
        assert "process-of-it" not in tab(shell, "%sandbox stop p")
        shell.run_line_magic("load_ext", "blaxel_jupyter")
