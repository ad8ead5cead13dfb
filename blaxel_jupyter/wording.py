"""Word what servers answer: bodies as JSON, refusals as the package's errors with the next step.

Pure: no HTTP library, no socket. What an answer quotes is short, on one line and without secrets of the URL.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from blaxel_jupyter import retries
from blaxel_jupyter.errors import PASSING, AuthError, NotFoundError, ProtocolError, StatusError
from blaxel_jupyter.json_values import UNREADABLE, is_deep

_KEEPALIVES = re.compile(rb"(?:\[keepalive\]\n)*")


def read_json(body: bytes) -> Any:
    """Read a JSON body, without the keepalive lines that may stand before it (protocol 4.4).

    Raises:
        ProtocolError: it is not JSON.
    """
    body = body[_KEEPALIVES.match(body).end() :]  # type: ignore[union-attr]  # it matches nothing, too
    try:
        value = msgspec.json.decode(body)
        if not is_deep(value, body):
            return value
        problem: Exception | None = None
    except UNREADABLE as error:
        problem = error
    what = "an HTML page" if _is_html(body) else "something that is not JSON"
    raise ProtocolError(
        f"The server answered with {what}. Check the address.", data=body
    ) from problem


def status_error(
    method: str,
    url: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    hint: str | None = None,
) -> StatusError:
    """Build the error for an HTTP status, with the server's own words where it has some (protocol 2)."""
    said = _said(body)
    later = retries.seconds(headers.get("retry-after"), headers.get("date"), time.time())
    kind: type[StatusError] = StatusError
    if status in {401, 403}:
        kind, advice = AuthError, "Check the API key and the workspace (BL_API_KEY, BL_WORKSPACE)."
    elif status == 404:
        kind, advice = NotFoundError, "Check the name."
    elif "no space left" in said or "disk is full" in said:
        advice = "Its disk is full: make room there, then try again."
    elif status < 400:
        advice = "The address answers with a redirect: use the final address."
    elif status in PASSING:
        advice = f"Try again in {later:.0f} s." if later >= 1 else "Try again in a moment."
    else:
        advice = (
            "Change the request." if status < 500 else "Try again, or look at the server's log."
        )
    message = f"{place(url)} answered {status}" + (f": {said}" if said else "")
    return kind(
        f"{message.rstrip('.')}. {hint or advice}",
        status_code=status,
        method=method,
        url=bare(url),
        body=body[:2000].decode("utf-8", "replace"),
        from_gateway=_is_html(body) or _gateway_words(body) is not None,
        retryable=(_gateway_words(body) or {}).get("retryable") is True,
        retry_after=later,
    )


def _said(body: bytes) -> str:
    """Read the server's words from any of the four shapes of an error body."""
    if _is_html(body):
        return "an HTML page from a gateway"
    gateway = _gateway_words(body)
    if gateway is not None:
        return short(f"{gateway.get('code', '')} {gateway.get('message', '')}")
    try:
        answer = read_json(body)
    except ProtocolError:
        return short(body.decode("utf-8", "replace"))
    if not isinstance(answer, dict):
        return ""
    return short(str(answer.get("message") or answer.get("error") or answer.get("code") or ""))


def _gateway_words(body: bytes) -> dict[str, Any] | None:
    """Return the gateway's error object, None if the sandbox or the control plane answered."""
    try:
        answer = read_json(body)
    except ProtocolError:
        return None
    inner = answer.get("error") if isinstance(answer, dict) else None
    return inner if isinstance(inner, dict) else None


def _is_html(body: bytes) -> bool:
    return body.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html", b"<head"))


def short(text: str) -> str:
    """Return foreign words on one line, at most 300 characters of them."""
    if len(text) > 10_000:
        text = f"{text[:5000]} {text[-5000:]}"
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(words) <= 300:
        return words
    return f"{words[:120]} … {words[-180:]}"  # the cause often stands last


def bare(url: str) -> str:
    """Leave out what may carry a secret: user info and query; a name that is no URL stays."""
    if "://" not in url:
        return url.rpartition("@")[2]
    try:
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the address"
    return f"{parts.scheme}://{host}{port}{parts.path}"


def place(url: str) -> str:
    """Name the server for a message: scheme, host and port."""
    shown = bare(url)
    return "/".join(shown.split("/")[:3]) if "://" in shown else shown
