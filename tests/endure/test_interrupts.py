"""A cell interrupted at any moment leaves no process, script, panel or task of the loop behind.

``python -m tests.endure interrupts`` tries many moments, here are a few.
"""

from __future__ import annotations

from pathlib import Path

from tests.endure.interrupts import found

MOMENTS = [0.01, 0.06, 0.3]
"""Seconds: before the start was sent, while it is answered and the panel made, while the cell waits."""


def test_interrupted_anywhere_nothing_is_left(tmp_path: Path) -> None:
    """In the kernel all is as before, and in the sandbox nothing runs."""
    assert found(tmp_path, MOMENTS) == []
