"""Show a process's run in the cell that started it: its lines, its stop and kill, its failure.

Used by the sandbox magics alone.
"""

from __future__ import annotations

import sys

from blaxel_jupyter.cell import Cell
from blaxel_jupyter.digest import MEANINGS
from blaxel_jupyter.errors import ProcessError
from blaxel_jupyter.panel import static
from blaxel_jupyter.runs import SandboxRun

PRINTED = 10_000
"""Lines that a notebook without widgets gets as text; the last 200 follow after the run's end."""


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
            print(f"-- {rest - tail} more lines; {self._show.variable}.logs has all of them --")
        print_rows(self._run, len(self._run.logs) - tail, len(self._run.logs))

    def _bundle(self) -> dict[str, str]:
        return bundle(self._run, self._show.save)

    def _failure(self, *, interrupted: bool) -> ProcessError | None:
        return failure(self._run, self._show.variable, interrupted=interrupted)

    def _goes_on(self) -> str:
        return f"{self._run.name} goes on; %sandbox_logs {self._run.name} -f follows it again"


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
    last = f"\n{tail.splitlines()[-1][:200]}" if tail else ""
    return ProcessError(
        f"{run.name} {fate}. All output is in {variable}.logs, .stdout and .stderr.{last}",
        process=run.name,
        exit_code=code,
        tail=tail,
    )


def print_rows(run: SandboxRun, first: int, last: int, *, colour: bool = False) -> None:
    """Print rows as sanitised text: stdout to stdout, all else to stderr."""
    column = run.logs.column
    texts, streams, kinds = column("text"), column("stream"), column("kind")
    at = first
    while at < last:
        end, stream = at, streams[at]
        while end < last and streams[end] == stream:
            end += 1
        lines = (
            static.plain(texts[row], colour) if kinds[row] == "line" else f"-- {texts[row]} --"
            for row in range(at, end)
        )
        only_output = stream == "stdout" and all(kinds[row] == "line" for row in range(at, end))
        print("\n".join(lines), file=sys.stdout if only_output else sys.stderr, flush=True)
        at = end


def _tail(run: SandboxRun) -> str:
    """Return the last ten lines of stderr, else of stdout, sanitised."""
    for data in (run.stderr_bytes, run.stdout_bytes):
        lines = data[-8000:].decode("utf-8", "replace").rstrip("\n").split("\n")[-10:]
        if any(line.strip() for line in lines):
            return "\n".join(static.plain(line) for line in lines)
    return ""
