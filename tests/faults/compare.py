"""Compare a run with what its process wrote, byte by byte and row by row.

Pure. A comparison returns what is wrong, in words; nothing where all is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from blaxel_jupyter import SandboxRun
from blaxel_jupyter.wire import decode_like_go
from tests.faults.plans import Plan

Row = dict[str, Any]


def compared(run: SandboxRun, todo: Plan, *, twice: bool = False) -> str:
    """Say in what a run differs from what its process wrote, beyond what its gaps say.

    ``twice``: the network started two processes of the name, the second one in the files of the first.
    """
    rows = run.logs.records()
    if [row["seq"] for row in rows] != list(range(len(rows))):
        return "seq is not the position"
    if run.integrity not in {"complete", "repaired", "gap"}:
        return f"integrity {run.integrity}"
    for stream, data, expected in _streams(run, todo):
        mine = [row for row in rows if row["stream"] == stream]
        if unchecked(run) or (twice and run.integrity == "gap"):
            continue
        problem = _compared(data, expected, mine, run.integrity)
        if problem:
            return f"{stream}: {problem} ({len(data)} bytes of {len(expected)}, {run.integrity})"
    return ""


def unchecked(run: SandboxRun) -> bool:
    """Tell whether a run says that its server gave no log to check the stream by: nobody can know then."""
    return run.integrity == "gap" and any(
        (row["kind"], row["stream"]) == ("gap", "system") for row in run.logs
    )


def is_start_of(run: SandboxRun, todo: Plan) -> str:
    """Say where what is there so far is not the beginning of what the process writes."""
    if todo.server == "no files":
        return ""  # what a stream delivers is put right later
    for stream, data, expected in _streams(run, todo):
        gaps = [
            row["missing_bytes"]
            for row in run.logs
            if (row["stream"], row["kind"]) == (stream, "gap")
        ]
        if not any(pieces(data, expected, gaps, whole=False)):
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
    found = list(pieces(data, expected, gaps))
    if not found:
        return "other bytes"
    if all(lines != [line for piece in one for line in split(piece)] for one in found):
        return "the table's lines are not those of the bytes"
    return ""


def pieces(
    data: bytes, expected: bytes, gaps: list[int], *, whole: bool = True
) -> Iterator[list[bytes]]:
    """Yield the ways to cut ``data`` so that gaps of these sizes make it out of ``expected``.

    ``whole`` is False where the end may not have come yet.
    """
    if not gaps:
        if data == expected if whole else expected.startswith(data):
            yield [data]
        return
    same = next(
        (at for at, (one, other) in enumerate(zip(data, expected, strict=False)) if one != other),
        min(len(data), len(expected)),
    )
    for at in range(same, max(same - 9, -1), -1):  # some are the same by accident behind the cut
        for rest in pieces(data[at:], expected[at + gaps[0] :], gaps[1:], whole=whole):
            yield [data[:at], *rest]


def split(data: bytes) -> list[str]:
    """Return the lines as a table has them."""
    lines = [line.decode("utf-8", "replace") for line in data.split(b"\n")]
    return lines if lines[-1] else lines[:-1]
