"""Decide when a process is over, and whether its name is still its own.

By the liveness probe and the rules of protocol 3.6; it reads no output. Follow and the client use it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from blaxel_jupyter.errors import NotFoundError
from blaxel_jupyter.process import Process
from blaxel_jupyter.reads import Reads

CONFIRMED = 0.5
"""Seconds for which a server has to say that it knows no such process, until that is believed."""


class End:
    """Decide when a process is over, by the liveness probe and the rules of protocol 3.6."""

    def __init__(self, reads: Reads, process: Process, clock: Callable[[], float]) -> None:
        self._reads = reads
        self._process = process
        self._clock = clock
        self._seen: Process | None = None
        self._since = 0.0
        self._missed: float | None = None
        self._contradictions = 0
        self.near = False
        self.replaced = False

    async def reached(self) -> Process | None:
        """Return the final facts, None while the process may still write or be started again."""
        if self.replaced:
            return self.lost()
        if self._contradictions < 3 and await self._reads.alive(self._process.pid):
            self.near, self._missed = False, None
            return None
        try:
            process = await self._reads.process()
        except NotFoundError as error:
            if error.from_gateway:
                raise
            now, self.near = self._clock(), True
            self._missed = now if self._missed is None else self._missed
            return self.lost() if now - self._missed >= CONFIRMED else None
        self._missed = None
        if process.pid != self._process.pid:
            self.replaced = True
            return self.lost()
        self.near = process.status != "running"
        if not self.near:
            # Started again under another OS pid, or a server whose /proc cannot be read.
            self._contradictions += 1
            return None
        if self._seen is None or _facts(self._seen) != _facts(process):
            self._seen, self._since = process, self._clock()
        return process if self._clock() - self._since >= _settling(process) else None

    async def is_replaced(self) -> bool:
        """Look whether a newer process has taken the name, and with it the files (protocol 4.7)."""
        try:
            self.replaced = (await self._reads.process()).pid != self._process.pid
        except NotFoundError as error:
            if error.from_gateway:
                raise
        return self.replaced

    def lost(self) -> Process:
        """Return what is known of a process that the server knows no more."""
        return replace(self._process, status="unknown", exit_code=None, ended=None)


def _facts(process: Process) -> tuple[object, ...]:
    return process.status, process.started, process.ended, process.restart_count


def _settling(process: Process) -> float:
    """Seconds that the same answer has to stand before it is final."""
    if process.ended is None:
        return 5.0  # not reaped yet, or an entry restored without an end that never gets one
    if process.restarts_left:
        return 10.0  # the pause is 1 s; after this no restart can be coming
    if process.status == "failed" and process.restart_on_failure:
        return 1.5  # the pause before the last restart looks just like the end
    return 0.0
