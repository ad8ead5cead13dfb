"""What of a repeated log is new: any run, told again in any chunks, is in the record exactly once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blaxel_jupyter.fold import Fold
from blaxel_jupyter.replays import Held, Replay, key_of, overlap
from blaxel_jupyter.task_events import Event, read_event
from tests import blackbox_examples as examples
from tests.imitation.task_scripts import (
    Script,
    invented,
    merged,
    parts_of,
    rechunked,
    recorded,
    told_again,
    truth,
)
from tests.task_values import EVENTS

SEEDS = st.integers(0, 100_000)
RUNS = st.builds(invented, SEEDS, st.integers(5, 90)) | st.sampled_from(
    [recorded(name) for name in ("01-success", "02-failed", "03-cancelled")]
)
_DELTAS = ("text-delta", "reasoning-delta", "tool-input-delta")


def read(events: Iterable[Any]) -> list[Event]:
    """Read events, each given as a JSON value."""
    return [read_event(json.dumps(event).encode()) for event in events]


def take(record: list[Event], told: Iterable[Event], *, whole: bool = False) -> Replay:
    """Append to a record what is new in what is told."""
    held = Held(record)
    replay = Replay(held, whole=whole)
    for event in told:
        new = replay.new(event)
        if new is not None:
            record.append(new)
            held.add(new)
    return replay


def others(events: Iterable[Event]) -> list[Any]:
    """Return what is no delta."""
    return [event.data for event in events if event.type not in _DELTAS]


def segments(events: Iterable[Event]) -> list[tuple[Any, ...]]:
    fold = Fold()
    for seq, event in enumerate(events):
        fold.add(seq, event)
    return [(block.kind, block.block_id, block.segment, block.text) for block in fold.blocks]


def is_once(record: list[Event], script: Script) -> None:
    """Assert that a record tells the run: the same text in the same places, every other event once."""
    assert truth([event.data for event in record]) == truth(script.events)
    assert others(record) == others(read(script.events))
    assert segments(record) == segments(read(script.events))


@settings(deadline=None)
@given(RUNS, SEEDS, st.floats(0, 1))
def test_a_replay_in_other_chunks_adds_what_is_missing_and_nothing_else(
    script: Script, seed: int, part: float
) -> None:
    random = Random(seed)
    record = read(rechunked(script.events, random))
    del record[round(len(record) * part) :]
    replay = take(record, read(rechunked(script.events, random)))
    assert not replay.diverged
    is_once(record, script)


@settings(deadline=None)
@given(RUNS, SEEDS, st.lists(st.floats(0, 1), max_size=8))
def test_any_number_of_replays_cut_anywhere_make_one_run(
    script: Script, seed: int, parts: list[float]
) -> None:
    random = Random(seed)
    record: list[Event] = []
    for part in [*parts, 1.0]:
        told = read(rechunked(script.events, random))
        assert not take(record, told[: round(len(told) * part)]).diverged
    is_once(record, script)


@given(RUNS)
def test_the_same_again_is_not_new(script: Script) -> None:
    events = read(script.events)
    record = list(events)
    assert not take(record, events).diverged
    assert record == events


@settings(deadline=None)
@given(RUNS, SEEDS, st.floats(0, 1))
def test_a_merged_log_adds_what_is_missing(script: Script, seed: int, part: float) -> None:
    random = Random(seed)
    record = read(rechunked(script.events, random))
    del record[round(len(record) * part) :]
    take(record, read(merged(rechunked(script.events, random))))
    assert truth([event.data for event in record]) == truth(script.events)


@settings(deadline=None)
@given(RUNS, SEEDS, st.floats(0, 1))
def test_a_reconstructed_log_adds_the_text_and_tools_that_are_missing(
    script: Script, seed: int, part: float
) -> None:
    """Block ids, frames and the order of parallel outputs differ; text and calls do not."""
    record = read(rechunked(script.events, Random(seed)))
    del record[round(len(record) * part) :]
    told = told_again(parts_of(script.events), script, script.status)
    replay = take(record, read(told), whole=True)
    assert not replay.diverged
    assert truth([event.data for event in record]) == truth(script.events)
    ends = [event.type for event in record if event.type in ("finish", "error", "abort")]
    assert len(ends) == 1


@pytest.mark.parametrize("name", ["01-success", "03-cancelled"])
def test_a_whole_record_gets_nothing_from_the_example_that_was_reconstructed(name: str) -> None:
    record = read(examples.events(f"{name}.ndjson"))
    before = list(record)
    told = read(examples.document(f"{name}.logs.reconstructed.json")["events"])
    assert not take(record, told, whole=True).diverged
    assert record == before


def test_the_end_of_a_failed_run_is_told_once() -> None:
    """The live log ended in ``error``, the reconstructed one ends in ``finish``."""
    record = read(examples.events("02-failed.ndjson"))
    before = list(record)
    take(record, read(examples.document("02-failed.logs.reconstructed.json")["events"]), whole=True)
    assert record == before


def text(delta: str, block: str = "m") -> dict[str, Any]:
    return {"type": "text-delta", "id": block, "delta": delta}


def test_a_delta_that_goes_on_beyond_what_is_held_gives_its_rest() -> None:
    record = read([text("ab"), text("c")])
    take(record, read([text("a"), text("bcd🧪"), text("e")]))
    assert [event.delta for event in record] == ["ab", "c", "d🧪", "e"]
    assert json.loads(record[2].json) == text("d🧪")


def test_other_members_of_a_cut_delta_stay() -> None:
    record = read([text("ab")])
    take(record, read([{**text("abc"), "more": {"x": 1}}]))
    assert record[1].data == {**text("c"), "more": {"x": 1}}


def test_equal_deltas_are_told_apart_by_their_place() -> None:
    record = read([text("ha"), text("ha")])
    take(record, read([text("ha")] * 5))
    assert "".join(event.delta or "" for event in record) == "ha" * 5


def test_equal_events_without_an_id_are_counted() -> None:
    step = {"type": "start-step"}
    record = read([step, step])
    take(record, read([step, step, step]))
    assert len(record) == 3


def test_texts_of_different_blocks_are_compared_apart() -> None:
    record = read([text("a", "m"), text("x", "n")])
    replay = take(record, read([text("a", "m"), text("x", "n"), text("b", "m"), text("y", "n")]))
    assert [event.delta for event in record] == ["a", "x", "b", "y"]
    assert not replay.diverged


def test_text_that_is_told_otherwise_is_said() -> None:
    assert take(read([text("abc")]), read([text("abX"), text("d")])).diverged
    assert take(read([text("abc")]), read([text("aXcd")])).diverged
    assert not take(read([text("abc")]), read([text("ab")])).diverged


@given(st.lists(EVENTS, max_size=8), st.lists(EVENTS, max_size=8))
def test_any_content_is_compared_without_raising(held: list[Any], told: list[Any]) -> None:
    record = read(held)
    take(record, read(told))
    take(list(record), record, whole=True)
    assert len(record) >= len(held)


@given(st.lists(EVENTS, max_size=10), st.integers(0, 10))
def test_any_record_that_is_told_again_from_its_start_grows_by_nothing(
    events: list[Any], size: int
) -> None:
    record = read(events)[:size]
    before = list(record)
    take(record, before)
    assert record == before


# A stream that tells only what is new, beside a batch read


@settings(deadline=None)
@given(SEEDS, st.data())
def test_a_stream_without_replay_is_laid_on_the_end_of_a_batch(
    seed: int, data: st.DataObject
) -> None:
    events = [
        {**event, "delta": f"{event['delta']}{n}"} if "delta" in event else event
        for n, event in enumerate(invented(seed, 40).events)
    ]
    joined = data.draw(st.integers(0, len(events) - 1), "events before the stream was opened")
    heard = data.draw(st.integers(joined + 1, len(events)), "events when the batch came")
    said = data.draw(st.integers(joined, len(events)), "events in the batch")
    both = sum(len(event.get("delta", "?")) for event in events[joined:said])
    assert overlap(read(events[:said]), read(events[joined:heard])) == both


def test_events_of_a_call_are_the_same_by_their_id_and_type() -> None:
    one, same, other = read(
        [
            {"type": "tool-call-start", "toolCallId": "t", "toolName": "Bash"},
            {"toolCallId": "t", "type": "tool-input-start"},
            {"type": "tool-call-start", "toolCallId": "u"},
        ]
    )
    assert key_of(one) == key_of(same) != key_of(other)
