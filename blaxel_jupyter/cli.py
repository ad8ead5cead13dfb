"""The command line: ``blaxel-jupyter serve`` and ``blaxel-jupyter doctor``."""

from __future__ import annotations

import argparse
import http.client
import platform
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from blaxel_jupyter import __version__
from blaxel_jupyter.errors import BlaxelError

_PEERS = ("ipython", "ipykernel", "jupyterlab", "notebook", "anywidget", "httpx", "blaxel")
_PATIENCE = 5.0
_SIGNS = {True: "ok", False: "!!", None: "--"}
_API_URL = "https://api.blaxel.ai/v0"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    parser = argparse.ArgumentParser(prog="blaxel-jupyter", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser(
        "serve", help="serve local sandboxes on this machine: as you, without isolation"
    )
    serve.add_argument("--port", type=int, default=0, help="on 127.0.0.1 (default: a free one)")
    serve.add_argument("--dir", type=Path, help="where sandboxes and logs are kept")
    serve.add_argument(
        "--idle", type=float, default=900.0, metavar="SECONDS", help="exit when unused for so long"
    )
    commands.add_parser("doctor", help="say what is installed, configured and reachable")
    options = parser.parse_args(arguments)
    try:
        if options.command == "serve":
            return _serve(options.port, options.dir, options.idle)
        return doctor()
    except BlaxelError as error:
        print(f"blaxel-jupyter: {error}", file=sys.stderr)
        return 1


def _serve(port: int, folder: Path | None, idle: float) -> int:
    from blaxel_jupyter.local import state_dir
    from blaxel_jupyter.local.server import serve

    serve(port=port, folder=(folder or state_dir()).absolute(), idle=idle)
    return 0


def doctor() -> int:
    """Print versions, settings by name and place, and what answers; 1 if something is wrong.

    No value of a setting is printed and none is sent.
    """
    wrong = 0
    for line in _versions():
        print(line)
    sections: tuple[tuple[str, Iterator[tuple[bool | None, str]]], ...] = (
        ("front end", _front_end()),
        ("settings found (names only)", _settings()),
        ("local service", _local_service()),
        ("reachable", _reachable()),
    )
    for heading, lines in sections:
        print(f"\n{heading}:")
        for fine, line in lines:
            wrong += fine is False
            print(f"  {_SIGNS[fine]}  {line}", flush=True)
    return 1 if wrong else 0


def _versions() -> Iterator[str]:
    yield f"blaxel_jupyter {__version__}, Python {platform.python_version()}, {platform.platform()}"
    for name in _PEERS:
        try:
            yield f"  {name} {version(name)}"
        except PackageNotFoundError:
            yield f"  {name} (not installed)"


def _front_end() -> Iterator[tuple[bool | None, str]]:
    for name in ("panel.js", "task-panel.js", "later.js", "panel.css"):
        asset = files("blaxel_jupyter") / "panel" / "dist" / name
        if asset.is_file():
            yield True, f"{name}: {len(asset.read_bytes())} bytes"
        else:
            yield False, f"{name} is not built: install the package with pip"


def _settings() -> Iterator[tuple[bool | None, str]]:
    from blaxel_jupyter.credentials import sources

    found = sources()
    for name, where in found:
        yield name != "unreadable", f"{name}: {where}"
    if not found:
        yield True, "none: only the local service and sandboxes by URL can be used"


def _local_service() -> Iterator[tuple[bool | None, str]]:
    from blaxel_jupyter.local import find, runtime_file, state_dir

    try:
        service = find()
    except BlaxelError as error:
        yield False, str(error)
        return
    if service is None:
        yield True, "not running: it starts when it is needed, or by 'blaxel-jupyter serve'"
    else:
        yield True, f"running at {service.url} (pid {service.pid}), runtime file {runtime_file()}"
    yield True, f"state in {state_dir()}"


def _reachable() -> Iterator[tuple[bool | None, str]]:
    from blaxel_jupyter.credentials import BLACKBOX_API_URL, blackbox, blaxel

    try:
        control = blaxel().api_url
    except BlaxelError:
        control = _API_URL
    try:
        tasks = blackbox().api_url
    except BlaxelError:
        tasks = BLACKBOX_API_URL
    for url in (control, tasks):
        yield _asked(url)


def _asked(url: str) -> tuple[bool | None, str]:
    """Say what a bare request, without any credential, is answered with; being offline is no fault."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_PATIENCE)
    try:
        connection.request("GET", parts.path or "/")
        return True, f"{url}: yes (HTTP {connection.getresponse().status})"
    except (OSError, http.client.HTTPException) as error:
        return None, f"{url}: no ({error})"
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
