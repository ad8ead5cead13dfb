"""List what two readings of one task run tell differently (tasks protocol 3.5).

Compared by what is told, never by position: status, joined text, tool calls by id; then by form: how
many events of which type, and what only one of them knows. Pure: imports the fold and its items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from blaxel_jupyter.fold import Fold
from blaxel_jupyter.json_values import lenient
from blaxel_jupyter.task_items import Kind, ToolCall

_SAID = ("tool_name", "state", "input", "output", "error_text", "exit_code")
_KINDS: tuple[Kind, ...] = ("text", "reasoning")


def content_differences(one: Fold, other: Fold) -> Iterator[str]:
    """Yield what the two tell differently: nothing, where they are the same run read twice."""
    for kind in _KINDS:
        yield from _texts(kind, one.text(kind), other.text(kind))
    first, second = one.calls, other.calls
    for key in [*first, *(key for key in second if key not in first)]:
        yield from _calls(key, first.get(key), second.get(key))
    common = [key for key in first if key in second]
    if common != [key for key in second if key in first]:
        yield "order of the tool calls' first events"


def form_differences(
    one: Fold, other: Fold, types: tuple[Mapping[Any, int], Mapping[Any, int]]
) -> Iterator[str]:
    """Yield how the two differ in form alone: chunks, life-cycle events, order of results, figures."""
    counts = [Counter(each) for each in types]
    for name in dict.fromkeys([*counts[0], *counts[1]]):
        if counts[0][name] != counts[1][name]:
            yield f"{name} events: {counts[0][name]:,} / {counts[1][name]:,}"
    ends = [_order_of_ends(each) for each in (one, other)]
    common = set(ends[0]) & set(ends[1])
    if [key for key in ends[0] if key in common] != [key for key in ends[1] if key in common]:
        yield "order of the tool calls' results"
    theirs = other.usage
    for name, value in one.usage.items():
        if value != theirs[name]:
            yield f"{name}: {_shown(value)} / {_shown(theirs[name])}"
    timed = [
        sum(call.duration_ms is not None for call in each.calls.values()) for each in (one, other)
    ]
    if timed[0] != timed[1]:
        yield f"tool calls with a duration: {timed[0]:,} / {timed[1]:,}"


def _texts(kind: Kind, one: str, other: str) -> Iterator[str]:
    if one == other:
        return
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    at = min(len(one), len(other)) if same is None else same
    yield f"{kind}: {len(one):,} / {len(other):,} characters, the same up to {at:,}"


def _calls(key: str, one: ToolCall | None, other: ToolCall | None) -> Iterator[str]:
    if one is None or other is None:
        yield f"tool call {key!r}: only in the {'second' if one is None else 'first'}"
        return
    for name in _SAID:
        values = [_value(name, getattr(call, name)) for call in (one, other)]
        if values[0] != values[1]:
            yield f"tool call {key!r}: another {name}"


def _value(name: str, value: Any) -> Any:
    """Return JSON as its value: white space and escapes say nothing."""
    is_json = name in ("input", "output") and value is not None
    return lenient(value.encode("utf-8", "replace")) if is_json else value


def _order_of_ends(fold: Fold) -> list[str]:
    ended = [call for call in fold.calls.values() if call.end_seq is not None]
    return [call.tool_call_id for call in sorted(ended, key=lambda call: call.end_seq or 0)]


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,}"
