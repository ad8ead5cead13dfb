"""JSON as Go's encoder writes it, and the words of Go's decoder when it refuses some.

Written from the captures, not shared with the package, so that a mistake there cannot hide here.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

_LONE = re.compile("[\udc80-\udcff]")
_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_HTML_RE = re.compile("[<>&\u2028\u2029]")


def text(data: bytes) -> str:
    r"""Decode output so that ``dumps`` writes one ``\ufffd`` for each byte that is not UTF-8."""
    return data.decode("utf-8", "surrogateescape")


def dumps(value: Any) -> bytes:
    """Encode compactly, HTML-safe, members in the order given."""
    encoded = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    encoded = _HTML_RE.sub(lambda match: _HTML[match[0]], encoded)
    return _LONE.sub("\\\\ufffd", encoded).encode()


def http_date(seconds: float) -> str:
    """Format a time as Go's ``http.TimeFormat``; the server uses it for processes, too."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")


def nano_date(nanoseconds: int) -> str:
    """Format a file's time as RFC 3339 with nanoseconds, trailing zeros dropped."""
    seconds, rest = divmod(nanoseconds, 10**9)
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


class Refused(ValueError):
    """A request body that the server refuses; the text is what follows ``invalid request body:``."""


_FIELDS: dict[str, tuple[type, ...]] = {
    "command": (str,),
    "name": (str,),
    "workingDir": (str,),
    "env": (dict,),
    "waitForCompletion": (bool,),
    "timeout": (int,),
    "waitForPorts": (list,),
    "restartOnFailure": (bool,),
    "maxRestarts": (int,),
    "keepAlive": (bool,),
}
_GO_TYPES = {str: "string", dict: "map[string]string", bool: "bool", int: "int", list: "[]int"}
_JSON_TYPES = {str: "string", bool: "bool", int: "number", float: "number", dict: "object"}


def process_request(body: bytes) -> dict[str, Any]:
    """Parse and check the body of ``POST /process``.

    Raises:
        Refused: it is not JSON, a member has the wrong type, or ``command`` is missing or empty.
    """
    members = _parse(body)
    for name, types in _FIELDS.items():
        value = members.get(name)
        if value is None:
            continue
        if not isinstance(value, types) or (types == (int,) and isinstance(value, bool)):
            found = _JSON_TYPES.get(type(value), "array")
            raise Refused(
                f"json: cannot unmarshal {found} into Go struct field "
                f"ProcessRequest.{name} of type {_GO_TYPES[types[0]]}"
            )
    if not members.get("command"):
        raise Refused(
            "Key: 'ProcessRequest.Command' Error:Field validation for 'Command' failed on the 'required' tag"
        )
    return members


def _parse(body: bytes) -> dict[str, Any]:
    if not body.strip():
        raise Refused("EOF")
    try:
        members = json.loads(body)
    except ValueError:
        stripped = body.strip()
        if stripped[:1] == b"{" and len(stripped) > 1:
            found = stripped[1:].lstrip()[:1].decode("utf-8", "replace")
            raise Refused(
                f"invalid character '{found}' looking for beginning of object key string"
            ) from None
        raise Refused("unexpected EOF") from None
    if not isinstance(members, dict):
        found = _JSON_TYPES.get(type(members), "array")
        raise Refused(f"json: cannot unmarshal {found} into Go value of type ProcessRequest")
    return members
