"""Look for keys that must be nowhere: in every spelling, and counting the places that were searched."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections import Counter
from functools import cache
from pathlib import Path

from tests.kernels import Shown


@cache
def spellings(key: str) -> tuple[bytes, ...]:
    """Return a key's significant part in every spelling in which it could be left somewhere."""
    found = {key, urllib.parse.quote(key, safe=""), urllib.parse.quote(key)}
    found |= {json.dumps(key)[1:-1], key.removeprefix("sk-"), repr(key)[1:-1]}
    texts = [text.encode() for text in found]
    for shift in range(3):  # in the middle of a longer text, too
        padded = b"\0" * shift + key.encode()
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            texts.append(encode(padded)[4 : len(padded) // 3 * 4])
    return (*texts, key.encode().hex().encode(), key.encode("utf-16-le"))


class Search:
    """Search places for keys; ``places`` counts them by kind, ``size`` their bytes."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys
        self.places: Counter[str] = Counter()
        self.size = 0

    def clean(self, data: str | bytes, where: str, kind: str = "text") -> None:
        """Assert that no key is there."""
        data = data.encode("utf-8", "replace") if isinstance(data, str) else data
        self.places[kind] += 1
        self.size += len(data)
        for key in self.keys:
            for text in spellings(key):
                assert text not in data, f"{key[:9]}… is in {where}: {_around(data, text)!r}"

    def folder(self, folder: Path, kind: str = "file") -> set[str]:
        """Assert that no file below a folder has a key; return their names."""
        paths = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        for path in paths:
            self.clean(path.read_bytes(), str(path), kind)
        return {path.name for path in paths}

    def told(self) -> str:
        """Return how much was searched, in words."""
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(self.places.items()))
        return f"{sum(self.places.values())} places, {self.size:,} bytes: {kinds}"


def everything(shown: Shown) -> str:
    """Return all that a cell has left: text, outputs, errors, and what was sent to its widgets."""
    parts = [shown.text, *shown.lines, *map(str, (shown.displays, shown.updates, shown.error))]
    for content, buffers in shown.comms:
        parts += [str(content), *(bytes(each).decode("utf-8", "replace") for each in buffers)]
    return "\n".join(parts)


def _around(data: bytes, text: bytes) -> bytes:
    at = data.index(text)
    return data[max(0, at - 60) : at] + b"<HERE>" + data[at + len(text) : at + len(text) + 20]


SEEN = """
import gc
def shown():
    for one in gc.get_objects():
        if str(type(one).__module__).startswith('blaxel_jupyter'):
            yield repr(one)
print('\\n'.join(shown()))
"""
"""Prints the repr of every object of the package."""

CAUGHT = """
import traceback
try:
    if {body!r} is None:
        get_ipython().run_line_magic({magic!r}, {line!r})
    else:
        get_ipython().run_cell_magic({magic!r}, {line!r}, {body!r})
except Exception as error:
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    print('caught', ''.join(told.format()), error.args, vars(error), sep='\\n')
    print(vars(error.__cause__) if error.__cause__ else '')
"""
"""Prints a magic's error with every local variable of every function on the way."""

DEBUG = """
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, force=True)
logging.getLogger().addHandler(logging.FileHandler('debug.log'))
"""
"""Logs everything of every library, to the cell and to a file."""
