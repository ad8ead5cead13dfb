"""Find out where a sandbox is and how to sign requests to it; list, create and delete sandboxes.

Speaks the control plane's routes (protocol 2) and knows the order in which a sandbox's address is
looked for (interface 1, protocol 1.6). No target is ever guessed. The client and the magics use it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import anyio.to_thread

from blaxel_jupyter import credentials
from blaxel_jupyter.errors import (
    BlaxelError,
    CredentialsError,
    NotFoundError,
    ProtocolError,
    StatusError,
)
from blaxel_jupyter.retries import retried
from blaxel_jupyter.transport import Auth, HeaderAuth, Http, KeyAuth, auth_for
from blaxel_jupyter.wording import read_json

PATIENCE = 5.0
"""Seconds for which a read of the control plane is repeated."""

GONE = {"FAILED", "TERMINATED"}
LEAVING = {"TERMINATING", "DELETING", "DEACTIVATING"}
"""Statuses of a sandbox that cannot be used, and of one that is about to be so (protocol 2)."""


@dataclass(frozen=True, slots=True)
class Target:
    """Base URL of a sandbox's API, without a slash at its end, and how to sign requests to it."""

    name: str
    url: str
    auth: Auth | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What the control plane says about a sandbox; None where it does not say."""

    name: str
    status: str
    url: str | None = None
    image: str | None = None
    memory: int | None = None
    region: str | None = None
    created: str | None = None

    @classmethod
    def parse(cls, record: Any) -> Sandbox:
        """Read a Sandbox object of the control plane.

        Raises:
            ProtocolError: it is no object.
        """
        if not isinstance(record, dict):
            raise ProtocolError("The answer is not a sandbox. Check BL_API_URL.")
        metadata = _member(record, "metadata", dict) or {}
        spec = _member(record, "spec", dict) or {}
        runtime = _member(spec, "runtime", dict) or {}
        return cls(
            name=_member(metadata, "name", str) or "",
            status=_member(record, "status", str) or "",
            url=(_member(metadata, "url", str) or "").rstrip("/") or None,
            image=_member(runtime, "image", str),
            memory=_member(runtime, "memory", int),
            region=_member(spec, "region", str),
            created=_member(metadata, "createdAt", str),
        )


_Member = TypeVar("_Member")


def _member(record: object, name: str, kind: type[_Member]) -> _Member | None:
    """Return a member of a JSON object; None where it is missing or of another type."""
    value = record.get(name) if isinstance(record, dict) else None
    return value if isinstance(value, kind) else None


class ControlPlane:
    """The sandboxes of one workspace, or of the local service."""

    def __init__(self, http: Http, url: str, auth: Auth | None) -> None:
        self._http = http
        self._url = url.rstrip("/")
        self.auth = auth

    async def get(self, name: str) -> Sandbox:
        """Read one sandbox.

        Raises:
            NotFoundError: there is none of that name.
        """
        return Sandbox.parse(await self._read(f"/sandboxes/{quote(name, safe='')}"))

    async def list(self) -> list[Sandbox]:
        """List the sandboxes, all pages of them."""
        found: list[Sandbox] = []
        cursor = ""
        while True:
            query = f"?limit=50&showTerminated=false&sort=name:asc&cursor={quote(cursor, safe='')}"
            answer = await self._read("/sandboxes" + query)
            if not isinstance(answer, dict | list):
                raise ProtocolError("The answer is not a list of sandboxes. Check BL_API_URL.")
            records = answer if isinstance(answer, list) else _member(answer, "data", list)
            found += [Sandbox.parse(record) for record in records or []]
            meta = _member(answer, "meta", dict) or {}
            former, cursor = cursor, _member(meta, "nextCursor", str) or ""
            if not meta.get("hasMore") or cursor in {"", former}:
                return found

    async def create(
        self,
        name: str,
        *,
        image: str | None = None,
        memory: int | None = None,
        region: str | None = None,
    ) -> Sandbox:
        """Create a sandbox, or return the one of that name (protocol 2, "create if absent").

        Args:
            image: container image; the platform's base image if not given.
            memory: MB; 4096 if not given.
            region: where; the account's default if not given.
        """
        body: dict[str, Any] = {
            "metadata": {"name": name},
            "spec": {
                "runtime": {
                    "image": image or "blaxel/base-image:latest",
                    "memory": memory or 4096,
                }
            },
        }
        if region:
            body["spec"]["region"] = region
        for _ in range(3):
            try:
                answer = await self._ask("POST", "/sandboxes?createIfNotExist=true", json=body)
            except StatusError as error:
                if error.status_code != 409:
                    raise
                known = await self._settled(name)
                if known is not None:
                    return known
            else:
                return Sandbox.parse(read_json(answer.body))
        raise BlaxelError(f"Sandbox {name!r} is being deleted. Try again in a minute.")

    async def delete(self, name: str) -> Sandbox:
        """Delete a sandbox and everything in it."""
        answer = await self._ask("DELETE", f"/sandboxes/{quote(name, safe='')}")
        return Sandbox.parse(read_json(answer.body))

    async def _settled(self, name: str) -> Sandbox | None:
        """Return the sandbox that has the name, None once a dying one has let it go."""
        for _ in range(60):
            try:
                known = await self.get(name)
            except NotFoundError:
                return None
            if known.status in GONE:
                return None
            if known.status not in LEAVING:
                return known
            await asyncio.sleep(0.5)
        return None

    async def _read(self, path: str) -> Any:
        answer = await retried(lambda: self._ask("GET", path), patience=PATIENCE)
        return read_json(answer.body)

    async def _ask(self, method: str, path: str, *, json: object = None) -> Any:
        return await self._http.request(method, self._url + path, auth=self.auth, json=json)


async def control_plane(http: Http, *, local: bool) -> ControlPlane:
    """Return the local service's control plane, starting it if need be, or the account's.

    Raises:
        CredentialsError: there is no account's credential.
    """
    if not local:
        login = credentials.blaxel()
        return ControlPlane(http, login.api_url, auth_for(login))
    from blaxel_jupyter import local as service  # only when it is asked for

    found = await anyio.to_thread.run_sync(service.ensure)
    return ControlPlane(http, f"{found.url}/v0", KeyAuth(found.token))


async def resolve(sandbox: Any, url: str | None, http: Http) -> Target:
    """Find a sandbox's address: given URL, forced URL of the environment, then the control plane.

    Raises:
        NotFoundError: the control plane knows no such sandbox.
        CredentialsError: the control plane has to be asked and there is no credential.
    """
    if url is not None:
        return Target(
            target_name(None, url),
            _checked(url),
            await anyio.to_thread.run_sync(_auth_for_url, url),
        )
    if not isinstance(sandbox, str):
        return _of_instance(sandbox)
    forced = credentials.forced_sandbox_url(sandbox)
    if forced:
        auth = await anyio.to_thread.run_sync(_auth_for_url, forced)
        return Target(sandbox, _checked(forced), auth)
    if sandbox == "local" or sandbox.startswith("local/"):
        plane = await control_plane(http, local=True)
        name = sandbox.partition("/")[2] or "local"
        found = await plane.create(name) if name == "local" else await _known(plane, name, sandbox)
        return Target(sandbox, found.url or "", plane.auth)
    plane = await control_plane(http, local=False)
    found = await _known(plane, sandbox, sandbox)
    if not found.url:
        raise BlaxelError(
            f"Sandbox {sandbox!r} has no address yet (status {found.status}). Try again in a moment."
        )
    return Target(sandbox, found.url, plane.auth)


def target_name(sandbox: Any, url: str | None) -> str:
    """Name a target as the user did: the sandbox's name, or the URL's host and port."""
    if url is not None:
        return urlsplit(url).netloc.rpartition("@")[2] or "sandbox"
    if isinstance(sandbox, str):
        return sandbox
    metadata = getattr(getattr(sandbox, "config", sandbox), "metadata", None)
    return str(getattr(metadata, "name", "") or "sandbox")


async def _known(plane: ControlPlane, name: str, shown: str) -> Sandbox:
    try:
        return await plane.get(name)
    except NotFoundError as error:
        raise NotFoundError(
            f"There is no sandbox {shown!r}. `%sandbox list` shows those there are, "
            f"`%sandbox create {shown}` makes it.",
            status_code=404,
            method=error.method,
            url=error.url,
            body=error.body,
        ) from None


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BlaxelError("A sandbox's URL looks like https://host or http://127.0.0.1:8080.")
    return url.rstrip("/")


def _auth_for_url(url: str) -> Auth | None:
    """Sign requests to a given URL: the local service's token for itself, the account's over TLS.

    A key never goes in clear text to another machine; on this one a broken credential is no hindrance.
    """
    from blaxel_jupyter import local as service  # only when it is asked for

    parts = urlsplit(url)
    if parts.hostname not in {"127.0.0.1", "localhost", "::1"}:
        return _account() if parts.scheme == "https" else None
    found = service.find()
    if found is not None and urlsplit(found.url).port == parts.port:
        return KeyAuth(found.token)
    try:
        return _account()
    except CredentialsError:
        return None


def _account() -> Auth | None:
    """Sign as the account if there is one; a broken file or key is an error, not "no account"."""
    places = {source.name for source in credentials.sources()}
    some = places & {"BL_API_KEY", "BL_CLIENT_CREDENTIALS", "unreadable"}
    if not some and not any(": " in name for name in places):
        return None
    return auth_for(credentials.blaxel())


def _of_instance(instance: Any) -> Target:
    """Take the address and headers of an official SandboxInstance (protocol 1.6)."""
    config = instance.config
    headers = dict(config.headers or {})
    auth: Auth | None = HeaderAuth(headers) if config.force_url else _account()
    return Target(target_name(instance, None), _checked(instance.process.url), auth)
