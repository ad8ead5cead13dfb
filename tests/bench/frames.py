"""Log rows to pandas, polars and Arrow, against a list of dicts to the same.

The rows are at hand in both cases: in a run's table, as a follow leaves them there, and in dicts with the
same members, as callbacks would collect them. Making them takes no time here, but memory is that of the
rows and the frame.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.bench.fresh import Meter, Sample, fresh, memory
from tests.bench.races import Race, Row, Sampler

OURS, DICTS = "`run.logs`", "list of dicts"
SIZES = {"10,000": 10_000, "100,000": 100_000, "1,000,000": 1_000_000}
MODULES = {"pandas": "pandas", "polars": "polars", "Arrow": "pyarrow"}
RACES = tuple(
    Race(f"frames-{library}", f"log rows to {library}", (OURS, DICTS), SIZES, tiny=1_000)
    for library in MODULES
)


@contextmanager
def world() -> Iterator[Sampler]:
    """Give each run a process of its own."""
    yield lambda race, contender, rows: fresh(
        contend, contender=contender, library=race.name.split("-")[1], rows=rows
    )


def contend(contender: str, library: str, rows: int) -> Sample:
    """Make one frame of rows that are at hand, in this process."""
    made, module = (
        (_logs if contender == OURS else _dicts),
        importlib.import_module(MODULES[library]),
    )
    convert = {OURS: _export, DICTS: _gather}[contender]
    convert(library, module, made(100))  # imports whatever it needs
    before = memory("VmRSS", os.getpid())
    at_hand = made(rows)
    meter = Meter(resident=before)
    frame = convert(library, module, at_hand)
    figures = meter.figures()
    column = frame["text"]
    last = column.iloc[-1] if library == "pandas" else column[-1]
    exact = len(frame) == rows and str(last) == _text(rows - 1) and len(list(_names(frame))) == 9
    return figures | {"verdict": "exact" if exact else "not the rows"}


def _names(frame: Any) -> list[str]:
    return list(frame.column_names if hasattr(frame, "column_names") else frame.columns)


def _text(i: int) -> str:
    return (
        f"{i:08d} INFO worker {i % 16:02d} step finished in {i % 997:4d} ms, loss={i % 7919:06d}, "
        "all is well so far, nothing to do"
    )


def _logs(rows: int) -> Any:
    """Record the lines in a run's table in blocks of 8 MB, the most that a follow reads at a time."""
    from blaxel_jupyter.follow import LARGEST, Batch
    from blaxel_jupyter.process import Process
    from blaxel_jupyter.runs import Controls, SandboxRun

    process = Process(
        name="job", pid="1", command="", status="running", exit_code=None, started=None, ended=None
    )
    run = SandboxRun(process, Controls(None, None, None), sandbox="box")  # type: ignore[arg-type]
    ledger, at_once = run.ledgers["stdout"], LARGEST // len(_text(0))
    for first in range(0, rows, at_once):
        lines = range(first, min(first + at_once, rows))
        data = "".join(f"{_text(i)}\n" for i in lines).encode()
        run.record(Batch(ledger.commit(ledger.offset, data)))
    return run.logs


def _dicts(rows: int) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    same = {"sandbox": "box", "process": "job", "stream": "stdout"}
    more = {"kind": "line", "origin": "live", "missing_bytes": None}
    return [
        {"seq": i, **same, "text": _text(i), "received": now + timedelta(microseconds=i), **more}
        for i in range(rows)
    ]


def _export(library: str, module: Any, logs: Any) -> Any:
    convert = {"pandas": logs.to_pandas, "polars": logs.to_polars, "Arrow": logs.to_arrow}
    return convert[library]()


def _gather(library: str, module: Any, dicts: list[dict[str, Any]]) -> Any:
    return module.Table.from_pylist(dicts) if library == "Arrow" else module.DataFrame(dicts)


ROW = Row(RACES, world)
