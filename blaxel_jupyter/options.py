"""Read what was written behind a magic, and run what it asks for: shared by all magics.

Wrong options and arguments become usage errors of one line. Knows no sandbox and no task.
"""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Awaitable, Callable
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from blaxel_jupyter import bridge
from blaxel_jupyter.errors import BlaxelError
from blaxel_jupyter.frontend import has_widgets

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def parsed(magic: Any, line: str) -> Namespace | None:
    """Read a magic's options; with ``--help`` print them and return None."""
    if "--help" in line.split():
        print(magic.__doc__)
        return None
    try:
        words = shlex.split(line)  # as a shell does: IPython's own leaves the quotes in
    except ValueError as error:
        raise UsageError(f"The options cannot be read: {error}. Mind the quotes.") from None
    given: Namespace = magic.parser.parse_args(words)
    for name, value in vars(given).items():
        if value == [] != magic.parser.get_default(name) or (
            isinstance(value, list) and [] in value
        ):
            raise UsageError(
                f"The option for {name!r} has no value."
            )  # argparse takes "--" for none
    return given


def called(function: Callable[..., Awaitable[Any]], *args: object) -> Any:
    """Run on the loop thread; a wrong argument is a usage error of the magic."""
    return _told(lambda: bridge.call(function, *args))


def settled(
    function: Callable[[], Awaitable[Any]], pressed: Callable[[], int], *, cancelled: bool = True
) -> Any:
    """Do the same where interrupts are counted: what was started meanwhile is returned (``settle``)."""
    return _told(lambda: bridge.settle(function, pressed, cancelled=cancelled))


def _told(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ValueError as error:
        raise UsageError(str(error)) from None
    except KeyboardInterrupt:
        raise BlaxelError(
            "Interrupted before the answer came. `%sandbox ps` and `%task list` tell what still runs."
        ) from None


def variable_name(name: str) -> str:
    """Check what ``-o`` was given."""
    if not name.isidentifier() or iskeyword(name):
        raise UsageError(f"-o takes the name of a variable, not {name!r}.")
    return name


def display_mode(given: Namespace, setting: str, shell: InteractiveShell) -> Any:
    """Choose how a run is shown: by the magic's options, the setting, what the front end can do."""
    if given.quiet:
        return "quiet"
    if given.plain:
        return "plain"
    if setting != "auto":
        return setting
    return "panel" if has_widgets(shell) else "plain"
