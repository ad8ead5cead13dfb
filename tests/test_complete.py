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
    ],
)
def test_tab(shell: InteractiveShell, typed: str, offered: set[str]) -> None:
    """Options, sandboxes, processes and the words that an option takes."""
    known = {*complete.ACTIONS, "local", "mine", "other", "tests", "train", "elsewhere"}
    found = tab(shell, typed)
    assert offered <= found
    assert {text for text in found if text in known or text.startswith("--")} <= offered


@pytest.mark.parametrize("magic", ["%%sandbox_exec", "%sandbox_logs"])
def test_every_option_is_offered(shell: InteractiveShell, magic: str) -> None:
    """Tab after ``--`` offers all that ``--help`` tells."""
    function = getattr(shell.magics_manager.registry["BlaxelMagics"], magic.lstrip("%"))
    options = {o for action in function.parser._actions for o in action.option_strings}
    assert {o for o in options if o.startswith("--")} <= tab(shell, f"{magic} --")


def test_names_of_magics(shell: InteractiveShell) -> None:
    """The magics themselves complete."""
    assert "%%sandbox_exec" in tab(shell, "%%sandbox_e")
    assert {"%sandbox", "%sandbox_logs"} <= tab(shell, "%sandb")


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
