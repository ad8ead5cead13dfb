"""Compare a run with what its process wrote, byte by byte and row by row.

Pure. A comparison returns what is wrong, in words; nothing where all is exact.
"""

from __future__ import annotations

from typing import Any

from blaxel_jupyter import SandboxRun
from blaxel_jupyter.wire import decode_like_go
from tests.faults.plans import Plan

Row = dict[str, Any]


def compared(run: SandboxRun, todo: Plan) -> str:
    """Say in what a run differs from what its process wrote, beyond what its gaps say."""
    rows = run.logs.records()
    if [row["seq"] for row in rows] != list(range(len(rows))):
        return "seq is not the position"
    if run.integrity not in {"complete", "repaired", "gap"}:
        return f"integrity {run.integrity}"
    for stream, data, expected in _streams(run, todo):
        mine = [row for row in rows if row["stream"] == stream]
        problem = _compared(data, expected, mine, run.integrity)
        if problem:
            return f"{stream}: {problem} ({len(data)} bytes of {len(expected)}, {run.integrity})"
    return ""


def is_start_of(run: SandboxRun, todo: Plan) -> str:
    """Say where what is there so far is not the beginning of what the process writes."""
    for stream, data, expected in _streams(run, todo):
        gaps = [
            row["missing_bytes"]
            for row in run.logs
            if (row["stream"], row["kind"]) == (stream, "gap")
        ]
        if pieces(data, expected, gaps, whole=False) is None:
            return f"{stream}: what is there is not the beginning of what was written"
    return ""


def _streams(run: SandboxRun, todo: Plan) -> list[tuple[str, bytes, bytes]]:
    return [
        ("stdout", run.stdout_bytes, todo.stdout),
        ("stderr", run.stderr_bytes, todo.stderr),
    ]


def _compared(data: bytes, expected: bytes, rows: list[Row], integrity: str) -> str:
    gaps = [row["missing_bytes"] for row in rows if row["kind"] == "gap"]
    lines = [row["text"] for row in rows if row["kind"] == "line"]
    if integrity == "repaired":
        return "" if decode_like_go(data) == decode_like_go(expected) else "other text"
    if gaps and integrity != "gap":
        return "gap rows in a run that is said to be whole"
    if None in gaps:
        return "a gap of unknown size"
    if len(data) + sum(gaps) != len(expected):
        return f"gaps of {gaps} do not add up"
    found = pieces(data, expected, gaps)
    if found is None:
        return "other bytes"
    if lines != [line for piece in found for line in split(piece)]:
        return "the table's lines are not those of the bytes"
    return ""


def pieces(
    data: bytes, expected: bytes, gaps: list[int], *, whole: bool = True
) -> list[bytes] | None:
    """Cut ``data`` where gaps of these sizes make it out of ``expected``; None if they do not.

    ``whole`` is False where the end may not have come yet.
    """
    if not gaps:
        return [data] if (data == expected if whole else expected.startswith(data)) else None
    same = next(
        (at for at, (one, other) in enumerate(zip(data, expected, strict=False)) if one != other),
        min(len(data), len(expected)),
    )
    for at in range(same, max(same - 9, -1), -1):  # the same by accident behind the cut
        rest = pieces(data[at:], expected[at + gaps[0] :], gaps[1:], whole=whole)
        if rest is not None:
            return [data[:at], *rest]
    return None


def split(data: bytes) -> list[str]:
    """Return the lines as a table has them."""
    lines = [line.decode("utf-8", "replace") for line in data.split(b"\n")]
    return lines if lines[-1] else lines[:-1]
