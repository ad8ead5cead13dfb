"""Hold values that nobody is to see by chance: who prints a variable, or a traceback with all of them.

Pure; imported by what reads and sends credentials.
"""

from __future__ import annotations

from typing import Any


class Hidden(dict[str, Any]):
    """A dict whose repr tells only how much is in it."""

    def __repr__(self) -> str:
        """Return the number of values."""
        return f"<{len(self)} value{'' if len(self) == 1 else 's'}, not shown>"

    __str__ = __repr__


def hide(value: object) -> Any:
    """Return a dict, and all dicts and lists in it, so that their reprs show nothing; else the value."""
    if isinstance(value, dict):
        return Hidden((name, hide(each)) for name, each in value.items())
    return [hide(each) for each in value] if isinstance(value, list) else value
