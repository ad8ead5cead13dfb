"""Keep the local service's runs, chats and message parts in one SQLite file; only this module does.

Every call is one short transaction, done when it returns, so that ``kill -9`` loses nothing that was
saved (WAL, mode 0600). It knows no HTTP, no event and no task that runs.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blaxel_jupyter.parts import Part

STATUSES = ("queued", "running", "completed", "failed", "cancelled", "interrupted")
"""The status words of every route but ``/status`` (protocol 3.6); the last four are final."""
INTERRUPTED = "Run interrupted by a server restart"
BATCH = 256 * 1024
"""Characters of parts that are read at a time for a stream."""
CHECKPOINT = 4 * 1024 * 1024
"""Characters that are saved between two checkpoints of the database."""
PATIENCE = 0.2
"""Seconds to wait for another program that holds the file, where the caller cannot try again later."""

_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT UNIQUE NOT NULL, user TEXT NOT NULL,
    chat_id TEXT NOT NULL, message_id TEXT NOT NULL, status TEXT NOT NULL, created INTEGER NOT NULL,
    started INTEGER, completed INTEGER, error TEXT, model TEXT, agent TEXT, github TEXT);
CREATE INDEX IF NOT EXISTS runs_of_user ON runs (user, number);
CREATE TABLE IF NOT EXISTS messages (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, chat_id TEXT NOT NULL,
    role TEXT NOT NULL, created INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS messages_of_chat ON messages (chat_id);
CREATE TABLE IF NOT EXISTS parts (
    message_id TEXT NOT NULL, position INTEGER NOT NULL, part TEXT NOT NULL,
    PRIMARY KEY (message_id, position));
CREATE TABLE IF NOT EXISTS titles (chat_id TEXT PRIMARY KEY, title TEXT NOT NULL);
"""


class StoreError(Exception):
    """The file cannot be read or written now; the text is SQLite's."""


@dataclass(slots=True)
class Run:
    """The facts about one run; times are Unix milliseconds, None where unknown."""

    run_id: str
    user: str
    chat_id: str
    message_id: str
    created: int
    status: str = "queued"
    started: int | None = None
    completed: int | None = None
    error: str | None = None
    model: str | None = None
    agent: str | None = None
    github: dict[str, Any] | None = None

    @property
    def active(self) -> bool:
        """Whether it is queued or running."""
        return self.status in ("queued", "running")


_COLUMNS = (
    "run_id, user, chat_id, message_id, created, status, started, completed, error, model, agent"
)


@dataclass(slots=True)
class Message:
    """One message of a chat's thread; ``created`` in Unix milliseconds."""

    id: str
    role: str
    created: int
    parts: list[Part]


def iso(milliseconds: int | None) -> str | None:
    """Write Unix milliseconds as the API does: ISO 8601, UTC."""
    if milliseconds is None:
        return None
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000))
    return f"{whole}.{milliseconds % 1000:03d}Z"


class TaskStore:
    """The runs of one state folder, across restarts of the service.

    A file that is not readable as a database is moved aside, never deleted, and a new one begun.
    """

    def __init__(self, folder: Path) -> None:
        self._path = path = folder / "tasks.sqlite3"
        self._written = 0
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        try:
            self._open(path)
        except sqlite3.OperationalError as problem:
            raise StoreError(f"{path} cannot be used: {problem}") from problem
        except sqlite3.DatabaseError as problem:
            aside = path.with_name(f"{path.name}.unreadable-{time.time_ns()}")
            path.rename(aside)
            for suffix in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
            print(f"{path} is not readable ({problem}): moved to {aside}", file=sys.stderr)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._open(path)

    def _open(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(
                "PRAGMA wal_autocheckpoint = 0"
            )  # they wait for the disk: see checkpoint
            self._db.executescript(_TABLES)
        except sqlite3.DatabaseError:
            self._db.close()
            raise

    @property
    def checkpoint_due(self) -> bool:
        """Whether so much was saved that it should be moved out of the journal."""
        return self._written >= CHECKPOINT

    def checkpoint(self) -> Callable[[], None]:
        """Return what moves the journal into the database, to be called in another thread.

        It waits for the disk, several times, and keeps nobody from reading or writing meanwhile.
        """
        self._written = 0
        path = self._path

        def move() -> None:
            with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=0)) as db:
                db.execute("PRAGMA synchronous = NORMAL")
                db.execute("PRAGMA wal_checkpoint(PASSIVE)")

        return move

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _transaction(self, patience: float = PATIENCE) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute(f"PRAGMA busy_timeout = {patience * 1000:.0f}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as problem:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise StoreError(f"the tasks' database cannot be written: {problem}") from problem

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as problem:
            raise StoreError(f"the tasks' database cannot be read: {problem}") from problem

    def interrupt(self) -> list[str]:
        """Mark what an earlier service left queued or running; return the ids of those runs.

        When they were cut off is not known, so they get no time of completion.
        """
        left = [
            row[0] for row in self._rows("SELECT run_id FROM runs WHERE status IN (?, ?)", *_ACTIVE)
        ]
        with self._transaction() as db:
            db.execute(
                "UPDATE runs SET status = 'interrupted', error = ? WHERE status IN (?, ?)",
                (INTERRUPTED, *_ACTIVE),
            )
        return left

    def create(self, run: Run, prompt: str, prompt_id: str) -> None:
        """Save a new run with its two messages: the prompt, and the answer that has no part yet."""
        question = json.dumps({"type": "text", "text": prompt})
        with self._transaction() as db:
            db.execute(
                f"INSERT INTO runs ({_COLUMNS}, github) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*_values(run), json.dumps(run.github)),
            )
            for name, role in ((prompt_id, "user"), (run.message_id, "assistant")):
                db.execute(
                    "INSERT INTO messages (id, chat_id, role, created) VALUES (?, ?, ?, ?)",
                    (name, run.chat_id, role, run.created),
                )
            db.execute("INSERT INTO parts VALUES (?, 0, ?)", (prompt_id, question))

    def save(self, run: Run, parts: Mapping[int, Part]) -> None:
        """Save what may have changed: a run's status, times and error, and some of its parts.

        It does not wait for another program that holds the file: everybody here would wait with it.
        """
        rows = [(run.message_id, position, json.dumps(part)) for position, part in parts.items()]
        with self._transaction(patience=0) as db:
            db.execute(
                "UPDATE runs SET status = ?, started = ?, completed = ?, error = ? WHERE run_id = ?",
                (run.status, run.started, run.completed, _storable(run.error), run.run_id),
            )
            db.executemany("INSERT OR REPLACE INTO parts VALUES (?, ?, ?)", rows)
        self._written += sum(len(part) for _, _, part in rows)

    def find(self, run_id: str) -> Run | None:
        """Return a run's facts; None if there is no such run."""
        rows = self._rows(f"SELECT {_COLUMNS}, github FROM runs WHERE run_id = ?", run_id)
        return _run(rows[0]) if rows else None

    def page(self, user: str, status: str | None, skip: int, limit: int) -> list[Run]:
        """Return a user's runs, newest first."""
        rows = self._rows(
            f"SELECT {_COLUMNS}, github FROM runs WHERE user = ? AND (? IS NULL OR status = ?) "
            "ORDER BY number DESC LIMIT ? OFFSET ?",
            *(user, status, status, limit, skip),
        )
        return [_run(row) for row in rows]

    def parts(self, message_id: str) -> list[Part]:
        """Return a message's parts, in order."""
        query = "SELECT part FROM parts WHERE message_id = ? ORDER BY position"
        return [json.loads(part) for (part,) in self._rows(query, message_id)]

    def each_part(self, message_id: str) -> Iterator[Part]:
        """Yield a message's parts in order, read in batches: few are in memory at a time."""
        query = "SELECT position, part FROM parts WHERE message_id = ? AND position > ? ORDER BY position"
        last, rows = -1, [(0, "")]
        while rows:
            rows = self._some(query, message_id, last)
            for position, part in rows:
                last = position
                yield json.loads(part)

    def _some(self, query: str, *values: object) -> list[tuple[int, str]]:
        """Return the first rows of an answer, up to ``BATCH`` characters of text, but at least one."""
        rows: list[tuple[int, str]] = []
        size = 0
        try:
            with closing(self._db.execute(query, values)) as cursor:
                while size < BATCH and (row := cursor.fetchone()) is not None:
                    rows.append(row)
                    size += len(row[1])
        except sqlite3.Error as problem:
            raise StoreError(f"the tasks' database cannot be read: {problem}") from problem
        return rows

    def thread(self, chat_id: str) -> list[Message]:
        """Return a chat's messages, oldest first."""
        query = "SELECT id, role, created FROM messages WHERE chat_id = ? ORDER BY number"
        rows = self._rows(query, chat_id)
        return [Message(name, role, created, self.parts(name)) for name, role, created in rows]

    def title(self, chat_id: str) -> str | None:
        """Return a chat's title; None if it was given none."""
        rows = self._rows("SELECT title FROM titles WHERE chat_id = ?", chat_id)
        return str(rows[0][0]) if rows else None

    def rename(self, chat_id: str, title: str) -> None:
        """Give a chat a title."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO titles VALUES (?, ?)", (chat_id, title))


_ACTIVE = ("queued", "running")


def _values(run: Run) -> tuple[object, ...]:
    return tuple(getattr(run, name) for name in _COLUMNS.split(", "))


def _storable(text: str | None) -> str | None:
    """Replace lone surrogates, which a recorded error may hold and UTF-8 cannot."""
    return text and text.encode("utf-8", "replace").decode()


def _run(row: tuple[Any, ...]) -> Run:
    facts = dict(zip(_COLUMNS.split(", "), row, strict=False))
    return Run(**facts, github=json.loads(row[-1] or "null"))
