"""The local service's framings and its order index, pure: whole, byte by byte, at random cuts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blaxel_jupyter.local.capture import Log, Reader, Stream, Wakeups
from blaxel_jupyter.local.files import parse_ranges
from blaxel_jupyter.local.processes import Processes
from blaxel_jupyter.local.streams import (
    MAX_HELD,
    EventEncoder,
    TextEncoder,
    character_end,
    follow,
)
from blaxel_jupyter.process import KEEPALIVE
from blaxel_jupyter.wire import decode_like_go

pieces = st.lists(
    st.tuples(
        st.sampled_from(["stdout", "stderr"]),
        st.one_of(
            st.binary(max_size=20), st.sampled_from([b"\n", b"a\nb", "é€😀".encode(), b"\xff"])
        ),
    ),
    max_size=30,
)


@given(pieces)
def test_text_lines_are_whole_and_marked(written: list[tuple[Stream, bytes]]) -> None:
    """Each stream's lines come back exactly, wherever the writes were cut."""
    encoder = TextEncoder()
    sent = b"".join(encoder.feed(*piece) for piece in written)
    assert encoder.at_line_start
    sent += encoder.close()
    for stream in ("stdout", "stderr"):
        data = b"".join(part for to, part in written if to == stream)
        marker = stream.encode() + b":"
        lines = [line[7:] for line in sent.split(b"\n") if line.startswith(marker)]
        expected = data.split(b"\n")
        assert lines == (expected if expected[-1] else expected[:-1])


def test_a_long_line_is_not_held_for_ever() -> None:
    """More than 64 KiB goes out, goes on without a marker, and holds keepalives back."""
    encoder = TextEncoder()
    assert encoder.feed("stdout", b"x" * MAX_HELD) == b""
    assert encoder.feed("stdout", b"x") == b"stdout:" + b"x" * (MAX_HELD + 1)
    assert not encoder.at_line_start
    assert encoder.feed("stdout", b"y\nz") == b"y\n"
    assert encoder.at_line_start
    assert encoder.close() == b"stdout:z"


@given(pieces)
def test_events_restore_the_text(written: list[tuple[Stream, bytes]]) -> None:
    """Joined, the data of a stream's events is its text; no character is cut."""
    encoder = EventEncoder()
    sent = b"".join(encoder.feed(*piece) for piece in written) + encoder.close()
    events = [json.loads(line) for line in sent.splitlines()]
    for stream in ("stdout", "stderr"):
        data = b"".join(part for to, part in written if to == stream)
        assert "".join(e["data"] for e in events if e["type"] == stream) == decode_like_go(data)


def test_keepalives_stand_between_lines(tmp_path: Path) -> None:
    """They come while it is quiet, and never inside the line that is being written."""

    async def read() -> list[bytes]:
        wakeups = Wakeups()
        process = Processes(tmp_path, wakeups, {}).start(
            "printf par; sleep 0.3; echo tial; head -c 70000 /dev/zero; sleep 0.3; echo; sleep 0.3"
        )
        blocks = [block async for block in follow(process, TextEncoder(), 0.05, KEEPALIVE)]
        wakeups.close()
        return blocks

    sent = b"".join(asyncio.run(read()))
    assert sent.replace(KEEPALIVE, b"") == b"stdout:partial\nstdout:" + bytes(70000) + b"\n"
    assert sent.startswith(KEEPALIVE)
    assert sent.endswith(KEEPALIVE)
    for before in sent.split(KEEPALIVE)[:-1]:
        assert not before or before.endswith(b"\n")


@pytest.mark.parametrize("text", ["é", "€", "😀", "a😀"])
def test_character_end(text: str) -> None:
    """A character that may still be finished is left; a finished or hopeless one is not."""
    data = text.encode()
    whole = len(data) - len(text[-1].encode())
    for cut in range(whole + 1, len(data)):
        assert character_end(data[:cut]) == whole
    assert character_end(data) == len(data)
    assert character_end(b"a\xff") == 2
    assert character_end(b"\x80\x80\x80\x80") == 4
    assert character_end(b"") == 0


@given(st.integers(1, 50), st.integers(0, 60), st.integers(0, 60))
def test_ranges_are_inside_the_file(size: int, first: int, last: int) -> None:
    """A closed range is clipped to the file, or refused."""
    if first > last or first >= size:
        with pytest.raises(ValueError, match="invalid range"):
            parse_ranges(f"bytes={first}-{last}", size)
    else:
        ((start, length),) = parse_ranges(f"bytes={first}-{last}", size)
        assert (start, start + length) == (first, min(last + 1, size))


writes = st.lists(
    st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(min_size=1, max_size=9))
)


@settings(max_examples=25, deadline=None)
@given(writes, st.integers(1, 12))
def test_order_index(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[Stream, bytes]], limit: int
) -> None:
    """A log read back, also by a later service, has every byte once, in the order written."""
    folder = tmp_path_factory.mktemp("log")

    async def write() -> list[tuple[Stream, bytes]]:
        wakeups = Wakeups()
        log = fresh(folder)
        log.capture(wakeups, lambda stream: None, lambda reason: None)
        with Reader(log) as reader:
            live: list[tuple[Stream, bytes]] = []
            for stream, data in written:
                with log.paths[stream].open("ab") as file:
                    file.write(data)
                log.look()
                while piece := reader.read(limit):
                    live.append(piece)
        log.finish()
        wakeups.close()
        return live

    live = asyncio.run(write())
    with Reader(fresh(folder)) as reader:
        replay = list(iter(lambda: reader.read(limit), None))
    assert merged(live) == merged(replay) == merged(written)
    assert fresh(folder).sizes == {
        stream: sum(len(data) for to, data in written if to == stream)
        for stream in ("stdout", "stderr")
    }


def fresh(folder: Path) -> Log:
    """Open a log as a service does that starts."""
    return Log(folder / "out", folder / "err", folder / "order")


def merged(pieces: list[tuple[Stream, bytes]]) -> list[tuple[Stream, bytes]]:
    """Join neighbours of one stream."""
    joined: list[tuple[Stream, bytes]] = []
    for stream, data in pieces:
        if joined and joined[-1][0] == stream:
            joined[-1] = (stream, joined[-1][1] + data)
        else:
            joined.append((stream, data))
    return joined
