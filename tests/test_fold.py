"""What a run's events tell: pairs by id, segments, failures, totals (tasks protocol 3 and 6)."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterable
from random import Random
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blaxel_jupyter import task_tables
from blaxel_jupyter.fold import Fold
from blaxel_jupyter.task_events import read_event
from blaxel_jupyter.task_items import Other, ToolCall
from blaxel_jupyter.task_log import read_log
from tests import blackbox_examples as examples
from tests.imitation.task_scripts import invented, merged, rechunked, truth
from tests.task_values import EVENTS, JSON


def folded(events: Iterable[Any], received: list[int] | None = None) -> Fold:
    """Fold events, each given as a JSON value."""
    fold = Fold()
    for seq, event in enumerate(events):
        at = received[seq] if received else None
        fold.add(seq, read_event(json.dumps(event).encode()), at)
    return fold


def call(*events: dict[str, Any], received: list[int] | None = None) -> ToolCall:
    """Fold events of one tool call ``t``."""
    fold = folded([{"toolCallId": "t", **event} for event in events], received)
    return fold.calls["t"]


def start(name: str = "t", tool: str = "Bash") -> dict[str, Any]:
    return {"type": "tool-call-start", "toolCallId": name, "toolName": tool}


def given_input(name: str = "t", **members: Any) -> dict[str, Any]:
    return {"type": "tool-input-available", "toolCallId": name, "input": members}


def output(name: str = "t", output: Any = None, **members: Any) -> dict[str, Any]:
    return {"type": "tool-output-available", "toolCallId": name, "output": output, **members}


def told(fold: Fold) -> dict[str, Any]:
    """Return what every telling of a run keeps, from a fold."""
    tools = {}
    for name, one in fold.calls.items():
        known = {"toolName": one.tool_name, "errorText": one.error_text}
        tools[name] = {key: value for key, value in known.items() if value is not None}
        for key, value in (("input", one.input), ("output", one.output)):
            if value is not None:
                tools[name][key] = json.loads(value)
    return {"text": fold.text(), "reasoning": fold.text("reasoning"), "tools": tools}


# Tool calls


def test_a_call_is_paired_by_its_id_alone() -> None:
    begun = [start("a", "Glob"), start("b", "Grep"), given_input("b"), given_input("a", path="x")]
    fold = folded([*begun, output("b", 1), output("a", 2)])
    rows = [
        (
            one.call_index,
            one.tool_call_id,
            one.tool_name,
            one.output,
            one.start_seq,
            one.input_seq,
            one.end_seq,
        )
        for one in fold.calls.values()
    ]
    assert rows == [(0, "a", "Glob", "2", 0, 3, 5), (1, "b", "Grep", "1", 1, 2, 4)]


STATES: dict[str, tuple[list[dict[str, Any]], str, bool | None]] = {
    "started": ([{"type": "tool-call-start"}], "started", None),
    "alias of started": ([{"type": "tool-input-start"}], "started", None),
    "input on its way": ([{"type": "tool-input-delta", "inputTextDelta": "{"}], "started", None),
    "input": ([{"type": "tool-input-available", "input": {}}], "input-available", None),
    "bad input": (
        [{"type": "tool-input-error", "input": "{", "errorText": "no"}],
        "input-error",
        True,
    ),
    "preliminary": ([output(output=1, preliminary=True)], "preliminary", None),
    "output": ([output(output=1)], "output-available", False),
    "output after a preliminary one": (
        [output(output=1, preliminary=True), output(output=2)],
        "output-available",
        False,
    ),
    "error": ([{"type": "tool-output-error", "errorText": "no"}], "output-error", True),
    "denied": ([{"type": "tool-output-denied"}], "output-denied", True),
    "asked": ([{"type": "tool-approval-request", "approvalId": "x"}], "started", None),
}


@pytest.mark.parametrize("name", STATES)
def test_state_and_whether_it_failed(name: str) -> None:
    events, state, is_error = STATES[name]
    one = call(*events)
    assert (one.state, one.is_error) == (state, is_error)
    assert (one.end_seq is None) == (is_error is None)


EXITS: dict[str, tuple[dict[str, Any], int | None, bool]] = {
    "exitCode": (output(output={"exitCode": 3}), 3, True),
    "exit_code": (output(output={"exit_code": 3}), 3, True),
    "exitCode goes first": (output(output={"exit_code": 3, "exitCode": 0}), 0, False),
    "zero": (output(output={"exitCode": 0}), 0, False),
    "negative": (output(output={"exitCode": -9}), -9, True),
    "none": (output(output={"stdout": "x"}), None, False),
    "null": (output(output={"exitCode": None}), None, False),
    "no object": (output(output="Exit code 3"), None, False),
    "of the error's text": (
        {"type": "tool-output-error", "errorText": "Exit code 127\nsh: no"},
        127,
        True,
    ),
    "only at its start": (
        {"type": "tool-output-error", "errorText": "then Exit code 1"},
        None,
        True,
    ),
    "a bool is no code": (output(output={"exitCode": True}), None, False),
}


@pytest.mark.parametrize("name", EXITS)
def test_exit_code(name: str) -> None:
    event, exit_code, is_error = EXITS[name]
    one = call(event)
    assert (one.exit_code, one.is_error) == (exit_code, is_error)


def test_what_a_call_was_given_and_gave_is_kept_as_sent() -> None:
    one = call(
        {
            "type": "tool-input-available",
            "input": {"command": "ls", "path": "/a", "file_path": "/b"},
        },
        output(output={"stdout": "out\n", "stderr": "", "exitCode": 0, "more": [1]}),
    )
    assert (one.command, one.path, one.stdout, one.stderr) == ("ls", "/b", "out\n", "")
    assert json.loads(one.input or "") == {"command": "ls", "path": "/a", "file_path": "/b"}
    assert json.loads(one.output or "")["more"] == [1]


@pytest.mark.parametrize("value", [None, False, 0, "", [], "text", [{"type": "text", "text": "x"}]])
def test_an_output_may_be_anything_and_null_is_not_none(value: Any) -> None:
    one = call(output(output=value))
    assert one.output == json.dumps(value)
    assert (one.stdout, one.is_error) == (None, False)


def test_unreadable_input_is_kept() -> None:
    one = call({"type": "tool-input-error", "input": "{not json", "errorText": "Invalid"})
    assert (one.input, one.error_text, one.command) == ('"{not json"', "Invalid", None)


def test_a_name_is_the_first_that_came() -> None:
    one = call({"type": "tool-call-start"}, output(toolName="Read"), output(toolName="Write"))
    assert one.tool_name == "Read"


@pytest.mark.parametrize(
    ("name", "parent"), [("a:b", "a"), ("a:b:c", "a:b"), ("a", None), (":a", None)]
)
def test_a_nested_call_names_its_parent_and_keeps_its_id(name: str, parent: str | None) -> None:
    one = folded([start(name)]).calls[name]
    assert (one.tool_call_id, one.parent_tool_call_id) == (name, parent)


def test_the_same_events_again_change_nothing() -> None:
    once = [start(), given_input(command="x"), output(output={"exitCode": 1})]
    fold = folded([*once, *once, *once])
    one = fold.calls["t"]
    assert (len(fold.calls), one.start_seq, one.input_seq, one.end_seq) == (1, 0, 1, 2)
    assert one == folded(once).calls["t"]


def test_older_news_does_not_reopen_a_call() -> None:
    one = call(
        {"type": "tool-call-start"},
        output(output=2),
        {"type": "tool-call-start"},
        given_input(command="late"),
        output(output=1, preliminary=True),
    )
    assert (one.state, one.output, one.end_seq, one.is_error) == ("output-available", "2", 1, False)
    assert one.command == "late"


def test_a_call_lasts_from_its_input_to_its_end() -> None:
    micros = [1_000_000, 2_000_000, 5_500_400]
    assert call(start(), given_input(), output(), received=micros).duration_ms == 3500
    assert call(start(), output(), received=[0, 2_000_000]).duration_ms == 2000
    assert call(start(), given_input(), received=micros).duration_ms is None
    assert call(start(), given_input(), output()).duration_ms is None


def test_a_call_whose_beginning_was_not_heard_live_has_no_duration() -> None:
    fold = Fold()
    for seq, (event, at) in enumerate(
        [(start(), None), (given_input(), None), (output(), 9_000_000)]
    ):
        fold.add(seq, read_event(json.dumps(event).encode()), at)
    assert fold.calls["t"].duration_ms is None


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_parallel_calls_does_not_matter_to_their_facts(seed: int) -> None:
    """Only the order within each call is kept; positions differ, facts do not."""
    names = ["a", "b", "c", "d"]
    queues = {
        name: [start(name, f"T{name}"), given_input(name, n=name), output(name, {"stdout": name})]
        for name in names
    }
    apart = folded([event for name in names for event in queues[name]])
    random, mixed = Random(seed), []
    while any(queues.values()):
        mixed.append(queues[random.choice([name for name in names if queues[name]])].pop(0))
    assert told(folded(mixed)) == told(apart)


# Text


def delta(text: str, block: str = "m", kind: str = "text") -> dict[str, Any]:
    return {"type": f"{kind}-delta", "id": block, "delta": text}


def segments(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(b.kind, b.block_id, b.segment, b.text, b.first_seq) for b in folded(events).blocks]


def test_a_tool_event_cuts_text_of_one_id_into_segments() -> None:
    events = [delta("a"), delta("b"), start(), delta("c"), given_input(), output(), delta("d")]
    assert segments(events) == [
        ("text", "m", 0, "ab", 0),
        ("text", "m", 1, "c", 3),
        ("text", "m", 2, "d", 6),
    ]


def test_reasoning_cuts_text_and_text_cuts_reasoning() -> None:
    events = [delta("a"), delta("x", "r", "reasoning"), delta("b"), delta("y", "r", "reasoning")]
    assert segments(events) == [
        ("text", "m", 0, "a", 0),
        ("reasoning", "r", 0, "x", 1),
        ("text", "m", 1, "b", 2),
        ("reasoning", "r", 1, "y", 3),
    ]


def test_starts_empty_deltas_and_other_events_do_not_cut() -> None:
    begin = {"type": "text-start", "id": "m"}
    events = [delta("a"), delta(""), begin, {"type": "data-x"}, {"type": "new"}, delta("b")]
    assert segments(events) == [("text", "m", 0, "ab", 0)]


def test_a_block_without_a_start_is_opened_and_told() -> None:
    fold = folded([delta("a"), delta("b")])
    assert fold.text() == "ab"
    assert any("text-start" in problem for problem in fold.problems(ended=True))


def test_an_end_closes_and_a_missing_end_means_nothing() -> None:
    fold = folded(
        [
            delta("a"),
            {"type": "text-end", "id": "m"},
            delta("b", "n"),
            {"type": "text-end", "id": "x"},
        ]
    )
    assert [(block.text, block.closed) for block in fold.blocks] == [("a", True), ("b", False)]


def test_reasoning_in_one_event_is_a_block() -> None:
    fold = folded([{"type": "reasoning", "id": "r", "text": "hm"}, delta("a")])
    assert (fold.text("reasoning"), fold.text(), fold.blocks[0].n_deltas) == ("hm", "a", 1)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_other_cuts_of_the_deltas_give_the_same_segments(seed: int, cuts: int) -> None:
    events = invented(seed, 60).events
    again = rechunked(events, Random(cuts))
    wanted = [(b.kind, b.block_id, b.segment, b.text) for b in folded(events).blocks]
    assert [(b.kind, b.block_id, b.segment, b.text) for b in folded(again).blocks] == wanted


@given(st.integers(0, 10_000))
def test_an_overlapping_log_tells_the_same_run(seed: int) -> None:
    events = invented(seed, 80).events
    assert told(folded(merged(events))) == told(folded(events)) == truth(events)


# The run


def test_a_failure_is_seen_by_its_text_under_any_name() -> None:
    assert folded([{"type": "error", "errorText": "no"}]).error == "no"
    assert folded([{"type": "something-failed", "errorText": "no"}]).error == "no"
    assert folded([{"type": "error", "error": {"message": "no"}}]).error == "no"
    assert (
        folded([{"type": "tool-output-error", "toolCallId": "t", "errorText": "no"}]).error is None
    )


def test_the_terminal_event_and_its_status() -> None:
    fold = folded([{"type": "finish", "runId": "r", "status": "cancelled"}])
    assert (fold.terminal, fold.finish_status) == ("finish", "cancelled")
    fold = folded([{"type": "abort", "reason": "x"}])
    assert (fold.terminal, fold.finish_status) == ("abort", None)
    assert (folded([delta("a")]).terminal, folded([{"type": "finish"}]).finish_status) == (
        None,
        None,
    )


def test_files_are_found_by_their_list() -> None:
    fold = folded(
        [
            {"type": "new-name", "files": [{"path": "a"}, {"path": "b"}]},
            {"type": "files", "files": 5},
        ]
    )
    assert len(fold.files) == 2


def test_usage_is_that_of_the_result_and_else_of_the_metadata() -> None:
    metadata = {"type": "message-metadata", "messageMetadata": {"inputTokens": 1, "durationMs": 5}}
    result = {"type": "result", "usage": {"input_tokens": 2}, "total_cost_usd": 0.5, "num_turns": 3}
    finish = {"type": "finish", "messageMetadata": {"inputTokens": 9, "outputTokens": 8}}
    for events in ([metadata, result, finish], [result, metadata, finish]):
        usage = folded(events).usage
        assert (usage["input_tokens"], usage["total_cost_usd"], usage["num_turns"]) == (2, 0.5, 3)
    assert folded([finish]).usage["output_tokens"] == 8
    assert set(folded([delta("a")]).usage.values()) == {None}


def test_unknown_types_and_what_cannot_be_paired_are_told() -> None:
    fold = folded(
        [
            {"type": "new"},
            {"type": "new"},
            {"type": "data-x"},
            {"id": "m"},
            output("lonely"),
            start("open"),
        ]
    )
    assert fold.unknown == {"new": 2}
    live, over = list(fold.problems(ended=False)), list(fold.problems(ended=True))
    assert any("new" in problem and "2" in problem for problem in live)
    assert any("lonely" in problem for problem in live)
    assert not any("open" in problem for problem in live)
    assert any("open" in problem for problem in over)


@pytest.mark.parametrize("name", examples.LINES)
def test_every_example_is_told_as_it_is(name: str) -> None:
    events = examples.events(name)
    assert told(folded(events)) == truth(events)


# Many at once


def state(fold: Fold) -> dict[str, Any]:
    """Return all that a fold tells, but for how its changes were announced."""
    shown = [
        (type(item).__name__, *[getattr(item, name) for name in SHOWN if hasattr(item, name)])
        for item in fold.items
    ]
    facts = {name: getattr(fold, name) for name in FACTS}
    payloads = [item.event.json for item in fold.items if isinstance(item, Other)]
    return {
        **facts,
        "items": shown,
        "problems": sorted(fold.problems(ended=True)),
        "payloads": payloads,
    }


SHOWN = (
    *("type", "seq", "kind", "block_id", "segment", "first_seq", "last_seq", "pieces", "closed"),
    *("tool_call_id", "tool_name", "state", "input", "output", "error_text", "call_index", "item"),
    *("start_seq", "input_seq", "end_seq", "chars"),
)
FACTS = (
    *("files", "usage", "error", "finish_status", "terminal", "started_at", "n_text_deltas"),
    *("text_chars", "unknown", "warnings"),
)
WHOLE_CALLS = st.sampled_from(["a", "b", "c"]).map(
    lambda name: [start(name), given_input(name), output(name)]
)
SAID = st.lists(st.sampled_from("ab"), max_size=4).map(
    lambda ids: [{"type": "text-delta", "id": key, "delta": key} for key in ids]
)
STRETCHES = st.lists(WHOLE_CALLS | SAID | EVENTS.map(lambda event: [event]), max_size=8)


def both_ways(events: list[Any]) -> tuple[Fold, Fold]:
    """Fold a log's events one by one, and all at once."""
    body = json.dumps({"status": "running", "events": events}).encode()
    one_by_one, at_once = Fold(), Fold()
    for seq, event in enumerate(read_log(body).events):
        one_by_one.add(seq, event)
    at_once.extend(0, read_log(body).read)
    return one_by_one, at_once


@settings(deadline=None)
@given(STRETCHES)
def test_many_events_at_once_tell_what_each_in_turn_tells(stretches: list[list[Any]]) -> None:
    one_by_one, at_once = both_ways([event for stretch in stretches for event in stretch])
    assert state(at_once) == state(one_by_one)


@pytest.mark.parametrize("name", examples.LINES)
def test_an_example_at_once_tells_what_its_events_in_turn_tell(name: str) -> None:
    one_by_one, at_once = both_ways(examples.events(name))
    assert state(at_once) == state(one_by_one)
    assert set(at_once.touched) == set(one_by_one.touched) == set(range(len(at_once.items)))


def test_a_fold_that_nobody_holds_is_gone_at_once() -> None:
    """A cycle would keep a run's memory until the collector comes by."""
    fold = folded([start(), given_input(), output(), delta("a"), {"type": "finish"}])
    gone = weakref.ref(fold)
    del fold
    assert gone() is None


# Whatever comes


def tables(events: list[Any]) -> list[pyarrow.Table]:
    """Return all four tables, exported."""
    read = [read_event(json.dumps(event).encode()) for event in events]
    fold = Fold()
    for seq, event in enumerate(read):
        fold.add(seq, event, seq * 1000)
    table = task_tables.events_table("r")
    task_tables.extend_events(table, read, None, "buffer")
    return [
        table.to_arrow(),
        task_tables.tool_calls_table("r", fold.calls.values()).to_arrow(),
        task_tables.text_blocks_table("r", fold.blocks).to_arrow(),
        task_tables.summary_table(lambda: [task_tables.counts(fold)], 1, final=False).to_arrow(),
    ]


@settings(deadline=None)
@given(st.lists(EVENTS | JSON, max_size=12))
def test_any_events_make_tables_and_lose_nothing(events: list[Any]) -> None:
    found, calls, blocks, summary = tables(events)
    assert found["payload"].to_pylist() == [json.dumps(event) for event in events]
    assert found["seq"].to_pylist() == list(range(len(events)))
    ids = [event.get("toolCallId") for event in events if isinstance(event, dict)]
    assert set(calls["tool_call_id"].to_pylist()) <= {name for name in ids if isinstance(name, str)}
    assert len(set(calls["tool_call_id"].to_pylist())) == len(calls)
    assert sum(blocks["chars"].to_pylist()) == sum(map(len, blocks["text"].to_pylist()))
    assert summary["n_tool_calls"].to_pylist() == [len(calls)]


@pytest.mark.parametrize(
    "event",
    [
        output(output={"exitCode": 10**30}),
        output(output={"exitCode": -(2**63) - 1}),
        output(output={"exitCode": 1e400}),
        {
            "type": "result",
            "usage": {"input_tokens": 2**70, "output_tokens": 1.5},
            "num_turns": True,
        },
        {"type": "result", "total_cost_usd": 10**400, "duration_ms": float("nan")},
        {"type": "text-delta", "id": "m", "delta": "\ud800"},
        start("\udfff", "\ud800"),
    ],
    ids=["big", "low", "infinite", "tokens", "cost", "surrogate", "surrogate-id"],
)
def test_values_that_no_column_holds_are_null_or_replaced(event: dict[str, Any]) -> None:
    found = tables([event])
    assert [len(found[0]), len(found[3])] == [1, 1]
    assert found[0]["payload"].to_pylist() == [json.dumps(event)]
