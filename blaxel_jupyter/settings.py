"""Find variables in the environment and in ``.env`` files, and refuse values that cannot be used.

It knows how these are read, not what a variable means; its errors name a place and a line, never a
value. Only credentials and cli_login may import it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from dotenv.parser import parse_stream
from dotenv.variables import parse_variables

from blaxel_jupyter.errors import CredentialsError
from blaxel_jupyter.hidden import Hidden

ENVIRONMENT = "the environment"
PLACES = f"{ENVIRONMENT}, .env in the current folder and its parents"

HEADER_SAFE = re.compile("[!-~]+")
"""What an HTTP header carries unharmed: visible ASCII."""


LARGEST = 1 << 20
"""Characters of all values of one file together."""


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
    places = environment(environ)
    try:
        start = (cwd or Path.cwd()).absolute()
    except OSError:  # the current folder was deleted
        return places
    for folder in (start, *start.parents):
        path = folder / ".env"
        if os.path.isfile(path) and (folder == start or not _anyone_writes(folder)):
            where = ".env in the current folder" if folder == start else str(path)
            places.append(Place(where, _dotenv(path, where, places[0])))
    return places


def environment(environ: Mapping[str, str] | None) -> list[Place]:
    """Return the environment alone. No variable of a function holds it: tracebacks may tell those."""
    return [Place(ENVIRONMENT, os.environ if environ is None else environ)]


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
    if not _is_address(found) or not HEADER_SAFE.fullmatch(found.value):
        raise CredentialsError(
            f"{found} is not an address.\nSet it to http://… or https://…, without a user name."
        )
    return found.value.removesuffix("/")


def _is_address(found: Found) -> bool:
    try:
        parts = urlsplit(found.value)
        return bool(
            parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
        )
    except ValueError:
        return False


def _anyone_writes(folder: Path) -> bool:
    mode = folder.stat().st_mode
    return bool(mode & stat.S_ISVTX and mode & stat.S_IWOTH)


def _dotenv(path: Path, where: str, environment: Place) -> dict[str, str]:
    """Parse as python-dotenv does, ``${NAME}`` included, but refuse a line that it would skip."""
    found = _parsed(read(path, where), environment)
    if isinstance(found, int):  # raised where no variable of a function has a line of the file
        raise unreadable(where, found)
    return found


def _parsed(text: str, environment: Place) -> Hidden | int:
    """Return the values, or the number of the first line that cannot be read."""
    values, known = Hidden(), Hidden(environment.values)
    size = 0
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            skipped = binding.original.string
            blank = skipped[: len(skipped) - len(skipped.lstrip())].count("\n")
            return binding.original.line + blank
        if binding.key and binding.value is None:  # a name alone takes a value before it back
            values.pop(binding.key, None)
        elif binding.key and binding.value is not None:
            parts = [atom.resolve(known) for atom in parse_variables(binding.value)]
            size += sum(map(len, parts))
            if size > LARGEST:  # values made of values double with each line
                return binding.original.line
            values[binding.key] = known[binding.key] = "".join(parts)
    return values


def read(path: Path, where: str) -> str:
    """Return a file's text, ``""`` if there is no file.

    Raises:
        CredentialsError: It cannot be read, or is not UTF-8.
    """
    line = None
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError:
        pass
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
    raise unreadable(where, line)


def unreadable(where: str, line: int | None) -> CredentialsError:
    """Return an error that names the place.

    To be raised outside ``except``: the parsers' errors quote the file and must not be chained.
    """
    at = f", line {line}," if line else ""
    return CredentialsError(f"{where}{at} cannot be read.\nRepair it, or move it away.")
