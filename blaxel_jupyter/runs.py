"""Be what a cell leaves behind: a run's facts, exact text and table, while it grows and after.

A run records what a follow delivers and answers from memory; attributes never touch the network.
The synchronous ``stop`` and ``kill`` go through the bridge. Made by client and magics.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from typing import Any, Literal

import anyio.to_thread

from blaxel_jupyter import bridge, digest
from blaxel_jupyter.clock import Clock
from blaxel_jupyter.columns import Spill
from blaxel_jupyter.digest import MEANINGS
from blaxel_jupyter.follow import FILES, Batch
from blaxel_jupyter.followed import Followed
from blaxel_jupyter.ledger import Ledger
from blaxel_jupyter.masks import NONE, Masks
from blaxel_jupyter.process import LogEntry, Process, Stream
from blaxel_jupyter.spool import Spool
from blaxel_jupyter.table import LOGS, Table

LATER = 1000
"""Lines from which on a block is split only when somebody looks at the table."""

DIGESTED = 10_000
"""Lines up to which a header finds errors by itself; in more they are looked for on a thread."""

LOOKED = 1000
"""Lines after which, and in which, the first error is looked for while lines arrive: a millisecond."""

REACH = 1_000_000
"""Lines in which errors are looked for at each end of a long log, for the header: at most a few seconds."""

Integrity = Literal["following", "complete", "repaired", "gap"]


@dataclass(frozen=True, slots=True)
class Controls:
    """How a run reaches its sandbox: each call makes what it needs on the loop it is called on."""

    follow: Callable[[SandboxRun], Awaitable[None]]
    stop: Callable[[str], Awaitable[None]]
    kill: Callable[[str], Awaitable[None]]


class SandboxRun(Followed):
    """One process in a sandbox: what it wrote, exactly, and how it ended.

    ``logs`` is a table that grows while the run is followed: one row a line, in the order of arrival
    (columns in the manual); it may be exported at any time. ``started`` and ``ended`` are our clock
    (aware, UTC), None where we were not there. ``await run`` follows to the end and returns the run.
    """

    def __init__(
        self,
        process: Process,
        controls: Controls,
        *,
        sandbox: str,
        local: bool = False,
        fresh: bool = False,
        timeout: float | None = None,
        streams: Sequence[Stream] = FILES,
        masks: Masks = NONE,
    ) -> None:
        super().__init__()
        self.process = process
        self.sandbox = sandbox
        self.local = local
        self.fresh = fresh
        self.timeout = timeout
        self.timed_out = False
        self.trouble: str | None = None
        self.variable = "run"  # its name in the notebook
        self._digest: tuple[int, dict[str, Any]] | None = None
        self._first_error = digest.First()
        self._disk_told = False
        self.ledgers = {stream: Ledger(stream, Spool()) for stream in streams}
        constants = {"sandbox": sandbox, "process": process.name}
        self.logs = Table(LOGS, constants=constants, spill=Spill(Spool), masks=masks)
        self.clock = Clock()
        self.started = self.clock.moment() if fresh else None
        self.ended: datetime | None = None
        self.asked = self.began = time.monotonic()
        self._controls = controls

    @property
    def name(self) -> str:
        """The process's name in its sandbox."""
        return self.process.name

    @property
    def command(self) -> str:
        """The command line that the sandbox runs."""
        return self.process.command

    @property
    def status(self) -> str:
        """``running``, ``completed``, ``failed``, ``stopped``, ``killed``, or ``unknown`` if it was lost."""
        return self.process.status

    @property
    def exit_code(self) -> int | None:
        """The exit code; -1 after a signal, None while it runs or where the server does not know."""
        return self.process.exit_code

    @property
    def stdout_bytes(self) -> bytes:
        """Exactly what the process wrote to stdout so far, without the bytes of gaps."""
        return self.ledgers["stdout"].data if "stdout" in self.ledgers else b""

    @property
    def stderr_bytes(self) -> bytes:
        """Exactly what the process wrote to stderr so far, without the bytes of gaps."""
        return self.ledgers["stderr"].data if "stderr" in self.ledgers else b""

    @property
    def stdout(self) -> str:
        """Stdout as text; bytes that are not UTF-8 become U+FFFD."""
        return self.stdout_bytes.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """Stderr as text; bytes that are not UTF-8 become U+FFFD."""
        return self.stderr_bytes.decode("utf-8", "replace")

    @property
    def integrity(self) -> Integrity:
        """Whether the output is all there: ``following``, ``complete``, ``repaired`` or ``gap``.

        ``repaired`` means that a log stream had to be corrected by the server's log; ``gap`` that bytes
        are known lost, each time told by a row of that kind.
        """
        ledgers = self.ledgers.values()
        if self._broken or any(ledger.missing or ledger.unknown_gap for ledger in ledgers):
            return "gap" if self._final or self._broken else "following"
        if not self._final:
            return "following"
        return "repaired" if any(ledger.repaired for ledger in ledgers) else "complete"

    def error_context(self, n: int = 20) -> Table:
        """Return the rows that say why the run failed, as a table with the columns of ``logs``.

        These are the first error line and the last error block (error lines and tracebacks that follow
        one another), each with ``n`` rows before and after it; ``seq`` tells where rows are left out.
        Where no line says that it is an error, the last lines of stderr stand for both; the table is
        empty if there are none. A line is an error by what it says itself (level error or fatal).

        Raises:
            ValueError: ``n`` is negative.
        """
        if n < 0:
            raise ValueError(f"n is a number of rows, not {n}")
        found = digest.errors(self.logs, self._first_error)
        return self.logs.filter(digest.around(found, n) if found else "seq<0")

    def stop(self) -> None:
        """Ask the process to end (SIGTERM to its process group)."""
        bridge.call(self.ask_stop)

    def kill(self) -> None:
        """End the process at once (SIGKILL to its process group)."""
        bridge.call(self.ask_kill)

    async def ask_stop(self) -> None:
        """Send stop on the running loop."""
        await self._controls.stop(self.name)

    async def ask_kill(self) -> None:
        """Send kill on the running loop."""
        await self._controls.kill(self.name)

    async def _send(self, verb: str) -> str:
        await (self.ask_kill() if verb == "kill" else self.ask_stop())
        return f"{verb} sent" + ("; kill ends it at once" if verb == "stop" else "")

    def _goes_on(self) -> str:
        return f"not followed any more: {self.name} still runs; Stop ends it, Follow shows the rest"

    async def _follow(self) -> None:
        await self._controls.follow(self)

    # What a follow does to a run ------------------------------------------------------------------------

    def record(self, batch: Batch) -> int:
        """Append a batch to the table; return the ``seq`` of its first row."""
        first = len(self.logs)
        received = self.clock.now()
        for rows in batch.rows:
            n = len(rows.lines)
            self.logs.extend(
                n,
                stream=rows.stream,
                text=rows.lines if n > LATER else rows.lines.texts(),
                kind=rows.kind,
                received=received,
                origin=batch.origin,
                missing_bytes=rows.missing_bytes,
            )
        self._tell_full_disk()
        looked = self._first_error.looked
        if len(self.logs) - looked >= LOOKED:
            self._first_error.look(self.logs, looked + LOOKED)
        if batch.process is not None:
            self._end(batch.process)
        return first

    def _tell_full_disk(self) -> None:
        """Say once, in a row, that the disk takes no more and that the output stays in memory."""
        troubles = [
            ledger.store.trouble for ledger in self.ledgers.values() if ledger.store.trouble
        ]
        if troubles and not self._disk_told:
            self._disk_told = True
            self.note(troubles[0])

    def entries(self, batch: Batch, first: int) -> list[LogEntry]:
        """Return a recorded batch as entries; ``first`` is the ``seq`` of its first row."""
        entries: list[LogEntry] = []
        for rows in batch.rows:
            seqs = range(first, first + len(rows.lines))
            facts = (
                rows.kind,
                self.logs.column("received")[first],
                batch.origin,
                rows.missing_bytes,
            )
            # Called from C: a follow of 400,000 lines spends most of its time here.
            entries += map(
                LogEntry, seqs, repeat(rows.stream), rows.lines.texts(), *map(repeat, facts)
            )
            first = seqs.stop
        return entries

    def _end(self, process: Process) -> None:
        ran = self.process.status == "running"
        self.process = process
        self.ended = self.clock.moment() if ran else None
        if self.timeout is not None and process.status == "killed":
            # The server's own timer may be quicker than ours: it starts between asked and began.
            self.timed_out |= time.monotonic() - self.asked >= self.timeout
        if self.timed_out:
            self.note(f"killed after {self.timeout:g} s (timeout)")
        self.message = None
        self._final = True

    def tell_trouble(self, trouble: str | None) -> None:
        """Show in the header what is wrong with the connection just now; None when it is well."""
        self.trouble = trouble

    def note(self, text: str) -> None:
        """Append a notice of ours, such as a timeout, as a row of the stream ``system``."""
        self.logs.extend(
            1,
            stream="system",
            text=[text],
            kind="notice",
            received=self.clock.now(),
            origin="live",
        )

    def header(self) -> dict[str, Any]:
        """Return the facts that a panel shows above the lines; times are UTC seconds or None."""
        masks = self.logs.masks
        command, masked = masks.apply(self.command)
        message = self.trouble or self.message
        return {
            "sandbox": self.sandbox,
            "process": self.name,
            "command": command,
            "status": self.status,
            "exit_code": self.exit_code,
            "started": self.started.timestamp() if self.started else None,
            "ended": self.ended.timestamp() if self.ended else None,
            "lines": len(self.logs),
            "bytes": sum(ledger.size for ledger in self.ledgers.values()),
            "integrity": self.integrity,
            "local": self.local,
            "final": (self._final and not self._explaining) or self._broken,
            "message": message and masks.text(message),
            "verbs": self.verbs("stop", "kill"),
            "variable": self.variable,
            "digest": self._digested(),
            "masked": masked + self.logs.masked,
            "partial": [
                [s, masks.piece(ledger.partial, begins=ledger.partial_is_whole)]
                for s, ledger in self.ledgers.items()
                if ledger.partial
            ],
        }

    async def explain(self) -> None:
        """Look for the errors of a bad end, for the header; of a long log in a thread, in its ends alone."""
        if self._is_bad and self._explained is None:
            await anyio.to_thread.run_sync(self._explain)

    @property
    def _explaining(self) -> bool:
        """Whether the follow that has brought the end goes on to look for errors."""
        return self.busy and self._is_bad and self._explained is None

    @property
    def _is_bad(self) -> bool:
        return self._final and self.status not in {"running", "completed"}

    @property
    def _explained(self) -> dict[str, Any] | None:
        n, known = len(self.logs), self._digest
        return known[1] if known and (known[0] == n or n > DIGESTED) else None

    def _explain(self) -> dict[str, Any]:
        n = len(self.logs)
        found = digest.errors(self.logs, self._first_error, REACH)
        facts = self._meaning()
        if found:
            facts["first"] = found.first
            facts["block"] = [found.block.start, found.block.stop] if found.block else None
        self._digest = n, facts
        return facts

    def _digested(self) -> dict[str, Any] | None:
        """Say what a bad end means, and where in the log the errors are; None for any other end."""
        if not self._is_bad:
            return None
        if self._explained is None and len(self.logs) <= DIGESTED:
            return self._explain()
        return self._explained or self._meaning()

    def _meaning(self) -> dict[str, Any]:
        code = -1 if self.exit_code is None else self.exit_code
        meaning = MEANINGS[124] if self.timed_out else MEANINGS.get(code)
        return {"meaning": meaning, "first": None, "block": None}

    def __repr__(self) -> str:
        """Tell name, place, fate and size in one line."""
        code = "" if self.exit_code is None else f", exit {self.exit_code}"
        n = len(self.logs)
        return (
            f"<SandboxRun {self.name} in {self.sandbox}: {self.status}{code}, "
            f"{n:,} line{'' if n == 1 else 's'}, {self.integrity}>"
        )
