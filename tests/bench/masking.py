"""What masking costs: a million lines recorded and packed for the panel, by how many values are known.

    python tests/bench/masking.py [LINES]

It measures the kernel's part alone, in this process: bytes into the table, and every row into messages.
"""

from __future__ import annotations

import secrets
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import islice

from blaxel_jupyter.masks import NONE, Masks
from blaxel_jupyter.panel.rows import Rows
from blaxel_jupyter.table import LOGS, Table
from blaxel_jupyter.wire import Lines

BLOCK = 20_000
"""Lines that arrive in one piece."""

REPEATS = 5


class Run:
    """The part of a run that the panel reads."""

    def __init__(self, masks: Masks) -> None:
        self.logs = Table(LOGS, constants={"sandbox": "box", "process": "job"}, masks=masks)

    def header(self) -> dict[str, object]:
        """Return no facts: they cost the same with and without masks."""
        return {}


def lines(kind: str, value: str) -> Iterator[bytes]:
    """Yield log lines of about 100 characters."""
    n = 0
    while True:
        n += 1
        loss = n * 7919 % 99991 / 1e5
        text = f"2026-11-22T10:05:{n % 60:02d} INFO worker {n % 97} took batch {n}, loss {loss:.5f}"
        text = f"\x1b[32m{text[:19]}\x1b[0m{text[19:]}" if kind == "coloured" else text
        yield (
            f"{text} key={value}" if kind == "masked" and n % 100 == 0 else f"{text} done"
        ).encode()


def seconds(blocks: list[bytes], masks: Masks) -> tuple[float, int]:
    """Record the blocks and pack all rows; return how long it took, and how much was masked."""
    run = Run(masks)
    rows, sent = Rows(run), 0
    began = time.perf_counter()
    for block in blocks:
        new = Lines(block)
        facts = {"stream": "stdout", "kind": "line", "received": 0, "origin": "live"}
        run.logs.extend(len(new), text=new, missing_bytes=None, **facts)
        while news := rows.news(sent):
            sent += news[0]["n"]
    return time.perf_counter() - began, run.logs.masked


def main(n: int) -> None:
    """Print a table: medians of five, interleaved."""
    values = [secrets.token_urlsafe(30) for _ in range(10)]
    known = {k: Masks([(f"KEY_{i}", v) for i, v in enumerate(values[:k])]) for k in (1, 3, 10)}
    print(f"{n:,} lines, seconds (masked); medians of {REPEATS}")
    for kind in ("plain", "masked", "coloured"):
        each = lines(kind, values[0])
        blocks = [b"\n".join(islice(each, BLOCK)) for _ in range(n // BLOCK)]
        size = sum(map(len, blocks)) / 1e6
        took: dict[int, list[float]] = {k: [] for k in (0, *known)}
        masked = {}
        for _ in range(REPEATS):
            for k in took:
                spent, masked[k] = seconds(blocks, known.get(k, NONE))
                took[k].append(spent)
        told = (f"{k} values: {statistics.median(t):.2f} ({masked[k]:,})" for k, t in took.items())
        print(f"{kind:9} {size:4.0f} MB  {'  '.join(told)}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 1_000_000)
