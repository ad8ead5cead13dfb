"""The imitation tells the truth: its bytes are those of the recordings, up to timing.

Every recorded request is put to it again, at the recorded times. What does not depend on timing must be
equal; what does (where a chunk was cut, which stream came first) must hold the same bytes. Not enacted,
for their length or their luck, and checked in another way in ``test_imitation_habits.py``:
``quiet_35s``, ``stray_keepalive``, ``stray_keepalive_json``, ``watch_log_dir`` (30 s periods),
``slow_reader_stalls``, ``burst_then_alive``, ``cap_head_punched`` (megabytes whose cuts are luck).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.imitation import Habits, imitation
from tests.imitation.gojson import dumps, text
from tests.imitation.processes import KILLING, STOPPING, marked
from tests.imitation.reenact import Answer, enact
from tests.imitation.streams import backlog, event
from tests.recordings import Exchange, Recording, Truth, copied, load

ELSEWHERE = {
    "quiet_35s",
    "stray_keepalive",
    "stray_keepalive_json",
    "watch_log_dir",
    "slow_reader_stalls",
    "burst_then_alive",
    "cap_head_punched",
}
ENACTED = [name for name in copied() if name not in ELSEWHERE]
TWICE = {"hello", "partial_lines", "raw_ranges", "unterminated"}
"""Recorded on a log folder that an earlier run with the same names had left behind (protocol 4.7)."""
AT_ONCE = 8
TIMED = {
    "signal_edge_cases": {
        "get_name_now",
        "ign_text_live",
        "a_raw_stdout",
        "a_raw_combined",
    },
    "restart_max2": {"a_text_live", "a_get_in_pause", "a_text_second_run"},
    "keepalive_timeout_kill": {"c_get"},
    "background_child_outlives": {
        "a_get",
        "a_at_exit_raw_stdout",
        "a_at_exit_raw_combined",
        "a_text_live",
    },
}
"""Answers that say what was so at a moment between two writes: their bytes are a matter of load."""


@dataclass(frozen=True, slots=True)
class Enactment:
    """A recording beside what the imitation answered."""

    recording: Recording
    answers: list[Answer]
    work_dir: str

    def pairs(self) -> Iterator[tuple[Exchange, Answer]]:
        """Return (recorded, answered) for each exchange."""
        return zip(self.recording.exchanges, self.answers, strict=True)


@pytest.fixture(scope="module")
def enactments() -> dict[str, Enactment]:
    """Enact all recordings on one imitation, a few at a time, the longest first."""
    with imitation(own_process=True) as server:
        answers = asyncio.run(_enact_all(server.url))
        work_dir = str(server.work_dir)
        return {name: Enactment(load(name), answers[name], work_dir) for name in ENACTED}


async def _enact_all(url: str) -> dict[str, list[Answer]]:
    places = asyncio.Semaphore(AT_ONCE)
    answers: dict[str, list[Answer]] = {}

    async def one(name: str) -> None:
        async with places:
            if name in TWICE:
                await enact(load(name), url)
            answers[name] = await enact(load(name), url)

    async with asyncio.TaskGroup() as group:
        for name in sorted(ENACTED, key=_duration, reverse=True):
            group.create_task(one(name))
    return answers


def _duration(name: str) -> float:
    return max(exchange.t_end for exchange in load(name).exchanges)


def _is_stream(exchange: Exchange) -> bool:
    return exchange.target.endswith("/logs/stream")


def _is_combined(exchange: Exchange) -> bool:
    return bool(re.search(r"(?<!stdout|stderr)\.log$", exchange.target))


def _is_ndjson(exchange: Exchange) -> bool:
    return exchange.header("content-type") == "application/x-ndjson"


def _depends_on_timing(exchange: Exchange) -> bool:
    return (
        _is_stream(exchange)
        or _is_combined(exchange)
        or _is_ndjson(exchange)
        or "_follow_" in exchange.role
        or exchange.role.endswith("right_after")
        or exchange.target == "/health"
        or (exchange.method == "GET" and b'"completedAt":""' in exchange.body)
    )


def _settled(body: bytes, work_dir: str = "/srv") -> bytes:
    """Take pids, dates and the scratch folder out of a body."""
    body = re.sub(rb'(\\?"pid\\?":\\?")\d+', rb"\1PID", body)
    body = re.sub(rb"\w{3}, \d\d \w{3} \d{4} [\d:]+ GMT", b"DATE", body)
    body = re.sub(rb'"(lastModified)":"[^"]+"', rb'"\1":"TIME"', body)
    body = re.sub(rb"--[0-9a-f]{60}", b"--BOUNDARY", body)
    return body.replace(work_dir.encode(), b"/srv")


def _headers(pairs: list[tuple[str, str]], *, sizes: bool) -> dict[str, str]:
    left_out = {"Date", "Last-Modified"} | (set() if sizes else {"Content-Length", "Content-Range"})
    found = {name: value for name, value in pairs if name not in left_out}
    if "boundary=" in found.get("Content-Type", ""):
        found["Content-Type"] = "multipart/byteranges"
    return found


@pytest.mark.parametrize("name", ENACTED)
def test_status_headers_and_framing_are_those_recorded(
    name: str, enactments: dict[str, Enactment]
) -> None:
    """Each answer has the recorded status, header names and values, and chunked or length framing."""
    for recorded, answer in enactments[name].pairs():
        if "_follow_" in recorded.role:
            assert answer.status in (200, 206, 416), recorded.role
            continue
        assert answer.status == recorded.status, recorded.role
        if recorded.role.endswith("right_after") or recorded.role in TIMED.get(name, ()):
            continue
        sizes = len(answer.body) == len(recorded.body) and not _is_combined(recorded)
        expected = _headers(list(recorded.headers), sizes=sizes)
        assert _headers(answer.headers, sizes=sizes) == expected, recorded.role
        if recorded.end == "complete":
            assert answer.framing == recorded.framing, recorded.role


@pytest.mark.parametrize("name", ENACTED)
def test_bodies_that_do_not_depend_on_timing_are_those_recorded(
    name: str, enactments: dict[str, Enactment]
) -> None:
    """Raw files, JSON answers, errors and ranges are equal byte for byte, but for pid and dates."""
    enactment = enactments[name]
    for recorded, answer in enactment.pairs():
        if not _depends_on_timing(recorded) and recorded.role not in TIMED.get(name, ()):
            body = _settled(answer.body, enactment.work_dir)
            assert body == _settled(recorded.body), recorded.role


@pytest.mark.parametrize("name", ENACTED)
def test_streams_carry_the_recorded_bytes_wherever_they_were_cut(
    name: str, enactments: dict[str, Enactment]
) -> None:
    """Without markers and line ends a text stream and the combined file hold the recorded characters."""
    for recorded, answer in enactments[name].pairs():
        whole = recorded.end == "complete" and recorded.role not in TIMED.get(name, ())
        if whole and (_is_stream(recorded) or _is_combined(recorded)):
            assert _essence(answer.body) == _essence(recorded.body), recorded.role
        elif whole and _is_ndjson(recorded):
            assert _per_stream(answer.body) == _per_stream(recorded.body), recorded.role


def _essence(body: bytes) -> Counter[int]:
    return Counter(re.sub(rb"stdout:|stderr:|[\r\n]", b"", body))


def _per_stream(body: bytes) -> dict[str, str]:
    """Join the data of each type; line ends that a replay adds or drops do not count."""
    joined: dict[str, str] = {}
    for line in body.splitlines():
        members = json.loads(line)
        joined[members["type"]] = joined.get(members["type"], "") + members.get("data", "")
    joined.pop("keepalive", None)
    settled = _settled(joined.pop("result", "").encode()).decode()
    return {key: re.sub("stdout:|stderr:|[\r\n]", "", data) for key, data in joined.items()} | {
        "result": settled
    }


@pytest.mark.parametrize("name", ENACTED)
def test_ranges_asked_while_the_process_writes_are_slices_of_the_truth(
    name: str, enactments: dict[str, Enactment]
) -> None:
    """Every block of a follow by offset is what the program wrote there."""
    enactment = enactments[name]
    for recorded, answer in enactment.pairs():
        asked = re.fullmatch(r"bytes=(\d+)-", dict(recorded.request_headers).get("Range", ""))
        if "_follow_" not in recorded.role or answer.status != 206 or asked is None:
            continue
        truth = enactment.recording.truth["a"]
        written = (truth.stderr if "stderr" in recorded.target else truth.stdout) or b""
        offset = int(asked[1])
        assert answer.body == written[offset : offset + len(answer.body)]


ASIDE = ("[keepalive]\n", STOPPING, KILLING)
"""Data of stdout events that no program wrote."""


def _chunks(stream: Exchange, truth: Truth) -> list[tuple[str, bytes]] | None:
    """Cut the truth into the chunks that the recorded events show; None if they do not fit."""
    rest = {"stdout": truth.stdout or b"", "stderr": truth.stderr or b""}
    chunks: list[tuple[str, bytes]] = []
    for line in stream.body.splitlines():
        members = json.loads(line)
        kind, data = members["type"], members.get("data")
        if kind not in rest or data in ASIDE:
            continue
        size = _fitting(rest[kind], data)
        if size is None:
            return None
        chunks.append((kind, rest[kind][:size]))
        rest[kind] = rest[kind][size:]
    return None if any(rest.values()) else chunks


def _fitting(written: bytes, data: str) -> int | None:
    """Return how many bytes of the truth an event's text is."""
    size = 0
    for character in data:
        size += 1 if character == "\ufffd" else len(character.encode())
    shown = text(written[:size])
    return size if json.loads(dumps(shown)) == data else None


def _with_chunks() -> Iterator[tuple[Recording, list[tuple[str, bytes]]]]:
    """Return the recordings whose NDJSON stream holds its own run's chunks: no replay, no restart."""
    for name in copied():
        recording = load(name)
        if "b" in recording.truth and recording.all("b_ndjson"):
            chunks = _chunks(recording.one("b_ndjson"), recording.truth["b"])
            if chunks is not None:
                yield recording, chunks


def test_recorded_chunks_make_the_recorded_combined_file() -> None:
    """The chunks that an NDJSON stream was sent, written with markers, are its combined file."""
    checked = 0
    for recording, chunks in _with_chunks():
        made = b"".join(piece for stream, chunk in chunks for piece in marked(stream, chunk))
        assert made == recording.truth["b"].combined, recording.name
        checked += 1
    assert checked >= 16


def test_recorded_chunks_make_the_recorded_events() -> None:
    """Each chunk of output, encoded, is the recorded line: Go's escapes, U+FFFD for each bad byte."""
    checked = 0
    aside = {event("stdout", data) for data in ASIDE}
    for recording, chunks in _with_chunks():
        lines = [line + b"\n" for line in recording.one("b_ndjson").body.splitlines()]
        output = [line for line in lines if line.startswith(b'{"type":"std')]
        made = [event(stream, chunk) for stream, chunk in chunks]
        assert made == [line for line in output if line not in aside], recording.name
        checked += len(made)
    assert checked >= 300


def test_recorded_combined_files_make_the_recorded_replays(tmp_path: Path) -> None:
    """Line by line as Go's scanner sees it, a combined file gives the recorded replay, byte for byte."""
    checked = 0
    for recording in map(load, copied()):
        combined = recording.truth.get("a", Truth()).combined
        if combined is None or not recording.all("a_text_replay"):
            continue
        path = tmp_path / "combined.log"
        path.write_bytes(combined)
        lines = backlog(path, len(combined), Habits())
        replay = b"".join(b"%s:%b\n" % (stream.encode(), line) for stream, line in lines)
        assert (replay or combined) == recording.one("a_text_replay").body, recording.name
        checked += 1
    assert checked >= 20
