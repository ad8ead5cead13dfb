"""Read what a run cost: tokens, money, turns and time, from whichever event says it (tasks protocol 6.4).

Pure: imports task_events and json_values.
"""

from __future__ import annotations

from typing import Any

from blaxel_jupyter.json_values import lenient
from blaxel_jupyter.task_events import Event

USAGE = {
    # column: member of result, of result.usage, of messageMetadata
    "input_tokens": (None, "input_tokens", "inputTokens"),
    "output_tokens": (None, "output_tokens", "outputTokens"),
    "cache_read_tokens": (None, "cache_read_input_tokens", "cacheReadInputTokens"),
    "cache_creation_tokens": (None, "cache_creation_input_tokens", "cacheCreationInputTokens"),
    "total_cost_usd": ("total_cost_usd", None, "totalCostUsd"),
    "num_turns": ("num_turns", None, None),
    "result_duration_ms": ("duration_ms", None, "durationMs"),
}
"""The columns, and where a result, its usage and a message's metadata keep them."""


def take_usage(usage: dict[str, int | float | None], event: Event) -> None:
    """Take the figures of an event over: those of ``result`` count most, else the first that came."""
    is_result = event.kind == "result"
    detail: Any = lenient(event.usage) if is_result and event.usage else None
    metadata: Any = lenient(event.metadata) if event.metadata else None
    for column, (own, of_usage, of_metadata) in USAGE.items():
        value = None
        if is_result and own:
            value = lenient(getattr(event, own))
        elif is_result and of_usage and isinstance(detail, dict):
            value = detail.get(of_usage)
        elif isinstance(metadata, dict) and of_metadata:
            value = metadata.get(of_metadata)
        if value is None:
            continue
        number = _number(value, whole=column != "total_cost_usd")
        if number is not None and (is_result or usage[column] is None):
            usage[column] = number


def _number(value: object, *, whole: bool) -> int | float | None:
    """Return a number that a column can hold; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if whole:
        return int(value) if value == value // 1 and abs(value) < 1 << 63 else None
    return float(value) if abs(value) < 1e300 else None
