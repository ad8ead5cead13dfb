"""Tokens: got, renewed before they end, renewed once when refused, on several loops."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import httpx
import pytest

from blaxel_jupyter.credentials import Blaxel
from blaxel_jupyter.errors import AuthError, CredentialsError, ProtocolError
from blaxel_jupyter.transport import Http, TokenAuth, auth_for
from tests.test_transport import CANARY, is_fit_for_a_cell, mock


def token(name: str, ends: float) -> str:
    """Return a JWT that ends at this time."""
    claims = base64.urlsafe_b64encode(json.dumps({"exp": ends, "n": name}).encode()).decode()
    return f"h.{claims.rstrip('=')}.s"


def login(**more: Any) -> Blaxel:
    """Return a credential at a made-up control plane."""
    facts: dict[str, Any] = {
        "api_url": "http://api.example/v0",
        "run_url": "http://run.example",
        "workspace": "team",
        "kind": "client_credentials",
        "source": "the test",
        "client_credentials": CANARY,
    }
    return Blaxel(**(facts | more))


class Platform:
    """A token endpoint and a resource that accepts the newest token only."""

    def __init__(self, life: float = 3600.0, refuse: bool = False, behind: float = 0.0) -> None:
        self.life = life
        self.behind = behind  # its clock, in seconds
        self.refuse = refuse
        self.issued: list[str] = []
        self.valid: set[str] = set()
        self.renewals: list[httpx.Request] = []
        self.bodies: list[bytes] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v0/oauth/token":
            self.renewals.append(request)
            if self.refuse:
                return httpx.Response(400, json={"error": f"bad {CANARY}"})
            new = token(str(len(self.issued)), time.time() - self.behind + self.life)
            self.issued.append(new)
            self.valid = {new}
            return httpx.Response(200, json={"access_token": new, "expires_in": self.life})
        self.bodies.append(request.content)
        used = request.headers["X-Blaxel-Authorization"].removeprefix("Bearer ")
        return httpx.Response(200 if used in self.valid else 401, json={"used": used})


async def test_client_credentials_grant() -> None:
    """The first request gets a token with the client's credentials; the next ones use it."""
    platform = Platform()
    http, auth = mock(platform), auth_for(login())
    for _ in range(3):
        answer = await http.request("GET", "http://box.example/x", auth=auth)
        assert json.loads(answer.body) == {"used": platform.issued[0]}
    await http.aclose()
    [renewal] = platform.renewals
    assert renewal.headers["Authorization"] == f"Basic {CANARY}"
    assert json.loads(renewal.content) == {"grant_type": "client_credentials"}


async def test_refresh_token_grant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CLI login is renewed with its refresh token, and the CLI's file has the new one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tmp_path / ".blaxel" / "config.yaml"
    config.parent.mkdir()
    old = token("old", time.time() + 60)
    config.write_text(
        "context:\n  workspace: team\nworkspaces:\n- name: team\n  credentials:\n"
        f"    access_token: {old}\n    refresh_token: {CANARY}\n    device_code: dev\n"
    )
    config.chmod(0o600)
    platform = Platform()
    mine = login(kind="login", client_credentials=None, access_token=old, refresh_token=CANARY)
    http = mock(platform)
    await http.request("GET", "http://box.example/x", auth=TokenAuth(mine))
    await http.aclose()
    [renewal] = platform.renewals
    sent = json.loads(renewal.content)
    assert (sent["grant_type"], sent["refresh_token"]) == ("refresh_token", CANARY)
    assert platform.issued[0] in config.read_text()
    assert old not in config.read_text()


@pytest.mark.parametrize(("life", "renewals"), [(599.0, 3), (700.0, 1)])
async def test_renewed_before_it_ends(life: float, renewals: int) -> None:
    """A token with less than ten minutes to live is renewed before it is used."""
    platform = Platform(life)
    http, auth = mock(platform), TokenAuth(login())
    for _ in range(3):
        await http.request("GET", "http://box.example/x", auth=auth)
    assert len(platform.renewals) == renewals
    await http.aclose()


async def test_a_wrong_clock_costs_one_renewal() -> None:
    """Where this machine's clock is hours ahead, a fresh token is taken for what the answer says it is."""
    platform = Platform(3600.0, behind=3 * 3600.0)
    http, auth = mock(platform), TokenAuth(login())
    for _ in range(3):
        await http.request("GET", "http://box.example/x", auth=auth)
    assert len(platform.renewals) == 1
    await http.aclose()


async def test_renewed_once_when_it_is_refused() -> None:
    """A 401 renews once and repeats the request, body and all; a second one is an error."""
    platform = Platform()
    http, auth = mock(platform), TokenAuth(login(access_token=token("old", time.time() + 9999)))
    await http.request("POST", "http://box.example/x", auth=auth, json={"a": 1})
    assert (len(platform.renewals), platform.bodies) == (1, [b'{"a":1}'] * 2)
    platform.__class__ = _Deaf
    with pytest.raises(AuthError):
        await http.request("GET", "http://box.example/x", auth=auth)
    assert len(platform.renewals) == 2
    await http.aclose()


class _Deaf(Platform):
    def __call__(self, request: httpx.Request) -> httpx.Response:
        answer = super().__call__(request)
        self.valid = set()
        return httpx.Response(401) if request.url.host == "box.example" else answer


async def test_many_requests_renew_once() -> None:
    """Requests that meet the same old token share one renewal."""
    platform = Platform()

    async def slow(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.01)  # all are under way before the first one is refused
        return platform(request)

    http, auth = (
        Http(httpx.MockTransport(slow)),
        TokenAuth(login(access_token=token("old", time.time() + 9999))),
    )
    asked: list[Awaitable[Any]] = [
        http.request("GET", "http://box.example/x", auth=auth) for _ in range(10)
    ]
    await asyncio.gather(*asked)
    assert len(platform.renewals) == 1
    await http.aclose()


async def test_token_that_cannot_be_renewed_is_used_as_it_is() -> None:
    """Without a refresh token the access token is used, however old; a 401 is then an AuthError."""
    platform = Platform()
    old = token("old", time.time() - 10)
    bare_login = login(kind="login", client_credentials=None, access_token=old)
    platform.valid = {old}
    http, auth = mock(platform), TokenAuth(bare_login)
    await http.request("GET", "http://box.example/x", auth=auth)
    platform.valid = set()
    with pytest.raises(AuthError, match="BL_API_KEY"):
        await http.request("GET", "http://box.example/x", auth=auth)
    assert platform.renewals == []
    await http.aclose()


async def test_refused_renewal_is_told() -> None:
    """What to do when the login has run out is said, without any token."""
    http = mock(Platform(refuse=True))
    with pytest.raises(CredentialsError, match="bl login") as caught:
        await http.request("GET", "http://box.example/x", auth=TokenAuth(login()))
    is_fit_for_a_cell(caught.value)
    await http.aclose()


async def test_token_endpoint_that_answers_rubbish_shows_nothing_of_it() -> None:
    """An unreadable answer may hold a token: the error keeps none of it."""
    http = mock(lambda request: httpx.Response(200, content=f"token={CANARY}".encode()))
    with pytest.raises(ProtocolError) as caught:
        await http.request("GET", "http://box.example/x", auth=TokenAuth(login()))
    is_fit_for_a_cell(caught.value)
    await http.aclose()


def test_two_loops_share_a_login() -> None:
    """The same Http and credential serve the kernel's loop and the bridge's, one after the other."""
    platform = Platform()
    http, auth = mock(platform), TokenAuth(login())

    async def five() -> None:
        asked = [http.request("GET", "http://box.example/x", auth=auth) for _ in range(5)]
        await asyncio.gather(*asked)
        await http.aclose()

    for _ in range(2):
        asyncio.run(five())
    threads = [threading.Thread(target=lambda: asyncio.run(five())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(platform.renewals) == 1
    assert len(platform.bodies) == 30
