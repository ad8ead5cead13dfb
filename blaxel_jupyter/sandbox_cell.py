"""Show a process's run in the cell that started it: its lines, its stop and kill, its failure.

Used by the sandbox magics alone.
"""

from __future__ import annotations

import sys
from itertools import groupby

from blaxel_jupyter.cell import Cell
from blaxel_jupyter.digest import MEANINGS
from blaxel_jupyter.errors import ProcessError
from blaxel_jupyter.magic_names import typed
from blaxel_jupyter.panel import static
from blaxel_jupyter.panel.escapes import visible_text
from blaxel_jupyter.panel.frames import ours
from blaxel_jupyter.runs import SandboxRun

PRINTED = 10_000
"""Lines that a notebook without widgets gets as text; the last 200 follow after the run's end."""

TAIL = 8000
"""Bytes at the end of a stream in which the last ten lines of an error are looked for."""


class SandboxCell(Cell[SandboxRun]):
    """One process's run shown in one cell."""

    second = "kill"
    _printed = 0

    def _open_panel(self) -> None:
        self._run.variable = self._show.variable
        super()._open_panel()

    def _print_new(self) -> None:
        logs, first = self._run.logs, self._printed
        last = len(logs)
        if self._in_kernel:
            last = min(last, PRINTED)
        if last > first:
            print_rows(self._run, first, last, colour=not self._in_kernel and sys.stdout.isatty())
            self._printed = last

    def _print_rest(self) -> None:
        rest = len(self._run.logs) - self._printed
        tail = min(rest, 200)
        if rest > tail:
            print(ours(f"{rest - tail} more lines; {self._show.variable}.logs has all of them"))
        print_rows(self._run, len(self._run.logs) - tail, len(self._run.logs))

    def _bundle(self) -> dict[str, str]:
        return bundle(self._run, self._show.save)

    def _failure(self, *, interrupted: bool) -> ProcessError | None:
        return failure(self._run, self._show.variable, interrupted=interrupted)

    def _goes_on(self) -> str:
        name, pid = self._run.name, self._run.process.pid
        again = typed(name, typed(pid, "PROCESS"))
        return f"{visible_text(name[:200])} goes on; %sandbox_logs {again} -f follows it again"


def bundle(run: SandboxRun, save: static.Save = "tail") -> dict[str, str]:
    """Return what a saved notebook keeps of a run."""
    return {"text/html": static.html(run, save=save), "text/plain": static.text(run, save=save)}


def failure(run: SandboxRun, variable: str, *, interrupted: bool = False) -> ProcessError | None:
    """Build the error for a run that did not end well, None if it did."""
    if run.status == "completed" and not interrupted:
        return None
    code = run.exit_code
    if run.timed_out:
        fate = f"was killed after {run.timeout:g} s (timeout)"
    elif run.status in {"stopped", "killed"}:
        fate = f"was {run.status}"
    elif run.status == "unknown":
        fate = "was lost: the server does not know how it ended"
    elif code is None or code < 0:
        fate = "was ended by a signal"
    else:
        meaning = f" ({MEANINGS[code]})" if code in MEANINGS else ""
        fate = f"failed with exit code {code}{meaning}" if code else "ended after the interrupt"
    tail = _tail(run)
    last = f"\nIts output ends with: {tail.splitlines()[-1][:200]}" if tail else ""
    return ProcessError(
        f"{run.name[:200]} {fate}. All output is in {variable}.logs, .stdout and .stderr.{last}",
        process=run.name,
        exit_code=code,
        tail=tail,
    )


def print_rows(run: SandboxRun, first: int, last: int, *, colour: bool = False) -> None:
    """Print rows as sanitised text: stdout to stdout, all else to stderr."""
    for start in range(first, last, PRINTED):
        part = slice(start, min(start + PRINTED, last))
        columns = [run.logs.column(name)[part] for name in ("stream", "kind")]
        columns.append(run.logs.shown("text", part.start, part.stop))
        for is_output, rows in groupby(zip(*columns, strict=True), _is_output):
            lines = [static.plain_row(kind, text, colour) for _, kind, text in rows]
            print("\n".join(lines), file=sys.stdout if is_output else sys.stderr, flush=True)


def _is_output(row: tuple[str, str, str]) -> bool:
    return row[0] == "stdout" and row[1] == "line"


def _tail(run: SandboxRun) -> str:
    """Return the last ten lines of stderr, else of stdout, sanitised."""
    for stream in ("stderr", "stdout"):
        ledger = run.ledgers.get(stream)
        data = ledger.tail(TAIL) if ledger else b""
        first, *more = data.decode("utf-8", "replace").rstrip("\n").split("\n")
        first = run.logs.masks.piece(first, begins=len(data) < TAIL)
        lines = [first, *run.logs.masks.lines(more)[0]][-10:]
        if any(line.strip() for line in lines):
            return "\n".join(static.plain(line) for line in lines)
    return ""
