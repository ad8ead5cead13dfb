"""Find what is whole in JSON text that is cut, or that a reader gives up on.

Pure: the standard library only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

_SEPARATORS = re.compile(r"[\s,]*")
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*("?)|[][{}]', re.DOTALL)
_READER = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)
"""Says where a value ends; a number may have any length."""


def whole_values(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each value of an array begins and ends, from the first on, as long as they are whole.

    Args:
        text: what follows the array's opening bracket.
    """
    at = 0
    while True:
        at = past_separators(text, at)
        end = _end_of_value(text, at)
        if end is None:
            return
        yield at, end
        at = end


def past_separators(text: str, at: int) -> int:
    """Return the position after white space and commas."""
    found = _SEPARATORS.match(text, at)
    return found.end() if found else at


def _end_of_value(text: str, at: int) -> int | None:
    """Return where the JSON value at ``at`` ends; None where it is cut, or there is none."""
    try:
        return _READER.raw_decode(text, at)[1]
    except ValueError:
        return None
    except (
        RecursionError
    ):  # nested so deep that no reader takes it: count brackets, outside strings
        depth = 0
        for token in _BRACKETS.finditer(text, at):
            if token[0].startswith('"') and not token[1]:
                return None  # cut inside a string
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
            if depth <= 0:
                return token.end()
        return None
