"""Where a sandbox is and how requests to it are signed: nothing guessed, no key given away."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from blaxel_jupyter import (
    AuthError,
    BlaxelError,
    CredentialsError,
    NotFoundError,
    SandboxClient,
    local,
)
from blaxel_jupyter.target import Sandbox, control_plane, resolve, target_name
from blaxel_jupyter.transport import Auth, Http
from tests.notebook_runs import own_folders

KEY = "CANARY-key"


class Plane:
    """A control plane: sandboxes in a dict, what it was asked, and 409s on order."""

    def __init__(self) -> None:
        self.url = ""
        self.sandboxes: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.bodies: list[Any] = []
        self.conflicts: list[dict[str, Any] | None] = []
        self.key = KEY

    def add(self, name: str, status: str = "DEPLOYED", url: str | None = None) -> dict[str, Any]:
        """Add a sandbox."""
        metadata = {"name": name, "url": url, "createdAt": "2026-01-01T00:00:00Z"}
        spec = {"region": "eu", "runtime": {"image": "i", "memory": 1}}
        self.sandboxes[name] = {"metadata": metadata, "spec": spec, "status": status}
        return self.sandboxes[name]

    async def answer(self, request: Request) -> Response:
        """Answer as protocol section 2 says."""
        path = request.url.path.removeprefix("/v0")
        raw = request.scope["raw_path"].decode().removeprefix("/v0")
        query = f"?{request.url.query}" if request.url.query else ""
        self.asked.append((request.method, raw + query, dict(request.headers)))
        if request.headers.get("x-blaxel-authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": "Unauthorized", "code": 401, "message": "no"}, 401)
        name = path.removeprefix("/sandboxes").strip("/")
        if request.method == "POST" and not name:
            return self._create(await request.json())
        if not name:
            return self._list(int(request.query_params.get("cursor") or 0))
        if name not in self.sandboxes:
            gone = {"error": "Resource not found", "code": 404, "message": "no such sandbox"}
            return JSONResponse(gone, 404)
        if request.method == "DELETE":
            return JSONResponse(self.sandboxes.pop(name) | {"status": "DELETING"})
        found = self.sandboxes[name]
        if found["status"] == "TERMINATING":
            del self.sandboxes[name]  # gone at the next look
        return JSONResponse(found)

    def _create(self, body: Any) -> Response:
        self.bodies.append(body)
        name = body["metadata"]["name"]
        if self.conflicts:
            record = self.conflicts.pop(0)
            if record is None:
                self.sandboxes.pop(name, None)
            else:
                self.sandboxes[name] = record
            return JSONResponse({"code": "SANDBOX_ALREADY_EXISTS", "message": "taken"}, 409)
        return JSONResponse(self.sandboxes.get(name) or self.add(name))

    def _list(self, start: int) -> Response:
        records = list(self.sandboxes.values())[start : start + 2]
        more = start + 2 < len(self.sandboxes)
        meta = {"hasMore": more, "nextCursor": str(start + 2) if more else ""}
        return JSONResponse({"data": records, "meta": meta})


def routed(plane: Plane) -> Starlette:
    """Return the app that asks a plane for all its answers."""
    methods = ["GET", "POST", "DELETE"]
    return Starlette(routes=[Route("/{path:path}", plane.answer, methods=methods)])


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an ASGI app on a real socket; give its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home without credentials, and a current folder without ``.env``."""
    monkeypatch.chdir(tmp_path)
    with own_folders(tmp_path):
        yield tmp_path


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    """A control plane that BL_API_URL names, and a key for it."""
    plane = Plane()
    with served(routed(plane)) as url:
        plane.url = f"{url}/v0"
        monkeypatch.setenv("BL_API_URL", plane.url)
        monkeypatch.setenv("BL_API_KEY", KEY)
        monkeypatch.setenv("BL_WORKSPACE", "team")
        yield plane


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    http = Http()
    yield http
    await http.aclose()


async def signed(auth: Auth | None, url: str = "http://box.example/") -> dict[str, str]:
    """Return the headers that a credential adds to a request."""
    request = httpx.Request("GET", url)
    if auth is not None:
        await anext(auth.async_auth_flow(request))
    return {name: value for name, value in request.headers.items() if name.startswith("x-blaxel")}


# The order in which an address is looked for -----------------------------------------------------------


async def test_a_name_is_looked_up(plane: Plane, http: Http) -> None:
    """The control plane says where a sandbox is; requests to it carry key and workspace."""
    plane.add("box", url="https://box.example/")
    target = await resolve("box", None, http)
    assert (target.name, target.url) == ("box", "https://box.example")
    assert await signed(target.auth) == {
        "x-blaxel-authorization": f"Bearer {KEY}",
        "x-blaxel-workspace": "team",
    }
    method, path, headers = plane.asked[0]
    assert (method, path) == ("GET", "/sandboxes/box")
    assert headers["blaxel-version"] == "2026-04-28"
    assert KEY not in repr(target)


@pytest.mark.parametrize("variable", ["BL_SANDBOX_MY_BOX_URL", "BL_SANDBOXES_MY_BOX_URL"])
async def test_forced_address(
    plane: Plane, http: Http, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """An address in the environment comes before the control plane, which is not asked."""
    plane.add("my-box", url="https://not.example")
    monkeypatch.setenv(variable, "https://forced.example/x/")
    target = await resolve("my-box", None, http)
    assert (target.name, target.url) == ("my-box", "https://forced.example/x")
    assert (await signed(target.auth))["x-blaxel-authorization"] == f"Bearer {KEY}"
    assert plane.asked == []


async def test_forced_address_comes_before_local(
    http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``local``, too, can be put elsewhere; then no service is started."""
    monkeypatch.setenv("BL_SANDBOX_LOCAL_URL", "http://127.0.0.1:9")
    assert (await resolve("local", None, http)).url == "http://127.0.0.1:9"
    assert local.find() is None


async def test_given_url_comes_first(plane: Plane, http: Http) -> None:
    """A URL is used as it is, but for the slash at its end."""
    target = await resolve(None, "http://127.0.0.1:9/base/", http)
    assert (target.name, target.url) == ("127.0.0.1:9", "http://127.0.0.1:9/base")
    assert plane.asked == []


async def test_local_service_is_started_and_signed_with_its_own_token(
    plane: Plane, http: Http
) -> None:
    """``local`` and ``local/NAME`` are the local service's; the account's key never goes there."""
    target = await resolve("local", None, http)
    service = local.find()
    assert service is not None
    assert target.url == f"{service.url}/sandboxes/local"
    own = {"x-blaxel-authorization": f"Bearer {service.token}"}
    assert await signed(target.auth) == own
    by_url = await resolve(None, target.url, http)
    assert await signed(by_url.auth) == own
    with pytest.raises(NotFoundError, match="%sandbox create local/two"):
        await resolve("local/two", None, http)
    await (await control_plane(http, local=True)).create("two")
    assert (await resolve("local/two", None, http)).url == f"{service.url}/sandboxes/two"
    assert plane.asked == []


async def test_official_instance(
    plane: Plane, http: Http, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An official SandboxInstance brings its address; the key is ours."""
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    core = pytest.importorskip("blaxel.core")
    from blaxel.core.client.models import Metadata, SandboxSpec
    from blaxel.core.client.models import Sandbox as Record

    record = Record(metadata=Metadata(name="box", url="https://box.example"), spec=SandboxSpec())
    instance = core.SandboxInstance(record)
    client = SandboxClient(instance)
    assert client.name == "box"
    assert not client.is_local
    assert await client.url() == "https://box.example"
    target = await resolve(instance, None, http)
    assert (await signed(target.auth))["x-blaxel-authorization"] == f"Bearer {KEY}"
    assert plane.asked == []


async def test_official_session_instance(plane: Plane, http: Http) -> None:
    """One made from a session brings its own headers; the account's key is not sent with them."""

    class Config:
        headers: ClassVar = {"X-Blaxel-Preview-Token": "session"}
        force_url = "https://preview.example/"
        metadata = type("Metadata", (), {"name": "box"})

    class Process:
        url = "https://preview.example/"

    class Session:
        config = Config
        process = Process

    target = await resolve(Session, None, http)
    assert (target.name, target.url) == ("box", "https://preview.example")
    assert await signed(target.auth) == {"x-blaxel-preview-token": "session"}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://u:p@h.example:80/x", "h.example:80"),
        ("https://h.example", "h.example"),
        ("http://[::1]:80", "[::1]:80"),
        ("nonsense", "sandbox"),
    ],
)
def test_names_of_urls(url: str, name: str) -> None:
    """A server known by its URL is named by its host, without user info."""
    assert target_name(None, url) == name


# What must not happen ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["url", "forced"])
async def test_no_key_in_clear_text(
    plane: Plane, http: Http, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Over plain http another machine gets no key; this one may."""
    monkeypatch.setenv("BL_SANDBOX_BOX_URL", "http://box.example")
    forced = way == "forced"
    target = await resolve(
        "box" if forced else None, None if forced else "http://box.example", http
    )
    assert await signed(target.auth) == {}
    target = await resolve(None, "http://127.0.0.1:9", http)
    assert await signed(target.auth) != {}
    target = await resolve(None, "https://box.example", http)
    assert await signed(target.auth) != {}


@pytest.mark.parametrize(
    "host", ["127.0.0.1.example", "localhost.example", "127.0.0.1@box.example"]
)
async def test_no_key_for_hosts_that_look_like_this_machine(
    plane: Plane, http: Http, host: str
) -> None:
    """What only looks like this machine is another one."""
    assert await signed((await resolve(None, f"http://{host}/", http)).auth) == {}


async def test_no_credential_at_all(http: Http) -> None:
    """A server by its URL needs none; a name does, and says which and where it looked."""
    assert (await resolve(None, "https://box.example", http)).auth is None
    with pytest.raises(CredentialsError, match="BL_API_KEY and BL_WORKSPACE"):
        await resolve("box", None, http)
    assert local.find() is None


@pytest.mark.parametrize("url", ["ftp://h", "h:80", "http://", "//h", "", "file:///etc/passwd"])
async def test_what_is_no_address(http: Http, url: str) -> None:
    """An address that cannot be one is refused before anything is sent."""
    with pytest.raises(BlaxelError, match="looks like"):
        await resolve(None, url, http)


@pytest.mark.parametrize("given", [{}, {"sandbox": "a", "url": "http://h"}])
def test_one_target_and_only_one(given: dict[str, str]) -> None:
    """Neither or both is a mistake of the program."""
    with pytest.raises(ValueError, match="which sandbox"):
        SandboxClient(**given)


async def test_unknown_sandbox(plane: Plane, http: Http) -> None:
    """The error names both ways on."""
    with pytest.raises(NotFoundError, match="%sandbox create nope") as caught:
        await resolve("nope", None, http)
    assert "%sandbox list" in str(caught.value)
    assert caught.value.url == f"{plane.url}/sandboxes/nope"


async def test_names_are_quoted(plane: Plane, http: Http) -> None:
    """A name is a part of a path, whatever it holds."""
    with pytest.raises(NotFoundError):
        await resolve("a/../b?c", None, http)
    assert plane.asked[0][1] == "/sandboxes/a%2F..%2Fb%3Fc"


async def test_wrong_key(plane: Plane, http: Http) -> None:
    """A refused key is an AuthError that does not show it."""
    plane.key = "another"
    with pytest.raises(AuthError, match="BL_API_KEY") as caught:
        await resolve("box", None, http)
    assert KEY not in f"{caught.value} {vars(caught.value)}"


async def test_sandbox_without_an_address(plane: Plane, http: Http) -> None:
    """One that is being made has none yet."""
    plane.add("new", status="DEPLOYING")
    with pytest.raises(BlaxelError, match=r"no address yet \(status DEPLOYING\)"):
        await resolve("new", None, http)


# Create, list, delete ---------------------------------------------------------------------------------


async def test_list_reads_all_pages(plane: Plane, http: Http) -> None:
    """Five sandboxes on pages of two."""
    for name in "abcde":
        plane.add(name, url=f"https://{name}.example/")
    control = await control_plane(http, local=False)
    found = await control.list()
    assert [sandbox.name for sandbox in found] == list("abcde")
    assert found[0] == Sandbox(
        "a", "DEPLOYED", "https://a.example", "i", 1, "eu", "2026-01-01T00:00:00Z"
    )
    assert len(plane.asked) == 3


async def test_create_and_delete(plane: Plane, http: Http) -> None:
    """A sandbox is made with what was asked for, and made once."""
    control = await control_plane(http, local=False)
    assert (await control.create("x", image="im", memory=512, region="us")).status == "DEPLOYED"
    assert (await control.create("x")).name == "x"
    assert plane.asked[0][1] == "/sandboxes?createIfNotExist=true"
    assert plane.bodies[0] == {
        "metadata": {"name": "x"},
        "spec": {"runtime": {"image": "im", "memory": 512}, "region": "us"},
    }
    assert plane.bodies[1]["spec"] == {
        "runtime": {"image": "blaxel/base-image:latest", "memory": 4096}
    }
    assert (await control.delete("x")).status == "DELETING"
    with pytest.raises(NotFoundError):
        await control.delete("x")


CONFLICTS = {
    "in use": ({"status": "DEPLOYED"}, "DEPLOYED", 1),
    "being made": ({"status": "BUILDING"}, "BUILDING", 1),
    "failed": ({"status": "FAILED"}, "FAILED", 2),
    "dying": ({"status": "TERMINATING"}, "DEPLOYED", 2),
    "gone": (None, "DEPLOYED", 2),
}


@pytest.mark.parametrize("case", CONFLICTS)
async def test_create_when_the_name_is_taken(plane: Plane, http: Http, case: str) -> None:
    """A 409 is looked into: a usable record is returned, a dead one made anew."""
    record, status, posts = CONFLICTS[case]
    if record is not None:
        record = plane.add("x") | record
        plane.sandboxes.clear()
    plane.conflicts = [record]
    control = await control_plane(http, local=False)
    assert (await control.create("x")).status == status
    assert sum(method == "POST" for method, _, _ in plane.asked) == posts


async def test_create_gives_up_in_the_end(plane: Plane, http: Http) -> None:
    """Three conflicts with nothing there are told."""
    plane.conflicts = [None] * 5
    control = await control_plane(http, local=False)
    with pytest.raises(BlaxelError, match="Try again in a minute"):
        await control.create("x")


def test_sandbox_parse_of_little() -> None:
    """What a record does not say is None or empty."""
    assert Sandbox.parse({}) == Sandbox("", "")
    assert Sandbox.parse({"metadata": None, "spec": {"runtime": None}}) == Sandbox("", "")
