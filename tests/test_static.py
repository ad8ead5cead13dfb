"""What a saved notebook keeps: complete, bounded, and harmless whatever the log says."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import blaxel_jupyter.panel.escapes as escapes
from blaxel_jupyter.panel.static import MAX_CHARACTERS, html, plain, text
from blaxel_jupyter.table import LOGS, Table

CASES = json.loads((Path(escapes.__file__).parent / "src/escapes.json").read_text("utf-8"))


class Run:
    """A run that has ended, with the given rows on stdout."""

    def __init__(self, *lines: str, **facts: Any) -> None:
        self.logs = Table(LOGS, constants={"sandbox": "box", "process": "job"})
        self.facts = {
            "sandbox": "box",
            "process": "job",
            "command": "make",
            "status": "completed",
            "exit_code": 0,
            "started": 10.0,
            "ended": 12.5,
            "lines": len(lines),
            "bytes": 1234,
            "integrity": "complete",
            "local": False,
            "final": True,
            "message": None,
        } | facts
        self.add(*lines)

    def add(
        self, *lines: str, stream: str | None = "stdout", kind: str = "line", **more: Any
    ) -> Run:
        self.logs.extend(len(lines), text=list(lines), stream=stream, kind=kind, **more)
        return self

    def header(self) -> dict[str, Any]:
        return self.facts


class Reader(HTMLParser):
    """Read HTML as a browser would: its tags with attributes, and its text outside the style."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.words: list[str] = []
        self._style = False
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(attrs)))
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.words.append(data)


def test_the_header_says_how_the_run_went() -> None:
    """Names, fate, time, sizes and integrity stand in the first line, the command below."""
    run = Run("a", status="failed", exit_code=2)
    first, command, *rows = text(run).split("\n")
    assert first == "job in box · failed, exit code 2 · 2.5 s · 1 line · 1,234 bytes · complete"
    assert command == "$ make"
    assert rows == ["a"]


@pytest.mark.parametrize(
    ("save", "kept", "note"),
    [
        ("tail", ["8", "9"], "the last 2 of 10 lines"),
        ("all", [str(i) for i in range(10)], ""),
        ("none", [], "10 lines, not saved"),
    ],
)
def test_save(save: Any, kept: list[str], note: str) -> None:
    """Tail keeps the last rows and says how many there were; all keeps all; none keeps the header."""
    run = Run(*map(str, range(10)))
    expected = [note, *kept] if note else kept
    assert text(run, save=save, tail=2).split("\n")[2:] == expected
    words = Reader(html(run, save=save, tail=2)).words
    assert [line for line in "\n".join(words).split("\n")[2:] if line] == expected


def test_a_run_that_is_known_little_of() -> None:
    """Null times, exit code and command are left out, never invented."""
    run = Run(status="running", exit_code=None, started=None, ended=None, command="", lines=0)
    run.facts["integrity"] = "following"
    assert text(run) == "job in box · running · 0 lines · 1,234 bytes"


def test_rows_that_are_not_output_look_different() -> None:
    """Gaps name the bytes missing; gaps, notices and stderr have classes a line cannot forge."""
    run = Run("-- gap: 7 bytes missing --").add("", kind="gap", missing_bytes=[81920])
    run.add("", kind="gap").add("reconnected", kind="notice").add("bad", stream="stderr")
    assert text(run).split("\n")[3:] == [
        "-- gap: 81,920 bytes missing --",
        "-- gap: output missing --",
        "-- reconnected --",
        "bad",
    ]
    classes = [dict(attributes).get("class") for tag, attributes in Reader(html(run)).tags]
    assert classes[-4:] == ["bxs-gap", "bxs-gap", "bxs-notice", "bxs-err"]


def test_long_lines_are_cut_and_counted() -> None:
    """A 10 MB line costs little and says how much is not shown."""
    run = Run("x" * 10_000_000)
    cut = f"… {10_000_000 - MAX_CHARACTERS:,} more characters"
    assert text(run).endswith("x" * MAX_CHARACTERS + cut)
    assert len(html(run)) < MAX_CHARACTERS + 8000


def test_progress_keeps_its_last_state() -> None:
    """Carriage returns leave what a terminal would show last."""
    assert text(Run(" 10%\r 50%\r100%\r")).endswith("\n100%")


def test_what_is_escaped_reads_as_it_was() -> None:
    """A reader of the HTML sees the characters of the line, not their escapes."""
    line = "<b>&amp;</b> \"q\" 'q'"
    assert line in "".join(Reader(html(Run(line))).words)


def test_colours_are_fixed_classes() -> None:
    """SGR becomes classes, true colours the nearest basic one."""
    source = html(Run("\x1b[1;31mred\x1b[0m \x1b[38;2;250;5;5mlike red\x1b[0m"))
    assert '<span class="bxs-bold bxs-f1">red</span>' in source
    assert '<span class="bxs-f9">like red</span>' in source


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_escapes(case: dict[str, Any]) -> None:
    """The kernel reads escapes just as the panel in the browser does."""
    found = [
        [
            span.text,
            {
                name: list(value) if isinstance(value, tuple) else value
                for name in escapes.Style.__slots__
                if (value := getattr(span.style, name)) not in (None, False) or value == 0
                if value is not False
            },
        ]
        for span in escapes.spans(case["line"])
    ]
    assert found == case["spans"]


def test_plain_for_a_terminal() -> None:
    """Escapes are removed; colours stay if asked for, and are reset at the end of the line."""
    assert plain("just text") == "just text"
    assert plain("\x1b[31mred\x1b[0m\x1b]0;title\x07") == "red"
    assert plain("\x1b[31mred", colour=True) == "\x1b[0;38;5;1mred\x1b[0m"
    assert plain("\x1b[2Jx", colour=True) == "x"
    assert plain("harmless\rrm -rf /") == "rm -rf /"


@given(st.text(alphabet=st.sampled_from("ab[]0;1m38\\\x1b\x07\x9b\x9c\x9d\x90P_?\r\n\x18\u202e\0")))
def test_no_control_character_comes_through(line: str) -> None:
    """Whatever the line, nothing but text leaves; with colours, nothing but whole SGR."""
    assert escapes.is_plain(plain(line))
    coloured = re.sub(r"\x1b\[[0-9;]*m", "", plain(line, colour=True))
    assert coloured == plain(line)


def test_unfinished_escapes_take_linear_time() -> None:
    """A line of half a million string starts is read in one pass."""
    assert len(escapes.visible_text("\x1b]" * 500_000)) == 1_000_000


def test_a_bad_end_names_its_errors() -> None:
    """The first error line and the last error block stand above the lines, with numbers from 1."""
    lines = [
        "ok",
        "\x1b[31mERROR: <one>\x1b[0m",
        "ok",
        "Traceback",
        " x",
        "ValueError: " + "y" * 999,
    ]
    digest = {"meaning": None, "first": 1, "block": [3, 6]}
    run = Run(*lines, digest=digest)
    first, last = text(run, save="none").split("\n")[2:4]
    assert first == "first error: line 2: ERROR: <one>"
    assert last.startswith("last error: lines 4–6: ValueError: yyy")
    assert last.endswith("y… 811 more characters")
    assert "first error: line 2: ERROR: &lt;one&gt;" in html(run, save="none")
    for digest, notes in (
        ({"meaning": "killed", "first": 1, "block": [1, 2]}, [first]),
        (
            {"meaning": "killed", "first": None, "block": [1, 2]},
            ["last error: line 2: ERROR: <one>"],
        ),
        ({"meaning": "killed", "first": 1, "block": None}, [first]),
        ({"meaning": "killed", "first": None, "block": None}, []),
    ):
        assert text(Run(*lines, digest=digest), save="none").split("\n")[2:-1] == notes
