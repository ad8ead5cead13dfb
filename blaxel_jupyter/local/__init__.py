"""Find, start and stop the embedded local service, a process of its own that notebooks share.

It runs commands as the user, without isolation, on 127.0.0.1 behind a random token. Everything about
a running one is in a private runtime file, as Jupyter does it. Who answers there has to prove that it
wrote the file before anything secret is sent.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import http.client
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated

import msgspec
from jupyter_core.paths import jupyter_runtime_dir
from platformdirs import user_state_path

from blaxel_jupyter.errors import ProtocolError, TransportError
from blaxel_jupyter.local import private

__all__ = ["PROOF", "Service", "ensure", "find", "proof", "runtime_file", "state_dir", "stop"]

PROOF = "/proof"
"""Where the service shows that it knows the token; ``?challenge=`` is what it has to sign."""

HARMLESS = re.compile(
    "PATH|HOME|USER|LOGNAME|SHELL|LANG(UAGE)?|LC_[A-Z]+|TZ|TMPDIR|XDG_[A-Z_]+|(LD|DYLD)_LIBRARY_PATH"
    "|JUPYTER_((RUNTIME|DATA|CONFIG)_DIR|PATH|PLATFORM_DIRS)|PYTHON(PATH|HOME|USERBASE|UTF8|WARNINGS)"
    "|PYTHON(DONTWRITEBYTECODE|PYCACHEPREFIX|IOENCODING)|VIRTUAL_ENV|CONDA_PREFIX|BLAXEL_JUPYTER_[A-Z_]+"
)
"""Variables that the service is given: what runs in it can read them, so no other of the user's is."""

_INTERVAL = 0.02
_MOST_PROOF = 1024


@dataclass(frozen=True, slots=True)
class Service:
    """A running local service: where it is, its token (never shown), its process.

    ``other_token`` is a second user's key, of the task API alone; "" if the service has none.
    """

    url: str
    token: str = field(repr=False)
    pid: int
    other_token: str = field(default="", repr=False)


def runtime_file() -> Path:
    """Return the path of the runtime file (``JUPYTER_RUNTIME_DIR`` moves it)."""
    return Path(jupyter_runtime_dir()) / "blaxel-local.json"


def state_dir() -> Path:
    """Return the folder that keeps sandboxes and logs by default.

    One folder belongs to one service: where ``JUPYTER_RUNTIME_DIR`` gives Jupyter another world, that
    world's service has a folder of its own, always the same one.
    """
    folder = user_state_path("blaxel-jupyter")
    if "JUPYTER_RUNTIME_DIR" not in os.environ:
        return folder
    world = hashlib.sha256(str(runtime_file()).encode()).hexdigest()[:8]
    return folder / f"runtime-{world}"


def find() -> Service | None:
    """Return the running service; None if there is none or the runtime file is a dead one's.

    Raises:
        ProtocolError: the runtime file is not ours to read, or something else answers at its address.
    """
    path = runtime_file()
    try:
        data = private.read_own(path)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    service, port = read_runtime(data, path)
    return service if _answers(service, port) else None


def read_runtime(data: str | bytes, path: Path) -> tuple[Service, int]:
    """Read what the runtime file holds: the service, and its port.

    Raises:
        ProtocolError: they are not what a service writes.
    """
    try:
        facts = _FACTS.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(path, error) from error
    return Service(facts.url, facts.token, facts.pid, facts.other_token), facts.port


class _Facts(msgspec.Struct):
    url: Annotated[str, msgspec.Meta(pattern="^[!-~]+$")]
    port: Annotated[int, msgspec.Meta(gt=0, lt=1 << 16)]
    token: Annotated[str, msgspec.Meta(pattern="^[!-~]+$")]
    pid: Annotated[int, msgspec.Meta(gt=0, lt=1 << 31)]
    other_token: Annotated[str, msgspec.Meta(pattern="^[!-~]*$")] = ""


_FACTS = msgspec.json.Decoder(_Facts)


def _unreadable(path: Path, error: Exception) -> ProtocolError:
    return ProtocolError(f"{path} cannot be read: {error}. Delete it and try again.")


def _answers(service: Service, port: int) -> bool:
    """Whether the service that wrote the runtime file answers, and no stranger on its old port.

    The token itself is not sent: a stranger would have it.
    """
    challenge = secrets.token_hex(16)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", f"{PROOF}?challenge={challenge}")
        response = connection.getresponse()
        said = response.read(_MOST_PROOF)
        return response.status == 200 and hmac.compare_digest(
            said, proof(service.token, challenge).encode()
        )
    except (OSError, http.client.HTTPException):
        return False  # dead, or the port is another program's by now
    finally:
        connection.close()


def proof(token: str, challenge: str) -> str:
    """Sign a challenge with the token, which cannot be told from the signature."""
    return hmac.new(token.encode(), f"{PROOF} {challenge}".encode(), "sha256").hexdigest()


def ensure(timeout: float = 15.0) -> Service:
    """Return the running service, starting it if need be; kernels that start at once share one.

    The service outlives this process. Its messages go to ``serve.log`` in the state folder. Blocks for
    at most ``timeout`` seconds.

    Raises:
        TransportError: it did not start; the message ends with what it said and where its log is.
        ProtocolError: the runtime file cannot be read.
    """
    service = find()
    if service is not None:
        return service
    with _starting():
        return find() or _start(timeout)


@contextmanager
def _starting() -> Iterator[None]:
    """Let one starter at a time in, on this machine."""
    path = runtime_file().with_suffix(".lock")
    try:
        private.make_folder(path.parent)
        lock = private.open_own(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise ProtocolError(f"{path} cannot be used: {error}. Delete it and try again.") from error
    with os.fdopen(lock):
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _start(timeout: float) -> Service:
    log = state_dir() / "serve.log"
    with _log(log) as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "blaxel_jupyter.cli", "serve"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if HARMLESS.fullmatch(name)},
        )
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        service = find()
        if service is not None:
            process.returncode = process.returncode or 0  # it is meant to outlive us
            return service
        try:
            process.wait(_INTERVAL)
            break
        except subprocess.TimeoutExpired:
            continue
    if process.poll() is None:
        process.terminate()
    said = log.read_text(errors="replace").strip()[-500:]
    raise TransportError(
        f"The local service did not start: {said or 'no message'}. See {log}, or run "
        "'blaxel-jupyter serve' in a terminal.",
        url="http://127.0.0.1",
    )


def _log(path: Path) -> IO[bytes]:
    try:
        private.own_folder(path.parent)
        return os.fdopen(private.open_own(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb")
    except OSError as error:
        raise TransportError(
            f"The local service cannot keep its log: {error}. Delete {path} and try again.",
            url="http://127.0.0.1",
        ) from error


def stop(timeout: float = 10.0) -> bool:
    """Stop the running service and wait until it is gone; its processes run on for the next one.

    Agent tasks that run are interrupted: they end with the service.

    Returns:
        Whether there was one.

    Raises:
        TransportError: it did not exit within ``timeout`` seconds.
    """
    service = find()
    if service is None:
        return False
    os.kill(service.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if not _holds_runtime_file(service) or not _alive(service.pid):
            return True
        time.sleep(_INTERVAL)
    raise TransportError(
        f"The local service (pid {service.pid}) does not exit. End it with 'kill -9 {service.pid}'.",
        url=service.url,
    )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _holds_runtime_file(service: Service) -> bool:
    path = runtime_file()
    try:
        return read_runtime(private.read_own(path), path)[0].token == service.token
    except (FileNotFoundError, UnicodeDecodeError, ProtocolError):
        return False
