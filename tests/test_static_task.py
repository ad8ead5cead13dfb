"""What a saved notebook keeps of an agent's run, and what is printed while it goes on."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blaxel_jupyter.fold import Fold
from blaxel_jupyter.panel.story import clip, indented
from blaxel_jupyter.panel.task_static import Printer, html, text
from blaxel_jupyter.recording import read_recording
from blaxel_jupyter.task_events import read_event
from tests.test_static import Reader

RECORDINGS = Path(__file__).parent / "blackbox"
TAGS = {"style", "div", "pre", "span", "details", "summary"}


class Run:
    """A run that has ended, with the given events."""

    def __init__(self, *events: dict[str, Any], **facts: Any) -> None:
        self.fold = Fold()
        for seq, event in enumerate(events):
            self.fold.add(seq, read_event(json.dumps(event).encode()))
        self.facts = {
            "run_id": "r1",
            "status": "completed",
            "source": "buffer",
            "error": None,
            "prompt": None,
            "started": 10.0,
            "ended": 58.2,
            "events": len(events),
            "tool_calls": len(self.fold.calls),
            "tool_errors": sum(call.is_error is True for call in self.fold.calls.values()),
            "unfinished": sum(call.end_seq is None for call in self.fold.calls.values()),
            "input_tokens": None,
            "output_tokens": None,
            "total_cost_usd": None,
            "warnings": 0,
            "final": True,
            "message": None,
            **facts,
        }

    def header(self) -> dict[str, Any]:
        return self.facts


def recorded(name: str, **facts: Any) -> Run:
    run = Run(**facts)
    for seq, (event, received) in enumerate(recording(name)):
        run.fold.add(seq, event, received)
    return run


def recording(name: str) -> list[Any]:
    return read_recording((RECORDINGS / name).read_bytes(), Counter())


def said(delta: str, block: str = "m") -> dict[str, Any]:
    return {"type": "text-delta", "id": block, "delta": delta}


def bash(key: str, command: str, stdout: str, code: int = 0) -> list[dict[str, Any]]:
    facts = {"toolCallId": key, "toolName": "bash"}
    return [
        {"type": "tool-input-available", **facts, "input": {"command": command}},
        {"type": "tool-output-available", **facts, "output": {"stdout": stdout, "exitCode": code}},
    ]


def test_a_run_reads_as_a_story() -> None:
    """Text, calls with what they were asked and what came back, failures, and the end, in order."""
    run = recorded("02-failed.ndjson", error="no capacity", status="failed")
    assert text(run).split("\n") == [
        "task r1 · failed · 48.2 s · 0 events · 0 tool calls · from buffer",
        "error: no capacity",
        "Installing the dependencies first.",
        "> bash: npm ci",
        "  │ npm ERR! code ERESOLVE",
        "  │ npm ERR! ERESOLVE could not resolve",
        '  │ npm ERR! peer react@"^18" from widget-kit@4.2.0',
        "  = failed: exit code 1",
        "The lock file disagrees with the manifest; retrying with legacy peer resolution.",
        "> bash: npm install --legacy-peer-deps",
        "  │ added 1312 packages in 38s",
        "> bash: npx vitest run",
        "  │ sh: 1: vitest: not found",
        "  = failed: exit code 127",
        "The test runner is missing",
        "-- error: Model provider returned 503 after 3 attempts: no capacity for "
        "blackboxai/openai/gpt-5.3-codex --",
    ]


def test_the_first_line_says_how_the_run_went() -> None:
    """Identity, fate, time, counts, tokens, cost and source; what is unknown is left out."""
    run = Run(*bash("a", "false", "", 1), input_tokens=1842, output_tokens=1377)
    run.facts |= {"total_cost_usd": 0.0873, "prompt": "do\nit", "warnings": 1}
    assert text(run).split("\n")[:3] == [
        "task r1 · completed · 48.2 s · 2 events · 1 tool call · 1 failed · "
        "1,842 in, 1,377 out tokens · $0.0873 · from buffer",
        "prompt: do ⏎ it",
        "1 warning: see the run's warnings",
    ]
    bare = Run(started=None, ended=None, source=None)
    assert text(bare) == "task r1 · completed · 0 events · 0 tool calls"


@pytest.mark.parametrize(
    ("save", "kept", "note"),
    [("tail", 2, "the last 2 of 5 items"), ("all", 5, ""), ("none", 0, "5 items, not saved")],
)
def test_save(save: Any, kept: int, note: str) -> None:
    """Tail keeps the last items and says how many there were; all keeps all; none the header only."""
    run = Run(*[event for i in range(5) for event in bash(str(i), f"step {i}", "")])
    plain, rich = text(run, save=save, tail=2), html(run, save=save, tail=2)
    for output in (plain, "".join(Reader(rich).words)):
        assert len(re.findall(r"step \d", output)) >= kept
        assert ("step 4" in output) == (kept > 0)
        assert ("step 0" in output) == (kept == 5)
        assert note in output


def test_failed_calls_are_open() -> None:
    """What failed can be read at once, all else is a click away, without a script."""
    run = Run(*bash("a", "true", "fine"), *bash("b", "false", "bad", 1))
    details = [dict(attributes) for tag, attributes in Reader(html(run)).tags if tag == "details"]
    assert ["open" in attributes for attributes in details] == [False, True]


def test_outputs_are_cut_and_counted() -> None:
    """Of a long output the first and last lines are kept, with a note of how many are not."""
    run = Run(*bash("a", "seq", "\n".join(map(str, range(1000)))))
    for output in (text(run), html(run)):
        assert "980 more lines" in output
        assert "999" in output
    assert "\n    500\n" not in text(run)
    huge = Run(*bash("a", "yes", "y" * 5_000_000), said("z" * 5_000_000))
    assert len(html(huge)) < 60_000
    assert len(text(huge)) < 60_000
    assert "more characters" in text(huge)


def pieces(printer: Printer, name: str, cuts: list[int]) -> str:
    """Print a recorded run with a call of ``new`` after each of these numbers of events."""
    fold, out = Fold(), []
    for seq, (event, received) in enumerate(recording(name)):
        fold.add(seq, event, received)
        if seq in cuts:
            out.append(printer.new(fold, final=False))
    out.append(printer.new(fold, final=True))
    out.append(printer.new(fold, final=True))
    assert all(piece == "" or piece.endswith("\n") for piece in out)
    return "".join(out)


def test_a_run_is_printed_as_it_goes() -> None:
    """Calls that overlap are told when they begin and, by name, when they end."""
    printed = pieces(Printer(), "01-success.capture.ndjson", list(range(100)))
    assert printed.split("\n")[:17] == [
        "I will find where dates are parsed before changing anything.",
        "> Glob: src/**/*.py",
        "> Grep: strptime in src",
        "  │ {",
        '  │   "numFiles": 1,',
        '  │   "filenames": [',
        '  │     "src/ledger/dates.py"',
        "  │   ]",
        "  │ }",
        "  = 319 ms",
        "  │ {",
        '  │   "numFiles": 3,',
        '  │   "filenames": [',
        '  │     "src/ledger/__init__.py",',
        '  │     "src/ledger/dates.py",',
        '  │     "src/ledger/report.py"',
        "  │   ]",
    ]
    assert "  = Glob: src/**/*.py · 378 ms\n" in printed
    assert "\nOnly `dates.py` parses them — fixing it now.\n" in printed
    assert printed.endswith("-- finish: completed --\n")


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["01-success.ndjson", "02-failed.ndjson", "03-cancelled.ndjson"]),
    st.lists(st.integers(0, 30)),
)
def test_pieces_tell_each_thing_once(name: str, cuts: list[int]) -> None:
    """However often it is asked, the printer tells the same lines, each as often as the whole does."""
    whole = pieces(Printer(), name, [])
    said = [line for line in pieces(Printer(), name, cuts).split("\n") if "=" not in line]
    assert Counter(said) == Counter(line for line in whole.split("\n") if "=" not in line)


def test_an_unfinished_line_waits() -> None:
    """Text is printed in whole lines; the last one when the text is over."""
    run, printer = Run(said("one\ntw")), Printer()
    assert printer.new(run.fold, final=False) == "one\n"
    run.fold.add(1, read_event(json.dumps(said("o")).encode()))
    assert printer.new(run.fold, final=False) == ""
    run.fold.add(2, read_event(b'{"type":"tool-call-start","toolCallId":"a","toolName":"bash"}'))
    assert printer.new(run.fold, final=False) == "two\n"
    assert printer.new(run.fold, final=True) == "  = bash · never finished\n"


def test_a_story_read_anew_is_not_told_twice() -> None:
    """When a better record replaces the events, the printer goes on where it was."""
    events = [said("one\ntwo\n"), *bash("a", "ls", "x"), {"type": "start-step"}, said("three\n")]
    first, again, printer = Run(*events[:3]), Run(*events), Printer()
    printed = printer.new(first.fold, final=False)
    assert printed + printer.new(again.fold, final=True) == Printer().new(again.fold, final=True)


def test_colours_are_for_terminals() -> None:
    """With colours, an output keeps its own and each line ends plain."""
    run = Run(*bash("a", "ls", "\x1b[31mred\x1b[0m\x1b]0;title\x07", 2))
    printed = Printer(colour=True).new(run.fold, final=True)
    assert "\x1b[0;38;5;1mred" in printed
    assert "title" not in printed
    for line in printed.split("\n"):
        assert re.findall("\x1b\\[[0-9;]*m", line)[-1:] in ([], ["\x1b[0m"])


def test_json_is_laid_out_as_it_was_written() -> None:
    """Numbers and texts are not read and written again; what is no JSON passes."""
    assert indented('{"a":1.10,"b":[],"c":[12345678901234567890,{"d":"x\\ny"}]}') == (
        '{\n  "a": 1.10,\n  "b": [],\n  "c": [\n    12345678901234567890,\n'
        '    {\n      "d": "x\\ny"\n    }\n  ]\n}'
    )
    assert indented('"\\u00e9\\u202e \\\\u00e9 \\u0007"') == '"é\u202e \\\\u00e9 \\u0007"'
    assert indented('{"cut": "in the mid') == '{\n  "cut": "in the mid'


@given(st.text(alphabet="ab\n", max_size=3000), st.integers(500, 1500))
def test_clip_keeps_both_ends(content: str, limit: int) -> None:
    """What is kept and what is counted are the text."""
    first, cut, last = clip(content, limit)
    assert len(first) + cut + len(last) == len(content)
    assert content.startswith(first)
    assert content.endswith(last)
    assert len(first) + len(last) <= max(limit, len(content) if cut == 0 else 0)
