"""Race our client against the official SDK and a plain download, on the imitation of the real server.

And the reader of task logs against pandas: ``tasks``.

``python -m tests.bench`` runs all races; ``python -m tests.bench flood delay --repeat 3 --markdown`` some.
Every contender runs in a process of its own against a server of its own in a third.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from tests.bench import task_tables
from tests.bench.commands import FLOOD, SCENARIOS
from tests.imitation import Imitation, imitation

ROOT = Path(__file__).parents[2]
SLOW = 20.0
"""Seconds: a contender that takes longer is not repeated."""

Row = list[str]


def race(race: str, contender: str, server: Imitation, **options: Any) -> dict[str, Any]:
    """Run one contender once in its own process."""
    order = json.dumps({"race": race, "contender": contender, "url": server.url, **options})
    command = [sys.executable, "-m", "tests.bench.contenders", order]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def repeated(name: str, contender: str, repeat: int) -> list[dict[str, Any]]:
    """Run a contender on a fresh server each time; once only if it is slow."""
    results: list[dict[str, Any]] = []
    while len(results) < repeat:
        with imitation(own_process=True) as server:
            if name == "download":
                _finish_flood(server)
            results.append(race(name, contender, server))
        seconds = results[-1]["seconds"]
        if seconds is None or seconds > SLOW:
            break
    return results


def _finish_flood(server: Imitation) -> None:
    """Start the flood and wait until all of it is in the file."""
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        client.post("/process", json={"name": "flood", "command": FLOOD})
        while (server.folder / "flood.stdout.log").stat().st_size < 20_000_000:
            client.get("/health")


def _median(results: list[dict[str, Any]], member: str) -> float | None:
    values = [result[member] for result in results]
    return None if None in values else statistics.median(values)


def _number(value: float | None, digits: int = 2) -> str:
    return "never" if value is None else f"{value:.{digits}f}"


def _costs(results: list[dict[str, Any]]) -> Row:
    return [_number(_median(results, "cpu")), _number(_median(results, "rss"), 0)]


def flood(options: argparse.Namespace) -> list[Row]:
    """20 MB at once, and the same bytes when they are there already."""
    rows = [["20 MB at once, then alive 60 s", "seconds", "lines", "CPU s", "RSS MB", "runs"]]
    for name, contenders in {
        "flood": ["ours", "ours, bytes", *(() if options.ours else ("sdk stream", "sdk exec"))],
        "download": ["ours", "ours, bytes", "httpx download"],
    }.items():
        for contender in contenders:
            results = repeated(name, contender, options.repeat)
            label = contender if name == "flood" else f"{contender} (complete file)"
            seconds = _number(_median(results, "seconds"), 3)
            if seconds != "never" and results[-1]["verdict"] != "exact":
                seconds = f"({seconds})"  # so many lines have come, but not these lines
            rows.append(
                [label, seconds, results[-1]["verdict"], *_costs(results), str(len(results))]
            )
    return rows


def delay(options: argparse.Namespace) -> list[Row]:
    """10 lines a second: how late a line is."""
    seconds = min(30, options.seconds)
    rows = [[f"a line at 10 lines/s, {seconds:.0f} s", "median ms", "p99 ms", "CPU s", "RSS MB"]]
    for contender in ["ours", *(() if options.ours else ("sdk stream",))]:
        with imitation(own_process=True) as server:
            result = race("delay", contender, server, seconds=seconds)
        figures = [_number(result["median"], 1), _number(result["p99"], 1)]
        rows.append([contender, *figures, *_costs([result])])
    return rows


def quiet(options: argparse.Namespace) -> list[Row]:
    """10 MB of backlog and a line a second: what waiting costs."""
    title = f"10 MB backlog, {options.seconds:.0f} s at 1 line/s"
    rows = [[title, "MB", "requests", "CPU s", "RSS MB"]]
    contenders = ["ours", *(() if options.ours else ("sdk stream",))]
    with ThreadPoolExecutor() as pool:
        rows += pool.map(lambda contender: _quiet_row(contender, options.seconds), contenders)
    return rows


def _quiet_row(contender: str, seconds: float) -> Row:
    with imitation(own_process=True) as server:
        result = race("quiet", contender, server, seconds=seconds)
        while server.connections:
            pass
        megabytes, requests = server.wire_bytes / 1e6, sum(server.requests.values())
    return [contender, _number(megabytes), str(requests), *_costs([result])]


def exactness(options: argparse.Namespace) -> list[Row]:
    """The ten scenarios of protocol 5.6, all at once, each client on its own server."""
    contenders = ["ours", *(() if options.ours else ("sdk exec", "sdk stream"))]
    with ThreadPoolExecutor() as pool:
        columns = list(pool.map(_verdicts, contenders))
    rows = [["lines lost −, repeated ×, invented ≠", *contenders]]
    rows += [[name, *(column[name] for column in columns)] for name in SCENARIOS]
    counts = [str(sum(verdict == "exact" for verdict in column.values())) for column in columns]
    return [*rows, ["exact", *counts]]


def _verdicts(contender: str) -> dict[str, str]:
    with imitation(own_process=True) as server:
        verdicts: dict[str, str] = race("exactness", contender, server)["verdicts"]
        return verdicts


def tasks(options: argparse.Namespace) -> list[Row]:
    """100,000 events of a task from JSON to tables."""
    return task_tables.race(options.repeat)


RACES = {
    "flood": flood,
    "delay": delay,
    "quiet": quiet,
    "exactness": exactness,
    "tasks": tasks,
}


def table(rows: list[Row], *, markdown: bool) -> str:
    """Lay rows out; the first is the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    if not markdown:
        return "\n".join("  ".join(row).rstrip() for row in padded)
    lines = ["| " + " | ".join(row) + " |" for row in padded]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def main() -> None:
    """Run the races asked for and print a table each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("races", nargs="*", metavar="RACE", help=f"of: {', '.join(RACES)}")
    parser.add_argument("--repeat", type=int, default=5, help="runs of quick contenders (median)")
    parser.add_argument("--seconds", type=float, default=300, help="length of the quiet race")
    parser.add_argument("--ours", action="store_true", help="leave the SDK out")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    unknown = set(options.races) - set(RACES)
    if unknown:
        parser.error(f"no such race: {', '.join(sorted(unknown))}; there are {', '.join(RACES)}")
    for name in options.races or RACES:
        print(table(RACES[name](options), markdown=options.markdown), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
