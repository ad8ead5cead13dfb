"""Race our reader of a batch log against pandas' ``json_normalize``: JSON bytes to tables in memory.

Each run of a contender is a process of its own, which imports first, then reads one prepared body a few
times and reports seconds and the peak of its resident memory above what it had before.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from blaxel_jupyter.table import Table
from blaxel_jupyter.task_log import read_log
from blaxel_jupyter.task_runs import Controls, TaskRun
from tests import blackbox_examples as examples

ROOT = Path(__file__).parents[2]
EVENTS = 100_000
_WORDS = (
    *("the", "a", "of", "tests", "file", "parse", "line", "error", "fixed"),
    *("because", "then", "–", "schema", "run", "✓", "again"),
)


def body(count: int = EVENTS, seed: int = 3) -> bytes:
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


def corpus_body(count: int = EVENTS) -> bytes:
    """Return an answer of ``/logs`` that is the example of a successful run, again and again.

    Of its events a quarter are text and half belong to tools; each round has ids of its own.
    """
    example = examples.events("01-success.ndjson")
    rounds = (_renamed(event, n) for n in range(count // len(example) + 1) for event in example)
    events = list(islice(rounds, count))
    members = {"runId": "r", "chatId": "c", "status": "completed", "source": "buffer"}
    log = {**members, "eventCount": count, "events": events, "error": None}
    return json.dumps(log, ensure_ascii=False, separators=(",", ":")).encode()


def _renamed(event: dict[str, Any], n: int) -> dict[str, Any]:
    names = {key: f"{event[key]}_{n}" for key in ("id", "toolCallId") if key in event}
    return {**event, **names}


BODIES = {"an agent's mix": body, "the example run": corpus_body}


# The contenders: each returns what it made. Our tables make a column when it is looked at, so
# they count thrice: as they are handed over, with every column read, and exported.


def _our_tables(data: bytes) -> list[Table]:
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


CONTENDERS: dict[str, Callable[[bytes], list[Any]]] = {
    "ours, four tables": _ready,
    "ours, four tables, every column read": _values,
    "ours, four tables in Arrow": _arrow,
    "json_normalize, one table": _normalize,
}


def contender(name: str, path: str) -> dict[str, Any]:
    """Read the file at ``path`` four times, in this process.

    Peak memory is that of the first reading, seconds are the median of the others, as in a kernel that has
    been at work: the first of each contender pays for memory that the system has to give.
    """
    read = CONTENDERS[name]
    data = Path(path).read_bytes()
    read(body(100))  # imports whatever it needs
    before = _reset_peak()
    rows = list(map(len, read(data)))
    peak = (_memory("VmHWM") - before) / 1024
    times = [_timed(read, data) for _ in range(3)]
    seconds, cpu = (statistics.median(each) for each in zip(*times, strict=True))
    return {"seconds": seconds, "cpu": cpu, "peak": peak, "rows": rows}


def _timed(read: Callable[[bytes], list[Any]], data: bytes) -> tuple[float, float]:
    """Read until all is there; to let go of it is not counted."""
    started, worked = time.perf_counter(), time.process_time()
    made = read(data)
    seconds, cpu = time.perf_counter() - started, time.process_time() - worked
    del made
    return seconds, cpu


def _reset_peak() -> int:
    """Let the kernel forget this process's peak of resident memory; return what is resident now, in KB.

    ``ru_maxrss`` would do nearly the same, but a child inherits its parent's.
    """
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(member: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{member}:"))


def race(repeat: int = 5) -> list[list[str]]:
    """Run the contenders in turn, ``repeat`` times each; return a table's rows, medians in them."""
    title = f"{EVENTS:,} events from JSON"
    rows = [[title, "MB", "seconds", "CPU s", "times as fast", "peak MB", "rows"]]
    for title, make in BODIES.items():
        with tempfile.NamedTemporaryFile() as file:
            file.write(make())
            file.flush()
            found = {name: list[dict[str, Any]]() for name in CONTENDERS}
            for _ in range(repeat):
                for name, results in found.items():
                    results.append(_in_process(name, file.name))
            size = Path(file.name).stat().st_size / 1e6
        peer = _median(found["json_normalize, one table"], "seconds")
        for name, results in found.items():
            seconds, cpu, peak = (_median(results, member) for member in ("seconds", "cpu", "peak"))
            counts = " + ".join(f"{n:,}" for n in results[-1]["rows"])
            figures = [f"{size:.0f}", f"{seconds:.3f}", f"{cpu:.3f}", f"{peer / seconds:.1f}"]
            rows.append([f"{title}: {name}", *figures, f"{peak:.0f}", counts])
    return rows


def _in_process(name: str, path: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.task_tables", name, path]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _median(results: list[dict[str, Any]], member: str) -> float:
    return statistics.median(result[member] for result in results)


if __name__ == "__main__":
    print(json.dumps(contender(sys.argv[1], sys.argv[2])))
