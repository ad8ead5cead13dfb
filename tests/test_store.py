"""Bytes that are only appended: the same from memory and from disk, at any time, for any reader."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import threading
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blaxel_jupyter.spool import Spool
from blaxel_jupyter.store import MERGED, Store

PARTS = st.lists(st.binary(max_size=40), max_size=20)


@settings(deadline=None)
@given(parts=PARTS, limit=st.integers(0, 100), ends=st.tuples(st.integers(0), st.integers(0)))
def test_any_part_is_what_was_appended(
    parts: list[bytes], limit: int, ends: tuple[int, int]
) -> None:
    """Offsets are those of the bytes joined, whatever is in memory and whatever on disk."""
    for store in (Store(), Spool(limit)):
        data = b"".join(parts)
        starts = [store.append(part) for part in parts]
        assert starts == list(accumulate(map(len, parts), initial=0))[:-1]
        assert store.size == len(data)
        start, stop = sorted(end % (len(data) + 1) for end in ends)
        assert store.read(start, stop) == data[start:stop]
        assert store.read(0, store.size) == data
        assert store.trouble is None


def test_large_blocks_are_kept_apart() -> None:
    """Small pieces join a block up to its limit; none is lost at the seams."""
    store = Store()
    parts = [bytes([i]) * size for i, size in enumerate([10, MERGED - 5, MERGED * 3, 7, 7, MERGED])]
    marks = [store.append(part) for part in parts] + [store.size]
    assert [store.read(*ends) for ends in pairwise(marks)] == parts
    assert store.read(5, store.size - 5) == b"".join(parts)[5:-5]


def test_the_file_has_no_name_and_ends_with_the_store(tmp_path: Path) -> None:
    """What is spilled can be found by nobody, and its space is free again when the store is gone."""
    before = open_files()
    store = Spool(10)
    store.append(b"x" * 100_000)
    new = open_files() - before
    assert len(new) == 1
    facts = os.stat(f"/proc/self/fd/{new.pop()}")
    assert (facts.st_nlink, facts.st_size, facts.st_mode & 0o777) == (0, 100_000, 0o600)
    del store
    assert open_files() == before


def open_files() -> set[str]:
    """Return this process's file descriptors that are still open."""
    return {
        name for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")
    }


def test_little_opens_no_file() -> None:
    """Below the limit nothing is written anywhere."""
    before = open_files()
    store = Spool(10)
    store.append(b"x" * 10)
    assert open_files() == before


def test_a_full_disk_loses_nothing() -> None:
    """Where the disk takes no more, what comes then stays in memory, and the store says so."""
    code = (
        "import resource, signal\n"
        "from blaxel_jupyter.spool import Spool\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "store = Spool(1000)\n"
        "parts = [bytes([i % 256]) * 7001 for i in range(100)]\n"
        "for part in parts: store.append(part)\n"
        "data = b''.join(parts)\n"
        "assert store.read(0, store.size) == data\n"
        "assert store.read(90_000, 120_000) == data[90_000:120_000]\n"
        "print(store.trouble)\n"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"what is logged stays in memory: {os.strerror(errno.EFBIG)}\n"


def test_no_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder that is not there is a disk that takes nothing."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    store = Spool(0)
    store.append(b"kept")
    assert store.read(0, 4) == b"kept"
    assert store.trouble is not None


def test_readers_beside_a_writer() -> None:
    """While one thread appends and bytes move to disk, others read what they know to be there."""
    store = Spool(1000)
    wrong: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            size = store.size
            data = store.read(size // 3, size)
            if data != expected[size // 3 : size]:
                wrong.append(size)

    expected = b"".join(b"%05d" % i for i in range(40_000))
    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for at in range(0, len(expected), 50):
        store.append(expected[at : at + 50])
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert store.read(0, store.size) == expected
