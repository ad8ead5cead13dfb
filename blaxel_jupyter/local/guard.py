"""Refuse every request that is not of the owner's own programs, before anything of it is read.

Commands run as the user, without isolation; so nothing is answered without the token, to a browser
page, or under another host name. What the service is asked for once it has let somebody in, it leaves
to the routes.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable
from urllib.parse import parse_qs

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from blaxel_jupyter.local import PROOF, proof
from blaxel_jupyter.local.answers import error, gateway_error
from blaxel_jupyter.local.sandboxes import Sandboxes

TASKS = "/api/v1"
"""Where the task API begins."""

OF_PAGES = {b"origin", b"sec-fetch-site", b"sec-fetch-dest"}
"""Headers that browsers add to what a page asks; Node's fetch says ``sec-fetch-mode``, and is no page."""

Refusal = tuple[int, str, str, str]
"""Status, code, what is wrong, and what to do."""


class Guard:
    """Refuse what is not the owner's own program; count requests; find the sandbox that the URL names.

    The task API knows two users, each with a key; the second one's opens nothing else.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str,
        other_token: str,
        hosts: Iterable[str],
        sandboxes: Sandboxes,
    ) -> None:
        self._app = app
        self._key = token
        self._token = f"Bearer {token}".encode()
        self._users = {self._token: "owner", f"Bearer {other_token}".encode(): "other"}
        self._hosts = {host.encode() for host in hosts}
        self._sandboxes = sandboxes
        self.open = 0
        self.last = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            return
        self.open += 1
        try:
            app = self._refusal(scope) or self._sandbox(scope) or self._app
            await app(scope, receive, send)
        finally:
            self.open -= 1
            self.last = time.monotonic()

    def _refusal(self, scope: Scope) -> Response | None:
        """Answer who may not come in, and hang up; nothing of the body has been read by then."""
        tasks = scope["path"].startswith(TASKS + "/")
        refused = self._foreign(scope)
        if refused is None and scope["path"] == PROOF:
            return self._prove(scope)
        refused = refused or (self._no_user(scope) if tasks else self._no_owner(scope))
        if refused is None:
            return None
        status, code, message, action = refused
        known = gateway_error(status, code, message, action)
        return _closing(error(status, message) if tasks else known)

    def _prove(self, scope: Scope) -> Response:
        """Sign a challenge: so a client knows whom it would send the token to (``local.find``)."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("challenge", [""])[0]
        return _closing(PlainTextResponse(proof(self._key, given)))

    def _foreign(self, scope: Scope) -> Refusal | None:
        """Refuse what a web page sends, and what was meant for another host name."""
        if OF_PAGES & {name for name, _ in scope["headers"]}:
            return 403, "FORBIDDEN", "requests of web pages are refused", "call it from a program"
        ours = len(given := _all(scope, b"host")) == 1 and given[0] in self._hosts
        if not ours or not scope["path"].startswith("/"):
            message = "the Host header is not this service's"
            return 403, "FORBIDDEN", message, "use the URL of the runtime file"
        return None

    def _no_owner(self, scope: Scope) -> Refusal | None:
        given = _all(scope, b"authorization") + _all(scope, b"x-blaxel-authorization")
        if not any([hmac.compare_digest(each, self._token) for each in given]):  # noqa: C419 - all
            message = "the token is missing or wrong"
            action = "send 'Authorization: Bearer' with the token of the runtime file"
            return 401, "AUTHENTICATION_REQUIRED", message, action
        return None

    def _no_user(self, scope: Scope) -> Refusal | None:
        """Leave the name of the task API's user in the scope."""
        given = _all(scope, b"authorization")
        key = given[0] if len(given) == 1 else b""
        users = [name for each, name in self._users.items() if hmac.compare_digest(key, each)]
        if not users:
            return 401, "", "Unauthorized", ""
        scope.setdefault("state", {})["user"] = users[0]
        return None

    def _sandbox(self, scope: Scope) -> Response | None:
        """Leave the sandbox's processes in the scope; refuse a sandbox that does not exist."""
        _, first, name, *_ = (scope["path"] + "///").split("/", 3)
        if first != "sandboxes" or not name:
            return None
        try:
            scope.setdefault("state", {})["processes"] = self._sandboxes.processes(name)
        except KeyError:
            return gateway_error(
                404, "WORKLOAD_NOT_FOUND", f"sandbox '{name}' not found", "create the sandbox first"
            )
        return None


def _closing(response: Response) -> Response:
    """Have the connection closed after an answer to somebody who has not shown the token."""
    response.headers["Connection"] = "close"
    return response


def _all(scope: Scope, name: bytes) -> list[bytes]:
    """Return every value of a header: what is sent twice must not hide behind the last."""
    return [value for each, value in scope["headers"] if each == name]
