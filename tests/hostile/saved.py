"""A notebook as it is saved, whose outputs say every hostile line: logs, tasks, tables, text and errors."""

from __future__ import annotations

from typing import Any

from blaxel_jupyter.errors import BlaxelError
from blaxel_jupyter.panel import static, task_static
from blaxel_jupyter.table import Table
from tests.hostile.payloads import LINES
from tests.hostile.stories import events, facts_of_log, facts_of_task
from tests.test_static import Run as LogRun
from tests.test_static_task import Run as TaskRun

TEXTS = [one.text for one in LINES]
PLACES = {
    "log": ".bxs",
    "task": ".bxs",
    "table": "table",
    "pandas": "table",
    "text": "pre",
    "error": "pre",
}
"""The cells in their order, and what each one's output is made of."""


def log() -> LogRun:
    """Return a run that says every line, to each stream and as what is no output."""
    run = LogRun(
        *TEXTS, **facts_of_log(TEXTS[1]), digest={"meaning": TEXTS[0], "first": 0, "block": None}
    )
    run.add(*TEXTS, stream="stderr").add(*TEXTS, kind="gap").add(*TEXTS, kind="notice")
    return run


def task() -> TaskRun:
    """Return a task's run that says every line wherever it can."""
    told = [event for i, line in enumerate(TEXTS) for event in events(line, i)]
    return TaskRun(*told, **facts_of_task(TEXTS[1]))


def table_html(rows: Table) -> str:
    """Return our own view of all rows, a few at a time as it shows them."""
    parts = [rows.filter(f"seq:{i}..{i + 9}") for i in range(0, len(rows), 10)]
    return "".join(part._repr_html_() for part in parts)


def notebook() -> dict[str, Any]:
    """Return the document."""
    import pandas as pd

    run, story = log(), task()
    lines = LogRun(*TEXTS).logs
    with pd.option_context("display.max_rows", None, "display.max_colwidth", None):
        frame = lines.to_pandas()[["text"]]._repr_html_()
    printed = "\n".join(static.plain_row("line", line) for line in TEXTS)
    error = BlaxelError("\n".join(TEXTS))
    outputs: list[dict[str, Any]] = [
        display(static.html(run, save="all"), static.text(run, save="all")),
        display(task_static.html(story, save="all"), task_static.text(story, save="all")),
        display(table_html(lines), repr(lines)),
        display(frame, "frame"),
        {"output_type": "stream", "name": "stdout", "text": printed},
        {
            "output_type": "error",
            "ename": "BlaxelError",
            "evalue": str(error),
            "traceback": error._render_traceback_(),
        },
    ]
    cells = [
        {
            "cell_type": "code",
            "id": f"cell-{i}",
            "metadata": {},
            "source": "",
            "outputs": [output],
            "execution_count": 1,
        }
        for i, output in enumerate(outputs)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": cells}


def display(html: str, text: str) -> dict[str, Any]:
    """Return an output that has both."""
    data = {"text/html": html, "text/plain": text}
    return {"output_type": "display_data", "metadata": {}, "data": data}
