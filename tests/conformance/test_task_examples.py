"""Every authored example read to the tables that ``expected.json`` and the protocol's section 6 say.

``expected.json`` was checked against the protocol with a reducer of its own: no value in it is wrong. It
counts types as sent, writes ``(no status)`` where there is none, and leaves out what is null.
"""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blaxel_jupyter import task_tables
from blaxel_jupyter.fold import Fold
from blaxel_jupyter.recording import read_recording
from blaxel_jupyter.task_events import Event
from blaxel_jupyter.task_log import read_data, read_log, read_raw
from blaxel_jupyter.wire import SseDecoder, encode_sse
from tests import blackbox_examples as examples
from tests.task_values import cut

Read = list[tuple[Event, int | None]]

_USAGE = {
    "inputTokens": "input_tokens",
    "outputTokens": "output_tokens",
    "cacheReadTokens": "cache_read_tokens",
    "cacheCreationTokens": "cache_creation_tokens",
    "totalCostUsd": "total_cost_usd",
    "numTurns": "num_turns",
    "durationMs": "result_duration_ms",
}


def streamed(pieces: list[bytes]) -> tuple[Read, Counter[str], int]:
    """Read a stream in pieces; return events, warnings and the number of comments."""
    decoder, warnings = SseDecoder(), Counter[str]()
    found = [sse for piece in pieces for sse in decoder.feed(piece)]
    read = [event for sse in found for event in read_data(sse.data, warnings, sse.name)]
    return [(event, None) for event in read], warnings, decoder.comments


def tables(read: Read) -> tuple[list[dict[str, Any]], ...]:
    """Return the rows of all four tables, by the way of Arrow."""
    events, fold = [event for event, _ in read], Fold()
    for seq, (event, received) in enumerate(read):
        fold.add(seq, event, received)
    rows = task_tables.events_table("r")
    task_tables.extend_events(rows, events, [at for _, at in read], "stream")
    summary = {**task_tables.counts(fold), "event_count": len(rows), "error": fold.error}
    return tuple(
        table.to_arrow().to_pylist()
        for table in (
            rows,
            task_tables.tool_calls_table("r", fold.calls.values()),
            task_tables.text_blocks_table("r", fold.blocks),
            task_tables.summary_table(lambda: [summary], 1, final=False),
        )
    )


def in_their_words(read: Read) -> dict[str, Any]:
    """Return what the tables say, laid out as ``expected.json`` does."""
    events, calls, blocks, (summary,) = tables(read)
    finish = [json.loads(row["payload"]) for row in events if row["type"] == "finish"]
    usage = {name: summary[column] for name, column in _USAGE.items()}
    run = {
        "finishStatus": (finish[-1].get("status") or "(no status)") if finish else None,
        "errorText": summary["error"],
        "files": summary["n_files"],
        "toolCalls": summary["n_tool_calls"],
        "toolErrors": summary["n_tool_errors"],
        "unfinishedTools": summary["n_unfinished"],
        "textChars": summary["text_chars"],
    }
    if any(value is not None for value in usage.values()):
        run["usage"] = usage
    return {
        "eventCount": summary["event_count"],
        "typeCounts": dict(Counter(row["type_raw"] for row in events)),
        "toolCalls": [_call(row) for row in calls],
        "segments": [_segment(row) for row in blocks],
        "run": run,
        "unknownTypes": (summary["unknown_types"] or "").split(", ")
        if summary["unknown_types"]
        else [],
    }


def _call(row: dict[str, Any]) -> dict[str, Any]:
    call = {
        "toolCallId": row["tool_call_id"],
        "toolName": row["tool_name"],
        "state": row["state"],
        "startSeq": row["start_seq"],
        "inputSeq": row["input_seq"],
        "endSeq": row["end_seq"],
        "errorText": row["error_text"],
        "exitCode": row["exit_code"],
        "isError": row["is_error"],
    }
    return call if row["duration_ms"] is None else {**call, "durationMs": row["duration_ms"]}


def _segment(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": row["kind"],
        "id": row["block_id"],
        "segment": row["segment"],
        "firstSeq": row["first_seq"],
        "nDeltas": row["n_deltas"],
        "text": row["text"],
    }


def as_stream(name: str) -> bytes:
    """Return an example's events as the bytes of a stream."""
    datas = [json.dumps(event, ensure_ascii=False).encode() for event in examples.events(name)]
    return b"".join(encode_sse(data) for data in datas)


def without_times(expected: dict[str, Any]) -> dict[str, Any]:
    calls = [dict(call) for call in expected["toolCalls"]]
    for call in calls:
        call.pop("durationMs", None)
    return {**expected, "toolCalls": calls}


@pytest.mark.parametrize("name", examples.LINES)
def test_a_recording_reads_to_the_expected_tables(name: str) -> None:
    warnings: Counter[str] = Counter()
    read = read_recording(examples.content(name), warnings)
    assert in_their_words(read) == examples.expected()[name]
    assert not warnings


@pytest.mark.parametrize("name", examples.LINES)
def test_a_batch_log_reads_to_the_expected_tables(name: str) -> None:
    events = examples.events(name)
    raw = [f"data: {json.dumps(event)}\n" for event in events]
    log = read_log(json.dumps({"runId": "r", "events": events, "rawEvents": raw}).encode())
    expected = without_times(examples.expected()[name])
    assert in_their_words([(event, None) for event in log.events]) == expected
    again = read_raw(log.raw_events or [], Counter())
    assert in_their_words([(event, None) for event in again]) == expected


@pytest.mark.parametrize("name", examples.LINES)
def test_a_stream_byte_by_byte_reads_to_the_expected_tables(name: str) -> None:
    data = as_stream(name)
    for pieces in ([data], [bytes([byte]) for byte in data]):
        assert in_their_words(streamed(pieces)[0]) == without_times(examples.expected()[name])


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(examples.LINES), st.randoms(use_true_random=False))
def test_a_stream_cut_anywhere_reads_to_the_expected_tables(name: str, random: Random) -> None:
    data = as_stream(name)
    pieces = cut(data, [random.randrange(len(data)) for _ in range(random.randint(1, 40))])
    assert in_their_words(streamed(pieces)[0]) == without_times(examples.expected()[name])


def check_stream(name: str, pieces: list[bytes]) -> None:
    """Assert that a stream file is what ``expected.json`` counts, and its events those of its twin."""
    read, warnings, comments = streamed(pieces)
    expected = examples.expected()[name]
    data = examples.content(name)
    assert len(read) == expected["events"]
    assert (warnings.total(), comments) == (expected["badJson"], expected["comments"])
    assert (b"[DONE]" in data) == expected["doneMarker"]
    twin = f"{name.removesuffix('.sse')}.ndjson"
    if twin not in examples.LINES:
        names = {event.type for event, _ in read}
        assert names == set(expected["eventNames"])
        return
    resumed = len(read) - len(examples.events(twin))
    assert {event.type for event, _ in read[:resumed]} <= {"resume"}
    assert in_their_words(read[resumed:]) == examples.expected()[twin]


@pytest.mark.parametrize("name", examples.STREAMS)
def test_a_stream_file_whole_and_byte_by_byte(name: str) -> None:
    data = examples.content(name)
    check_stream(name, [data])
    check_stream(name, [bytes([byte]) for byte in data])


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(examples.STREAMS), st.randoms(use_true_random=False))
def test_a_stream_file_cut_anywhere(name: str, random: Random) -> None:
    data = examples.content(name)
    check_stream(
        name, cut(data, [random.randrange(len(data)) for _ in range(random.randint(1, 40))])
    )


# What expected.json leaves out, by the protocol's section 6


def test_the_columns_of_a_call_hold_what_was_sent() -> None:
    read = read_recording(examples.content("01-success.ndjson"), Counter())
    _, calls, _, _ = tables(read)
    events = examples.events("01-success.ndjson")
    for row in calls:
        given_input, output = events[row["input_seq"]]["input"], events[row["end_seq"]]["output"]
        assert json.loads(row["input"]) == given_input
        assert json.loads(row["output"]) == output
        assert row["command"] == given_input.get("command")
        assert row["path"] == given_input.get("file_path", given_input.get("path"))
        assert row["stdout"] == output.get("stdout")
        assert row["stderr"] == output.get("stderr")
        assert row["parent_tool_call_id"] is None
        assert row["call_index"] == calls.index(row)


def test_the_columns_of_an_event_hold_what_was_sent() -> None:
    read = read_recording(examples.content("04-tolerance.ndjson"), Counter())
    rows, calls, _, (summary,) = tables(read)
    for row, event in zip(rows, examples.events("04-tolerance.ndjson"), strict=True):
        assert json.loads(row["payload"]) == event
        assert row["type_raw"] == event["type"]
        assert row["block_id"] == event.get("id")
        assert row["tool_call_id"] == event.get("toolCallId")
        assert row["text"] == event.get("delta", event.get("text"))
        assert (row["received"], row["source"], row["run_id"]) == (None, "stream", "r")
    assert rows[7]["type"] == "tool-call-start"
    nested = next(row for row in calls if row["tool_call_id"] == "toolu_P:toolu_C")
    assert nested["parent_tool_call_id"] == "toolu_P"
    assert nested["input"] == '"{not json"'
    assert summary["terminal_event"] in ("abort", "finish")


def test_the_ends_of_blocks_and_runs() -> None:
    _, _, blocks, (summary,) = tables(
        read_recording(examples.content("03-cancelled.ndjson"), Counter())
    )
    assert [row["last_seq"] for row in blocks] == [4, 8, 14, 20]
    assert [row["closed"] for row in blocks] == [True] * 4
    assert [row["chars"] for row in blocks] == [len(row["text"]) for row in blocks]
    assert (summary["terminal_event"], summary["n_text_deltas"]) == ("finish", 3)
    _, _, _, (failed,) = tables(read_recording(examples.content("02-failed.ndjson"), Counter()))
    assert failed["terminal_event"] == "error"
    _, _, _, (cut_off,) = tables(
        read_recording(examples.content("05-interrupted.ndjson"), Counter())
    )
    assert cut_off["terminal_event"] is None
