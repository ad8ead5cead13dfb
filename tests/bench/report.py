"""Lay results out: one table for a reader, one line of JSON for each result for a program."""

from __future__ import annotations

import json
import os
import platform
from typing import Any

from tests.bench.races import Result, by_contender

COLUMNS = 8
"""What is compared and who; three sizes; times ours; CPU seconds, peak MB, and what else is to be said."""


def rows(results: list[Result]) -> list[list[str]]:
    """Return a table's rows of one race's results: a heading, then a row for each contender.

    The figures that follow the sizes are those of the largest one that a contender has run at.
    """
    race = results[0].race
    labels = _padded([f"**{label}**" for label in race.sizes])
    table = [[f"**{race.title}**, {race.unit}", *labels, "times ours", "CPU s", "peak MB", ""]]
    ours = [result for result in results if result.contender == race.contenders[0]]
    for contender, mine in by_contender(results):
        ran = [result for result in mine if result.samples]
        last = ran[-1] if ran else mine[-1]
        cells = _padded([_compared(result) for result in mine])
        costs = [_number(last.median("cpu")), _number(last.median("peak"))]
        table.append([contender, *cells, _times(mine[-1], ours[-1]), *costs, _remarks(mine, last)])
    return table


def _padded(cells: list[str]) -> list[str]:
    return [*[""] * (3 - len(cells)), *cells]


def _compared(result: Result) -> str:
    """Return the figure; in brackets where what was delivered is not what was written."""
    if result.verdict.startswith("failed"):
        return "failed"
    if result.cut_off:
        return f"> {result.race.limit:.0f} s"
    figure = _number(result.median(result.race.shown))
    return figure if result.verdict in ("", "exact") else f"({figure})"


def _times(result: Result, ours: Result) -> str:
    base, value = ours.median(ours.race.shown), result.median(result.race.shown)
    if not base:
        return ""
    if result.cut_off and result.race.shown == "seconds":
        return f"> {_number(result.race.limit / base)}"
    return "" if value is None or result.verdict not in ("", "exact") else _number(value / base)


def _remarks(mine: list[Result], last: Result) -> str:
    """Say what was delivered, further figures, and how many runs there were if they are few."""
    told = [last.verdict] if last.verdict else []
    if "again" in last.race.shown and (seconds := last.median("seconds")) is not None:
        told.append(f"after {_number(seconds)} s")
    if (median := last.median("median_ms")) is not None:
        told.append(f"a line after {_number(median)} ms, p99 {_number(last.median('p99_ms'))}")
    if (requests := last.median("requests")) is not None:
        told.append(f"{requests:.0f} requests")
    if (megabytes := last.median("megabytes")) is not None:
        told.append(f"{_number(megabytes)} MB")
    if (page := last.median("page_cpu")) is not None:
        told.append(f"page {_number(page)} CPU s")
    if last is not mine[-1]:
        told.append(f"not run at {mine[-1].size}")
    runs = min(len(result.samples) for result in mine if result.samples or result is last)
    most = max(len(result.samples) for result in mine)
    told.append(f"{runs} runs" if runs == most else f"{runs} to {most} runs")
    return ", ".join(told)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def table(lines: list[list[str]], *, markdown: bool) -> str:
    """Lay the rows of several races out as one table."""
    if markdown:
        heading = [[""] * COLUMNS, ["---"] * COLUMNS]
        return "\n".join("| " + " | ".join(line) + " |" for line in [*heading, *lines])
    plain = [[cell.replace("**", "").replace("`", "") for cell in line] for line in lines]
    widths = [max(len(line[column]) for line in plain) for column in range(COLUMNS)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in plain
    )


def record(result: Result) -> str:
    """Return a result as one line of JSON, its samples as they were measured."""
    members: dict[str, Any] = {
        "race": result.race.name,
        "contender": result.contender,
        "size": result.size,
        "shown": result.race.shown,
        "unit": result.race.unit,
        "limit": result.race.limit,
        "median": result.median(result.race.shown),
        "cpu": result.median("cpu"),
        "peak": result.median("peak"),
        "verdict": result.verdict,
        "samples": result.samples,
    }
    return json.dumps(members, ensure_ascii=False)


def machine() -> str:
    """Say what it is measured on, and how busy that is just now."""
    cores, load = os.cpu_count(), os.getloadavg()[0]
    told = f"{cores} cores, Python {platform.python_version()}, load {load:.2f} at the start"
    return told + (": NOT QUIET, do not trust the seconds" if load > 1 else "")
