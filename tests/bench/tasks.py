"""Read a task's batch log to tables, against pandas' ``json_normalize``: JSON bytes to tables in memory.

Of our tables a column is made when it is first looked at, so they count thrice: as they are handed over,
with every column read, and exported to Arrow.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from tests.bench.fresh import Meter, Sample, fresh
from tests.bench.races import Race, Row, Sampler

RACE = Race(
    "tasks",
    "events of a task, from JSON to tables",
    (
        "four tables",
        "four tables, every column read",
        "four tables in Arrow",
        "`pandas.json_normalize`, one table",
    ),
    {"1,000": 1_000, "10,000": 10_000, "100,000": 100_000},
    tiny=100,
)
_WORDS = (
    *("the", "a", "of", "tests", "file", "parse", "line", "error", "fixed"),
    *("because", "then", "–", "schema", "run", "✓", "again"),
)


@contextmanager
def world() -> Iterator[Sampler]:
    """Give each run a process of its own, which reads a prepared body."""
    with tempfile.TemporaryDirectory() as folder:

        @cache
        def prepared(events: int) -> str:
            path = Path(folder) / str(events)
            path.write_bytes(body(events))
            return str(path)

        yield lambda race, contender, events: fresh(
            contend, contender=contender, path=prepared(events), events=events
        )


def contend(contender: str, path: str, events: int) -> Sample:
    """Read the file at ``path`` in this process, once, from bytes that are in memory."""
    read = CONTENDERS[contender]
    data = Path(path).read_bytes()
    read(body(100))  # imports whatever it needs
    meter = Meter()
    made = read(data)
    figures = meter.figures()
    return figures | {"verdict": "exact" if len(made[0]) == events else f"{len(made[0])} events"}


def body(count: int, seed: int = 3) -> bytes:
    """Return an answer of ``/logs`` with ``count`` events, mixed as agents' runs are.

    Of the events about 60 of 100 are text deltas of a few words, 8 belong to reasoning, 30 to tool calls
    whose outputs are 100 to 600 bytes of shell output.
    """
    random = Random(seed)
    events: list[dict[str, Any]] = [{"type": "start", "runId": "r"}]
    events.append({"type": "text-start", "id": "msg_a1b2c3"})
    turn = 0
    while len(events) < count - 1:
        turn += 1
        events += _turn(turn, random)
    del events[count - 1 :]
    events.append({"type": "finish", "runId": "r", "status": "completed"})
    members = {"runId": "r", "chatId": "c", "status": "completed", "source": "buffer"}
    log = {**members, "eventCount": count, "events": events, "error": None}
    return json.dumps(log, ensure_ascii=False, separators=(",", ":")).encode()


def _said(random: Random, least: int, most: int) -> str:
    return " ".join(random.choices(_WORDS, k=random.randint(least, most))) + " "


def _turn(turn: int, random: Random) -> list[dict[str, Any]]:
    said = [
        {"type": "text-delta", "id": "msg_a1b2c3", "delta": _said(random, 1, 6)}
        for _ in range(random.randint(10, 26))
    ]
    thought: list[dict[str, Any]] = []
    if turn % 3 == 0:
        block = {"id": f"rsn_{turn}"}
        thought = [
            {"type": "reasoning-delta", **block, "delta": _said(random, 4, 12)} for _ in range(5)
        ]
        thought = [
            {"type": "reasoning-start", **block},
            *thought,
            {"type": "reasoning-end", **block},
        ]
    called = [event for n in range(3) for event in _call(f"toolu_{turn}_{n}", random)]
    return [*said, *thought, *called]


def _call(name: str, random: Random) -> list[dict[str, Any]]:
    whose = {
        "toolCallId": name,
        "toolName": random.choice(["bash", "bash", "Read", "Edit", "Grep"]),
    }
    if whose["toolName"] == "bash":
        given: dict[str, Any] = {"command": f"grep -rn '{_said(random, 1, 3)}' src"}
        lines = "\n".join(_said(random, 4, 12) for _ in range(random.randint(3, 9)))
        output: dict[str, Any] = {"stdout": lines, "exitCode": random.choice([0, 0, 0, 1])}
    else:
        given = {"file_path": f"/vercel/sandbox/src/{random.choice(_WORDS)}.py", "limit": 200}
        output = {"content": _said(random, 20, 80), "numLines": random.randint(1, 200)}
    return [
        {"type": "tool-call-start", **whose},
        {"type": "tool-input-available", **whose, "input": given},
        {"type": "tool-output-available", **whose, "output": output},
    ]


def _our_tables(data: bytes) -> list[Any]:
    from blaxel_jupyter.task_log import read_log
    from blaxel_jupyter.task_runs import Controls, TaskRun

    log = read_log(data)
    run = TaskRun("r", Controls(None, None), target="bench")  # type: ignore[arg-type]
    run.take_log(log)
    run.record(log.read, log.source or "")
    run.end()
    return [run.events, run.tool_calls, run.text_blocks, run.summary]


def _ready(data: bytes) -> list[Any]:
    return list(_our_tables(data))


def _values(data: bytes) -> list[Any]:
    columns = [[list(table.column(name)) for name in table.columns] for table in _our_tables(data)]
    return [each[0] for each in columns]


def _arrow(data: bytes) -> list[Any]:
    return [table.to_arrow() for table in _our_tables(data)]


def _normalize(data: bytes) -> list[Any]:
    import pandas

    return [pandas.json_normalize(json.loads(data)["events"])]


CONTENDERS: dict[str, Callable[[bytes], list[Any]]] = dict(
    zip(RACE.contenders, (_ready, _values, _arrow, _normalize), strict=True)
)

ROW = Row((RACE,), world)
