"""Complete the magics' options, sandboxes, processes and task runs, from what was seen so far.

Nothing here asks a server: Tab must never wait. A name that is more than a name in a magic's line is never
offered. Used by magics alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.error import TryNext

from blaxel_jupyter.magic_names import is_plain_name

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

TASK_ACTIONS = ("use", "list", "status", "cancel")
ACTIONS = ("use", "list", "create", "delete", "ps", "stop", "kill")
SANDBOX_COLUMNS = ("name", "status", "image", "memory", "region", "created", "url")
PROCESS_COLUMNS = ("name", "status", "exit_code", "pid", "command", "started", "ended")

SANDBOXES: set[str] = {"local"}
"""Names of sandboxes that were listed or used in this kernel."""

_RUNS: list[str] = []
_PROCESSES: dict[str, list[str]] = {}


def remember_sandboxes(*names: str) -> None:
    """Note sandboxes for completion."""
    SANDBOXES.update(filter(is_plain_name, names))


def remember(sandbox: str, *processes: str) -> None:
    """Note processes for completion, newest last, at most 200 a sandbox."""
    remember_sandboxes(sandbox)
    known = _PROCESSES.setdefault(sandbox, [])
    known += [name for name in processes if name not in known and is_plain_name(name)]
    del known[:-200]


def remember_runs(*run_ids: str) -> None:
    """Note task runs for completion, newest last, each once, at most 200."""
    seen = dict.fromkeys(reversed([*_RUNS, *filter(is_plain_name, run_ids)]))
    _RUNS[:] = [*seen][199::-1]


def register(shell: InteractiveShell, magics: Any, tasks: Any) -> None:
    """Hook completion into IPython, in the place of an earlier hook; after ``%unload_ext`` it is silent."""

    def complete(_: object, event: Any) -> list[str]:
        if magics not in shell.magics_manager.registry.values():
            raise TryNext
        words = event.line[: len(event.text_until_cursor)].split()
        word = "" if event.text_until_cursor.endswith(" ") else words[-1]
        before = words[1:] if not word else words[1:-1]
        name = words[0].lstrip("%")
        if name.startswith("task"):
            found = _task_candidates(words[0], before, tasks)
        else:
            found = _candidates(name, before, magics)
        return [one for one in found if one.startswith(word)]

    names = ("%sandbox", "%%sandbox_exec", "%sandbox_logs", "%task", "%%task", "%task_logs")
    hooks = shell.strdispatchers.get("complete_command")
    for name in names:
        if hooks is not None:
            hooks.strs.pop(name, None)
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
    return [*_options(getattr(magics, magic)), *(processes if magic == "sandbox_logs" else [])]


def _task_candidates(magic: str, before: list[str], tasks: Any) -> list[str]:
    choices = {
        "--agent": ["claude", "codex", "grok"],
        "--on-interrupt": ["cancel", "detach"],
        "--save": ["tail", "all", "none"],
        "--status": ["queued", "running", "completed", "failed", "cancelled", "interrupted"],
    }
    last = before[-1] if before else ""
    if last in choices:
        return choices[last]
    recent = _RUNS[::-1]
    if magic == "%task":
        if not before:
            return list(TASK_ACTIONS)
        if before[0] == "use":
            return ["local", "blackbox"]
        return recent if before[0] in {"status", "cancel"} else _options(tasks.task)
    if magic == "%%task":
        return _options(tasks.task)
    return [*_options(tasks.task_logs), *recent]


def _options(function: Any) -> list[str]:
    return [option for action in function.parser._actions for option in action.option_strings]
