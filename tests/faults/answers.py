"""What gateways, proxies and portals say instead of a sandbox: whole HTTP answers, word for word.

Pure. ``@LATER@`` stands for a date two seconds from now, ``@HERE@`` for the proxy's own address and
``@ELSEWHERE@`` for another origin, which nobody may follow with a key.
"""

from __future__ import annotations

import json


def _page(status: str, body: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Connection: close", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", body]).encode()


_JSON, _HTML = "Content-Type: application/json", "Content-Type: text/html"
_REASONS = {
    301: "Moved Permanently",
    302: "Found",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Unavailable",
    504: "Time-out",
}


def _html(status: int) -> bytes:
    page = f"<html><body><h1>{status} {_REASONS[status]}</h1></body></html>"
    return _page(f"{status} {_REASONS[status]}", page, _HTML)


UNAVAILABLE = _page(
    "404 Not Found",
    json.dumps(
        {
            "error": {
                "code": "WORKLOAD_UNAVAILABLE",
                "message": "The workload is not available yet",
                "origin": "platform",
                "retryable": True,
                "status": 404,
            }
        }
    ),
    _JSON,
    "X-Blaxel-Source: platform",
    "X-Blaxel-Error-Code: WORKLOAD_UNAVAILABLE",
)
TURNED_AWAY = (
    _page("429 Too Many Requests", "{}", "Retry-After: 0", _JSON),
    _page("429 Too Many Requests", "{}", "Retry-After: 1", _JSON),
    _page("429 Too Many Requests", "{}", "Retry-After: @LATER@", _JSON),
    _page("429 Too Many Requests", "slow down"),
    UNAVAILABLE,
)
"""Answers after which a request was certainly not carried out."""

BROKEN = tuple(_html(status) for status in (500, 502, 503, 504))
PASSING = (*TURNED_AWAY, *BROKEN)
"""Answers after which a read is repeated until it succeeds."""

PORTALS = (
    _page("200 OK", "<!doctype html><title>Sign in to the network</title>" + "x" * 900, _HTML),
    _page("200 OK", "please wait", "Content-Type: text/plain"),
    _page("200 OK", "{}", _JSON),
    _page("200 OK", "[]", _JSON),
    _page("404 Not Found", "404 page not found", "Content-Type: text/plain"),
    _page("416 Range Not Satisfiable", "no"),
    _page("500 Internal Server Error", ""),
    b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
)
"""Answers that claim to be the sandbox's and are not."""

REFUSALS = (
    _page("401 Unauthorized", '{"error":"unauthorized"}', _JSON),
    _page("403 Forbidden", "<html><body>blocked</body></html>", _HTML),
)
"""Answers that end a follow: nobody can tell when they will pass."""

REDIRECTS = tuple(
    _page(f"{status} {_REASONS[status]}", "", f"Location: {place}/process")
    for status in (301, 302, 307, 308)
    for place in ("@HERE@", "@ELSEWHERE@")
)
