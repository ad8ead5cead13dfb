"""The panel: a widget that shows runs live, and the static output that stays when a run is over.

The widget's libraries are imported when ``LogPanel`` is first used: loading the magics costs little.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blaxel_jupyter.panel.widget import LogPanel

__all__ = ["LogPanel"]


def __getattr__(name: str) -> Any:
    """Import ``LogPanel`` at its first use."""
    if name != "LogPanel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.widget").LogPanel
