"""Show agent tasks' runs in a cell: one run's story, cancel and failure; one line of each of several.

Used by the task magics alone.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from typing import Any, Literal

from IPython.display import display

from blaxel_jupyter import bridge
from blaxel_jupyter.cell import Cell, Waiting
from blaxel_jupyter.errors import BlaxelError, TaskError
from blaxel_jupyter.magic_names import typed
from blaxel_jupyter.masks import Masks
from blaxel_jupyter.panel import static, task_static, task_text
from blaxel_jupyter.panel.frames import ours
from blaxel_jupyter.table import Table
from blaxel_jupyter.task_client import TaskClient
from blaxel_jupyter.task_runs import TaskRun, TaskRuns
from blaxel_jupyter.task_tables import SUMMARY

_COLUMNS = {column.name: column for column in SUMMARY}
OVERVIEW = [
    _COLUMNS[name]
    for name in ("run_id", "status", "duration_ms", "n_tool_calls", "n_tool_errors", "error")
]
"""The columns of the summary that are shown of several runs."""

PRINTED = 10_000
"""Lines that a notebook without widgets gets as text; the last 200 follow after the run's end."""

RENEWED = 0.5
"""Seconds between two looks of several runs' table."""


class TaskCell(Cell[TaskRun]):
    """One task's run shown in one cell."""

    second = "detach"

    def __init__(self, *args: Any, **options: Any) -> None:
        self._printer: _Printed | None = None
        super().__init__(*args, **options)

    def _print_new(self) -> None:
        self._tell(final=False)

    def _print_rest(self) -> None:
        self._tell(final=True)

    def _tell(self, *, final: bool) -> None:
        if self._printer is None:
            self._printer = _Printed(self._run.masks, in_kernel=self._in_kernel)
        self._printer.tell(self._run, final=final)
        if final:
            self._printer.rest(self._show.variable)

    def _pressed(self, verb: str) -> None:
        super()._pressed(verb)
        if self._show.display == "plain":
            print(ours("sending cancel; another interrupt leaves the run to itself"))

    def _bundle(self) -> dict[str, str]:
        return bundle(self._run, self._show.save)

    def _failure(self, *, interrupted: bool) -> TaskError | None:
        return failure(self._run, self._show.variable)

    def _goes_on(self) -> str:
        run_id = self._run.run_id
        again = typed(run_id, "RUN_ID")
        if self._interrupts > 1:
            return f"Run {run_id} was sent cancel and is left to itself; %task status {again}"
        return f"Run {run_id} goes on; %task_logs {again} -f follows it again"


class TaskRunsCell(Waiting):
    """Several runs that are read at once, shown in one cell as one table, one row a run.

    Args:
        client: what reads them.
        runs: the runs, nothing read yet.
        mode: a table that is renewed, a line each, or nothing.
        follow: go on until all have ended.
        options: how to read them, as for the client's ``read_many``.
    """

    def __init__(
        self,
        client: TaskClient,
        runs: TaskRuns,
        mode: Literal["panel", "plain", "quiet"],
        *,
        follow: bool,
        **options: bool,
    ) -> None:
        self._client = client
        self._runs = runs
        self._mode = mode
        self._follow = follow
        self._options = options
        self._read = self._printed = 0
        self._last = 0.0
        self._handle: Any = None
        if mode == "panel":
            self._handle = display({"text/plain": self._progress()}, raw=True, display_id=True)
        self._done = bridge.spawn(self._work)

    async def _work(self) -> BlaxelError | None:
        error = await self._client.read_many(self._runs, progress=self._count, **self._options)
        return await followed(self._runs) if self._follow else error

    def _count(self, done: int, _of: int) -> None:
        self._read = done

    def _progress(self) -> str:
        n = len(self._runs)
        if self._follow and self._read == n:
            return f"{sum(run.ended for run in self._runs)} of {n} runs have ended"
        return f"{self._read} of {n} logs read"

    def _print(self) -> None:
        if self._mode == "plain":
            while self._printed < len(self._runs) and self._runs[self._printed].final:
                self._print_one()
        elif self._mode == "panel" and time.monotonic() - self._last >= RENEWED:
            self._last = time.monotonic()
            shown = {"text/plain": self._progress()}
            if self._follow and self._read == len(self._runs):
                shown = overview(self._runs, shown["text/plain"])
            self._handle.update(shown, raw=True)

    def _print_one(self) -> None:
        print(line_of(self._runs[self._printed]), flush=True)
        self._printed += 1

    def _settle(self) -> None:
        if self._mode == "panel":
            self._handle.update(overview(self._runs), raw=True)

    def _finish(self) -> None:
        while self._mode == "plain" and self._printed < len(self._runs):
            self._print_one()
        self._settle()
        error = self._done.result()
        if isinstance(error, BlaxelError):
            raise error

    def _interrupted(self) -> bool:
        self._interrupts += 1
        if self._follow and self._read == len(self._runs):
            self._done.add_done_callback(lambda _: self._settle())
            if self._mode != "quiet":
                print(f"{self._progress()}; the others go on, and %task_logs -f follows them again")
            return True
        self._done.cancel()
        self._settle()
        raise BlaxelError(
            f"Interrupted: {self._progress()}, which are kept. %task_logs reads the others again."
        )


async def followed(runs: TaskRuns) -> BlaxelError | None:
    """Follow several runs to their ends at once; return what went wrong, if anything did."""
    ends = await asyncio.gather(*(run.finish() for run in runs), return_exceptions=True)
    errors: list[BlaxelError] = []
    for run, end in zip(runs, ends, strict=True):
        if isinstance(end, BlaxelError):
            run.message = str(end)
            errors.append(end)
        elif isinstance(end, BaseException):
            raise end
    if not errors:
        return None
    error = BlaxelError(
        f"{len(errors)} of {len(runs)} runs could not be followed to their end; what came of them, and "
        f"the others, are there. {errors[0]}"
    )
    error.partial = runs
    return error


def overview(runs: TaskRuns, note: str = "") -> dict[str, str]:
    """Return one row a run, as what a saved notebook keeps."""
    rows, summary = Table(OVERVIEW, position=None), runs.summary
    columns = {one.name: list(summary.column(one.name)) for one in OVERVIEW}
    columns["error"] = [run.masks.text(run.error or run.message or "") or None for run in runs]
    rows.extend(len(runs), **columns)
    html = rows._repr_html_() + (f"<p>{note}</p>" if note else "")
    text = "\n".join([*map(line_of, runs), *([note] if note else [])])
    return {"text/html": html, "text/plain": text}


def line_of(run: TaskRun) -> str:
    """Return how a run stands, in one line."""
    why = run.masks.text(run.error or run.message or "")
    text = f"{run!r}".strip("<>") + (f": {why}" if why else "")
    return static.plain(" ".join(text.split()))


def bundle(run: TaskRun, save: static.Save = "tail") -> dict[str, str]:
    """Return what a saved notebook keeps of a run."""
    return {
        "text/html": run.masks.text(task_static.html(run, save=save)),
        "text/plain": run.masks.text(task_text.text(run, save=save)),
    }


def print_story(run: TaskRun, variable: str, *, in_kernel: bool) -> None:
    """Print what a run has told so far, sanitised."""
    printed = _Printed(run.masks, in_kernel=in_kernel)
    for i, item in enumerate(list(run.fold.items)):
        printed.lines(printed.printer.whole(i, item, run.fold, final=run.final))
    printed.rest(variable)
    if run.error and run.error != run.fold.error:
        print(ours(f"error: {static.plain(run.masks.text(run.error))}"))
    if not run.ended:
        again = typed(run.run_id, "RUN_ID")
        print(ours(f"{static.plain(run.status)}: %task_logs {again} -f follows it"))
    for warning in run.warnings:
        print(ours(static.plain(warning)), file=sys.stderr)


class _Printed:
    """Print a run's story; of a long one a notebook gets the first lines, and at the end the last."""

    def __init__(self, masks: Masks, *, in_kernel: bool) -> None:
        self._masks = masks
        self.printer = task_text.Printer(not in_kernel and sys.stdout.isatty())
        self._left = PRINTED if in_kernel else sys.maxsize
        self._held: deque[str] = deque(maxlen=200)
        self._more = 0

    def tell(self, run: TaskRun, *, final: bool) -> None:
        told = self.printer.new(run.fold, final=final)
        if told:
            self.lines(told.removesuffix("\n").split("\n"))

    def lines(self, lines: list[str]) -> None:
        lines, _ = self._masks.lines(lines)
        now, later = lines[: self._left], lines[self._left :]
        if now:
            print("\n".join(now), flush=True)
        self._left -= len(now)
        self._held += later
        self._more += len(later)

    def rest(self, variable: str) -> None:
        """Print what was held back, or its end."""
        if left_out := self._more - len(self._held):
            print(ours(f"{left_out} more lines; {variable}.events has all of them"))
        if self._held:
            print("\n".join(self._held), flush=True)
        self._held.clear()
        self._more = 0


def failure(run: TaskRun, variable: str) -> TaskError | None:
    """Build the error for a run that did not complete, None if it did."""
    if run.status == "completed":
        return None
    why = static.plain(" ".join(run.masks.text(run.error or "").split()))
    fate = static.plain(run.status)
    message = f"Run {run.run_id} {'was ' if fate != 'failed' else ''}{fate}"
    kept = f"All of it is in {variable}.events, .tool_calls and .text."
    said = f"\nThe service says: {why[:300]}" if why else ""
    return TaskError(f"{message}. {kept}{said}", task=run.run_id)
