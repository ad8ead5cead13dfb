"""Find what the user calls an object: the name in the notebook that code to be copied may use.

It reads IPython's namespace and changes nothing. Imported by the widget.
"""

from __future__ import annotations

import re

from IPython.core.getipython import get_ipython


def name_of(thing: object) -> str | None:
    """Return a variable that holds the object, else the cell output that it is, None for neither."""
    shell = get_ipython()
    if shell is None:
        return None
    outputs = shell.user_ns.get("Out")
    names = [str(name) for name, value in list(shell.user_ns.items()) if value is thing]
    named = [name for name in names if re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII)]
    if named:
        return named[-1]
    numbers = list(outputs.items()) if isinstance(outputs, dict) else []
    return next((f"Out[{n}]" for n, value in numbers if value is thing), None)
