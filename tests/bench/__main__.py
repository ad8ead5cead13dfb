"""Race our client, panel and tables against what people use today: ``python -m tests.bench``.

Each contender runs in a process of its own, each server in another; all rows take about 45 minutes on a
quiet machine. ``python -m tests.bench text frames --repeat 3 --markdown`` runs some rows, ``--quick`` each
once at its smallest size. Memory is the peak above what the process had after its imports.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

from tests.bench import report
from tests.bench.races import Result, Row, run

ROWS = ("text", "paint", "reconnect", "panel", "frames", "tasks", "many", "start")
MORE = ("exactness",)
"""Rows that are run when they are named."""


def main(arguments: list[str] | None = None) -> None:
    """Run the rows asked for, print one table, and what it was measured on."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="ROW",
        help=f"of: {', '.join(ROWS + MORE)}; or a race: text-alive",
    )
    parser.add_argument("--repeat", type=int, default=5, help="runs of each contender (median)")
    parser.add_argument("--quick", action="store_true", help="one run each, at the smallest size")
    parser.add_argument("--markdown", action="store_true", help="a table for the README")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all samples, a result a line")
    options = parser.parse_args(arguments)
    wanted = options.names or ROWS
    if unknown := [name for name in wanted if name.partition("-")[0] not in ROWS + MORE]:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS + MORE)}")
    began, machine = time.monotonic(), report.machine()
    print(machine, file=sys.stderr)
    results: list[list[Result]] = []
    for name in wanted:
        row: Row = importlib.import_module(f"tests.bench.{name.partition('-')[0]}").ROW
        with row.world() as sample:
            for race in row.races:
                if not f"{race.name}-".startswith(f"{name}-"):
                    continue
                if options.quick:
                    results.append(run(race.quick(), sample, 1))
                else:
                    results.append(run(race, sample, options.repeat))
                if options.json:
                    lines = [f"{report.record(each)}\n" for of_race in results for each in of_race]
                    options.json.write_text("".join(lines), "utf-8")
    lines = [line for of_race in results for line in report.rows(of_race)]
    print(report.table(lines, markdown=options.markdown))
    print(f"\n{machine}; {(time.monotonic() - began) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
