"""Send a recorded run again as a run of its own, at its recorded pace or faster.

A recording is text: events one a line, capture records ``{seq, recvMs, event}`` one a line, the bytes
of an event stream, or the whole answer of ``GET /tasks/{runId}/logs``. Runs nothing.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import stat
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blaxel_jupyter.local.live_run import Emit, Outcome, encode
from blaxel_jupyter.local.task_store import Run, iso
from blaxel_jupyter.parts import Event

STEP = 0.02
"""Seconds between two events of a recording without times, at speed 1."""
MOST = 64 * 1024 * 1024
"""Bytes of a recording that are read."""
BURST = 100
"""Events that are sent, or lines that are read, before others get a turn."""

_FINAL = {
    **dict.fromkeys(("completed", "done", "success"), "completed"),
    **dict.fromkeys(("failed", "error", "timeout"), "failed"),
    **dict.fromkeys(("cancelled", "canceled", "stopped"), "cancelled"),
    "interrupted": "interrupted",
}


class RecordingError(ValueError):
    """The recording, its path or the speed will not do; the text says what."""


@dataclass(slots=True)
class Recording:
    """Recorded events, each with its time of arrival in milliseconds if that is known."""

    events: list[Event] = field(default_factory=list)
    times: list[float | None] = field(default_factory=list)
    skipped: int = 0
    """Lines that are no event."""

    def add(self, value: Any) -> None:
        """Take one decoded line: an event, or a capture record around one."""
        time = None
        if isinstance(value, dict) and isinstance(value.get("event"), dict) and "type" not in value:
            time, value = value.get("recvMs"), value["event"]
        if not isinstance(value, dict) or not isinstance(value.get("type"), str):
            self.skipped += 1
            return
        try:
            encode(value)
        except (ValueError, RecursionError):
            self.skipped += 1
            return
        self.events.append(value)
        timed = isinstance(time, int | float) and not isinstance(time, bool) and math.isfinite(time)
        self.times.append(float(time) if timed and time is not None else None)


async def load(prompt: str) -> Recording:
    """Read a recording: the prompt itself, or, if that is one line and no event, the file it names.

    Raises:
        RecordingError: there is no such file, it is too large, or it holds no event.
    """
    text = _lines(prompt).strip("\n")
    if "\n" not in text and not text.lstrip().startswith(("{", "data:")):
        text = _lines(_file(text.strip()))
    recording = Recording()
    whole = _envelope(text)
    if whole is not None:
        for event in whole:
            recording.add(event)
    else:
        async for value in _values(text, recording):
            recording.add(value)
    if not recording.events:
        raise RecordingError("the recording holds no event")
    return recording


def _lines(text: str) -> str:
    """Return a text with every line end of an event stream as LF."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _file(name: str) -> str:
    try:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe would stop the whole service
        with os.fdopen(os.open(Path(name).expanduser(), flags), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise RecordingError(f"{name} is no regular file")
            if facts.st_size > MOST:
                raise RecordingError(f"{name} is larger than {MOST} bytes")
            return file.read(MOST).decode("utf-8", "replace")
    except (OSError, RuntimeError, ValueError) as problem:
        if isinstance(problem, RecordingError):
            raise
        reason = getattr(problem, "strerror", None) or str(problem)
        raise RecordingError(
            f"the prompt is neither a recording nor a file that can be read: {reason}"
        ) from problem


def _envelope(text: str) -> list[Any] | None:
    """Return the events of a whole ``/logs`` answer; None if the text is something else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    events = value.get("events") if isinstance(value, dict) else None
    return events if isinstance(events, list) else None


async def _values(text: str, recording: Recording) -> AsyncIterator[Any]:
    """Yield what the lines hold, NDJSON or an event stream; count those that hold no JSON."""
    for number, line in enumerate(_records(text)):
        if number % BURST == 0:
            await asyncio.sleep(0)
        if line.strip() in ("", "[DONE]"):
            continue
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            recording.skipped += 1


def _records(text: str) -> Iterator[str]:
    """Yield each NDJSON line, and each stream event's joined data."""
    data: list[str] = []
    for line in [*text.split("\n"), ""]:
        name, _, value = line.partition(":")
        if not line:
            if data:
                yield "\n".join(data)
            data = []
        elif name == "data":
            data.append(value.removeprefix(" "))
        elif name not in ("", "event", "id", "retry"):
            yield line


def speed_of(model: str | None) -> float:
    """Return how many times the recorded pace ``replay/N`` asks for; 0 is at once, the default 1.

    Raises:
        RecordingError: it is neither ``replay`` nor ``replay/`` and a number from 0 up.
    """
    name, _, number = (model or "replay/1").partition("/")
    try:
        speed = float(number or "1")
    except ValueError:
        speed = -1
    if name != "replay" or not 0 <= speed < math.inf:
        raise RecordingError(
            f"model {model!r}: use 'replay/N', N times the recorded pace, 0 at once"
        )
    return speed


class Replay:
    """One run that sends a recording again.

    ``start`` and ``finish`` get the new run's id, ``start`` also its time; ``resume`` is left to
    ``/agent/stream``. All else is as recorded. The status is that of the last terminal event: what
    ``finish`` says (``completed`` where it says nothing and no failure came before), ``failed`` for
    ``error``, ``cancelled`` for ``abort``. A recording without one is of a run that was cut off, so
    the new run ends as ``interrupted``.
    """

    def __init__(self, run: Run, recording: Recording, speed: float, emit: Emit) -> None:
        self._run = run
        self._recording = recording
        self._speed = speed
        self._emit = emit

    async def work(self) -> Outcome:
        """Send all but the last event, each at its time."""
        clock = asyncio.get_running_loop().time
        began = clock()
        held: Event | None = None
        status: str | None = None
        error: str | None = None
        for number, (event, due) in enumerate(
            zip(self._recording.events, self._due(), strict=True)
        ):
            if held is not None:
                self._emit(held)
                held = None
            wait = began + due - clock()
            if wait > 0 or number % BURST == 0:
                await asyncio.sleep(max(0.0, wait))
            if event["type"] != "resume":
                held = self._own(event)
            status, error = _ending(event, status, error)
        if status is None:
            status, error = "interrupted", "The recording ends without a terminal event"
        return Outcome(status, error, held)

    def _due(self) -> Iterator[float]:
        """Yield the seconds from the start at which each event is due, never backwards."""
        due = 0.0
        former: float | None = None
        for time in self._recording.times:
            if self._speed:
                known = time is not None and former is not None
                step = max(0.0, (time or 0.0) - (former or 0.0)) / 1000 if known else STEP
                due += step / self._speed
            former = time if time is not None else former
            yield due

    def _own(self, event: Event) -> Event:
        own = dict(event)
        if event["type"] in ("start", "finish") and "runId" in event:
            own["runId"] = self._run.run_id
        if event["type"] == "start" and "startedAt" in event:
            own["startedAt"] = iso(self._run.started)
        return own


def _ending(event: Event, status: str | None, error: str | None) -> tuple[str | None, str | None]:
    """Return the run's status and error after an event."""
    kind = event["type"]
    if kind == "error":
        text = next((event[n] for n in ("errorText", "errorMessage", "error") if n in event), None)
        return "failed", text if isinstance(text, str) else "The recorded run failed"
    if kind == "abort":
        return "cancelled", error
    if kind == "finish":
        said = event.get("status")
        final = _FINAL.get(said, "completed") if isinstance(said, str) else status or "completed"
        return final, None if final == "completed" else error
    return status, error
