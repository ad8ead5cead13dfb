"""The database of the local tasks: nobody waits for its disk or for another program that holds it."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from blaxel_jupyter.local.task_store import CHECKPOINT, PATIENCE, Run, StoreError, TaskStore

PART = {"type": "text", "text": "." * 100_000}


def made(folder: Path) -> tuple[TaskStore, Run]:
    """Return a new database with one run."""
    store, run = TaskStore(folder), Run("r", "owner", "c", "m", 0)
    store.create(run, "prompt", "p")
    return store, run


def test_saving_does_not_wait_for_who_holds_the_file(tmp_path: Path) -> None:
    """It fails at once, and is tried again later; a new run, which cannot be, waits a little."""
    store, run = made(tmp_path)
    with closing(sqlite3.connect(tmp_path / "tasks.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(StoreError, match="locked"):
                store.save(run, {0: PART})
        assert time.monotonic() - began < 20 * PATIENCE / 2
        began = time.monotonic()
        with pytest.raises(StoreError, match="locked"):
            store.create(Run("s", "owner", "c", "n", 0), "prompt", "q")
        assert time.monotonic() - began > PATIENCE / 2
        other.execute("ROLLBACK")
    store.save(run, {0: PART})
    assert store.parts("m") == [PART]
    store.close()


def test_the_journal_is_moved_by_another_thread(tmp_path: Path) -> None:
    """Saving never does it; when so much was saved that it is due, it is done beside further saving."""
    store, run = made(tmp_path)
    path = tmp_path / "tasks.sqlite3"
    small = path.stat().st_size
    journal = path.with_name("tasks.sqlite3-wal")
    position = 0
    sizes = []
    for _ in range(3):
        assert not store.checkpoint_due
        while not store.checkpoint_due:
            store.save(run, {position: PART})
            position += 1
        thread = threading.Thread(target=store.checkpoint())
        thread.start()
        thread.join()
        sizes.append(journal.stat().st_size)
    assert path.stat().st_size > small + 2 * CHECKPOINT
    assert max(sizes) < 1.5 * min(sizes)  # it is used again, not made longer
    assert list(store.each_part("m")) == store.parts("m") == [PART] * position
    store.close()


def test_saving_alone_does_not_touch_the_database_file(tmp_path: Path) -> None:
    """Else each some megabytes everybody would wait for the disk."""
    store, run = made(tmp_path)
    path = tmp_path / "tasks.sqlite3"
    before = path.stat().st_mtime_ns, path.stat().st_size
    for position in range(100):
        store.save(run, {position: PART})
    assert (path.stat().st_mtime_ns, path.stat().st_size) == before
    store.close()
    assert path.stat().st_size > 100 * 100_000
