"""Be what a task leaves behind: its facts, events and tables, while it grows and after.

A run records what a read or a follow delivers and answers from memory; attributes never touch the
network. Made by the task client.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import msgspec

from blaxel_jupyter import bridge, task_tables
from blaxel_jupyter.clock import Clock
from blaxel_jupyter.differences import content_differences, form_differences
from blaxel_jupyter.errors import BlaxelError
from blaxel_jupyter.fold import Fold
from blaxel_jupyter.followed import Followed
from blaxel_jupyter.json_values import text_of, time_of, words_of
from blaxel_jupyter.masks import NONE, Masks
from blaxel_jupyter.parts import events_of
from blaxel_jupyter.recording import read_recording, write_recording
from blaxel_jupyter.table import Table
from blaxel_jupyter.task import ENDED, Task, TaskEvent, TaskStatus, status_of
from blaxel_jupyter.task_events import Event, read_event
from blaxel_jupyter.task_log import TaskLog

FROM_MESSAGES = "+messages"
"""What the source of a run ends with whose text is the message's."""


@dataclass(frozen=True, slots=True)
class Controls:
    """How a run reaches its service: each call makes what it needs on the loop it is called on."""

    follow: Callable[[TaskRun], Awaitable[None]]
    cancel: Callable[[str], Awaitable[object]]


@dataclass(slots=True)
class Facts:
    """What is known of a run beside its events; None where nobody said. Times are aware (UTC)."""

    chat_id: str | None = None
    assistant_message_id: str | None = None
    previous_run_id: str | None = None
    status_raw: str | None = None
    error: str | None = None
    created: datetime | None = None
    started: datetime | None = None
    completed: datetime | None = None
    model: str | None = None
    agent: str | None = None
    prompt: str | None = None
    repo_url: str | None = None
    base_branch: str | None = None
    created_branch: str | None = None


class TaskRun(Followed):
    """One run of an agent task: its events in the order of receipt, and what they tell.

    ``events`` is a table that grows while the run is followed; ``tool_calls``, ``text_blocks`` and
    ``summary`` are made from it when they are asked for. ``await run`` follows it to its end.
    """

    def __init__(
        self, run_id: str, controls: Controls, *, target: str, masks: Masks = NONE
    ) -> None:
        super().__init__()
        self.clock = Clock()
        self.run_id = run_id
        self.target = target
        self.facts = Facts()
        self.source: str | None = None
        self.raw_events: list[str] | None = None
        self.fold = Fold()
        self.masks = masks
        self.events = task_tables.events_table(run_id).with_masks(masks)
        self.trouble: str | None = None
        self._controls = controls
        self._notes: Counter[str] = Counter()

    # What is known --------------------------------------------------------------------------------------

    @property
    def chat_id(self) -> str | None:
        """The thread that the run belongs to."""
        return self.facts.chat_id

    @property
    def status(self) -> str:
        """``queued``, ``running``, ``completed``, ``failed``, ``cancelled`` or ``interrupted``.

        A word that nobody knows stays as it is; ``unknown`` before the first answer.
        """
        return status_of(self.facts.status_raw)

    @property
    def status_raw(self) -> str | None:
        """The status in the service's own word."""
        return self.facts.status_raw

    @property
    def ended(self) -> bool:
        """Whether the status never changes again."""
        return self.status in ENDED

    @property
    def error(self) -> str | None:
        """Why the run failed, in the service's words."""
        return self.facts.error or self.fold.error

    @property
    def text(self) -> str:
        """What the agent said, all of it, without its reasoning."""
        return self.fold.text()

    @property
    def warnings(self) -> list[str]:
        """What could not be read, paired or explained, one line each."""
        notes = [text if n == 1 else f"{text} ({n} times)" for text, n in self._notes.items()]
        return [*notes, *self.fold.problems(ended=self.ended)]

    @property
    def tool_calls(self) -> Table:
        """One row a tool call, as it stands now."""
        calls = list(self.fold.calls.values())
        table = task_tables.tool_calls_table(self.run_id, calls, final=self.final)
        return table.with_masks(self.masks)

    @property
    def text_blocks(self) -> Table:
        """One row a stretch of text or reasoning; positions are null where it came from the messages."""
        blocks = list(self.fold.blocks)
        table = task_tables.text_blocks_table(self.run_id, blocks, final=self.final)
        return table.with_masks(self.masks)

    @property
    def summary(self) -> Table:
        """One row: identity, status, times, counts, tokens, cost."""
        return TaskRuns([self]).summary

    def facts_row(self) -> dict[str, Any]:
        """Return the row of the summary; times are UTC microseconds."""
        facts = self.facts
        started = facts.started or time_of(self.fold.started_at)
        return {
            **{name: getattr(facts, name) for name in _SAME},
            "run_id": self.run_id,
            "status": self.status,
            "error": self.error,
            "source": self.source,
            "created_at": _micros(facts.created),
            "started_at": _micros(started),
            "completed_at": _micros(facts.completed),
            "queue_ms": _between(facts.created, started),
            "duration_ms": _between(started, facts.completed),
            "event_count": len(self.events),
            **task_tables.counts(self.fold),
        }

    def differences(self, other: TaskRun, *, form: bool = True) -> list[str]:
        """List what another reading of the same run tells differently, one line each: ours / theirs.

        Live, buffered, reconstructed and merged logs of a run tell the same (tasks protocol 3.5): status,
        joined text, tool calls. Where they do not, those lines stand first.

        Args:
            other: the other reading.
            form: also list what differs in form alone: chunks, life-cycle events, order of results, and
                figures that only one of them has.
        """
        lines = []
        if self.status != other.status:
            lines.append(f"status: {self.status} / {other.status}")
        lines += content_differences(self.fold, other.fold)
        if form:
            types = Counter(self.events.column("type")), Counter(other.events.column("type"))
            lines += form_differences(self.fold, other.fold, types)
        return lines

    # Keeping --------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the events with their times of receipt to a file, one JSON object a line.

        The service forgets a live run's times, tokens and cost: its log is made up from messages later.
        """
        columns = (self.events.column(name) for name in ("payload", "received", "type_raw"))
        Path(path).write_bytes(write_recording(zip(*columns, strict=True)))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TaskRun:
        """Read a run that ``save`` wrote, or any recording: events one a line, or a stream's bytes.

        Its ``source`` is ``recording``; the status is what the last event said, ``unknown`` without one.
        """
        notes: Counter[str] = Counter()
        recorded = read_recording(Path(path).read_bytes(), notes)
        ids = [text_of(event.data.get("runId")) for event, _ in recorded if event.kind in _NAMING]
        run_id = next(filter(None, ids), Path(path).stem)
        run = cls(run_id, Controls(_no_service, _no_service), target="recording")
        run.record([event for event, _ in recorded], "stream", [at for _, at in recorded])
        run.note_all(notes)
        ending = {"error": "failed", "abort": "cancelled"}.get(run.fold.terminal or "")
        run.facts.status_raw = run.fold.finish_status or ending
        run.source = "recording"
        run.end()
        return run

    # Control --------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Ask the service to cancel the run."""
        bridge.call(self.ask_cancel)

    async def ask_cancel(self) -> None:
        """Ask for the cancellation on the running loop."""
        await self._controls.cancel(self.run_id)

    async def _send(self, verb: str) -> str:
        await self.ask_cancel()
        return "cancel sent"

    def _goes_on(self) -> str:
        return "not followed any more: the run goes on; Cancel ends it, Follow again shows the rest"

    async def _follow(self) -> None:
        await self._controls.follow(self)

    # What a read or a follow does to a run --------------------------------------------------------------

    def record(
        self, events: Sequence[Event], source: str, received: Sequence[int | None] = ()
    ) -> int:
        """Append events and fold them; return the ``seq`` of the first.

        Args:
            events: what came, in order.
            source: ``stream``, or what the batch log named.
            received: when each came, if it came live, in UTC microseconds; empty for none of them.
        """
        first, fold = len(self.events), self.fold
        times = list(received) or None
        if times is None:
            fold.extend(first, events)
        else:
            for i, event in enumerate(events):
                fold.add(first + i, event, times[i])
        task_tables.extend_events(self.events, events, times, source)
        return first

    def entries(self, seqs: Iterable[int]) -> list[TaskEvent]:
        """Return recorded events by their positions."""
        names = TaskEvent.__struct_fields__
        columns = [self.events.column(name) for name in names]
        return [TaskEvent(*[column[seq] for column in columns]) for seq in seqs]

    def read_events(self) -> list[Event]:
        """Return all recorded events as they were read."""
        said = zip(self.events.column("payload"), self.events.column("type_raw"), strict=True)
        return [read_event(payload.encode(), kind or "") for payload, kind in said]

    def start_again(self) -> None:
        """Drop all events: a better record of them is about to be recorded."""
        self.source = None
        self.fold = Fold()
        self.events = task_tables.events_table(self.run_id).with_masks(self.masks)

    def take_log(self, log: TaskLog) -> None:
        """Take over the facts of a batch log, not its events."""
        facts = self.facts
        facts.chat_id = log.chat_id or facts.chat_id
        facts.status_raw = log.status or facts.status_raw
        facts.error = log.error or facts.error
        self.raw_events = log.raw_events if log.raw_events is not None else self.raw_events
        self._notes |= log.warnings

    def take_status(self, status: TaskStatus) -> None:
        """Take over what ``/status`` said."""
        facts = self.facts
        facts.status_raw = status.status_raw
        facts.error = status.error or facts.error
        facts.started = status.started or facts.started
        facts.completed = status.completed or facts.completed

    def take_details(self, details: Mapping[str, Any]) -> None:
        """Take over the details of the run, without its messages (tasks protocol 2.4)."""
        task, facts = Task.parse(details), self.facts
        facts.chat_id = task.chat_id or facts.chat_id
        facts.status_raw = task.status_raw or facts.status_raw
        facts.assistant_message_id = task.assistant_message_id or facts.assistant_message_id
        facts.error = words_of(details.get("error")) or facts.error
        facts.created = task.created or facts.created
        facts.started = task.started or facts.started
        facts.completed = task.completed or facts.completed
        facts.model = task.model or facts.model
        github = details.get("github")
        if isinstance(github, dict):
            facts.repo_url = text_of(github.get("repoUrl")) or facts.repo_url
            facts.base_branch = text_of(github.get("baseBranch")) or facts.base_branch
            facts.created_branch = text_of(github.get("createdBranch")) or facts.created_branch

    def take_messages(self, details: Mapping[str, Any]) -> None:
        """Take the text of the run's own message, where the log has none (tasks protocol 3.4, 4.2).

        Its place among the events is not known: the blocks have no positions.
        """
        messages = details.get("messages")
        own = [
            message
            for message in (messages if isinstance(messages, list) else [])
            if isinstance(message, dict) and message.get("id") == self.facts.assistant_message_id
        ]
        fold = Fold()
        for message in own:
            parts = message.get("parts")
            for event in events_of(str(message["id"]), parts if isinstance(parts, list) else []):
                fold.add(0, read_event(msgspec.json.encode(event)))
        there = {block.kind for block in self.fold.blocks}
        for block in fold.blocks:
            if block.kind not in there:
                self.fold.adopt(block)
        if fold.blocks:
            self.source = f"{self.source}{FROM_MESSAGES}"
        else:
            self.note("the log has no text, and the run's message has none either")

    def note(self, text: str, n: int = 1) -> None:
        """Add a warning."""
        self._notes[text] += n

    def note_all(self, notes: Counter[str]) -> None:
        """Add the warnings of a reader."""
        self._notes += notes

    def end(self) -> None:
        """Say that nothing more will come."""
        self._final = True
        self.message = None

    def tell_trouble(self, trouble: str | None) -> None:
        """Show in the header what is wrong with the connection just now; None when it is well."""
        self.trouble = trouble

    def header(self) -> dict[str, Any]:
        """Return the facts that a panel shows above the events; times are UTC seconds or None."""
        row = self.facts_row()
        names = ("run_id", "status", "source", "model", "text_chars")
        told = {"error": row["error"], "prompt": self.facts.prompt}
        told["message"] = self.trouble or self.message
        tokens = ("input_tokens", "output_tokens", "total_cost_usd")
        return {
            "view": "task",
            **{name: row[name] for name in (*names, *tokens)},
            **{name: text and self.masks.text(text) for name, text in told.items()},
            "target": self.target,
            "started": _seconds(row["started_at"]),
            "ended": _seconds(row["completed_at"]),
            "events": row["event_count"],
            "tool_calls": row["n_tool_calls"],
            "tool_errors": row["n_tool_errors"],
            "unfinished": row["n_unfinished"],
            "warnings": len(self.warnings),
            "local": self.target == "local",
            "final": self._final or self._broken,
            "verbs": self.verbs("cancel"),
        }

    def __repr__(self) -> str:
        """Tell identity, fate and size in one line."""
        events, calls = len(self.events), len(self.fold.calls)
        return (
            f"<TaskRun {self.run_id}: {self.status}, {events:,} event{'' if events == 1 else 's'}, "
            f"{calls:,} tool call{'' if calls == 1 else 's'}, {self.source or 'not read yet'}>"
        )


class TaskRuns(list[TaskRun]):
    """Several runs, whose tables stack: each property holds the rows of all, told apart by ``run_id``."""

    @property
    def events(self) -> Table:
        """The events of all runs; ``seq`` counts within each."""
        return self._masked(task_tables.stacked([run.events for run in self], task_tables.EVENTS))

    @property
    def tool_calls(self) -> Table:
        """The tool calls of all runs."""
        each = [run.tool_calls for run in self]
        return self._masked(task_tables.stacked(each, task_tables.TOOL_CALLS))

    @property
    def text_blocks(self) -> Table:
        """The text blocks of all runs."""
        each = [run.text_blocks for run in self]
        return self._masked(task_tables.stacked(each, task_tables.TEXT_BLOCKS))

    @property
    def summary(self) -> Table:
        """One row a run."""
        runs = list(self)
        final = all(run.final for run in runs)
        rows = task_tables.summary_table(
            lambda: [run.facts_row() for run in runs], len(runs), final=final
        )
        return self._masked(rows)

    def _masked(self, table: Table) -> Table:
        return table.with_masks(reduce(or_, (run.masks for run in self), NONE))


_SAME = (
    *("chat_id", "assistant_message_id", "previous_run_id", "status_raw", "model", "agent"),
    *("repo_url", "base_branch", "created_branch"),
)


_NAMING = ("resume", "start", "finish")


async def _no_service(_: object) -> None:
    raise BlaxelError("This run was read from a file: there is no service to ask.")


def _micros(time: datetime | None) -> int | None:
    return None if time is None else round(time.timestamp() * 1_000_000)


def _seconds(micros: int | None) -> float | None:
    return None if micros is None else micros / 1_000_000


def _between(first: datetime | None, last: datetime | None) -> int | None:
    return None if first is None or last is None else round((last - first).total_seconds() * 1000)
