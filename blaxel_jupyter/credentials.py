"""Find out where to connect and as whom: the environment, ``.env`` files, the ``bl`` CLI's login.

It reads variables and files and prepares token requests, but never sends one; no message, repr or
error of it holds a secret. Every module may import it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from blaxel_jupyter import cli_login, settings
from blaxel_jupyter.cli_login import CONFIG
from blaxel_jupyter.errors import CredentialsError, ProtocolError
from blaxel_jupyter.hidden import Hidden
from blaxel_jupyter.settings import ENVIRONMENT, PLACES, Found, Place

Kind = Literal["api_key", "client_credentials", "login"]

BLACKBOX_API_URL = "https://agent.blackbox.ai/api/v1"

_KEYS = {"BL_API_KEY": "api_key", "BL_CLIENT_CREDENTIALS": "client_credentials"}
_SPELLINGS = {
    "api_key": ("apiKey", "api_key"),
    "client_credentials": ("client_credentials", "clientCredentials"),
    "access_token": ("access_token",),
    "refresh_token": ("refresh_token",),
    "device_code": ("device_code",),
}
_RENEWABLE = {"refresh_token", "device_code"}
_SECRET = re.compile("(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
_KNOWN = re.compile(
    "BL_(WORKSPACE|API_KEY|CLIENT_CREDENTIALS|ENV|API_URL|RUN_URL|SANDBOX(ES)?_.+_URL)"
    "|BLACKBOX_API_(KEY|URL)"
)
_OWN_HOSTS = re.compile(
    r"https://([a-z0-9-]+\.)*(blaxel\.(ai|dev)|bl\.run|blackbox\.ai)"
    r"|https?://(localhost|127(\.\d+){3}|::1)"
)


@dataclass(frozen=True, slots=True)
class Blaxel:
    """Where Blaxel is and as whom to speak to it; the repr shows no secret.

    ``api_url`` is the control plane's base (``…/v0``), ``run_url`` the base of sandboxes' fallback
    addresses, both without a final slash. ``source`` says in words where the credential was found.
    ``expires_at`` is when the access token ends, in seconds since 1970, None if it does not say.
    """

    api_url: str
    run_url: str
    workspace: str
    kind: Kind
    source: str
    api_key: str | None = field(default=None, repr=False)
    client_credentials: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    device_code: str | None = field(default=None, repr=False)
    expires_at: float | None = None

    @property
    def renewable(self) -> bool:
        """Whether ``token_request`` can get a new access token."""
        return self.kind == "client_credentials" or self.refresh_token is not None


@dataclass(frozen=True, slots=True)
class Blackbox:
    """Where BLACKBOX's Agent API is (no final slash), and the key; the repr does not show it."""

    api_url: str
    source: str
    api_key: str = field(repr=False)


class Source(NamedTuple):
    """One setting that was found: its name and the place, never its value."""

    name: str
    where: str


def blaxel(
    environ: Mapping[str, str] | None = None, cwd: Path | None = None, home: Path | None = None
) -> Blaxel:
    """Return the Blaxel credential: the environment's, else ``.env``'s, else the CLI login's.

    Args:
        environ: Instead of the process environment.
        cwd: Instead of the current folder.
        home: Instead of the user's home folder.

    Raises:
        CredentialsError: Something is missing, unreadable or cannot be used; the message says which
            variable or file, where it was looked for, and what to do.
    """
    places = settings.variables(environ, cwd)
    key = settings.find(places, *_KEYS)
    workspace = settings.find(places, "BL_WORKSPACE")
    config = {} if key and workspace else cli_login.read_config(home)
    workspace = workspace or cli_login.chosen(config)
    entry = cli_login.entry(config, settings.header_safe(workspace)) if workspace else {}
    stored = Hidden({_KEYS[key.name]: settings.header_safe(key)}) if key else _login(entry)
    if not stored or workspace is None:
        missing = [] if stored else ["BL_API_KEY"]
        missing += [] if workspace else ["BL_WORKSPACE"]
        raise CredentialsError(
            f"{' and '.join(missing)} missing: not in {PLACES}, nor as a login in {CONFIG}.\n"
            "Set BL_API_KEY and BL_WORKSPACE, or run `bl login`; `local` needs no account."
        )
    where = key.where if key else CONFIG
    env = settings.find(places, "BL_ENV")
    stage = env.value if env else cli_login.text(entry, "env")
    domain = "ai" if stage in ("", "prod") else "dev"
    return Blaxel(
        api_url=_url(places, where, "BL_API_URL") or f"https://api.blaxel.{domain}/v0",
        run_url=_url(places, where, "BL_RUN_URL") or f"https://run.blaxel.{domain}",
        workspace=workspace.value,
        kind=_kind(stored),
        source=str(key) if key else CONFIG,
        expires_at=_jwt_expiry(stored.get("access_token", "")),
        **stored,
    )


def blackbox(environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Blackbox:
    """Return BLACKBOX's address and key, from the environment or a ``.env`` file.

    Raises:
        CredentialsError: As for ``blaxel``.
    """
    places = settings.variables(environ, cwd)
    key = settings.find(places, "BLACKBOX_API_KEY")
    if key is None:
        raise CredentialsError(
            f"BLACKBOX_API_KEY missing: not in {PLACES}.\n"
            "Set it to a key from app.blackbox.ai; the target `local` needs none."
        )
    secret = settings.header_safe(key)
    url = _url(places, key.where, "BLACKBOX_API_URL") or BLACKBOX_API_URL
    return Blackbox(url, str(key), secret)


def forced_sandbox_url(
    name: str,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    home: Path | None = None,
) -> str | None:
    """Return the address that the user fixed for one sandbox, without one final slash.

    It is in ``BL_SANDBOXES_<NAME>_URL``, else ``BL_SANDBOX_<NAME>_URL``, in the environment, else
    in a ``.env`` file.

    Raises:
        CredentialsError: It is not an address, or would draw a key that is kept elsewhere, or a
            ``.env`` file is unreadable.
    """
    variable = name.upper().replace("-", "_")
    places = settings.variables(environ, cwd)
    key = settings.find(places, *_KEYS)
    login = CONFIG if cli_login.config_path(home).exists() else None
    names = (f"BL_SANDBOXES_{variable}_URL", f"BL_SANDBOX_{variable}_URL")
    return _url(places, key.where if key else login, *names)


def sources(
    environ: Mapping[str, str] | None = None, cwd: Path | None = None, home: Path | None = None
) -> list[Source]:
    """List every setting found, in order of precedence, by name and place; nothing is raised."""
    found: list[Source] = []
    try:
        for where, values in settings.variables(environ, cwd):
            found += [Source(name, where) for name in sorted(values) if _KNOWN.fullmatch(name)]
        config = cli_login.read_config(home)
        if workspace := cli_login.chosen(config):
            found.append(Source(workspace.name, workspace.where))
        for entry in cli_login.entries(config):
            names = sorted(
                name for name in cli_login.section(entry, "credentials") if name != "expires_in"
            )
            found += [Source(f"{cli_login.text(entry, 'name')}: {name}", CONFIG) for name in names]
    except CredentialsError as error:
        found.append(Source("unreadable", str(error).splitlines()[0]))
    return found


def secrets(
    environ: Mapping[str, str] | None = None, cwd: Path | None = None, home: Path | None = None
) -> list[tuple[str, str]]:
    """Return every secret there is, used or not, by name, so that displays mask it; nothing is raised.

    That is every variable that is called a key, token, secret or password, of whatever service: a process
    may have been given it, also by a kernel that is gone.
    """
    try:
        places = settings.variables(environ, cwd)
    except CredentialsError:
        places = settings.environment(environ)
    found = [
        (name, value)
        for place in places
        for name, value in place.values.items()
        if _SECRET.search(name)
    ]
    try:
        entries = cli_login.entries(cli_login.read_config(home))
    except CredentialsError:
        entries = []
    for stored in (cli_login.section(entry, "credentials") for entry in entries):
        for name, spellings in _SPELLINGS.items():
            found += [(name, cli_login.text(stored, each)) for each in spellings if each in stored]
    return found


def token_request(creds: Blaxel) -> tuple[str, dict[str, str], dict[str, str]]:
    """Return URL, headers and JSON body of the POST that answers with a new access token.

    Raises:
        CredentialsError: The credential cannot be renewed (see ``renewable``).
    """
    url = f"{creds.api_url}/oauth/token"
    if creds.client_credentials:
        headers = {"Authorization": f"Basic {creds.client_credentials}"}
        return url, headers, {"grant_type": "client_credentials"}
    if not creds.refresh_token:
        raise CredentialsError(
            f"The credential from {creds.source} has no refresh token, so it cannot be renewed.\n"
            "Run `bl login` again, or set BL_API_KEY."
        )
    body = {"grant_type": "refresh_token", "refresh_token": creds.refresh_token}
    return url, {}, {**body, "device_code": creds.device_code or "", "client_id": "blaxel"}


def from_token_answer(creds: Blaxel, answer: object, now: float) -> Blaxel:
    """Return ``creds`` with the tokens of a token endpoint's answer (parsed JSON).

    Args:
        creds: The credential that ``token_request`` was called with.
        answer: The parsed body; to be hidden by the caller.
        now: Seconds since 1970, for answers that only say how long the token lives.

    Raises:
        ProtocolError: There is no usable access token. ``data`` is empty: it could hold tokens.
    """
    fields = answer if isinstance(answer, dict) else {}
    if not settings.HEADER_SAFE.fullmatch(cli_login.text(fields, "access_token")):
        raise ProtocolError(
            f"{creds.api_url}/oauth/token answered without a usable access token.\n"
            "Check BL_API_URL; else log in again with `bl login`."
        )
    token, refresh = fields["access_token"], fields.get("refresh_token")
    life = life_of(answer)
    ends = None if life is None else now + life
    rotated = refresh if creds.kind == "login" and isinstance(refresh, str) and refresh else None
    return replace(
        creds,
        access_token=token,
        refresh_token=rotated or creds.refresh_token,
        expires_at=_jwt_expiry(token) or ends,
    )


def life_of(answer: object) -> float | None:
    """Return for how many seconds the token of an answer is good, None if it does not say."""
    life = answer.get("expires_in") if isinstance(answer, dict) else None
    if isinstance(life, bool) or not isinstance(life, int | float) or not abs(life) < 1e12:
        return None
    return life


def save_login(creds: Blaxel, previous: Blaxel, home: Path | None = None) -> bool:
    """Write a renewed login's tokens back to the CLI's config file, so that the CLI stays logged in.

    Only if the file still holds the refresh token of ``previous``; all else in it stays as it was.

    Returns:
        Whether it was written. If not, and the refresh token has changed, the user has to log in
        again next time.
    """
    if creds.kind != "login" or not previous.refresh_token:
        return False
    new = {"access_token": creds.access_token, "refresh_token": creds.refresh_token}
    tokens = {name: token for name, token in new.items() if token}
    return cli_login.write_tokens(home, creds.workspace, previous.refresh_token, tokens)


def newest(creds: Blaxel, home: Path | None = None) -> Blaxel:
    """Return the same login as it stands in the CLI's file now; ``creds`` where nothing newer is there.

    Args:
        creds: A login; any other kind of credential is returned as it is.
        home: Instead of the user's home folder.
    """
    if creds.kind != "login":
        return creds
    try:
        found = _login(cli_login.entry(cli_login.read_config(home), creds.workspace))
    except CredentialsError:
        return creds
    token = found.get("access_token")
    if _kind(found) != "login" or token in (None, creds.access_token):
        return creds
    ends = _jwt_expiry(token)
    if ends is not None and creds.expires_at is not None and ends < creds.expires_at:
        return creds  # ours is the newer one: the file could not be written
    refresh = found.get("refresh_token")
    return replace(
        creds,
        access_token=token,
        refresh_token=refresh,
        device_code=found.get("device_code"),
        expires_at=ends,
    )


def _url(places: list[Place], key_where: str | None, *names: str) -> str | None:
    """Return an address; one in a ``.env`` file must not draw a key that is kept elsewhere.

    Else any folder that a notebook is opened in could name a host and be sent the key.
    """
    found = settings.find(places, *names)
    if found is None:
        return None
    url = settings.address(found)
    parts = urlsplit(url)
    trusted = key_where is None or found.where in (ENVIRONMENT, key_where)
    if not trusted and not _OWN_HOSTS.fullmatch(f"{parts.scheme}://{parts.hostname}"):
        raise CredentialsError(
            f"{found} would send the key from {key_where} to a host not of the service.\n"
            f"Set {found.name} in the environment, or keep the key in the same .env."
        )
    return url


def _login(entry: Mapping[str, object]) -> Hidden:
    """Return the entry's secrets under our names: a key, else client credentials, else tokens."""
    stored = cli_login.section(entry, "credentials")
    every = Hidden((name, cli_login.text(stored, *each)) for name, each in _SPELLINGS.items())
    found = Hidden((name, value) for name, value in every.items() if value)
    for name in ("api_key", "client_credentials", "access_token"):
        if name in found:
            settings.header_safe(Found(found[name], name, CONFIG))
    if (kind := _kind(found)) != "login":
        return Hidden({kind: found[kind]})
    return found if "access_token" in found or found.keys() >= _RENEWABLE else Hidden()


def _kind(secrets: Mapping[str, str]) -> Kind:
    if "api_key" in secrets:
        return "api_key"
    return "client_credentials" if "client_credentials" in secrets else "login"


def _jwt_expiry(token: str) -> float | None:
    """Read ``exp`` of a JWT without verifying it; None if there is none."""
    try:
        payload = token.split(".")[1]
        claims = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        ends = float(json.loads(claims)["exp"])
        return ends if abs(ends) < 1e12 else None
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
        return None
