"""The replay of a recording is what was recorded, however it is cut; plain clients prove it."""

from __future__ import annotations

import json
import random

import httpx
import pytest

from tests.recordings import copied, load
from tests.replaying import Chunks, cut, replay

LOGS = "/filesystem/%2Fvar%2Flog%2Fsandbox-api%2F"
RAW = {"Accept": "application/octet-stream"}
WITH_STREAMS = ["crlf", "invalid_utf8_nul", "partial_lines", "progress_cr", "unterminated"]
WAYS: list[Chunks] = ["whole", "bytes", random.Random(7)]


def follow(client: httpx.Client, name: str) -> bytes:
    """Follow a raw file by offset until the process has ended and nothing is new."""
    got = bytearray()
    while True:
        ended = client.get(f"/process/{name}").json()["completedAt"] != ""
        asked = RAW | {"Range": f"bytes={len(got)}-"}
        answer = client.get(f"{LOGS}{name}.stdout.log", headers=asked)
        got += answer.content if answer.status_code == 206 else b""
        if ended and answer.status_code != 206:
            return bytes(got)


@pytest.mark.parametrize(
    "name", ["interleave_slow", "partial_lines", "progress_cr", "burst_then_alive"]
)
def test_a_follow_by_offset_gets_the_truth(name: str) -> None:
    """A raw file grows in more than one step and ends as what the program wrote."""
    recording = load(name)
    with replay(recording) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert follow(client, recording.names.get("a", "a")) == recording.truth["a"].stdout


@pytest.mark.parametrize("way", WAYS, ids=["whole", "bytes", "random"])
@pytest.mark.parametrize("name", WITH_STREAMS)
def test_streams_are_the_recorded_bytes(name: str, way: Chunks) -> None:
    """The live text stream, the replay after it and the NDJSON stream; then the process has ended."""
    recording = load(name)
    with (
        replay(recording, chunks=way, raw_files=False) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        started = client.post("/process", json={"command": "x"})
        assert started.json()["status"] == "running"
        for role in ("a_text_live", "a_text_replay"):
            answer = client.get("/process/x/logs/stream")
            assert answer.content == recording.one(role).body
            assert answer.headers["content-type"] == recording.one(role).header("content-type")
        accept = {"Accept": "text/event-stream"}
        ndjson = client.post("/process", json={"command": "x"}, headers=accept)
        assert ndjson.content == recording.one("b_ndjson").body
        assert client.get("/process/x").content == recording.one("a_get").body
        assert client.get("/process/x/logs").content == recording.one("a_logs").body
        assert client.get(f"{LOGS}x.stdout.log", headers=RAW).status_code == 404


def test_a_watch_tells_of_growth() -> None:
    """It names the file that grew, once for each step."""
    recording = load("interleave_slow")
    with (
        replay(recording) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
        client.stream("GET", "/watch/filesystem/logs") as answer,
    ):
        names = {
            json.loads(line)["name"] for line, _ in zip(answer.iter_lines(), range(8), strict=False)
        }
    assert names == {f"{recording.names['a']}.{stream}.log" for stream in ("stdout", "stderr")}


@pytest.mark.parametrize("way", WAYS, ids=["whole", "bytes", "random"])
def test_cuts_lose_nothing(way: Chunks) -> None:
    """All pieces together are the body, and none is empty."""
    body = bytes(range(256)) * 40
    pieces = cut([body[:5000], body[5000:]], way)
    assert b"".join(pieces) == body
    assert all(pieces)


def test_every_copied_recording_loads() -> None:
    """Chunk sizes add up to the bodies, and most recordings have a truth."""
    recordings = [load(name) for name in copied()]
    assert len(recordings) >= 44
    for recording in recordings:
        for exchange in recording.exchanges:
            assert sum(size for _, size in exchange.chunks) == len(exchange.body), recording.name
    assert sum(bool(recording.truth) for recording in recordings) >= 30


def test_a_recording_that_is_nowhere_skips_the_test() -> None:
    """The reason names it."""
    with pytest.raises(pytest.skip.Exception, match="no_such_scenario"):
        load("no_such_scenario")
