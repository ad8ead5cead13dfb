r"""Set our own words apart from a log's in plain text, where there is neither colour nor class.

What we say of a log stands between ``-- `` and `` --``; of a story, behind ``>``, ``=``, ``~`` and ``│``.
A line of the log that reads like that gets a ``\`` in front, so that none can imitate ours; such a line that
begins with ``\`` itself gets one more. Pure; imported by what prints and by the saved outputs.
"""

from __future__ import annotations

import re

_LIKE_OURS = re.compile(r"\s*\\*-- .* --")
_LIKE_STORY = re.compile(r"\s*\\*(?:[>=~│](?: |$)|-- .* --$)")


def ours(text: str) -> str:
    """Return words of ours, of which parts may be quoted, as a line of their own."""
    return f"-- {text} --"


def of_log(line: str) -> str:
    """Return a line of a log, sanitised before, so that it cannot be taken for ours."""
    return f"\\{line}" if _LIKE_OURS.fullmatch(line) else line


def of_story(line: str) -> str:
    """Return a line that an agent said, sanitised before, so that it is no call, output or event."""
    return f"\\{line}" if _LIKE_STORY.match(line) else line
