"""Run the service: listen on loopback, say where in the runtime file, exit when idle.

The runtime file holds the keys: mode 0600 in a 0700 folder, written atomically, removed at the end.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import uvicorn

from blaxel_jupyter import __version__
from blaxel_jupyter.errors import ProtocolError, TransportError
from blaxel_jupyter.local import find, limits, private, read_runtime, runtime_file
from blaxel_jupyter.local.app import application
from blaxel_jupyter.local.capture import Wakeups
from blaxel_jupyter.local.door import Door
from blaxel_jupyter.local.guard import Guard
from blaxel_jupyter.local.sandboxes import Sandboxes
from blaxel_jupyter.local.task_store import StoreError
from blaxel_jupyter.local.tasks import Tasks
from blaxel_jupyter.local.watchman import watch

IDLE = 900.0
"""Seconds without a request, an open stream, a live process or a task after which the service exits."""


def serve(*, port: int, folder: Path, idle: float = IDLE) -> None:
    """Serve until it is idle or told to stop; processes that still run are left to the next service.

    Agent tasks that still run are interrupted, and their steps stopped.

    Raises:
        TransportError: a service is already running here, or the port is taken.
    """
    running = find()
    if running is not None:
        raise TransportError(
            f"A local service is already running at {running.url} (pid {running.pid}). Use that one, or "
            "set JUPYTER_RUNTIME_DIR and give another --dir to run a second.",
            url=running.url,
        )
    token = secrets.token_urlsafe(32)
    try:
        limits.raise_descriptors()
        with _sole_owner(folder), _listen(port) as listener:
            asyncio.run(_serve(listener, folder, token, idle))
    finally:
        withdraw(token)  # last, so that whoever sees it gone finds the state folder free


def _listen(port: int) -> socket.socket:
    # asyncio turns Nagle's delay (40 ms an answer) off only where the protocol is named
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise TransportError(
            f"Port {port} cannot be used: {error.strerror}. Leave out --port to get a free one.",
            url=f"http://127.0.0.1:{port}",
        ) from error
    listener.listen(256)
    return listener


class _Server(uvicorn.Server):
    """A server that leaves signals to its owner; uvicorn's own ends the program by the signal."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def _sole_owner(folder: Path) -> Iterator[None]:
    """Hold the state folder's lock: two services over the same processes would both restart them."""
    try:
        private.make_folder(folder)
        file = private.open_own(folder / "serve.lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise TransportError(f"{error}. Give another --dir.", url=str(folder)) from error
    with os.fdopen(file):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TransportError(
                f"Another local service uses {folder}. Give another --dir.", url=str(folder)
            ) from error
        yield


async def _serve(listener: socket.socket, folder: Path, token: str, idle: float) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    wakeups = Wakeups()
    try:
        sandboxes = Sandboxes(folder, wakeups)
        tasks = Tasks(folder, sandboxes)
    except (StoreError, PermissionError) as error:
        wakeups.close()
        raise TransportError(f"{error}. Give another --dir.", url=str(folder)) from error
    other_token = secrets.token_urlsafe(32)
    guard = application(sandboxes, tasks, url=url, token=token, other_token=other_token)
    door = Door()
    server = _Server(
        uvicorn.Config(
            guard,
            http=door.protocol(),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",  # a warning for each bad request would let strangers fill the log
            access_log=False,
            server_header=False,
            timeout_keep_alive=120,
            timeout_graceful_shutdown=1,
        )
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, setattr, server, "should_exit", True)
    path = publish(url, token, other_token, folder)
    announce(url, path)
    watchers = (
        asyncio.ensure_future(_exit_when_idle(server, guard, sandboxes, tasks, idle)),
        asyncio.ensure_future(watch(sandboxes)),
    )
    try:
        await server.serve(sockets=[listener])
    finally:
        for watcher in watchers:
            watcher.cancel()
        await tasks.close()
        wakeups.close()


async def _exit_when_idle(
    server: uvicorn.Server, guard: Guard, sandboxes: Sandboxes, tasks: Tasks, idle: float
) -> None:
    while True:
        await asyncio.sleep(min(5.0, idle / 4))
        if tasks.busy or any(processes.busy for processes in sandboxes):
            guard.last = time.monotonic()
        if not guard.open and time.monotonic() - guard.last >= idle:
            server.should_exit = True
            return


def publish(url: str, token: str, other_token: str, folder: Path) -> Path:
    """Write the runtime file, in place of a stale one; return its path.

    ``other_token`` is a second user's key of the task API alone: what is another's can be seen there.
    """
    path = runtime_file()
    private.make_folder(path.parent)
    facts = {
        "url": url,
        "port": int(url.rpartition(":")[2]),
        "token": token,
        "other_token": other_token,
        "pid": os.getpid(),
        "dir": str(folder),
        "started": time.time(),
        "version": __version__,
    }
    private.write_own(path, json.dumps(facts))
    return path


def withdraw(token: str) -> None:
    """Remove the runtime file, if it is still this service's."""
    path = runtime_file()
    with suppress(OSError, UnicodeDecodeError, ProtocolError):  # gone, or another's by now
        if read_runtime(private.read_own(path), path)[0].token == token:
            path.unlink()


def announce(url: str, path: Path) -> None:
    """Print where the service is and how to use it with the official SDK; never the token."""
    print(
        f"blaxel-jupyter serves local sandboxes at {url}, agent tasks at {url}/api/v1\n"
        "Commands run AS YOU, WITHOUT ISOLATION: they can do whatever you can.\n"
        f"The token is in {path}\n"
        "The official SDK with it:\n"
        f"  export BL_WORKSPACE=local BL_SANDBOX_LOCAL_URL={url}/sandboxes/local\n"
        f"  export BL_API_KEY=\"$(python3 -c 'import json, sys; "
        f"print(json.load(open(sys.argv[1]))[\"token\"])' '{path}')\"",
        flush=True,
    )
