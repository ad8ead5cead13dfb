"""Load the wire recordings of the real sandbox server as test data.

A recording is one scenario: every HTTP exchange with its timing, and what the programs really wrote. This
module reads files only; ``tests/replaying.py`` serves a recording over a socket, and
``tests/captures/README.md`` describes the scenarios.
"""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent / "captures"
ELSEWHERE = Path(__file__).parents[2] / "shared" / "captures" / "blaxel"
"""Where the recordings that are too large to be copied are looked for."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer; times in milliseconds since the scenario's start."""

    role: str
    t_request: float
    method: str
    target: str
    request_headers: tuple[tuple[str, str], ...]
    request_body: str | None
    status: int | None
    """None: no answer had come when the recorder hung up."""
    headers: tuple[tuple[str, str], ...]
    framing: str
    chunks: tuple[tuple[float, int], ...]
    """(time, bytes) of each HTTP chunk as the server flushed it; the sizes add up to the body."""
    body: bytes = field(repr=False)
    t_end: float
    end: str
    """``complete``, ``client_abort`` or ``peer_closed_early``."""

    @property
    def pieces(self) -> list[bytes]:
        """The body cut into the HTTP chunks of the recording."""
        pieces: list[bytes] = []
        position = 0
        for _, size in self.chunks:
            pieces.append(self.body[position : position + size])
            position += size
        return pieces

    def header(self, name: str) -> str | None:
        """Return a response header by its name in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Truth:
    """What a run really wrote, and the server's combined file; None = no such file or given by rule."""

    stdout: bytes | None = field(repr=False, default=None)
    stderr: bytes | None = field(repr=False, default=None)
    combined: bytes | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class Recording:
    """One scenario."""

    name: str
    description: str
    params: dict[str, Any]
    command: str | None
    names: dict[str, str]
    """Process names by run: ``a`` plain, ``b`` NDJSON; free-form scenarios have none."""
    exchanges: tuple[Exchange, ...]
    truth: dict[str, Truth]

    def all(self, role: str) -> list[Exchange]:
        """Return the exchanges of a role, in time's order."""
        return [exchange for exchange in self.exchanges if exchange.role == role]

    def one(self, role: str) -> Exchange:
        """Return the first exchange of a role.

        Raises:
            KeyError: the recording has none.
        """
        for exchange in self.exchanges:
            if exchange.role == role:
                return exchange
        raise KeyError(role)


def copied() -> list[str]:
    """Return the names of the recordings that are part of the repository."""
    return sorted(path.name.removesuffix(".json.gz") for path in HERE.glob("*.json.gz"))


@lru_cache(maxsize=64)
def load(name: str) -> Recording:
    """Load a recording; skips the calling test when it is neither here nor next to the repository."""
    for folder in (HERE, ELSEWHERE):
        path = folder / f"{name}.json.gz"
        if path.exists():
            with gzip.open(path) as file:
                return _decoded(json.load(file))
    pytest.skip(
        f"the recording {name} is not copied (size) and not at {ELSEWHERE.name}/{name}.json.gz"
    )


def _decoded(document: dict[str, Any]) -> Recording:
    assert document["format"] == "blaxel-capture/1"
    blobs = {key: base64.b64decode(value) for key, value in document["blobs"].items()}
    exchanges = [
        _exchange(entry, blobs) for entry in document["exchanges"] if entry["role"] != "note"
    ]
    truth = {
        run: Truth(
            **{
                stream: blobs[files[stream]["blob"]]
                for stream in ("stdout", "stderr", "combined")
                if files.get(stream) and "blob" in files[stream]
            }
        )
        for run, files in (document.get("truth") or {}).items()
    }
    return Recording(
        name=document["scenario"],
        description=document["description"],
        params=document.get("params") or {},
        command=document.get("command"),
        names=document.get("names") or {},
        exchanges=tuple(exchanges),
        truth=truth,
    )


def _exchange(entry: dict[str, Any], blobs: dict[str, bytes]) -> Exchange:
    request, response = entry["request"], entry["response"]
    return Exchange(
        role=entry["role"],
        t_request=entry["t_request"],
        method=request["method"],
        target=request["target"],
        request_headers=tuple((name, value) for name, value in request["headers"]),
        request_body=request["body"],
        status=response["status"],
        headers=tuple((name, value) for name, value in response.get("headers", ())),
        framing=response.get("framing", "none"),
        chunks=tuple((time, size) for time, size in response["chunks"]),
        body=blobs.get(response.get("body", ""), b""),
        t_end=response["t_end"],
        end=response["end"],
    )
