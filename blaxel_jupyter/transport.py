"""Send HTTP requests and turn every way they can fail into the package's errors.

The only module that imports httpx: foreign errors become ours here and nowhere else. It knows connections
and credentials' headers, not what a route means; client and control plane use it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import anyio.to_thread
import httpx
import msgspec

from blaxel_jupyter import credentials
from blaxel_jupyter.errors import (
    PASSING,
    CredentialsError,
    ProtocolError,
    StatusError,
    TransportError,
)
from blaxel_jupyter.hidden import hide
from blaxel_jupyter.underway import EndedError, UnderWay
from blaxel_jupyter.wording import bare, place, read_json, short, status_error

API_VERSION = "2026-04-28"
"""Without it the control plane's lists are not paged (protocol 2)."""

RENEW_BEFORE = 600.0
"""Seconds of life at which a token is renewed, as the official SDK does (protocol 1.7)."""

_NEVER_SENT = httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL, httpx.UnsupportedProtocol
_DIRECT = ("all://127.0.0.1", "all://localhost", "all://[::1]")
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For plain http: it trusts no authority, so it costs nothing, where the real one takes 40 ms."""

_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20)
_NONE_KEPT = httpx.Limits(max_connections=None, max_keepalive_connections=0)


Auth = httpx.Auth
AsyncTransport = httpx.AsyncBaseTransport


class HeaderAuth(httpx.Auth):
    """Send fixed headers, such as those that an official session instance carries."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = dict(headers)

    def secrets(self) -> list[tuple[str, str]]:
        """Return what is secret of the headers, so that displays mask it."""
        found = [value for name, value in self._headers.items() if "workspace" not in name.lower()]
        return [("token", value.rpartition(" ")[2]) for value in found]

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Add the headers (httpx's hook)."""
        request.headers.update(self._headers)
        yield request


class KeyAuth(HeaderAuth):
    """Send one fixed bearer token, and the workspace if there is one (protocol 1.5)."""

    def __init__(self, token: str, workspace: str = "") -> None:
        headers = {"X-Blaxel-Authorization": f"Bearer {token}"}
        super().__init__(headers | ({"X-Blaxel-Workspace": workspace} if workspace else {}))


class TokenAuth(httpx.Auth):
    """Send an access token, renewed before it ends and once when the server refuses it (protocol 1.7)."""

    def __init__(self, login: credentials.Blaxel) -> None:
        self._login = login
        self._good_until: float | None = None  # of a token that we got, on the steady clock
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            weakref.WeakKeyDictionary()
        )

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Add the headers, renewing the token when it is due (httpx's hook)."""
        lock = self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        async with lock:
            if self._is_due():
                await self._adopt()
            if self._is_due():
                answer = yield self._renewal()
                await self._renew(answer)
        used = self._login
        self._sign(request)
        response = yield request
        if response.status_code != 401:
            return
        async with lock:
            if self._login is used:
                await self._adopt()
            if self._login is used and self._login.renewable:
                answer = yield self._renewal()
                await self._renew(answer)
        if self._login is not used:
            self._sign(request)
            yield request

    async def _adopt(self) -> None:
        """Take over what the CLI, or another kernel, has renewed meanwhile: a refresh token serves once."""
        newest = await anyio.to_thread.run_sync(credentials.newest, self._login)
        if newest is not self._login:
            self._login, self._good_until = newest, None

    def _sign(self, request: httpx.Request) -> None:
        request.headers["X-Blaxel-Authorization"] = f"Bearer {self._login.access_token}"
        request.headers["X-Blaxel-Workspace"] = self._login.workspace

    def _is_due(self) -> bool:
        if not self._login.access_token:
            return True  # a service account's first token
        if not self._login.renewable:
            return False
        if self._good_until is not None:  # whatever this machine's clock is set to
            return self._good_until - time.monotonic() < RENEW_BEFORE
        ends = self._login.expires_at
        return ends is not None and ends - time.time() < RENEW_BEFORE

    def _renewal(self) -> httpx.Request:
        url, headers, body = credentials.token_request(self._login)
        return httpx.Request("POST", url, headers=headers, json=body)

    async def _renew(self, answer: httpx.Response) -> None:
        await answer.aread()
        if answer.status_code in PASSING:
            where = str(answer.request.url)
            raise status_error("POST", where, answer.status_code, answer.headers, b"")
        if answer.status_code >= 300:
            used = self._login
            for pause in (0.0, 0.2, 0.8):  # whoever was first may be about to write the file
                await asyncio.sleep(pause)
                await self._adopt()
                if self._login.refresh_token != used.refresh_token:
                    return
            raise CredentialsError(
                f"Blaxel refused to renew the login from {self._login.source} "
                f"(HTTP {answer.status_code}). Log in again with `bl login`, or set BL_API_KEY."
            )
        try:
            said = hide(read_json(answer.content))
        except ProtocolError:
            said = None  # its bytes may hold a token: told below without them
        renewed = credentials.from_token_answer(self._login, said, time.time())
        if renewed.kind == "login":
            credentials.save_login(renewed, previous=self._login)
        self._login, life = renewed, credentials.life_of(said)
        self._good_until = None if life is None else time.monotonic() + life


def auth_for(login: credentials.Blaxel) -> httpx.Auth:
    """Choose the way to sign requests for these credentials."""
    if login.kind == "api_key" and login.api_key:
        return KeyAuth(login.api_key, login.workspace)
    return TokenAuth(login)


class Answer(msgspec.Struct, frozen=True):
    """A whole HTTP answer: its status, headers (case-insensitive) and body bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Http:
    """Requests with mapped errors; one connection pool for each event loop that uses it.

    Args:
        transport: httpx transport for tests; None for the network.
        hints: what to do next after a status, where it is not the sandboxes' advice.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        hints: Mapping[int, str] | None = None,
    ) -> None:
        self._transport = transport
        self._hints = hints or {}
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Connections] = (
            weakref.WeakKeyDictionary()
        )

    async def request(
        self,
        method: str,
        url: str,
        *,
        auth: httpx.Auth | None = None,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        read_timeout: float | None = 30.0,
        accept: tuple[int, ...] = (),
    ) -> Answer:
        """Send one request and return its complete answer.

        Args:
            read_timeout: seconds without a byte before giving up; None waits for ever.
            accept: statuses of 400 and more that are answers, not errors.

        Raises:
            TransportError: no complete answer came.
            StatusError: the status is 300 or more (AuthError, NotFoundError where they fit).
        """
        here = self._here()
        try:
            given: Any = {"auth": auth, "headers": headers, "json": json}
            sent = here.pool(url).request(method, url, timeout=_timeout(read_timeout), **given)
            response = await here.calls.call(sent)
        except (httpx.HTTPError, httpx.InvalidURL, EndedError) as error:
            raise _unreachable(error, url) from error
        length = response.headers.get("content-length")
        whole = length is None or "content-encoding" in response.headers or method == "HEAD"
        if not whole and int(length) != len(response.content):
            raise TransportError(f"The answer of {place(url)} was cut short.", url=bare(url))
        if response.status_code >= 300 and response.status_code not in accept:
            raise self._refused(response, response.content)
        return Answer(response.status_code, response.headers, response.content)

    @asynccontextmanager
    async def stream(
        self,
        url: str,
        *,
        auth: httpx.Auth | None = None,
        headers: Mapping[str, str] | None = None,
        silence: float = 75.0,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a streaming GET; its body's bytes come as they arrive.

        Args:
            silence: seconds without a byte after which the connection counts as lost; the server
                sends a keepalive every 30 s (protocol 4.4).

        Raises:
            TransportError: the connection was lost, also in the middle of the body.
            StatusError: the status is 300 or more.
        """
        here = self._here()
        try:
            pool = here.pool(url)
            request = pool.build_request("GET", url, headers=headers, timeout=_timeout(silence))
            response = await here.calls.call(pool.send(request, auth=auth, stream=True))
            try:
                if response.status_code >= 300:
                    raise self._refused(response, await here.calls.call(response.aread()))
                async with aclosing(_pieces(response, here.calls)) as pieces:
                    yield pieces
            finally:
                await response.aclose()
        except (httpx.HTTPError, EndedError) as error:
            raise _unreachable(error, url) from error

    def open(self) -> None:
        """Keep connections again, on the running event loop, after ``aclose``."""
        self._here().kept = True

    async def aclose(self) -> None:
        """End the requests of the running event loop and close its connections."""
        await self._here().aclose()

    def _refused(self, response: httpx.Response, body: bytes) -> StatusError:
        status, sent = response.status_code, response.request
        for name in ("authorization", "x-blaxel-authorization"):
            secret = sent.headers.get(name, "").rpartition(" ")[2].encode()
            if len(secret) >= 8:  # some servers repeat what they refuse
                body = body.replace(secret, "…".encode())
        return status_error(
            sent.method,
            str(sent.url),
            status,
            response.headers,
            body,
            hint=self._hints.get(status),
        )

    def _here(self) -> _Connections:
        loop = asyncio.get_running_loop()
        return self._loops.setdefault(loop, _Connections(self._transport))


class _Connections:
    """The connections of one event loop, a pool for each scheme, and the requests under way on them.

    Once they were closed each request has one of its own: nothing would close those that are kept.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport | None) -> None:
        self.calls = UnderWay()
        self.kept = True
        self._transport = transport
        self._pools: dict[str, httpx.AsyncClient] = {}

    def pool(self, url: str) -> httpx.AsyncClient:
        scheme = url.partition(":")[0].lower()
        if scheme not in self._pools:
            self._pools[scheme] = httpx.AsyncClient(
                transport=self._transport,
                limits=_LIMITS if self.kept else _NONE_KEPT,
                headers={"User-Agent": "blaxel-jupyter", "Blaxel-Version": API_VERSION},
                mounts=dict.fromkeys(_DIRECT),  # None: whatever proxy the environment names
                verify=_NO_TLS if scheme == "http" else True,
            )
        return self._pools[scheme]

    async def aclose(self) -> None:
        self.kept = False
        pools, self._pools = self._pools, {}
        await self.calls.end()
        for pool in pools.values():
            await pool.aclose()


async def _pieces(response: httpx.Response, calls: UnderWay) -> AsyncGenerator[bytes, None]:
    """Yield a body's bytes as they come."""
    async with aclosing(cast(AsyncGenerator[bytes, None], response.aiter_bytes())) as pieces:
        while piece := await calls.call(anext(pieces, b"")):
            yield piece


def _timeout(read: float | None) -> httpx.Timeout:
    return httpx.Timeout(connect=10.0, read=read, write=30.0, pool=None)


_REASONS: dict[type[Exception], str] = {
    httpx.ConnectTimeout: "connecting took too long",
    httpx.ReadTimeout: "no answer came in time",
    httpx.RemoteProtocolError: "the connection broke in the middle of an answer",
    httpx.ReadError: "the connection broke before the answer was whole",
    httpx.WriteError: "the connection broke while the request was sent",
    httpx.InvalidURL: "that is not a URL",
    EndedError: "the client was closed",
    httpx.UnsupportedProtocol: "the URL must start with http:// or https://",
}


def _unreachable(error: Exception, url: str) -> TransportError:
    reason = _REASONS.get(type(error)) or short(str(error)) or type(error).__name__
    advice = "Check the address and that the server runs."
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = f"its certificate is refused: {short(cause.verify_message).rstrip('.')}"
            advice = "Check the address and this machine's clock; SSL_CERT_FILE names who else is trusted."
        elif isinstance(cause, ssl.SSLError) and isinstance(error, httpx.ConnectError):
            reason = "what answers there does not speak SSL (TLS)"
            advice = "Check whether the address begins with http:// or https://."
        elif isinstance(cause, socket.gaierror):
            reason = f"the name was not found: {short(cause.strerror or '')}"
            advice = "Check the name, and the network of this machine."
        cause = cause.__cause__ or cause.__context__
    return TransportError(
        f"Cannot reach {place(url)}: {reason}. {advice}",
        url=bare(url),
        sent=not isinstance(error, _NEVER_SENT),
    )
