"""Hostile text in what a saved notebook keeps: HTML whose every tag is ours, and text that is only text."""

from __future__ import annotations

import re
from typing import Any

import pytest

from blaxel_jupyter.panel import static, task_static
from blaxel_jupyter.panel.escapes import is_plain
from tests.hostile.payloads import HUGE, LINES, NAMES, Huge, Payload
from tests.hostile.stories import events, facts_of_log, facts_of_task, shown
from tests.test_static import Reader
from tests.test_static import Run as LogRun
from tests.test_static_task import Run as TaskRun

Tags = list[tuple[str, tuple[tuple[str, str | None], ...]]]
COLOURED = re.compile(r"bxs-(bold|dim|italic|underline|strike|inverse|[fb]\d+)( |$)")


def log(line: str) -> LogRun:
    """Return a run that says a line in every way that a log can."""
    digest = {"meaning": line[:100], "first": 0, "block": [0, 4]}
    run = LogRun(line, **facts_of_log(line), digest=digest)
    run.add(line, stream="stderr").add(line, kind="gap").add(line, kind="notice")
    return run


def task(line: str) -> TaskRun:
    """Return a task's run that says a line in every way that one can."""
    return TaskRun(*events(line), **facts_of_task(line))


def frame(html: str) -> Tags:
    """Return the tags of some HTML as a browser reads them, without those that only colour text."""
    tags = Reader(html).tags
    return [tag for tag in tags if not (tag[1] and COLOURED.match(tag[1][0][1] or ""))]


def words(html: str) -> str:
    """Return the text of some HTML on one line."""
    return " ".join("".join(Reader(html).words).split())


def lines_are_plain(text: str) -> bool:
    """Tell whether nothing in some text is a control or an invisible character."""
    return all(map(is_plain, text.split("\n")))


@pytest.mark.parametrize("one", LINES, ids=str)
def test_html_of_a_log(one: Payload) -> None:
    """The tags and attributes are those of any run; the text says what the line says."""
    html = static.html(log(one.text), save="all")
    assert frame(html) == frame(static.html(log("harmless"), save="all"))
    assert words(html).count(shown(one)) >= 4
    assert lines_are_plain("".join(Reader(html).words))


@pytest.mark.parametrize("one", LINES, ids=str)
def test_html_of_a_task(one: Payload) -> None:
    """The tags are ours, with fixed classes; the text says what the line says."""
    html = task_static.html(task(one.text), save="all")
    tags = Reader(html).tags
    assert {tag for tag, _ in tags} <= {"style", "div", "pre", "span", "details", "summary"}
    assert {name for _, attributes in tags for name, _ in attributes} <= {"class", "open"}
    classes = {dict(attributes).get("class") or "" for _, attributes in tags}
    classes.remove("bxs mathjax_ignore tex2jax_ignore")
    assert all(re.fullmatch(r"(bxs(-[a-z0-9]+)?( bxs-[a-z0-9]+)*)?", value) for value in classes)
    assert words(html).count(shown(one)) >= 5
    assert lines_are_plain("".join(Reader(html).words))


@pytest.mark.parametrize("one", LINES, ids=str)
def test_text_of_a_log(one: Payload) -> None:
    """One line a row, without any escape; only rows of ours look like ours."""
    told = static.text(log(one.text), save="all")
    assert lines_are_plain(told)
    rows = told.split("\n")[-4:]
    assert all(one.seen in row for row in rows)
    assert [row.startswith("-- ") and row.endswith(" --") for row in rows] == [0, 0, 1, 1]


@pytest.mark.parametrize("one", LINES, ids=str)
def test_text_of_a_task(one: Payload) -> None:
    """No line of the agent's looks like a call, an output or an event of a run."""
    run = TaskRun({"type": "text-delta", "id": "m", "delta": f"{one.text}\n"})
    printed = task_static.Printer().new(run.fold, final=True)
    [line] = printed.rstrip("\n").split("\n")
    assert one.seen.strip() in line
    assert not re.match(r"\s*([>=~│] |-- .* --$)", line)
    assert static.plain(line) == line
    assert task_static.text(run).split("\n")[-1] == line
    for told in (task_static.text(task(one.text)), printed):
        assert lines_are_plain(told)


@pytest.mark.parametrize("one", NAMES, ids=str)
def test_names(one: Payload) -> None:
    """Names, commands and words of a server stand in one line that they cannot make longer than it is."""
    digest = {"meaning": one.text, "first": None, "block": None}
    run = LogRun(**facts_of_log(one.text), digest=digest)
    header, command = static.text(run).split("\n")
    assert header.startswith(f"{one.seen[:50]}")
    assert one.seen[:50] in command or one.name == "new-line"
    assert len(header) < 10_000
    assert frame(static.html(run)) == frame(static.html(LogRun(**facts_of_log("x"), digest=digest)))
    story = TaskRun(**facts_of_task(one.text))
    assert len(task_static.text(story)) < 10_000
    assert lines_are_plain(task_static.text(story) + header + command)


@pytest.mark.parametrize("one", HUGE, ids=str)
def test_what_is_huge(one: Huge) -> None:
    """A line that is huge costs what is shown of it, says how much is not, and is read in linear time."""
    line = one.text
    run, story = log(line), task(line[:200_000])
    assert static.plain(line).startswith(one.seen)
    assert len(static.html(run)) < 200_000
    assert len(static.text(run)) < 40_000
    assert len(task_static.html(story)) < 600_000
    assert len(task_static.text(story)) < 300_000


def test_a_line_that_already_begins_with_a_backslash() -> None:
    """What was marked can be told from what was written like that: one backslash more."""
    rows: Any = static.text(LogRun("-- x --", "\\-- x --", "-- SQL comment", "--")).split("\n")[2:]
    assert rows == ["\\-- x --", "\\\\-- x --", "-- SQL comment", "--"]
