"""The authored examples of BLACKBOX's task API in ``tests/blackbox``: their bytes, events and expectations.

It only reads files; it knows nothing of the package. What the files are: ``tests/blackbox/README.md``.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "blackbox"

Event = dict[str, Any]

LINES = tuple(sorted(path.name for path in FOLDER.glob("*.ndjson")))
"""Files with one event a line."""
STREAMS = tuple(sorted(path.name for path in FOLDER.glob("*.sse")))
"""Files with the bytes of an event stream."""
LOGS = tuple(sorted(path.name for path in FOLDER.glob("*.logs.*.json")))
"""Files with an answer of ``GET /tasks/{runId}/logs``."""
TASKS = tuple(sorted(path.name for path in FOLDER.glob("*.task.json")))
"""Files with an answer of ``GET /tasks/{runId}``."""


def content(name: str) -> bytes:
    """Return a file's bytes."""
    return (FOLDER / name).read_bytes()


def document(name: str) -> dict[str, Any]:
    """Return a JSON file's object."""
    found: dict[str, Any] = json.loads(content(name))
    return found


@cache
def expected() -> dict[str, dict[str, Any]]:
    """Return what a reader should derive, by file name."""
    return document("expected.json")


def rows(name: str) -> list[dict[str, Any]]:
    """Return the objects of an NDJSON file as they stand there."""
    return [json.loads(line) for line in content(name).split(b"\n") if line]


def events(name: str) -> list[Event]:
    """Return the events of an NDJSON file, a capture's out of their envelopes."""
    return [row["event"] if "recvMs" in row else row for row in rows(name)]


def received(name: str) -> list[int] | None:
    """Return a capture's receive times in epoch milliseconds; None for a file without times."""
    found = rows(name)
    return [row["recvMs"] for row in found] if "recvMs" in found[0] else None
