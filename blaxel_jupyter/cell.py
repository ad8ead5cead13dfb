"""Show one run in the cell that started it, and carry the cell's interrupts to it.

The loop thread follows; the cell's own thread or coroutine waits here, prints where there is no widget
front end, and leaves a static output behind when the run ends. Sandbox and task cells are made of it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from IPython.display import display

from blaxel_jupyter import bridge
from blaxel_jupyter.errors import BlaxelError
from blaxel_jupyter.frontend import in_voila
from blaxel_jupyter.panel import static
from blaxel_jupyter.runs import SandboxRun
from blaxel_jupyter.task_runs import TaskRun

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from blaxel_jupyter.panel import LogPanel

R = TypeVar("R", SandboxRun, TaskRun)

Pressed = Callable[[], int]
"""Tells how many interrupts there were so far."""

TICK = 0.05
"""Seconds between two looks of the waiting cell: prints are at most this late."""


@dataclass(frozen=True, slots=True)
class Show:
    """How a cell shows its run and ends."""

    display: Literal["panel", "plain", "quiet"] = "plain"
    save: static.Save = "tail"
    on_interrupt: Literal["stop", "detach", "kill", "cancel"] = "stop"
    raise_error: bool = True
    variable: str = "_sandbox"


class Waiting(ABC):
    """A cell that waits for work on the loop thread; an interrupt is told to it, never raised in it."""

    _done: concurrent.futures.Future[object]
    _interrupts = 0

    @abstractmethod
    def _print(self) -> None:
        """Show what is new, if the cell shows that itself."""

    @abstractmethod
    def _interrupted(self) -> bool:
        """Do what an interrupt asks for, after counting it; tell whether the cell is to return now."""

    @abstractmethod
    def _finish(self) -> None:
        """Show what remains when the work has ended; raise what went wrong."""

    def wait(self, counted: Pressed | None = None) -> None:
        """Wait until the work ends, in a cell that blocks; ``counted`` if interrupts are already."""
        with _counting(counted) as pressed:  # raised in mid-print it would print lines twice
            while not self._done.done():
                concurrent.futures.wait([self._done], timeout=TICK)
                self._print()
                if pressed() > self._interrupts and self._interrupted():
                    return
        self._finish()

    async def wait_async(self, counted: Pressed | None = None) -> None:
        """Wait until the work ends, in a cell that awaits; ``counted`` if interrupts are already."""
        done = asyncio.wrap_future(self._done)
        with _counting(counted) as pressed:
            while not done.done():
                try:
                    await asyncio.wait({done}, timeout=TICK)
                    self._print()
                    interrupted = pressed() > self._interrupts
                except asyncio.CancelledError:
                    interrupted = True
                if interrupted and self._interrupted():
                    return
        if not done.cancelled():
            done.exception()  # read it here, or asyncio complains: _finish raises the original
        self._finish()


Begin = Callable[[Pressed], Waiting | None]
"""Begins what a cell asks for, where interrupts are counted; None if there is nothing to wait for."""


def waited(begin: Begin | None) -> None:
    """Begin what a cell asks for, and wait for it, in a cell that blocks.

    Interrupts are counted from the start on: one that got lost would leave a process or a run behind.
    """
    with interrupts() as pressed:
        shown = begin(pressed) if begin is not None else None
        if shown is not None:
            shown.wait(pressed)


async def awaited(ask: Callable[[], Begin | Waiting | None]) -> None:
    """Read what a cell asks for, begin it, and wait for it, in a cell that awaits."""
    with interruptible():
        asked = ask()
    with interrupts() as pressed:
        shown = asked if asked is None or isinstance(asked, Waiting) else asked(pressed)
        if shown is not None:
            await shown.wait_async(pressed)


class Cell(Waiting, Generic[R]):
    """One run shown in one cell.

    Args:
        shell: the shell whose cell it is.
        run: the run to show.
        show: how.
        work: what to wait for on the loop thread; following the run to its end by default.
    """

    second: ClassVar[str]
    """What a second interrupt sends."""

    @abstractmethod
    def _print_new(self) -> None:
        """Print what is new."""

    @abstractmethod
    def _print_rest(self) -> None:
        """Print what remains when the run has ended."""

    @abstractmethod
    def _bundle(self) -> dict[str, str]:
        """Return the static output by media type."""

    @abstractmethod
    def _failure(self, *, interrupted: bool) -> BlaxelError | None:
        """Return the error for a run that did not end well."""

    @abstractmethod
    def _goes_on(self) -> str:
        """Say how to come back to a run that was left to itself."""

    def __init__(
        self,
        shell: InteractiveShell,
        run: R,
        show: Show,
        *,
        work: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._shell = shell
        self._run: R = run
        self._show = show
        self._panel: LogPanel | None = None
        self._handle: Any = None
        self._pump: concurrent.futures.Future[None] | None = None
        self._in_kernel = hasattr(shell, "kernel")
        self._done = bridge.spawn(work or run.finish)
        if show.display == "panel":
            self._open_panel()

    def detach(self) -> None:
        """Leave the run to itself: the panel goes on and becomes static when the run ends.

        On a page of Voila it stays: what replaces an output there is never shown.
        """
        if not in_voila():
            self._done.add_done_callback(lambda _: self._settle())

    # Showing --------------------------------------------------------------------------------------------

    def _open_panel(self) -> None:
        from blaxel_jupyter.panel import LogPanel  # widgets load at first use

        self._panel = LogPanel(self._run)
        self._panel.on_command(self._pressed)
        self._handle = display(self._panel, display_id=True)
        self._pump = bridge.spawn(self._panel.pump)

    def _print(self) -> None:
        if self._show.display == "plain":
            self._print_new()

    def _settle(self) -> None:
        """Replace the live panel by the static output that a saved notebook keeps.

        Only then the panel is closed, so that neither side keeps the lines of runs that are over.
        """
        if self._panel is not None:
            self._handle.update(self._bundle(), raw=True)
            if self._pump is not None:
                self._pump.cancel()
            self._panel.close()
            self._panel = None

    def _finish(self) -> None:
        if self._run.left:
            self._leave()
            return
        if self._show.display == "plain":
            self._print_new()
            self._print_rest()
        self._settle()
        self._done.result()
        error = self._failure(interrupted=self._interrupts > 0)
        if error is not None and self._show.raise_error:
            raise error

    def _leave(self) -> None:
        """Return from a run that is not followed any more: its panel stays, and may follow it again."""
        if self._show.display == "plain":
            self._print_new()
            print(self._goes_on())
        if self._pump is not None and not in_voila():
            self._pump.add_done_callback(lambda _: self._settle())

    # Ending ---------------------------------------------------------------------------------------------

    def _interrupted(self) -> bool:
        """Carry an interrupt to the process; tell whether the cell is to return now."""
        self._interrupts += 1
        verb = self.second if self._interrupts > 1 else self._show.on_interrupt
        if verb != "detach":
            self._pressed(verb)
            return False
        self.detach()
        self._say(self._goes_on())
        return True

    def _pressed(self, verb: str) -> None:
        """Carry a verb to the run, without waiting."""
        self._run.obey(verb)

    def _say(self, text: str) -> None:
        self._run.message = text
        if self._show.display == "plain":
            print(text)


def _counting(counted: Pressed | None) -> contextlib.AbstractContextManager[Pressed]:
    return interrupts() if counted is None else contextlib.nullcontext(counted)


@contextlib.contextmanager
def interrupts() -> Iterator[Callable[[], int]]:
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
