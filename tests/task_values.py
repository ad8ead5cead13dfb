"""Arbitrary values for the tests of the task modules: JSON, events with strange members, cuts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import strategies as st

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
"""Whatever Python's json writes, NaN and lone surrogates included."""

MEMBERS = (
    *("type", "id", "toolCallId", "toolName", "delta", "text", "input", "output", "errorText"),
    *("errorMessage", "error", "inputTextDelta", "preliminary", "files", "status", "usage", "x"),
    *("messageMetadata", "startedAt", "runId", "exitCode"),
)
TYPES = (
    *("text-start", "text-delta", "text-end", "reasoning-start", "reasoning-delta", "reasoning"),
    *("tool-call-start", "tool-input-start", "tool-input-available", "tool-input-error"),
    *("tool-output-available", "tool-output-error", "tool-output-denied", "tool-new"),
    *("finish", "error", "abort", "result", "files", "message-metadata", "start", "new", "data-x"),
)
IDS = st.sampled_from(["a", "b", "a:b", ""])
OUTPUTS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("stdout", "stderr", "exitCode", "exit_code", "command"), JSON)
)
EVENTS = st.builds(
    lambda kind, likely, members: {**({"type": kind} if kind else {}), **likely, **members},
    st.none() | st.sampled_from(TYPES),
    st.fixed_dictionaries(
        {},
        optional={
            "id": IDS,
            "toolCallId": IDS,
            "delta": st.text(max_size=5),
            "input": OUTPUTS,
            "output": OUTPUTS,
            "preliminary": st.booleans(),
        },
    ),
    st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=2),
)
"""Objects that look like events, each member now and then of a wrong type."""


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Return ``data`` in pieces, cut at places taken modulo its length."""
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in pairwise(bounds)]
