"""End a client operation at its n-th await, for each n, and say what it leaves behind.

It knows nothing of what the operations do; those are in ``operations``. Each trial has a loop of its own:
what is left is found by asyncio's own list of tasks, the system's list of descriptors, the threads, and what
Python complains about when garbage is collected.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import warnings
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast

import anyio

from blaxel_jupyter import BlaxelError
from tests.endure.left import descriptors

Way = Literal["cancel", "scope", "close"]
"""How an operation is ended: its task is cancelled once; a scope around it is, as on the bridge, where
each later await is cancelled, too; its client is closed."""

WAYS: tuple[Way, ...] = ("cancel", "scope", "close")

PATIENCE = 60.0
"""Seconds for one trial: an operation that is over by then hangs."""


class Client(Protocol):
    """What all operations need of a client."""

    async def aclose(self) -> None:
        """Close its connections."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that a user does with a client, and what must hold when it was cut short.

    ``act`` is the operation. ``after`` is called on the same client then, and raises if that does not work
    any more; it is how an operation is taken up again.
    """

    name: str
    client: Callable[[], Any]
    act: Callable[[Any], Coroutine[Any, Any, object]]
    after: Callable[[Any], Coroutine[Any, Any, object]]
    background: bool = False
    """Whether it leaves something running that is the client's, until that is closed."""


@dataclass
class Trial:
    """One operation that was ended at one await."""

    operation: str
    way: Way
    n: int
    reached: bool = False
    """Whether it had so many awaits."""
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.operation}, {self.way} at await {self.n}: {'; '.join(self.problems)}"


class Awaits:
    """Count the awaits of a coroutine and of the tasks that it starts; call ``stop`` at the n-th.

    It is called just before what is awaited is handed to the loop.
    """

    def __init__(self, n: int, stop: Callable[[], object]) -> None:
        self.count = 0
        self._n = n
        self._stop = stop

    async def of(self, coroutine: Coroutine[Any, Any, object]) -> object:
        """Await a coroutine and count."""
        loop = asyncio.get_running_loop()
        loop.set_task_factory(self._task)
        try:
            return await _Counted(coroutine, self._step)
        finally:
            loop.set_task_factory(None)

    def _task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> asyncio.Task[Any]:
        return asyncio.Task(_Counted(coroutine, self._step), loop=loop, **options)

    def _step(self) -> None:
        self.count += 1
        if self.count == self._n:
            self._stop()


class _Counted(Coroutine[Any, Any, object]):
    """Be a coroutine, and call ``step`` before each of its awaits is handed to the loop."""

    def __init__(self, coroutine: Coroutine[Any, Any, object], step: Callable[[], None]) -> None:
        self._coroutine = coroutine
        self._step = step

    def send(self, value: object) -> object:
        waited = self._coroutine.send(value)
        self._step()
        return waited

    def throw(self, *error: Any) -> object:
        waited = self._coroutine.throw(*error)
        self._step()
        return waited

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, object]:
        return cast(Generator[Any, Any, object], self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)  # its state, for whoever asks

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> object:
        return self.send(None)

    def __repr__(self) -> str:
        return repr(self._coroutine)


def trial(operation: Operation, way: Way, n: int) -> Trial:
    """Carry out one trial on a loop of its own."""
    done = Trial(operation.name, way, n)
    threads = set(threading.enumerate())
    before = descriptors()
    with _complaints(done.problems):
        with asyncio.Runner() as runner:
            runner.get_loop().set_exception_handler(
                lambda _, context: done.problems.append(f"asyncio: {context.get('message')}")
            )
            runner.run(_watched(operation, done))
        gc.collect()
    new = set(threading.enumerate()) - threads
    for thread in new:
        thread.join(PATIENCE)  # anyio's are told to end with the loop
    if new := {thread for thread in new if thread.is_alive()}:
        done.problems.append(f"threads left: {new}")
    if new_files := set(descriptors().items()) - set(before.items()):
        done.problems.append(f"open after the loop's end: {sorted(new_files)}")
    return done


async def _watched(operation: Operation, done: Trial) -> None:
    before = descriptors()
    with _generators(done.problems):
        client = operation.client()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(_ended(operation, client, done))  # in a task of its own
            if not operation.background:
                _tell_tasks(done, "when it had ended")
            try:
                await operation.after(client)
            except (AssertionError, BlaxelError) as error:
                done.problems.append(f"afterwards: {type(error).__name__}: {error}")
        await client.aclose()
        _tell_tasks(done, "when the client was closed")
        gc.collect()
    if new := set(descriptors().items()) - set(before.items()):
        done.problems.append(f"open when the client was closed: {sorted(new)}")


async def _ended(operation: Operation, client: Client, done: Trial) -> None:
    """Let the operation run into its end, and look how it takes that."""
    task = asyncio.current_task()
    assert task is not None
    closing: list[asyncio.Task[None]] = []
    with anyio.CancelScope() as scope:
        stop: dict[Way, Callable[[], object]] = {
            "cancel": task.cancel,
            "scope": scope.cancel,
            "close": lambda: closing.append(asyncio.create_task(client.aclose())),
        }
        awaits = Awaits(done.n, stop[done.way])
        try:
            await awaits.of(operation.act(client))
        except asyncio.CancelledError:
            if done.way == "scope":
                raise
            if done.way == "close":
                done.problems.append("the task was cancelled, which nobody asked for")
            task.uncancel()
        except BlaxelError as error:
            if done.way != "close":
                done.problems.append(f"raised {type(error).__name__}: {error}")
        else:
            if done.way == "cancel" and awaits.count >= done.n:
                done.problems.append("it went on as if nothing had been")
    done.reached = awaits.count >= done.n
    await asyncio.gather(*closing)


def _tell_tasks(done: Trial, when: str) -> None:
    mine = asyncio.current_task()
    for task in asyncio.all_tasks():
        if task is not mine:
            done.problems.append(f"a task is left {when}: {task.get_coro()}")


@contextmanager
def _generators(problems: list[str]) -> Iterator[None]:
    """Take note of asynchronous generators that nobody closed."""
    known = sys.get_asyncgen_hooks()

    def left(generator: AsyncGenerator[Any, Any]) -> None:
        if "blaxel_jupyter" in generator.ag_code.co_filename:  # httpx leaves some that hold nothing
            problems.append(f"generator left open: {generator.__qualname__}")
        if known.finalizer is not None:
            known.finalizer(generator)

    sys.set_asyncgen_hooks(known.firstiter, left)
    try:
        yield
    finally:
        sys.set_asyncgen_hooks(*known)


@contextmanager
def _complaints(problems: list[str]) -> Iterator[None]:
    """Take note of what Python complains about: warnings, and errors that nobody can catch."""
    known = sys.unraisablehook
    sys.unraisablehook = lambda lost: problems.append(f"unraisable: {lost.exc_value!r}")
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            yield
        problems += [str(warning.message) for warning in told]
    finally:
        sys.unraisablehook = known


def trials(
    operation: Operation, way: Way, *, first: int = 1, step: int = 1, most: int = 1000
) -> Iterator[Trial]:
    """Yield a trial for each await (or each ``step``-th) until the operation ends before that."""
    for n in range(first, most, step):
        done = trial(operation, way, n)
        yield done
        if not done.reached:
            return


def main(operations: list[Operation], only: list[str]) -> int:
    """Carry out every trial of the operations; print a line for each and way, return 1 if one is bad."""
    failed, total = 0, 0
    for operation in operations:
        for way in WAYS if not only or operation.name in only else ():
            began, found = time.monotonic(), list(trials(operation, way))
            bad = [one for one in found if one.problems]
            seconds = time.monotonic() - began
            print(
                f"{operation.name:18}{way:8}{len(found):5} awaits {seconds:7.1f} s  {len(bad)} bad"
            )
            print("".join(f"    {one}\n" for one in bad), end="", flush=True)
            failed, total = failed + len(bad), total + len(found)
    print(f"{total} trials, {failed} left something behind")
    return 1 if failed else 0
