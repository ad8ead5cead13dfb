"""Read JSON values as far as any reader can: content never makes a reader raise.

What has another type than expected counts as absent. Pure: the standard library and msgspec.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a strict reader raises on what it cannot read."""


DEEPEST = 200
"""Levels of values in one another that are read: what is read is written again, further down a stack."""


def lenient(body: bytes | msgspec.Raw) -> Any:
    """Decode JSON as far as any reader can: NaN, lone surrogates and bytes that are not UTF-8 pass.

    None for what no reader can read, or is nested deeper than ``DEEPEST``.
    """
    try:
        value = msgspec.json.decode(body)
    except UNREADABLE:
        try:
            value = json.loads(str(body, "utf-8", "replace"), strict=False)
        except (ValueError, RecursionError):
            return None
    is_nested = isinstance(value, dict | list)
    return None if is_nested and is_deep(value, bytes(body)) else value


def is_deep(value: object, body: bytes) -> bool:
    """Tell whether a value that was read from ``body`` is nested deeper than ``DEEPEST``."""
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return False
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    for _ in range(DEEPEST):
        inner = [one.values() if isinstance(one, dict) else one for one in level]
        level = [one for some in inner for one in some if isinstance(one, dict | list)]
        if not level:
            return False
    return True


def is_json(data: bytes) -> bool:
    """Tell whether any reader can read it."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except UNREADABLE:
        return lenient(data) is not None
    return True


def dumped(value: object) -> bytes:
    """Write a value as JSON again, as it would have been sent."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def words_in(raw: bytes | msgspec.Raw | None) -> str | None:
    """Read an error in either shape from its JSON text."""
    return words_of(lenient(raw)) if raw else None


def time_of(value: object) -> datetime | None:
    """Read an ISO 8601 time; None where it is none, UTC where it names no zone."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time


def text_of(value: object) -> str | None:
    """Return a text, None for anything else and for an empty one."""
    return value if isinstance(value, str) and value else None


def text_in(raw: bytes | msgspec.Raw) -> str | None:
    """Read a text from its JSON text, None for anything else."""
    return text_of(lenient(raw)) if raw else None


def words_of(value: object) -> str | None:
    """Read an error in either shape: a text, or an object with a message (tasks protocol 2)."""
    if isinstance(value, dict):
        value = value.get("message") or value.get("error") or json.dumps(value, ensure_ascii=False)
    return text_of(value)
