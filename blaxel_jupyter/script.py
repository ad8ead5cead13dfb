"""Turn a cell's body and options into what a sandbox runs: values put in, a script uploaded, variables.

Used by the magics alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shlex
import string
import warnings
from typing import Any

import anyio
from IPython.core.error import UsageError

from blaxel_jupyter.client import SandboxClient
from blaxel_jupyter.errors import StatusError, TransportError
from blaxel_jupyter.hidden import Hidden

INTERPRETERS = {"python": "python3 -u", "r": "Rscript", "deno": "deno run"}
"""Commands for languages whose name is not their interpreter's."""


def expand(body: str, lang: str, namespace: dict[str, Any]) -> str:
    """Replace each ``{expr}`` by its value, quoted for the language; ``{{`` and ``}}`` are braces.

    Shell words are quoted for the shell, a list becomes several words; Python gets ``repr``, other
    languages JSON.

    Raises:
        UsageError: the braces do not match, or an expression fails; nothing was run.
    """
    parts: list[str] = []
    try:
        for literal, expression, spec, conversion in string.Formatter().parse(body):
            parts.append(literal)
            if expression is not None:
                value = eval(expression, namespace)  # the user's own
                value = string.Formatter().convert_field(value, conversion)
                parts.append(_quoted(format(value, spec) if spec else value, lang))
    except Exception as error:  # whatever the user's expression raises, told in one line
        raise UsageError(
            f"--expand: {type(error).__name__}: {error}. Write literal braces as {{{{ and }}}}."
        ) from None
    return "".join(parts)


def _quoted(value: object, lang: str) -> str:
    if lang == "python":
        return repr(value)
    if lang not in {"sh", "bash", "zsh"}:
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return " ".join(shlex.quote(str(item)) for item in value)
    return shlex.quote(str(value))


async def command_for(client: SandboxClient, lang: str, body: str) -> tuple[str, str | None]:
    """Return the command for a body, and the script that it was uploaded as."""
    if lang == "sh":
        return body, None
    if not re.fullmatch(r"[A-Za-z0-9._+/-]+", lang):
        raise ValueError(f"--lang is the name of an interpreter, not {lang!r}.")
    script = f"/tmp/blaxel-jupyter-{secrets.token_hex(6)}"
    await client.upload(script, body if body.endswith("\n") else body + "\n")
    return f"{INTERPRETERS.get(lang, lang)} {script}", script


async def remove_script(client: SandboxClient, script: str | None) -> None:
    """Delete an uploaded script; that it is gone already, or its sandbox, is no error of the run."""
    if script is not None:
        with anyio.CancelScope(shield=True), contextlib.suppress(StatusError, TransportError):
            await client.remove(script)  # also when the start itself was interrupted


async def end_start(client: SandboxClient, name: str, command: str, *, kill: bool) -> None:
    """End a process whose start was interrupted before its answer came, if it is there and is ours."""
    with anyio.CancelScope(shield=True), contextlib.suppress(StatusError, TransportError):
        process = await client.process(name)
        if process.command == command and process.status == "running":
            await (client.kill(name) if kill else client.stop(name))


def environment(given: list[str]) -> dict[str, str]:
    """Read ``KEY`` and ``KEY=VALUE``; a key alone has the value of this environment.

    Raises:
        UsageError: not a variable's name, or not set here. No message holds a value.
    """
    variables = Hidden()
    for item in given:
        key, equals, value = item.partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            raise UsageError(f"-e takes KEY or KEY=VALUE, not {item.partition('=')[0]!r}.")
        if equals:
            warnings.warn_explicit(  # at no line of the cell: it would print the value
                f"-e {key}=… is saved with the notebook. For a secret, set {key} in the environment "
                f"and use -e {key}.",
                UserWarning,
                "%%sandbox_exec",
                1,
            )
        elif key not in os.environ:
            raise UsageError(
                f"-e {key}: it is not set in this environment. Set it, or use KEY=VALUE."
            )
        variables[key] = value if equals else os.environ[key]
    return variables
