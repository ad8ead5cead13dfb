"""The local agent: it does what the prompt says, literally and always the same way.

It is no model. Prose of the prompt is said back, shell steps are run; what counts as which is told by
:func:`~blaxel_jupyter.local.prompt.read_prompt`. A run's events, in order:

``start`` (runId, startedAt) · ``session-init`` (tools ``["bash"]``, agent ``"local"``) · then, as they
stand in the prompt: text in ``text-delta`` pieces of a few words under one id, the assistant message's,
with one ``text-start``; reasoning blocks; for each step one ``bash`` tool call, run in the sandbox
``local`` without any of the user's credentials, in a folder that belongs to the chat: so files persist
from step to step and from run to run · ``files``, if steps created or changed any · ``result``, without
tokens and cost, which nobody knows; ``num_turns`` is the number of steps, at least 1 · ``finish``.

A step that runs longer than a second sends its output so far (``preliminary``), at most once a second,
while that is small. A step that fails ends the run as ``failed``: its last event is ``error``, unless
the step is optional. A cancelled step's processes get SIGTERM, two seconds later SIGKILL; its tool call
stays open. All steps of ``sh`` blocks and ``$`` lines run in ``/bin/sh``, ``bash`` blocks in bash where
there is one. No repository is cloned: a run that names one is told so in ``session-init``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import time
from pathlib import Path
from typing import Any

from blaxel_jupyter.local import family, holes, private
from blaxel_jupyter.local.capture import Stream
from blaxel_jupyter.local.live_run import Emit, Outcome
from blaxel_jupyter.local.processes import LocalProcess, Processes
from blaxel_jupyter.local.prompt import Prose, Step, pace, pieces, read_prompt
from blaxel_jupyter.local.refusals import NotRunningError, StartError
from blaxel_jupyter.local.sandboxes import DEFAULT, Sandboxes
from blaxel_jupyter.local.streams import character_end
from blaxel_jupyter.local.task_store import Run, iso
from blaxel_jupyter.parts import Event
from blaxel_jupyter.wire import decode_like_go

PAUSE = 0.015
"""Seconds between two pieces of prose, so that live looks live."""
LOOK = 1.0
"""Seconds between two looks at the output of a step that runs."""
MOST_PRELIMINARY = 64 * 1024
"""Bytes of output, both streams together, up to which it is sent while the step runs."""
MOST_OUTPUT = 1024 * 1024
"""Bytes of each stream that a step's output keeps; longer ones lose their middle."""
MOST_ALTOGETHER = 64 * 1024 * 1024
"""Bytes of output of one run after which each stream of a further step keeps ``LEAST_OUTPUT``."""
LEAST_OUTPUT = 4 * 1024
GRACE = 2.0
"""Seconds from SIGTERM to SIGKILL when a run is cancelled."""
MOST_FILES = 100
"""Files that the ``files`` event names."""
MOST_LOOKED_AT = 5000
"""Files of the chat's folder that are looked at for changes: some milliseconds."""


class _FailedError(Exception):
    """A step that is not optional failed; the text says which and how."""


class LocalAgent:
    """One run of the local agent."""

    def __init__(self, run: Run, prompt: str, sandboxes: Sandboxes, emit: Emit) -> None:
        self._run = run
        self._items = read_prompt(prompt)
        self._sandboxes = sandboxes
        self._emit = emit
        self._texts = self._reasonings = self._steps = self._output = 0
        self._said: str | None = None
        self._folder = f"tasks/{run.chat_id}"

    async def work(self) -> Outcome:
        """Do all that the prompt says.

        Raises:
            CancelledError: it was cancelled; the step that ran has been stopped.
        """
        began = time.monotonic()
        path = self._sandboxes.processes(DEFAULT).work / self._folder
        private.make_folder(path)
        before = _snapshot(path)
        self._begin()
        failure: str | None = None
        words = pace(self._items)
        try:
            for item in self._items:
                await (self._step(item) if isinstance(item, Step) else self._say(item, words))
        except _FailedError as problem:
            failure = str(problem)
        if files := _changes(path, before, self._folder):
            self._emit({"type": "files", "files": files})
        if failure is not None:
            return Outcome("failed", failure, {"type": "error", "errorText": failure})
        self._emit(
            {
                "type": "result",
                "subtype": "success",
                "is_error": False,
                "duration_ms": round((time.monotonic() - began) * 1000),
                "num_turns": max(1, self._steps),
                "result": self._said,
            }
        )
        finish = {"type": "finish", "runId": self._run.run_id, "status": "completed"}
        return Outcome("completed", None, finish)

    def _begin(self) -> None:
        self._emit(
            {"type": "start", "runId": self._run.run_id, "startedAt": iso(self._run.started)}
        )
        facts: Event = {"type": "session-init", "tools": ["bash"], "mcpServers": [], "plugins": []}
        facts |= {"skills": [], "agent": "local"}
        if self._run.github is not None:
            facts["note"] = (
                "The local service clones no repository: steps begin in an empty folder."
            )
        self._emit(facts)

    async def _say(self, prose: Prose, words: int) -> None:
        if prose.kind == "reasoning":
            name = f"{self._run.message_id}:r{self._reasonings}"
            self._reasonings += 1
            self._emit({"type": "reasoning-start", "id": name})
        else:
            name = self._run.message_id
            self._said = prose.text.strip()
            if not self._texts:
                self._emit({"type": "text-start", "id": name})
            self._texts += 1
        for piece in pieces(prose.text, words):
            self._emit({"type": f"{prose.kind}-delta", "id": name, "delta": piece})
            await asyncio.sleep(PAUSE)
        if prose.kind == "reasoning":
            self._emit({"type": "reasoning-end", "id": name})

    async def _step(self, step: Step) -> None:
        self._steps += 1
        call: Event = {"toolCallId": f"call_{self._steps:03d}", "toolName": "bash"}
        self._emit({"type": "tool-call-start", **call})
        self._emit({"type": "tool-input-available", **call, "input": {"command": step.command}})
        try:
            code = await self._execute(step, call)
        except StartError as problem:
            self._emit({"type": "tool-output-error", **call, "errorText": str(problem)})
            code = None
        if code != 0 and not step.optional:
            ending = "could not be run" if code is None else f"failed with exit code {code}"
            raise _FailedError(f"Step {self._steps} {ending}: {_title(step.command)}")

    async def _execute(self, step: Step, call: Event) -> int | None:
        """Run a step to its end and tell its output; return its exit code, None if nobody knows it."""
        table = self._sandboxes.processes(DEFAULT)
        private.make_folder(table.work / self._folder)
        command = step.command
        if step.bash and shutil.which("bash"):
            command = f"exec bash -c {shlex.quote(command)}"
        name = f"{step_prefix(self._run.run_id)}{self._steps}"
        process = table.start(command, name=name, working_dir=self._folder)
        try:
            await self._watch(process, call)
        except asyncio.CancelledError:
            await end(table, process)
            raise
        output = self._read(process)
        if process.facts.ended is None:  # somebody deleted the sandbox
            raise StartError(f"the sandbox '{DEFAULT}' was deleted while the step ran")
        code = process.facts.exit_code
        self._emit({"type": "tool-output-available", **call, "output": output | {"exitCode": code}})
        return code

    async def _watch(self, process: LocalProcess, call: Event) -> None:
        """Wait for the end; meanwhile tell what a slow step has written so far."""
        told = 0
        while not process.final.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await process.final.wait()
            size = sum(process.log.sizes.values())
            if not process.final.is_set() and told < size < MOST_PRELIMINARY:
                told = size
                output = {"output": self._read(process), "preliminary": True}
                self._emit({"type": "tool-output-available", **call, **output})

    def _read(self, process: LocalProcess) -> dict[str, Any]:
        limit = MOST_OUTPUT if self._output < MOST_ALTOGETHER else LEAST_OUTPUT
        streams: tuple[Stream, Stream] = ("stdout", "stderr")
        output: dict[str, Any] = {}
        for stream in streams:
            output[stream] = read_output(process.log.paths[stream], limit, process.facts.name)
        if process.final.is_set():
            self._output += sum(map(len, output.values()))
        return output


def step_prefix(run_id: str) -> str:
    """Return how the names of a run's processes begin, in the sandbox's table of processes."""
    return f"task-{run_id}-"


async def end(table: Processes, process: LocalProcess) -> None:
    """Stop a process and what it started; what is left after ``GRACE`` seconds is killed."""
    with contextlib.suppress(NotRunningError):
        table.stop(process)
    if await _is_gone(process):
        return
    with contextlib.suppress(NotRunningError):
        table.kill(process)
    await _is_gone(process)


async def _is_gone(process: LocalProcess) -> bool:
    """Wait until nothing is left of a process, at most ``GRACE`` seconds; tell whether it is so.

    By the clock: in a task that was cancelled, Python 3.11 before its last fixes ends a timeout's block
    with the cancellation once more.
    """
    deadline = time.monotonic() + GRACE
    while not process.final.is_set() or family.members(process.roots):
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(0.05)
    return True


def read_output(path: Path, limit: int, name: str) -> str:
    """Read an output file; of one longer than ``limit`` bytes the middle is left out.

    Where, how many bytes, and the process whose log still has them, is said in its place.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            whole = size <= limit
            head = b"" if holes.freed(file.fileno()) else file.read(limit if whole else limit // 2)
            if whole:
                return decode_like_go(head)
            file.seek(size - limit // 2)
            tail = file.read(limit // 2)
    except FileNotFoundError:
        return ""
    head = head[: character_end(head)]
    tail = tail[next((i for i, byte in enumerate(tail[:4]) if byte & 0xC0 != 0x80), 0) :]
    left_out = size - len(head) - len(tail)
    marker = (
        f"\n[… {left_out} bytes left out; the sandbox's process {name} has them in its log …]\n"
    )
    return decode_like_go(head) + marker + decode_like_go(tail)


def _title(command: str) -> str:
    lines = command.strip().split("\n")
    first = lines[0] if len(lines[0]) <= 80 else lines[0][:79] + "…"
    return first + (" …" if len(lines) > 1 else "")


def _snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Return time and size of the files below a folder, by relative path; at most MOST_LOOKED_AT."""
    found: dict[str, tuple[int, int]] = {}
    for where, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(where, name)
            with contextlib.suppress(OSError):
                facts = os.lstat(path)
                found[os.path.relpath(path, folder)] = (facts.st_mtime_ns, facts.st_size)
            if len(found) >= MOST_LOOKED_AT:
                return found
    return found


def _changes(folder: Path, before: dict[str, tuple[int, int]], shown: str) -> list[dict[str, Any]]:
    """Return the files that are new or differ; their paths are those of the sandbox's file routes."""
    after = _snapshot(folder)
    changed = [path for path, facts in after.items() if before.get(path) != facts]
    files = []
    for path in changed[:MOST_FILES]:
        name = os.fsencode(f"{shown}/{path}").decode("utf-8", "replace")
        kind = {"name": name.rpartition("/")[2], "path": name, "type": "file"}
        files.append(kind | {"size": after[path][1]})
    return files
