"""Know the front end of the running cell: whether it shows widgets, and how a cell may wait.

Imports nothing of the package; the magics use it.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def has_widgets(shell: InteractiveShell) -> bool:
    """Tell whether the front end that sent the running cell can show widgets.

    JupyterLab and Notebook 7 name the cell in the request; nbclient, papermill and the consoles do
    not. Voila does not either, but says so in the kernel's environment; Colab is known by its module.
    """
    if not hasattr(shell, "kernel"):
        return False
    if "google.colab" in sys.modules or in_voila():
        return True
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    return "cellId" in (parent or {}).get("metadata", {})


def in_voila() -> bool:
    """Tell whether the kernel serves a page of Voila, which shows no outputs that change later."""
    return os.environ.get("SERVER_SOFTWARE", "").startswith("voila")


class Awaiter:
    """Rewrite a cell that is one waiting magic to await it (an input transformer).

    The kernel then serves comm messages while the cell waits. A cell of anything else, a magic
    under ``%%time`` and the like, goes the blocking way.
    """

    has_side_effects = False

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell

    def __call__(self, lines: list[str]) -> list[str]:
        """Rewrite the lines of a cell, or leave them as they are (IPython's hook)."""
        code = str((self._shell.get_parent() or {}).get("content", {}).get("code", ""))
        if not self._shell.autoawait or not lines:
            return lines
        asked = re.match(r"\s*%%(sandbox_exec|task)\b|\s*%(sandbox_logs|task_logs)\b", code)
        if asked is None:
            return lines
        name = asked[1] or asked[2]
        magics = "BlaxelMagics" if name.startswith("sandbox") else "TaskMagics"
        awaited = f"await get_ipython().magics_manager.registry[{magics!r}].awaited({name!r}, "
        kind = "cell" if asked[1] else "line"
        call = f"get_ipython().run_{kind}_magic({name!r}, "
        if not lines[0].startswith(call):
            return lines
        return [awaited + lines[0][len(call) :], *lines[1:]]
