"""Show one run in the cell that started it, and carry the cell's interrupts to the process.

The loop thread follows; the cell's own thread or coroutine waits here, prints where there is no widget
front end, and leaves a static output behind when the run ends. Used by magics alone.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from IPython.display import display

from blaxel_jupyter import bridge
from blaxel_jupyter.errors import BlaxelError, ProcessError
from blaxel_jupyter.panel import static
from blaxel_jupyter.runs import SandboxRun

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from blaxel_jupyter.panel import LogPanel

TICK = 0.05
"""Seconds between two looks of the waiting cell: prints are at most this late."""

MEANINGS = {
    124: "timed out",
    126: "the command cannot be executed",
    127: "command not found",
    130: "interrupted",
    137: "killed",
    139: "segmentation fault",
    143: "terminated",
}
"""What a shell's exit codes say (sysexits of POSIX shells: 128 + signal)."""

PRINTED = 10_000
"""Lines that a notebook without widgets gets as text; the last 200 follow after the run's end."""


@dataclass(frozen=True, slots=True)
class Show:
    """How a cell shows its run and ends."""

    display: Literal["panel", "plain", "quiet"] = "plain"
    save: static.Save = "tail"
    on_interrupt: Literal["stop", "detach", "kill"] = "stop"
    raise_error: bool = True
    variable: str = "_sandbox"


class Cell:
    """One run shown in one cell.

    Args:
        shell: the shell whose cell it is.
        run: the run to show.
        show: how.
        work: what to wait for on the loop thread; following the run to its end by default.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        run: SandboxRun,
        show: Show,
        *,
        work: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._shell = shell
        self._run = run
        self._show = show
        self._interrupts = 0
        self._printed = 0
        self._panel: LogPanel | None = None
        self._handle: Any = None
        self._pump: concurrent.futures.Future[None] | None = None
        self._in_kernel = hasattr(shell, "kernel")
        self._done = bridge.spawn(work or run.finish)
        if show.display == "panel":
            self._open_panel()

    def detach(self) -> None:
        """Leave the run to itself: the panel goes on and becomes static when the run ends."""
        self._done.add_done_callback(lambda _: self._settle())

    def wait(self) -> None:
        """Wait until the run ends, in a cell that blocks."""
        with _interrupts() as pressed:  # raised in mid-print it would print lines twice
            while not self._done.done():
                concurrent.futures.wait([self._done], timeout=TICK)
                self._print_new()
                if pressed() > self._interrupts and self._interrupted():
                    return
        self._finish()

    async def wait_async(self) -> None:
        """Wait until the run ends, in a cell that awaits."""
        done = asyncio.wrap_future(self._done)
        with _interrupts() as pressed:
            while not done.done():
                try:
                    await asyncio.wait({done}, timeout=TICK)
                    self._print_new()
                    interrupted = pressed() > self._interrupts
                except asyncio.CancelledError:
                    interrupted = True
                if interrupted and self._interrupted():
                    return
        done.exception()  # read it here, or asyncio complains: _finish raises the original
        self._finish()

    # Showing --------------------------------------------------------------------------------------------

    def _open_panel(self) -> None:
        from blaxel_jupyter.panel import LogPanel  # widgets load at first use

        self._panel = LogPanel(self._run)
        self._panel.on_command(self._obey)
        self._handle = display(self._panel, display_id=True)
        self._pump = bridge.spawn(self._panel.pump)

    def _print_new(self) -> None:
        if self._show.display != "plain":
            return
        logs, first = self._run.logs, self._printed
        last = len(logs)
        if self._in_kernel:
            last = min(last, PRINTED)
        if last > first:
            print_rows(self._run, first, last, colour=not self._in_kernel and sys.stdout.isatty())
            self._printed = last

    def _settle(self) -> None:
        """Replace the live panel by the static output that a saved notebook keeps.

        Only then the panel is closed, so that neither side keeps the lines of runs that are over.
        """
        if self._panel is not None:
            bundle = {
                "text/html": static.html(self._run, save=self._show.save),
                "text/plain": static.text(self._run, save=self._show.save),
            }
            self._handle.update(bundle, raw=True)
            if self._pump is not None:
                self._pump.cancel()
            self._panel.close()
            self._panel = None

    def _finish(self) -> None:
        self._print_new()
        rest = len(self._run.logs) - self._printed
        if self._show.display == "plain" and rest > 0:
            tail = min(rest, 200)
            if rest > tail:
                print(f"-- {rest - tail} more lines; {self._show.variable}.logs has all of them --")
            print_rows(self._run, len(self._run.logs) - tail, len(self._run.logs))
        self._settle()
        self._done.result()
        error = failure(self._run, self._show.variable, interrupted=self._interrupts > 0)
        if error is not None and self._show.raise_error:
            raise error

    # Ending ---------------------------------------------------------------------------------------------

    def _interrupted(self) -> bool:
        """Carry an interrupt to the process; tell whether the cell is to return now."""
        self._interrupts += 1
        if self._show.on_interrupt == "detach":
            self.detach()
            self._say(
                f"{self._run.name} goes on; %sandbox_logs {self._run.name} -f follows it again"
            )
            return True
        self._obey("kill" if self._interrupts > 1 else self._show.on_interrupt)
        return False

    def _obey(self, verb: str) -> None:
        """Send stop or kill without waiting; what comes of it shows in the run's header."""
        run = self._run

        async def send() -> None:
            try:
                await (run.ask_kill() if verb == "kill" else run.ask_stop())
                run.message = f"{verb} sent" + ("; kill ends it at once" if verb == "stop" else "")
            except BlaxelError as error:
                run.message = f"{verb} failed: {error}"

        bridge.spawn(send)

    def _say(self, text: str) -> None:
        self._run.message = text
        if self._show.display == "plain":
            print(text)


@contextlib.contextmanager
def _interrupts() -> Iterator[Callable[[], int]]:
    """Count SIGINTs while a cell waits: the kernel itself would deliver the first one only.

    Off the main thread, where signals cannot be caught, the kernel's way stays: one cancellation.
    """
    count = 0

    def pressed(_signal: int, _frame: object) -> None:
        nonlocal count
        count += 1

    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before = signal.signal(signal.SIGINT, pressed)
    try:
        yield lambda: count
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let an interrupt end what blocks in a cell that awaits: its kernel would take note of it only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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
