"""Watch for commands that multiply without end, and put an end to them.

The count of all tasks of the machine is one small read; only when it has grown is it looked who they are.
"""

from __future__ import annotations

import asyncio

from blaxel_jupyter.local import family, limits
from blaxel_jupyter.local.sandboxes import Sandboxes

LOOK = 0.25
"""Seconds between two looks at the count."""
TURNS = 40
"""Looks after which a large crowd is counted again, though it has not grown."""


async def watch(sandboxes: Sandboxes) -> None:
    """Look until cancelled; end each command that has more tasks than ``limits.most_tasks``."""
    most = limits.most_tasks()
    margin = max(1, min(200, most // 4))
    base = turn = 0
    while True:
        now = limits.tasks_of_all()
        base, turn = min(base, now), turn + 1
        if now >= base + margin or (turn % TURNS == 0 and now > most):
            base = now
            for key, tasks in family.crowds().items():
                if tasks > most:
                    _end(sandboxes, key, most)
        await asyncio.sleep(LOOK)


def _end(sandboxes: Sandboxes, key: str, most: int) -> None:
    for processes in sandboxes:
        process = processes.by_key(key)
        if process is not None:
            processes.overrun(process, f"it had more than {most} processes and threads")
