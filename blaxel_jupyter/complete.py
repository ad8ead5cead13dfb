"""Complete the magics' options, sandboxes and processes, from what was seen so far.

Nothing here asks a server: Tab must never wait. Used by magics alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

ACTIONS = ("use", "list", "create", "delete", "ps", "stop", "kill")
SANDBOX_COLUMNS = ("name", "status", "image", "memory", "region", "created", "url")
PROCESS_COLUMNS = ("name", "status", "exit_code", "pid", "command", "started", "ended")

SANDBOXES: set[str] = {"local"}
"""Names of sandboxes that were listed or used in this kernel."""

_PROCESSES: dict[str, list[str]] = {}


def remember(sandbox: str, *processes: str) -> None:
    """Note processes for completion, newest last, at most 200 a sandbox."""
    SANDBOXES.add(sandbox)
    known = _PROCESSES.setdefault(sandbox, [])
    known += [name for name in processes if name not in known]
    del known[:-200]


def register(shell: InteractiveShell, magics: Any) -> None:
    """Hook completion into IPython."""

    def complete(_: object, event: Any) -> list[str]:
        words = event.line[: len(event.text_until_cursor)].split()
        word = "" if event.text_until_cursor.endswith(" ") else words[-1]
        before = words[1:] if not word else words[1:-1]
        return [
            one for one in _candidates(words[0].lstrip("%"), before, magics) if one.startswith(word)
        ]

    for name in ("%sandbox", "%%sandbox_exec", "%sandbox_logs"):
        shell.set_hook("complete_command", complete, str_key=name)


def _candidates(magic: str, before: list[str], magics: Any) -> list[str]:
    processes = _PROCESSES.get(magics.sandbox, [])
    last = before[-1] if before else ""
    if last in {"-s", "--sandbox"}:
        return sorted(SANDBOXES)
    choices = {"--lang": ["sh", "python", "node"], "--save": ["tail", "all", "none"]}
    choices["--on-interrupt"] = ["stop", "detach", "kill"]
    if last in choices:
        return choices[last]
    if magic == "sandbox":
        if not before:
            return list(ACTIONS)
        return processes if before[0] in {"stop", "kill"} else sorted(SANDBOXES)
    function = getattr(magics, magic)
    options = [option for action in function.parser._actions for option in action.option_strings]
    return [*options, *(processes if magic == "sandbox_logs" else [])]
