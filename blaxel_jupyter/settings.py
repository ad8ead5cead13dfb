"""Read settings where users keep them: the environment, ``.env`` files, the CLI's config file.

It knows how these are read and what a value must look like, not what a setting means; its errors
name a place and a line, never a value. Only credentials may import it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml
from dotenv.parser import parse_stream
from dotenv.variables import parse_variables

from blaxel_jupyter.errors import CredentialsError

ENVIRONMENT = "the environment"
PLACES = f"{ENVIRONMENT}, .env in the current folder and its parents"
CONFIG = "~/.blaxel/config.yaml"

HEADER_SAFE = re.compile("[!-~]+")
"""What an HTTP header carries unharmed: visible ASCII."""


class Found(NamedTuple):
    """One setting that has a value; as text, its name and place only."""

    value: str
    name: str
    where: str

    def __str__(self) -> str:
        return f"{self.name} in {self.where}"

    def __repr__(self) -> str:
        return str(self)


class Place(NamedTuple):
    """One source of variables, in words, and what it holds."""

    where: str
    values: Mapping[str, str]

    def find(self, *names: str) -> Found | None:
        """Return the first of the variables that has a value; an empty one counts as missing."""
        for name in names:
            if (value := self.values.get(name, "")).strip():
                return Found(value, name, self.where)
        return None

    def __repr__(self) -> str:
        return f"<Place {self.where}>"


def variables(environ: Mapping[str, str] | None, cwd: Path | None) -> list[Place]:
    """Return the environment, then each ``.env`` from the current folder up, nearest first.

    A ``.env`` above in a folder where anyone may leave files, such as ``/tmp``, is passed over.

    Raises:
        CredentialsError: A ``.env`` file cannot be read or parsed.
    """
    environ = os.environ if environ is None else environ
    places = [Place(ENVIRONMENT, environ)]
    try:
        start = (cwd or Path.cwd()).absolute()
    except OSError:  # the current folder was deleted
        return places
    for folder in (start, *start.parents):
        path = folder / ".env"
        if os.path.isfile(path) and (folder == start or not _anyone_writes(folder)):
            where = ".env in the current folder" if folder == start else str(path)
            places.append(Place(where, _dotenv(path, where, environ)))
    return places


def find(places: Sequence[Place], *names: str) -> Found | None:
    """Return the first variable that has a value, place by place."""
    return next((found for place in places if (found := place.find(*names))), None)


def header_safe(found: Found) -> str:
    """Return the value.

    Raises:
        CredentialsError: It cannot be part of an HTTP header.
    """
    if not HEADER_SAFE.fullmatch(found.value):
        raise CredentialsError(
            f"{found} holds a space, a line break or a character that no HTTP header can carry.\n"
            "Set it again, without any of them."
        )
    return found.value


def address(found: Found) -> str:
    """Return the value, an http or https address, without one final slash.

    Raises:
        CredentialsError: It is not an address, or holds a user name.
    """
    try:
        parts = urlsplit(found.value)
        valid = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    except ValueError:
        valid = False
    if not valid or not HEADER_SAFE.fullmatch(found.value):
        raise CredentialsError(
            f"{found} is not an address.\nSet it to http://… or https://…, without a user name."
        )
    return found.value.removesuffix("/")


def cli_config_path(home: Path | None) -> Path:
    """Return where the ``bl`` CLI keeps its login."""
    return (home or Path(os.path.expanduser("~"))) / ".blaxel" / "config.yaml"


def cli_config(home: Path | None) -> dict[str, Any]:
    """Return the CLI's config file, every scalar a string; {} if there is none.

    Raises:
        CredentialsError: It cannot be read or parsed.
    """
    line = None
    try:
        config = yaml.load(_read(cli_config_path(home), CONFIG), Loader=yaml.BaseLoader)
        return config if isinstance(config, dict) else {}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
    except (yaml.YAMLError, RecursionError):
        pass
    raise _unreadable(CONFIG, line)


def text(mapping: Mapping[str, Any], *names: str) -> str:
    """Return the first of the entries that is text and not empty, else ``""``."""
    values = (mapping.get(name) for name in names)
    return next((value for value in values if isinstance(value, str) and value.strip()), "")


def section(mapping: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the mapping below ``name``, {} if there is none."""
    value = mapping.get(name)
    return value if isinstance(value, dict) else {}


def _anyone_writes(folder: Path) -> bool:
    mode = folder.stat().st_mode
    return bool(mode & stat.S_ISVTX and mode & stat.S_IWOTH)


def _dotenv(path: Path, where: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Parse as python-dotenv does, ``${NAME}`` included, but refuse a line that it would skip."""
    values: dict[str, str] = {}
    for binding in parse_stream(StringIO(_read(path, where))):
        if binding.error:
            skipped = binding.original.string
            blank = skipped[: len(skipped) - len(skipped.lstrip())].count("\n")
            raise _unreadable(where, binding.original.line + blank)
        if binding.key and binding.value is not None:
            known = {**environ, **values}
            atoms = parse_variables(binding.value)
            values[binding.key] = "".join(atom.resolve(known) for atom in atoms)
    return values


def _read(path: Path, where: str) -> str:
    line = None
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError:
        pass
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
    raise _unreadable(where, line)


def _unreadable(where: str, line: int | None) -> CredentialsError:
    """Name the place; raise it outside ``except``, since the parsers' errors quote the file."""
    at = f", line {line}," if line else ""
    return CredentialsError(f"{where}{at} cannot be read.\nRepair it, or move it away.")
