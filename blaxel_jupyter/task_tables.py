"""Lay task runs out as tables: events, tool calls, text blocks, and one row a run (tasks protocol 6).

Every table has ``run_id``, so tables of several runs stack and join by it and ``tool_call_id``. What a
run did not say is null. Pure: imports the fold and the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from operator import attrgetter
from typing import Any

from blaxel_jupyter.fold import Fold
from blaxel_jupyter.table import Column, Table
from blaxel_jupyter.task_events import FOLDED, Event, with_texts
from blaxel_jupyter.task_items import TextBlock, ToolCall

LATER = 1000
"""Events from which on the columns of what is appended wait until somebody looks."""

EVENTS: tuple[Column, ...] = (
    Column("seq", "int64"),
    Column("run_id", "string"),
    Column("type", "string"),
    Column("block_id", "string"),
    Column("tool_call_id", "string"),
    Column("tool_name", "string"),
    Column("text", "string"),
    Column("payload", "string"),
    Column("received", "timestamp"),
    Column("source", "string"),
    Column("type_raw", "string"),
)
"""The columns of ``TaskRun.events``, one row an event; ``type`` is folded, ``type_raw`` as sent."""

TOOL_CALLS: tuple[Column, ...] = (
    Column("call_index", "int64"),
    Column("tool_call_id", "string"),
    Column("tool_name", "string"),
    Column("state", "string"),
    Column("input", "string"),
    Column("output", "string"),
    Column("command", "string"),
    Column("stdout", "string"),
    Column("stderr", "string"),
    Column("exit_code", "int64"),
    Column("is_error", "bool"),
    Column("error_text", "string"),
    Column("duration_ms", "int64"),
    Column("start_seq", "int64"),
    Column("end_seq", "int64"),
    Column("input_seq", "int64"),
    Column("path", "string"),
    Column("parent_tool_call_id", "string"),
    Column("run_id", "string"),
)
"""The columns of ``TaskRun.tool_calls``, one row a ``tool_call_id``."""

TEXT_BLOCKS: tuple[Column, ...] = (
    Column("kind", "string"),
    Column("block_id", "string"),
    Column("segment", "int64"),
    Column("text", "string"),
    Column("first_seq", "int64"),
    Column("last_seq", "int64"),
    Column("n_deltas", "int64"),
    Column("chars", "int64"),
    Column("closed", "bool"),
    Column("run_id", "string"),
)
"""The columns of ``TaskRun.text_blocks``, one row a segment; ``chars`` counts code points."""

SUMMARY: tuple[Column, ...] = (
    Column("run_id", "string"),
    Column("chat_id", "string"),
    Column("assistant_message_id", "string"),
    Column("previous_run_id", "string"),
    Column("status", "string"),
    Column("status_raw", "string"),
    Column("error", "string"),
    Column("source", "string"),
    Column("created_at", "timestamp"),
    Column("started_at", "timestamp"),
    Column("completed_at", "timestamp"),
    Column("queue_ms", "int64"),
    Column("duration_ms", "int64"),
    Column("model", "string"),
    Column("agent", "string"),
    Column("repo_url", "string"),
    Column("base_branch", "string"),
    Column("created_branch", "string"),
    Column("event_count", "int64"),
    Column("n_text_deltas", "int64"),
    Column("n_segments", "int64"),
    Column("text_chars", "int64"),
    Column("n_tool_calls", "int64"),
    Column("n_tool_errors", "int64"),
    Column("n_unfinished", "int64"),
    Column("n_files", "int64"),
    Column("unknown_types", "string"),
    Column("input_tokens", "int64"),
    Column("output_tokens", "int64"),
    Column("cache_read_tokens", "int64"),
    Column("cache_creation_tokens", "int64"),
    Column("total_cost_usd", "float64"),
    Column("num_turns", "int64"),
    Column("result_duration_ms", "int64"),
    Column("terminal_event", "string"),
)
"""The columns of ``TaskRun.summary``; times and ``duration_ms`` are the service's, where it tells them."""


def events_table(run_id: str) -> Table:
    """Make an empty events table."""
    return Table(EVENTS, constants={"run_id": run_id})


def extend_events(
    table: Table, events: Sequence[Event], received: int | list[int | None] | None, source: str
) -> None:
    """Append events; the columns of many at once are made when somebody looks at them."""

    def each(name: str) -> Callable[[], list[Any]]:
        return lambda: list(map(attrgetter(name), events))

    def kinds() -> list[str | None]:
        return [kind or None for kind in map(attrgetter("kind"), events)]

    makers: dict[str, Callable[[], list[Any]]] = {
        "type": lambda: [FOLDED.get(kind or "", kind) for kind in kinds()],
        "block_id": each("block_id"),
        "tool_call_id": each("tool_call_id"),
        "tool_name": each("tool_name"),
        "text": lambda: [event.text if event.delta is None else event.delta for event in events],
        "payload": lambda: [event.json for event in with_texts(events)],
        "type_raw": kinds,
    }
    table.extend(
        len(events), **_made(makers, later=len(events) > LATER), received=received, source=source
    )


def tool_calls_table(run_id: str, calls: Iterable[ToolCall], *, final: bool = False) -> Table:
    """Lay calls out in the order of their first event, as they are now; ``final`` ones do not change."""
    return _of_objects(TOOL_CALLS, run_id, list(calls), final=final)


def text_blocks_table(run_id: str, blocks: Iterable[TextBlock], *, final: bool = False) -> Table:
    """Lay text blocks out in order, as they are now; ``final`` ones do not change."""
    return _of_objects(TEXT_BLOCKS, run_id, list(blocks), final=final)


def _of_objects(
    columns: tuple[Column, ...], run_id: str, rows: Sequence[object], *, final: bool
) -> Table:
    """Make a table of attributes; a column of what does not change is made when somebody looks at it."""

    def maker(name: str) -> Callable[[], list[Any]]:
        return lambda: list(map(attrgetter(name), rows))

    table = Table(columns, constants={"run_id": run_id}, position=None)
    makers = {one.name: maker(one.name) for one in columns if one.name != "run_id"}
    table.extend(len(rows), **_made(makers, later=final))
    return table


def _made(makers: dict[str, Callable[[], list[Any]]], *, later: bool) -> dict[str, Any]:
    """Return columns, or what makes them when somebody looks."""
    return dict(makers) if later else {name: make() for name, make in makers.items()}


def summary_table(rows: Callable[[], list[dict[str, Any]]], n: int, *, final: bool) -> Table:
    """Lay facts of ``n`` runs out, one row a run; members that a row lacks are null."""
    once = cache(rows)

    def maker(name: str) -> Callable[[], list[Any]]:
        return lambda: [row.get(name) for row in once()]

    table = Table(SUMMARY, position=None)
    table.extend(n, **_made({one.name: maker(one.name) for one in SUMMARY}, later=final))
    return table


def counts(fold: Fold) -> dict[str, Any]:
    """Count what a fold holds, under the summary's names."""
    calls = list(fold.calls.values())
    return {
        "n_text_deltas": fold.n_text_deltas,
        "n_segments": len(fold.blocks),
        "text_chars": fold.text_chars,
        "n_tool_calls": len(calls),
        "n_tool_errors": sum(call.is_error is True for call in calls),
        "n_unfinished": sum(call.end_seq is None for call in calls),
        "n_files": len(fold.files),
        "unknown_types": ", ".join(fold.unknown) or None,
        "terminal_event": fold.terminal,
        **fold.usage,
    }


def stacked(tables: Sequence[Table], columns: tuple[Column, ...]) -> Table:
    """Put the rows of several runs' tables under one another."""
    table = Table(columns, position=None)
    for part in tables:
        n = len(part)
        table.extend(n, **{name: list(part.column(name)[:n]) for name in part.columns})
    return table
