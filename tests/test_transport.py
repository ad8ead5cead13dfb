"""Every way an HTTP request fails, as the user is told it; retries and tokens."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any

import httpx
import pytest

from blaxel_jupyter.errors import (
    AuthError,
    BlaxelError,
    NotFoundError,
    ProtocolError,
    StatusError,
    TransportError,
    is_passing,
)
from blaxel_jupyter.retries import retried
from blaxel_jupyter.transport import (
    API_VERSION,
    HeaderAuth,
    Http,
    KeyAuth,
)
from blaxel_jupyter.wording import bare, read_json, status_error

CANARY = "CANARY-7f3"
SECRET_URL = f"http://{CANARY}:{CANARY}@127.0.0.1:{{port}}/process/x?key={CANARY}#{CANARY}"
HTML = b"\n<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head></html>"

GATEWAY = json.dumps(
    {
        "error": {
            "code": "WORKLOAD_UNAVAILABLE",
            "message": "The sandbox is starting.",
            "origin": "platform",
            "retryable": True,
            "status": 404,
        }
    }
).encode()
CONTROL = b'{"error":"Resource not found","code":404,"message":"no such sandbox"}'
SANDBOX_ERROR = (
    b'{"code":"INVALID_IMAGE","message":"The image is not there.","status_code":400,'
    b'"sandbox_name":"nb-1","step":"validate","details":{}}'
)

# name: status, headers, body, type, words, from_gateway, passing
ANSWERS: dict[str, tuple[int, dict[str, str], bytes, type[StatusError], str, bool, bool]] = {
    "sandbox": (
        404,
        {},
        b'{"error":"process not found"}',
        NotFoundError,
        "process not found",
        False,
        False,
    ),
    "sandbox 422": (422, {}, b'{"error":"no folder"}', StatusError, "no folder", False, False),
    "gateway, passing": (404, {}, GATEWAY, NotFoundError, "WORKLOAD_UNAVAILABLE", True, True),
    "gateway, for good": (
        404,
        {},
        GATEWAY.replace(b"true", b"false"),
        NotFoundError,
        "The sandbox is starting",
        True,
        False,
    ),
    "gateway, forbidden": (
        403,
        {},
        b'{"error":{"code":"FORBIDDEN","message":"not yours"}}',
        AuthError,
        "FORBIDDEN not yours",
        True,
        False,
    ),
    "control plane": (404, {}, CONTROL, NotFoundError, "no such sandbox", False, False),
    "control plane, create": (400, {}, SANDBOX_ERROR, StatusError, "not there", False, False),
    "401": (401, {}, b"", AuthError, "BL_API_KEY", False, False),
    "html 502": (502, {}, HTML, StatusError, "HTML page from a gateway", True, True),
    "html 504": (504, {}, HTML, StatusError, "HTML page from a gateway", True, True),
    "503 text": (503, {}, b"upstream\x1b[31m gone", StatusError, "upstream [31m gone", False, True),
    "429": (429, {"Retry-After": "7"}, b"slow down", StatusError, "slow down", False, True),
    "500": (500, {}, b"{", StatusError, "Try again", False, False),
    "redirect": (
        302,
        {"Location": "http://elsewhere.example/"},
        b"",
        StatusError,
        "redirect",
        False,
        False,
    ),
    "list": (400, {}, b'["x"]', StatusError, "400", False, False),
    "number": (400, {}, b'{"error":7,"message":null}', StatusError, "7", False, False),
}


def mock(handler: Callable[[httpx.Request], httpx.Response]) -> Http:
    """Return an Http whose requests this function answers."""
    return Http(httpx.MockTransport(handler))


async def ask(http: Http, way: str, port: int) -> None:
    """Read an address full of secrets, whole or as a stream."""
    url, auth = SECRET_URL.format(port=port), KeyAuth(CANARY, "team")
    if way == "request":
        await http.request("GET", url, auth=auth)
        return
    async with http.stream(url, auth=auth) as chunks:
        async for _ in chunks:
            pass


def is_fit_for_a_cell(error: BlaxelError) -> None:
    """Assert that a message holds no secret and ends with a sentence."""
    shown = f"{error} {error!r} {vars(error)} {error._render_traceback_()}"
    assert CANARY not in shown
    assert str(error).endswith(".")
    assert len(str(error).splitlines()) <= 2
    assert len(str(error)) < 600


@pytest.mark.parametrize("case", ANSWERS)
@pytest.mark.parametrize("way", ["request", "stream"])
async def test_error_answers(case: str, way: str) -> None:
    """Every shape of error body is told apart, in the server's words, with the next step."""
    status, headers, body, kind, words, gateway, passing = ANSWERS[case]
    http = mock(lambda request: httpx.Response(status, headers=headers, content=body))
    with pytest.raises(StatusError) as caught:
        await ask(http, way, 8080)
    error = caught.value
    assert type(error) is kind
    assert words in str(error)
    assert str(error).startswith(f"http://127.0.0.1:8080 answered {status}")
    assert (error.status_code, error.method) == (status, "GET")
    assert error.url == "http://127.0.0.1:8080/process/x"
    assert (error.from_gateway, is_passing(error)) == (gateway, passing)
    assert error.retry_after == (7.0 if "Retry-After" in headers else 0.0)
    is_fit_for_a_cell(error)
    await http.aclose()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0.5", 0.5),
        ("9999", 60.0),
        ("-3", 0.0),
        ("soon", 0.0),
        ("nan", 0.0),
        ("inf", 0.0),
        ("Wed, 21 Oct 2026 07:28:07 GMT", 7.0),
        ("Wed, 21 Oct 2026 07:27:00 GMT", 0.0),
        ("Wed, 21 Oct 2027 07:28:00 GMT", 60.0),
        ("Wed, 99 Oct 2026 07:28:00 GMT", 0.0),
    ],
)
def test_retry_after(header: str, seconds: float) -> None:
    """A number or a date by the server's clock; what cannot be read is no wait, nobody waits for hours."""
    headers = {"retry-after": header, "date": "Wed, 21 Oct 2026 07:28:00 GMT"}
    error = status_error("GET", "http://h/", 429, headers, b"")
    assert error.retry_after == seconds
    assert ("Try again in a moment." in str(error)) == (seconds < 1)


def test_retry_after_by_our_own_clock() -> None:
    """Where the server does not tell the time, ours serves."""
    error = status_error(
        "GET", "http://h/", 429, {"retry-after": formatdate(time.time() + 30)}, b""
    )
    assert 20 < error.retry_after <= 30


def test_long_words_keep_their_end() -> None:
    """The cause stands at the end of what the sandbox says, behind the whole command."""
    body = json.dumps({"error": "failed: " + "x" * 5000 + " folder 'y' does not exist"}).encode()
    error = status_error("POST", "http://h/process", 422, {}, body)
    assert "failed: x" in str(error)
    assert "folder 'y' does not exist" in str(error)
    assert len(error.body) == 2000
    is_fit_for_a_cell(error)


async def test_accepted_status_is_an_answer() -> None:
    """416 is an answer where the caller says so."""
    http = mock(lambda request: httpx.Response(416, content=b"x"))
    answer = await http.request("GET", "http://h/", accept=(416,))
    assert (answer.status, answer.body) == (416, b"x")
    await http.aclose()


async def test_requests_say_the_version_and_sign() -> None:
    """The API version and the credential's headers are on every request."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    http = mock(answer)
    await http.request("POST", "http://h/x", auth=KeyAuth("key", "team"), json={"a": 1})
    async with http.stream("http://h/y", auth=HeaderAuth({"X-One": "1"})) as chunks:
        assert b"".join([chunk async for chunk in chunks]) == b"{}"
    await http.aclose()
    assert [request.headers["Blaxel-Version"] for request in seen] == [API_VERSION] * 2
    assert seen[0].headers["X-Blaxel-Authorization"] == "Bearer key"
    assert seen[0].headers["X-Blaxel-Workspace"] == "team"
    assert seen[0].content == b'{"a":1}'
    assert seen[1].headers["X-One"] == "1"
    assert "X-Blaxel-Authorization" not in seen[1].headers


# Connections that fail ------------------------------------------------------------------------------


@contextmanager
def server(answer: bytes, reset: bool = False) -> Iterator[int]:
    """Answer every connection with these bytes and close it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(answer)
                if reset:
                    linger = b"\1\0\0\0\0\0\0\0"
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


BROKEN = {
    "nothing": (b"", False),
    "reset": (b"", True),
    "no http": (b"SSH-2.0-OpenSSH\r\n", False),
    "short body": (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", False),
    "short chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort", False),
    "half a header": (b"HTTP/1.1 200 OK\r\nContent-Le", False),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("way", ["request", "stream"])
async def test_broken_answers(case: str, way: str) -> None:
    """A broken answer is a TransportError that may have been sent, never half an answer."""
    with server(*BROKEN[case]) as port:
        http = Http()
        with pytest.raises(TransportError) as caught:
            await ask(http, way, port)
        await http.aclose()
    assert caught.value.sent
    assert caught.value.url == f"http://127.0.0.1:{port}/process/x"
    assert f"127.0.0.1:{port}" in str(caught.value)
    is_fit_for_a_cell(caught.value)


async def test_a_body_of_the_wrong_length_is_no_answer() -> None:
    """Where the HTTP library does not look, we do."""
    headers = {"Content-Length": "10"}
    http = mock(lambda request: httpx.Response(200, headers=headers, stream=httpx.ByteStream(b"x")))
    with pytest.raises(TransportError, match="cut short"):
        await http.request("GET", "http://h/")
    await http.aclose()


async def test_connection_refused_was_not_sent() -> None:
    """Nobody listens: repeating it is safe, and the message says where."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    http = Http()
    with pytest.raises(TransportError, match="Check the address") as caught:
        await http.request("POST", SECRET_URL.format(port=port), json={})
    assert not caught.value.sent
    assert isinstance(caught.value.__cause__, httpx.HTTPError)
    is_fit_for_a_cell(caught.value)
    await http.aclose()


@pytest.mark.parametrize(
    "url",
    [
        f"http://{CANARY}@name.invalid/?k={CANARY}",
        f"gopher://{CANARY}@h/?k={CANARY}",
        f"http://{CANARY}@h:99999/?k={CANARY}",
        f"http://{CANARY}@[bad/?k={CANARY}",
        f"http:///?k={CANARY}",
    ],
)
async def test_addresses_that_lead_nowhere(url: str) -> None:
    """Unknown names and what is no URL: told, without what may be secret, and never sent."""
    http = Http()
    with pytest.raises(TransportError) as caught:
        await http.request("GET", url)
    assert not caught.value.sent
    is_fit_for_a_cell(caught.value)
    await http.aclose()


async def test_tls_that_does_not_verify() -> None:
    """Something that speaks no TLS is told as such; nothing was sent."""
    with server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        http = Http()
        with pytest.raises(TransportError) as caught:
            await http.request("GET", f"https://127.0.0.1:{port}/?k={CANARY}")
        await http.aclose()
    assert not caught.value.sent
    assert "SSL" in str(caught.value)
    is_fit_for_a_cell(caught.value)


async def test_silence_ends_a_request() -> None:
    """A server that says nothing does not hold a caller for ever."""
    listener = socket.create_server(("127.0.0.1", 0))
    http = Http()
    with pytest.raises(TransportError, match="no answer came in time"):
        await http.request(
            "GET", f"http://127.0.0.1:{listener.getsockname()[1]}/", read_timeout=0.1
        )
    await http.aclose()
    listener.close()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@h.example:8443/a?b#c", "https://h.example:8443/a"),
        ("http://[::1]:80/a", "http://[::1]:80/a"),
        ("name", "name"),
        ("u:p@name", "name"),
        ("http://h:port/", "the address"),
    ],
)
def test_bare(url: str, shown: str) -> None:
    """What is shown of an address."""
    assert bare(url) == shown


# JSON ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "value"),
    [(b"{}", {}), (b"[keepalive]\n[keepalive]\n[1]", [1]), (b' {"a":"\xc3\xa9"}\n', {"a": "é"})],
)
def test_read_json(body: bytes, value: object) -> None:
    """Keepalives before the body are no part of it."""
    assert read_json(body) == value


@pytest.mark.parametrize("body", [b"", HTML, b"nope", b'{"a":"\xff"}', b"[keepalive]\n", b"{} {}"])
def test_read_json_refuses(body: bytes) -> None:
    """What is not JSON is a ProtocolError with the next step."""
    with pytest.raises(ProtocolError, match=r"Check the address\.") as caught:
        read_json(body)
    assert ("HTML" in str(caught.value)) is (body is HTML)


# Retries ------------------------------------------------------------------------------------------


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


PASSING = TransportError("x", url="")
FOREVER = status_error("GET", "http://h/", 404, {}, b'{"error":"no"}')


async def attempts(errors: list[BaseException], patience: float) -> tuple[Clock, Any]:
    """Retry something that fails with these errors and then succeeds."""
    clock, left = Clock(), list(errors)

    async def attempt() -> str:
        if left:
            raise left.pop(0)
        return "done"

    try:
        result: Any = await retried(attempt, patience=patience, sleep=clock.sleep, clock=clock)
    except BlaxelError as error:
        result = error
    return clock, result


async def test_retried_until_it_succeeds() -> None:
    """Delays double, with jitter, up to five seconds."""
    clock, result = await attempts([PASSING] * 10, 60.0)
    assert result == "done"
    for seconds, middle in zip(
        clock.slept, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5, 5], strict=True
    ):
        assert 0.7 * middle <= seconds <= 1.3 * middle


async def test_retried_no_longer_than_its_patience() -> None:
    """It gives up with the last error, before the time is over rather than after."""
    clock, result = await attempts([PASSING] * 1000, 5.0)
    assert result is PASSING
    assert 2.0 < sum(clock.slept) <= 5.0
    clock, result = await attempts([PASSING], 0.0)
    assert (result, clock.slept) == (PASSING, [])


async def test_what_fails_for_good_is_not_retried() -> None:
    """Errors of the request itself come at once; nor is a bug hidden."""
    clock, result = await attempts([FOREVER], 60.0)
    assert (result, clock.slept) == (FOREVER, [])
    with pytest.raises(ZeroDivisionError):
        await attempts([ZeroDivisionError()], 60.0)


async def test_retry_after_is_heeded() -> None:
    """The server's wish is a lower bound; one that goes beyond the patience ends it at once."""
    slow = status_error("GET", "http://h/", 429, {"retry-after": "3"}, b"")
    clock, result = await attempts([slow, slow], 60.0)
    assert (result, clock.slept) == ("done", [3.0, 3.0])
    clock, result = await attempts([slow], 2.0)
    assert (result, clock.slept) == (slow, [])
