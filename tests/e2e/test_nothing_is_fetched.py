"""Nothing is fetched at run time: page, kernel and local service ask this machine and nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import Lab, open_notebook, run_cell, running_lab
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.e2e

HOOK = """
import json, os, sys

def note(event, what):
    line = json.dumps([os.getpid(), " ".join(sys.orig_argv[-3:]), event, what]) + "\\n"
    file = os.open({log!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line.encode())
    os.close(file)

def is_ours(host):
    host = host.decode() if isinstance(host, bytes) else str(host)
    return host in ("localhost", "::1", "None", "", "0.0.0.0", "::") or host.startswith("127.")

def hook(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        if isinstance(address, tuple) and not is_ours(address[0]):
            note(event, str(address))
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        if not is_ours(arguments[0]):
            note(event, str(arguments[0]))

sys.addaudithook(hook)
note("listening", "")
"""
CELLS = (
    "%load_ext blaxel_jupyter\n%sandbox use local",
    "%%sandbox_exec -o found\nseq 2000; echo oops >&2",
    "%%task -o told --agent local\nHello\n$ echo step",
    "import asyncio\nfound.wait(); told.wait()\nprint('rows', len(found.logs), told.status)",
    "import socket\ntry:\n    socket.getaddrinfo('canary.invalid', 80)\nexcept OSError:\n    print('asked')",
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where kernel and service note whom they ask; the hook is in every Python that they start."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    path = tmp_path / "asked.ndjson"
    (hooks / "sitecustomize.py").write_text(HOOK.format(log=str(path)))
    startup = tmp_path / "home" / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-listen.py").write_text(
        "import os, runpy\n"
        f"os.environ['PYTHONPATH'] = {str(hooks)!r} + os.pathsep + os.environ['PYTHONPATH']\n"
        f"runpy.run_path({str(hooks / 'sitecustomize.py')!r})\n"
    )
    return path


@pytest.fixture
def lab_of_its_own(tmp_path: Path, log: Path) -> Iterator[Lab]:
    """A JupyterLab whose kernels listen to themselves."""
    with running_lab(tmp_path / "home") as started:
        yield started


def test_nobody_but_this_machine_is_asked(lab_of_its_own: Lab, page: Page, log: Path) -> None:
    """A sandbox, a task, their panels; only the canaries, asked for on purpose, are seen."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    open_notebook(lab_of_its_own, page, "fetch.ipynb", *CELLS)
    for index in range(len(CELLS)):
        run_cell(page, index)
    outputs = page.locator(".jp-Notebook .jp-CodeCell .jp-OutputArea-output")
    expect(outputs.filter(has_text="rows 2001 completed")).to_have_count(1)
    expect(outputs.filter(has_text="asked")).to_have_count(1)
    page.evaluate("() => fetch('http://canary.invalid/x').catch(() => 0)")
    foreign = [url for url in asked if _is_foreign(url)]
    assert foreign == ["http://canary.invalid/x"]
    noted: list[list[Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    listening = [command for _, command, event, _ in noted if event == "listening"]
    assert any("blaxel_jupyter.cli serve" in command for command in listening), listening
    assert any("ipykernel" in command or "kernel" in command for command in listening), listening
    others = [each[2:] for each in noted if each[2] != "listening"]
    assert others == [["socket.getaddrinfo", "canary.invalid"]]


def _is_foreign(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme not in ("data", "blob", "about") and parts.hostname not in (
        "127.0.0.1",
        "localhost",
    )
