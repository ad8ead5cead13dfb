"""The client on the recordings, over a real socket: exact by the raw files, honest without them."""

from __future__ import annotations

import random

import pytest

from blaxel_jupyter import SandboxClient
from blaxel_jupyter.wire import decode_like_go
from tests.recordings import copied, load
from tests.replaying import Chunks, replay

WAYS: list[Chunks] = ["whole", "bytes", random.Random(11)]
LATER = {"background_child_outlives", "big_5mb", "restart_max2", "signal_edge_cases"}
"""Recordings whose files hold more than the recorded run: a child wrote on, or several runs did."""

NAMES = [
    name
    for name in copied()
    if name not in LATER
    and "a" in load(name).names
    and {e.role for e in load(name).exchanges} >= {"a_start", "a_get", "a_logs", "a_text_live"}
    and load(name).truth["a"].stdout is not None
]


@pytest.mark.parametrize("name", NAMES)
async def test_raw_files_are_exact(name: str) -> None:
    """A follow by offset of a recorded run has its true bytes, whatever its streams did."""
    recording = load(name)
    with replay(recording) as url:
        async with SandboxClient(url=url) as sandbox:
            run = await (await sandbox.attach(recording.names["a"]))
    truth = recording.truth["a"]
    assert (run.stdout_bytes, run.stderr_bytes) == (truth.stdout, truth.stderr)
    assert run.integrity == "complete"


@pytest.mark.parametrize("way", WAYS, ids=["whole", "bytes", "random"])
@pytest.mark.parametrize("name", NAMES)
async def test_streams_are_never_wrong_under_complete(name: str, way: Chunks) -> None:
    """Without raw files: the true text; and ``complete`` only if every line was right as it came."""
    recording = load(name)
    with replay(recording, chunks=way, raw_files=False) as url:
        async with SandboxClient(url=url) as sandbox:
            run = await (await sandbox.attach(recording.names["a"]))
    truth = recording.truth["a"]
    stdout, stderr = decode_like_go(truth.stdout or b""), decode_like_go(truth.stderr or b"")
    assert (decode_like_go(run.stdout_bytes), decode_like_go(run.stderr_bytes)) == (stdout, stderr)
    assert run.integrity in {"complete", "repaired"}
    for stream, data in (("stdout", truth.stdout or b""), ("stderr", truth.stderr or b"")):
        rows = [row["text"] for row in run.logs if row["stream"] == stream]
        lines = data.decode("utf-8", "replace").split("\n")
        if not lines[-1]:
            lines.pop()
        assert run.integrity == "repaired" or rows == lines
    bad = {"[keepalive]"} - set((stdout + "\n" + stderr).split("\n"))
    assert not bad & {row["text"] for row in run.logs}
