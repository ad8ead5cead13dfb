"""A process that writes a little, waits until it is told to go on, and writes the rest."""

from __future__ import annotations

import asyncio
from pathlib import Path

from blaxel_jupyter import SandboxRun

TEXT = "".join(f"{i}\n" for i in range(1, 31))
"""All that it writes; three lines of it before it is told to go on."""


class Held:
    """The process's command, and the word that lets it go on: a file in a folder of the test's own."""

    def __init__(self, folder: Path) -> None:
        self._go = folder / "go-on"
        self.command = f"seq 1 3; until [ -e '{self._go}' ]; do sleep .02; done; seq 4 30"

    def let_go(self) -> None:
        """Let it write the rest and end."""
        self._go.touch()


async def three(run: SandboxRun) -> None:
    """Wait until a run that is followed has the first three lines."""
    while len(run.logs) < 3:  # noqa: ASYNC110  # a run has no event to wait for
        await asyncio.sleep(0.01)
