"""Show an agent task's run in the cell that started or follows it: its story, its cancel, its failure.

Used by the task magics alone.
"""

from __future__ import annotations

import sys
from typing import Any

from blaxel_jupyter.cell import Cell
from blaxel_jupyter.errors import TaskError
from blaxel_jupyter.panel import static, task_static, task_text
from blaxel_jupyter.task_runs import TaskRun


class TaskCell(Cell[TaskRun]):
    """One task's run shown in one cell."""

    second = "detach"

    def __init__(self, *args: Any, **options: Any) -> None:
        self._printer: task_text.Printer | None = None
        super().__init__(*args, **options)

    def _print_new(self) -> None:
        self._tell(final=False)

    def _print_rest(self) -> None:
        self._tell(final=True)

    def _tell(self, *, final: bool) -> None:
        if self._printer is None:
            self._printer = task_text.Printer(not self._in_kernel and sys.stdout.isatty())
        told = self._printer.new(self._run.fold, final=final)
        if told:
            print(told, end="" if told.endswith("\n") else "\n", flush=True)

    def _bundle(self) -> dict[str, str]:
        return bundle(self._run, self._show.save)

    def _failure(self, *, interrupted: bool) -> TaskError | None:
        return failure(self._run, self._show.variable)

    async def _send(self, verb: str) -> str:
        await self._run.ask_cancel()
        return "cancel sent"

    def _goes_on(self) -> str:
        run_id = self._run.run_id
        return f"Run {run_id} goes on; %task_logs {run_id} -f follows it again"


def bundle(run: TaskRun, save: static.Save = "tail") -> dict[str, str]:
    """Return what a saved notebook keeps of a run."""
    return {
        "text/html": task_static.html(run, save=save),
        "text/plain": task_text.text(run, save=save),
    }


def print_story(run: TaskRun) -> None:
    """Print what a run has told so far, sanitised."""
    print(task_text.Printer(sys.stdout.isatty()).new(run.fold, final=True).rstrip("\n"))
    if run.error and run.error != run.fold.error:
        print(f"-- error: {static.plain(run.error)} --")
    if not run.ended:
        print(f"-- {static.plain(run.status)}: %task_logs {run.run_id} -f follows it --")
    for warning in run.warnings:
        print(f"-- {static.plain(warning)} --", file=sys.stderr)


def failure(run: TaskRun, variable: str) -> TaskError | None:
    """Build the error for a run that did not complete, None if it did."""
    if run.status == "completed":
        return None
    why = static.plain(run.error or "").strip()
    message = f"Run {run.run_id} {'was ' if run.status != 'failed' else ''}{run.status}"
    kept = f"All of it is in {variable}.events, .tool_calls and .text."
    return TaskError(f"{message}. {kept}" + (f"\n{why[:300]}" if why else ""), task=run.run_id)
