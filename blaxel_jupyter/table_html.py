"""Show rows as an HTML table: the first and the last of them, escaped, in bounded cells.

It knows nothing of where rows are kept. Pure; imported by table alone.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Rows = Callable[[int, int], list[dict[str, Any]]]
"""Returns the rows from one position to before another."""

_SHOWN = 5
_SHOWN_CHARACTERS = 200


def table_html(names: Sequence[str], n: int, rows: Rows) -> str:
    """Return an HTML table of bounded size, every value escaped.

    Args:
        names: the columns.
        n: how many rows there are.
        rows: gives them.
    """
    parts = [(0, n)] if n <= 2 * _SHOWN else [(0, _SHOWN), (n - _SHOWN, n)]
    lines = [_html_row("th", names)]
    for start, stop in parts:
        if start:
            lines.append(_html_row("td", ["…"] * len(names)))
        lines += [_html_row("td", row.values()) for row in rows(start, stop)]
    opening = '<table class="mathjax_ignore tex2jax_ignore">'  # "$" in a cell is no formula
    return f"{opening}\n{''.join(lines)}</table>\n<p>{n:,} rows</p>"


def _html_row(tag: str, values: Iterable[object]) -> str:
    cells = "".join(f"<{tag}>{html.escape(_visible(value))}</{tag}>" for value in values)
    return f"<tr>{cells}</tr>\n"


def _visible(value: object) -> str:
    """Show a value in one line: control and invisible characters escaped, long text cut."""
    if value is None:
        return ""
    text = str(value)
    cut = text[:_SHOWN_CHARACTERS]
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
    return shown if len(cut) == len(text) else f"{shown}… ({len(text):,} characters)"
