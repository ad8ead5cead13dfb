"""Promises of ``blaxel_jupyter.credentials``: what is found where, and no secret ever shows."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from blaxel_jupyter import credentials
from blaxel_jupyter.credentials import Blaxel, blackbox, blaxel, forced_sandbox_url, sources
from blaxel_jupyter.errors import CredentialsError, ProtocolError
from tests.login_world import CONFIG, ENV_KEY, HOSTILE, LOGIN, SECRET, World, check_no_secret


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> World:
    """An empty world: no variable, no file."""
    return World(tmp_path)


def jwt(payload: object) -> str:
    """An unsigned JWT with this payload."""
    body = base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=")
    return f"e30.{body}.sig"


# Where a credential is found


@pytest.mark.parametrize(
    ("environ", "dotenv", "parent", "login", "kind", "secret", "workspace", "source"),
    [
        # The environment, and its empty values
        (ENV_KEY, "", "", "", "api_key", SECRET, "team", "BL_API_KEY in the environment"),
        (
            {**ENV_KEY, "BL_CLIENT_CREDENTIALS": "cc"},
            "BL_API_KEY=other", "", LOGIN, "api_key", SECRET, "team", "BL_API_KEY in the environment",
        ),
        (
            {**ENV_KEY, "BL_API_KEY": "", "BL_CLIENT_CREDENTIALS": "cc"},
            "", "", "", "client_credentials", "cc", "team", "BL_CLIENT_CREDENTIALS in the environment",
        ),
        (
            {"BL_API_KEY": "", "BL_WORKSPACE": " "},
            "BL_API_KEY=k\nBL_WORKSPACE=w", "", "", "api_key", "k", "w",
            "BL_API_KEY in .env in the current folder",
        ),
        # The environment's client credentials come before a key in .env
        (
            {"BL_CLIENT_CREDENTIALS": "cc"},
            "BL_API_KEY=k\nBL_WORKSPACE=w", "", "", "client_credentials", "cc", "w",
            "BL_CLIENT_CREDENTIALS in the environment",
        ),
        # .env: quotes, export, comments, CRLF, BOM, ${NAME}; the nearest wins, name by name
        (
            {}, "export BL_API_KEY='k'\r\n\r\n# c\r\nBL_WORKSPACE=\"w\" # c\r\n", "", "",
            "api_key", "k", "w", "BL_API_KEY in .env in the current folder",
        ),
        (
            {"STAGE": "x"}, "\ufeffA=1\nBL_API_KEY=k-${STAGE}-${A}-${NO:-n}\nBL_WORKSPACE=w", "", "",
            "api_key", "k-x-1-n", "w", "BL_API_KEY in .env in the current folder",
        ),
        (
            {}, "BL_WORKSPACE=near", "BL_WORKSPACE=far\nBL_API_KEY=k", LOGIN,
            "api_key", "k", "near", "BL_API_KEY in {project}/.env",
        ),
        # The CLI's login, chosen by its context or by BL_WORKSPACE
        ({}, "", "", LOGIN, "login", "CANARY-zJq8-access", "team-b", CONFIG),
        ({"BL_WORKSPACE": "team-a"}, "", "", LOGIN, "api_key", "CANARY-zJq8-a", "team-a", CONFIG),
        (
            {}, "BL_WORKSPACE=ci", "", LOGIN,
            "client_credentials", "CANARY-zJq8-ci", "ci", CONFIG,
        ),
        (
            {"BL_WORKSPACE": "42"}, "", "", LOGIN,
            "client_credentials", "CANARY-zJq8-42", "42", CONFIG,
        ),
        ({"BL_WORKSPACE": "short"}, "", "", LOGIN, "login", "CANARY-zJq8-short", "short", CONFIG),
        (
            {}, "", "", "context: {workspace: 1}\nworkspaces: [{name: 1, credentials: {api_key: 007}}]",
            "api_key", "007", "1", CONFIG,
        ),
        # A key from the environment with the login's workspace
        ({"BL_API_KEY": "k"}, "", "", LOGIN, "api_key", "k", "team-b", "BL_API_KEY in the environment"),
        # Both in the environment: a broken login does not matter
        (ENV_KEY, "", "", "{", "api_key", SECRET, "team", "BL_API_KEY in the environment"),
    ],
)  # fmt: skip
def test_the_first_place_that_has_it_wins(
    world: World,
    environ: dict[str, str],
    dotenv: str,
    parent: str,
    login: str,
    kind: str,
    secret: str,
    workspace: str,
    source: str,
) -> None:
    """The environment, then ``.env`` from the current folder up, then the CLI's login."""
    world.environ = environ
    if dotenv:
        world.dotenv(dotenv)
    if parent:
        world.dotenv(parent, world.project)
    if login:
        world.login(login)
    found = world.blaxel()
    field = "access_token" if kind == "login" else kind
    assert (found.kind, found.workspace) == (kind, workspace)
    assert getattr(found, field) == secret
    assert found.source == source.format(project=world.project)
    others = {"api_key", "client_credentials", "access_token"} - {field}
    assert [getattr(found, name) for name in others] == [None, None]


def test_a_login_has_all_its_tokens(world: World) -> None:
    """A browser login keeps what its renewal needs; one with only an access token works, too."""
    world.login()
    found = world.blaxel()
    assert (found.refresh_token, found.device_code) == ("CANARY-zJq8-refresh", "CANARY-zJq8-device")
    assert found.renewable
    world.environ = {"BL_WORKSPACE": "short"}
    assert not world.blaxel().renewable


@pytest.mark.parametrize(
    ("environ", "login", "api_url", "run_url"),
    [
        ({}, "", "https://api.blaxel.ai/v0", "https://run.blaxel.ai"),
        ({"BL_ENV": "prod"}, "", "https://api.blaxel.ai/v0", "https://run.blaxel.ai"),
        ({"BL_ENV": "dev"}, "", "https://api.blaxel.dev/v0", "https://run.blaxel.dev"),
        ({"BL_API_URL": "http://127.0.0.1:1/v0/"}, "", "http://127.0.0.1:1/v0", "https://run.blaxel.ai"),
        ({"BL_RUN_URL": "http://[::1]:1"}, "", "https://api.blaxel.ai/v0", "http://[::1]:1"),
        (
            {"BL_WORKSPACE": "ci", "BL_API_KEY": ""}, LOGIN,
            "https://api.blaxel.dev/v0", "https://run.blaxel.dev",
        ),
        (
            {"BL_WORKSPACE": "ci", "BL_API_KEY": "", "BL_ENV": "prod"}, LOGIN,
            "https://api.blaxel.ai/v0", "https://run.blaxel.ai",
        ),
    ],
)  # fmt: skip
def test_addresses(
    world: World, environ: dict[str, str], login: str, api_url: str, run_url: str
) -> None:
    """``BL_API_URL`` wins; else ``BL_ENV``, else the login's ``env``, says which hosts."""
    world.environ = {**ENV_KEY, **environ}
    if login:
        world.login(login)
    found = world.blaxel()
    assert (found.api_url, found.run_url) == (api_url, run_url)


# The other settings


@pytest.mark.parametrize(
    ("environ", "dotenv", "url"),
    [
        ({}, "", None),
        ({"BL_SANDBOX_MY_BOX_URL": "http://a/"}, "", "http://a"),
        ({"BL_SANDBOX_MY_BOX_URL": "http://a//"}, "", "http://a/"),
        (
            {"BL_SANDBOX_MY_BOX_URL": "http://a", "BL_SANDBOXES_MY_BOX_URL": "http://b"},
            "",
            "http://b",
        ),
        ({"BL_SANDBOX_MY_BOX_URL": "http://a"}, "BL_SANDBOXES_MY_BOX_URL=http://b", "http://a"),
        ({"BL_SANDBOX_MY_BOX_URL": ""}, "BL_SANDBOX_MY_BOX_URL=http://b", "http://b"),
        ({"BL_SANDBOX_MY-BOX_URL": "http://a"}, "", None),
        (ENV_KEY, "BL_SANDBOX_MY_BOX_URL=http://127.0.0.1:9", "http://127.0.0.1:9"),
    ],
)
def test_forced_sandbox_url(
    world: World, environ: dict[str, str], dotenv: str, url: str | None
) -> None:
    """A sandbox's address can be fixed by a variable that is made of its name."""
    world.dotenv(dotenv)
    assert forced_sandbox_url("my-Box", environ, world.notebooks, world.home) == url


def test_forced_sandbox_url_refused(world: World) -> None:
    """It must be an address, and one in ``.env`` must not draw a key that is kept elsewhere."""

    def look(environ: Mapping[str, str]) -> str | None:
        return forced_sandbox_url("x", environ, world.notebooks, world.home)

    message = world.refused(lambda: look({"BL_SANDBOX_X_URL": f"{SECRET}:8080"}))
    assert "BL_SANDBOX_X_URL in the environment is not an address" in message
    world.dotenv(f"BL_SANDBOX_X_URL={HOSTILE}")
    assert look({}) == HOSTILE, "there is no key"
    assert "would send the key" in world.refused(lambda: look(ENV_KEY))
    world.login()
    assert "would send the key" in world.refused(lambda: look({}))


def test_blackbox(world: World) -> None:
    """BLACKBOX's key and address come from the environment, else from ``.env``."""
    message = world.refused(lambda: blackbox({}, world.notebooks))
    assert message.startswith("BLACKBOX_API_KEY missing")
    found = blackbox({"BLACKBOX_API_KEY": SECRET}, world.notebooks)
    assert found.api_url == "https://agent.blackbox.ai/api/v1"
    assert (found.api_key, found.source) == (SECRET, "BLACKBOX_API_KEY in the environment")
    world.dotenv(f"BLACKBOX_API_KEY={SECRET}\nBLACKBOX_API_URL=https://b.example/api/")
    assert blackbox({}, world.notebooks).api_url == "https://b.example/api"
    environ = {"BLACKBOX_API_KEY": SECRET}
    assert "would send the key" in world.refused(lambda: blackbox(environ, world.notebooks))
    environ = {"BLACKBOX_API_KEY": f"{SECRET} "}
    assert "BLACKBOX_API_KEY" in world.refused(lambda: blackbox(environ, world.notebooks))


def test_nothing_shows_a_secret(world: World) -> None:
    """Reprs hold places and names only."""
    world.login()
    world.dotenv(f"BLACKBOX_API_KEY={SECRET}\nBL_SANDBOX_X_URL=http://{SECRET}")
    shown = [world.blaxel(), blackbox({}, world.notebooks), blaxel(ENV_KEY, world.notebooks)]
    listed = sources({**ENV_KEY, "OTHER": SECRET}, world.notebooks, world.home)
    for value in [*shown, *listed, listed]:
        assert "CANARY" not in f"{value} {value!r}"


def test_sources(world: World) -> None:
    """``sources`` lists each setting with its place, and what is unreadable."""
    assert sources({}, world.notebooks, world.home) == []
    world.dotenv("BL_SANDBOX_MY_BOX_URL=http://a\nOTHER=1\nBLACKBOX_API_KEY=k")
    world.login()
    assert sources(ENV_KEY, world.notebooks, world.home) == [
        ("BL_API_KEY", "the environment"),
        ("BL_WORKSPACE", "the environment"),
        ("BLACKBOX_API_KEY", ".env in the current folder"),
        ("BL_SANDBOX_MY_BOX_URL", ".env in the current folder"),
        ("context.workspace", CONFIG),
        ("team-a: apiKey", CONFIG),
        ("team-b: access_token", CONFIG),
        ("team-b: device_code", CONFIG),
        ("team-b: refresh_token", CONFIG),
        ("ci: client_credentials", CONFIG),
        ("42: clientCredentials", CONFIG),
        ("short: access_token", CONFIG),
    ]
    world.dotenv(f"= {SECRET}")
    [(name, where)] = sources({}, world.notebooks, world.home)
    assert (name, where) == ("unreadable", ".env in the current folder, line 1, cannot be read.")


# Tokens


def login(**fields: Any) -> Blaxel:
    """A credential as ``blaxel`` returns it."""
    fields = {"kind": "client_credentials" if "client_credentials" in fields else "login", **fields}
    return Blaxel(
        "https://api.example/v0", "https://run.example", "team-b", source=CONFIG, **fields
    )


@pytest.mark.parametrize(
    ("token", "expires_at"),
    [
        (jwt({"exp": 1_900_000_000, "iat": 1}), 1_900_000_000.0),
        (jwt({"exp": 1.5}), 1.5),
        (jwt({}), None),
        (jwt([1]), None),
        (jwt({"exp": "soon"}), None),
        (jwt({"exp": None}), None),
        (jwt({"exp": 10**400}), None),
        ("opaque", None),
        ("a.b.c", None),
        ("..", None),
        ("a.eyJ.c", None),
        ("a.////.c", None),
    ],
)
def test_the_end_of_a_token_is_read_from_it(
    world: World, token: str, expires_at: float | None
) -> None:
    """``exp`` of a JWT is its end; anything else has none."""
    world.login(LOGIN.replace("CANARY-zJq8-access", token))
    assert world.blaxel().expires_at == expires_at


def test_token_requests() -> None:
    """The two grants are those of the protocol; what cannot be renewed says so."""
    url, headers, body = credentials.token_request(login(client_credentials="aWQ6c2VjcmV0"))
    assert url == "https://api.example/v0/oauth/token"
    assert headers == {"Authorization": "Basic aWQ6c2VjcmV0"}
    assert body == {"grant_type": "client_credentials"}
    url, headers, body = credentials.token_request(login(refresh_token="r", device_code="d"))
    assert (url, headers) == ("https://api.example/v0/oauth/token", {})
    assert body == {
        "grant_type": "refresh_token",
        "refresh_token": "r",
        "device_code": "d",
        "client_id": "blaxel",
    }
    with pytest.raises(CredentialsError, match="cannot be renewed") as caught:
        credentials.token_request(login(access_token=SECRET))
    check_no_secret(caught.value)


@pytest.mark.parametrize(
    ("answer", "refresh", "expires_at"),
    [
        ({"access_token": "n", "refresh_token": "r2", "expires_in": 60}, "r2", 160.0),
        ({"access_token": "n", "expires_in": 60.5}, "r1", 160.5),
        ({"access_token": "n", "refresh_token": None, "expires_in": "60"}, "r1", None),
        ({"access_token": "n", "refresh_token": ""}, "r1", None),
        ({"access_token": jwt({"exp": 7}), "expires_in": 60}, "r1", 7.0),
    ],
)
def test_a_token_answer_makes_a_new_value(
    answer: dict[str, Any], refresh: str, expires_at: float | None
) -> None:
    """The new tokens replace the old; a refresh token that was not rotated stays."""
    old = login(access_token="o", refresh_token="r1", device_code="d", expires_at=1.0)
    new = credentials.from_token_answer(old, answer, now=100.0)
    assert (new.access_token, new.refresh_token) == (answer["access_token"], refresh)
    assert (new.expires_at, new.device_code, new.workspace) == (expires_at, "d", "team-b")
    assert old.access_token == "o"


def test_a_service_account_keeps_no_refresh_token() -> None:
    """It is renewed with its own credentials."""
    answer = {"access_token": "n", "refresh_token": "r"}
    new = credentials.from_token_answer(login(client_credentials="c"), answer, now=0.0)
    assert (new.access_token, new.refresh_token, new.renewable) == ("n", None, True)


@pytest.mark.parametrize(
    "answer",
    [
        {}, [], None, SECRET, {"refresh_token": SECRET}, {"access_token": 1},
        {"access_token": ""}, {"access_token": f"{SECRET}\n"},
    ],
)  # fmt: skip
def test_a_malformed_token_answer_is_a_protocol_error(answer: object) -> None:
    """No usable token is an error that holds nothing of the answer."""
    with pytest.raises(ProtocolError, match="without a usable access token") as caught:
        credentials.from_token_answer(login(refresh_token=SECRET), answer, now=0.0)
    check_no_secret(caught.value)
    assert caught.value.data == b""
