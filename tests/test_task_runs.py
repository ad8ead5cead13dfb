"""A task's run without a service: kept in a file and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from blaxel_jupyter import BlaxelError, TaskRun
from tests import blackbox_examples as examples

KEPT = [
    name
    for name in (*examples.LINES, *examples.STREAMS)
    if not name.startswith("90-")  # the older generation names events outside their JSON
]


def facts(row: dict[str, Any], *, named: bool) -> dict[str, Any]:
    """Return a row without its run's name if that was the file's, line ends in its JSON as blanks."""
    kept = {key: value for key, value in row.items() if named or key != "run_id"}
    return kept | {"payload": row.get("payload", "").replace("\n", " ")}


@pytest.mark.parametrize("name", KEPT)
def test_a_saved_run_reads_back(tmp_path: Path, name: str) -> None:
    """Events, times and what they tell are the same, whatever the recording was."""
    run = TaskRun.load(examples.FOLDER / name)
    run.save(tmp_path / "run.ndjson")
    again = TaskRun.load(tmp_path / "run.ndjson")
    for table in ("events", "tool_calls", "text_blocks"):
        one, other = getattr(run, table).records(), getattr(again, table).records()
        named = again.run_id != "run"
        assert [facts(row, named=named) for row in one] == [
            facts(row, named=named) for row in other
        ]
    assert (run.status, run.error, run.text) == (again.status, again.error, again.text)


def test_a_capture_keeps_durations() -> None:
    """Only a record of when events came tells how long calls took (tasks protocol 6.2)."""
    run = TaskRun.load(examples.FOLDER / "01-success.capture.ndjson")
    durations = list(run.tool_calls.column("duration_ms"))
    assert durations == [378, 319, 89, 3690, 549]
    assert run.status == "completed"
    assert run.source == "recording"


def test_a_run_from_a_file_has_no_service() -> None:
    """It cannot be cancelled, and says why."""
    run = TaskRun.load(examples.FOLDER / "03-cancelled.ndjson")
    with pytest.raises(BlaxelError, match="read from a file"):
        run.cancel()


def test_two_readings_of_a_run_differ_in_form_alone() -> None:
    """A live record and the rebuilt one tell the same; what only one can know is listed."""
    live = TaskRun.load(examples.FOLDER / "01-success.capture.ndjson")
    rebuilt = TaskRun.load(examples.FOLDER / "01-success.reconstructed.ndjson")
    assert live.differences(rebuilt, form=False) == []
    listed = live.differences(rebuilt)
    assert "text-delta events: 7 / 3" in listed
    assert "order of the tool calls' results" in listed
    assert "input_tokens: 1,842 / unknown" in listed
    assert "tool calls with a duration: 5 / 0" in listed
    assert live.differences(live) == []


def test_other_runs_differ_in_what_they_tell() -> None:
    """Another status, another text and other calls stand first."""
    one = TaskRun.load(examples.FOLDER / "02-failed.ndjson")
    other = TaskRun.load(examples.FOLDER / "03-cancelled.ndjson")
    listed = one.differences(other, form=False)
    assert listed[0] == "status: failed / cancelled"
    assert listed[1].startswith("text: 142 / 82 characters, the same up to 0")
    assert "tool call 'item_1': only in the first" in listed
    assert "tool call 'toolu_01C': only in the second" in listed
