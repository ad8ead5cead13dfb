"""Read what tools are given and what they return, in the shapes that agents' runtimes use.

Members that are missing or have another type are None (tasks protocol 3.7, 6.2).

Pure: imports json_values only.
"""

from __future__ import annotations

import shlex
from typing import Any, TypeVar

import msgspec

from blaxel_jupyter.json_values import UNREADABLE, lenient

Given = tuple[str | None, str | None]
Returned = tuple[str | None, str | None, int | None]

LARGEST = 1 << 63
"""Above what a column can hold."""


class _Input(msgspec.Struct, gc=False):
    command: str | None = None
    file_path: str | None = None
    path: str | None = None


class _Output(msgspec.Struct, gc=False):
    stdout: str | None = None
    stderr: str | None = None
    exitCode: int | None = None
    exit_code: int | None = None


_INPUT = msgspec.json.Decoder(_Input)
_OUTPUT = msgspec.json.Decoder(_Output)
_Members = TypeVar("_Members", _Input, _Output)


def _read(raw: msgspec.Raw, decoder: msgspec.json.Decoder[_Members]) -> _Members:
    """Read an input or output of whatever shape: members that are missing or of another type are None."""
    kind = decoder.type
    try:
        return decoder.decode(raw) if raw else kind()
    except UNREADABLE:
        value = lenient(raw)
    members = value if isinstance(value, dict) else {}
    command = members.get("command")
    if isinstance(command, list) and all(isinstance(word, str) for word in command):
        members["command"] = shlex.join(command)
    fit: dict[str, Any] = {
        name: member
        for name in kind.__struct_fields__
        if isinstance(member := members.get(name), int if "exit" in name else str)
        and not isinstance(member, bool)
    }
    return kind(**fit)


def read_input(raw: msgspec.Raw) -> Given:
    """Return the command and the path of a call; a command given as words is joined as a shell would."""
    members = _read(raw, _INPUT)
    return members.command or None, members.file_path or members.path or None


def read_output(raw: msgspec.Raw) -> Returned:
    """Return stdout, stderr and the exit code that a call's output names."""
    members = _read(raw, _OUTPUT)
    code = members.exit_code if members.exitCode is None else members.exitCode
    if code is not None and not -LARGEST < code < LARGEST:
        code = None
    return members.stdout, members.stderr, code
