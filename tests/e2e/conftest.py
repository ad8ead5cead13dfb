"""Start a real JupyterLab, or another host, and a real Chromium for the tests that click.

Each test gets a notebook of its own in one server; kernels run in this environment. Nothing here knows
what a test shows.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("BLAXEL_JUPYTER_CHROMIUM") or shutil.which("chromium")
REQUIRED = "BLAXEL_JUPYTER_REQUIRE_BROWSER"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
START_SECONDS = 60
expect.set_options(timeout=30_000)

HOSTS_OWN = ("ResizeObserver", "reading 'schema'")
"""Errors that JupyterLab and Notebook 7 raise by themselves."""

LAB_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false"},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}


class Lab:
    """One running server: where it is, and where its notebooks are."""

    def __init__(self, url: str, token: str, folder: Path) -> None:
        self.url = url
        self.token = token
        self.folder = folder

    def address(self, notebook: str) -> str:
        """Return the page that shows one notebook and nothing else."""
        return f"{self.url}/lab/tree/{notebook}?token={self.token}&reset"


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run JupyterLab for the whole session."""
    with running_lab(tmp_path_factory.mktemp("lab")) as started:
        yield started


@contextlib.contextmanager
def running_lab(home: Path, *flags: str, app: str = "jupyterlab") -> Iterator[Lab]:
    """Run JupyterLab on a free port with a configuration of its own in ``home``."""
    folder = home / "notebooks"
    folder.mkdir()
    for name, settings in LAB_SETTINGS.items() if app == "jupyterlab" else ():
        package, plugin = name.split(":")
        path = home / "config/lab/user-settings" / package / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings), "utf-8")
    token = secrets.token_hex(16)
    command = [app, "--no-browser", "--port={port}"]
    command += ["--allow-root", f"--IdentityProvider.token={token}", f"--notebook-dir={folder}"]
    command += [
        "--ServerApp.port_retries=0",
        "--ServerApp.ip=127.0.0.1",
        "--LabApp.news_url=",
        *flags,
    ]
    with running_server(home, command, "/api") as url:
        yield Lab(url, token, folder)


@contextlib.contextmanager
def running_server(home: Path, command: list[str], answers: str) -> Iterator[str]:
    """Run a notebook server, a Python module and its arguments, on a free port; yield its URL.

    Its configuration, its kernels' and the local service's are in ``home``. It is up when it answers at
    the path ``answers``.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}",
    }
    arguments = [argument.format(port=port) for argument in command]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *arguments], env=environment, stdout=log, stderr=log, cwd=home
        )
    try:
        url = f"http://127.0.0.1:{port}"
        transport = httpx.HTTPTransport(retries=0)
        with httpx.Client(transport=transport) as client:
            _until_up(client, url + answers, server, home / "log")
        yield url
    finally:
        server.terminate()
        server.wait(20)
        stop = [sys.executable, "-c", "from blaxel_jupyter import local; local.stop()"]
        subprocess.run(stop, env=environment, check=True, timeout=60)


def _until_up(client: httpx.Client, url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(START_SECONDS * 5):
        if server.poll() is not None:
            break
        try:
            client.get(url, timeout=5).raise_for_status()
        except httpx.TransportError:
            _pause(server)
        else:
            return
    pytest.fail(f"the server did not start:\n{log.read_text('utf-8')[-3000:]}")


def _pause(server: subprocess.Popen[bytes]) -> None:
    """Wait a fifth of a second, or less if the server ends."""
    try:
        server.wait(0.2)
    except subprocess.TimeoutExpired:
        return


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run a browser for one module; while it runs, so does a loop, and no async test could."""
    with running_browser() as started:
        yield started


@contextlib.contextmanager
def running_browser() -> Iterator[Browser]:
    """Run the system's Chromium, else Playwright's own.

    Without one, tests are skipped; where BLAXEL_JUPYTER_REQUIRE_BROWSER=1, they fail.
    """
    with sync_playwright() as playwright:
        found = CHROMIUM or playwright.chromium.executable_path
        if not Path(found).exists():
            missing = pytest.fail if os.environ.get(REQUIRED) == "1" else pytest.skip
            missing(f"no Chromium at {found}; BLAXEL_JUPYTER_CHROMIUM may name one")
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Open one page; an error in its scripts fails the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert [error for error in errors if not any(own in error for own in HOSTS_OWN)] == []


@pytest.fixture
def notebook(lab: Lab, page: Page, request: pytest.FixtureRequest) -> Callable[..., Page]:
    """Return a function that opens a new notebook with the given cells, kernel ready."""

    def make(*cells: str) -> Page:
        open_notebook(lab, page, f"{request.node.name}.ipynb", *cells)
        return page

    return make


def open_notebook(lab: Lab, page: Page, name: str, *cells: str) -> None:
    """Write a notebook with these code cells and open it; returns when its kernel is ready."""
    (lab.folder / name).write_text(json.dumps(document(*cells)), "utf-8")
    page.goto(lab.address(name))
    # The toolbar says idle before there is a kernel; a cell run then asks which one to take.
    page.locator("#jp-main-statusbar", has_text="| Idle").wait_for()


def document(*cells: str) -> dict[str, Any]:
    """Return a notebook with these code cells."""
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{i}",
                "metadata": {},
                "source": source,
                "outputs": [],
                "execution_count": None,
            }
            for i, source in enumerate(cells)
        ],
    }


def run_cell(page: Page, index: int) -> None:
    """Run one cell by its number, from 0; returns when the notebook has taken it.

    A page under load may lose the first key press after a click, so this presses until it is taken.
    """
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(index)
    prompt = cell.locator(".jp-InputPrompt")
    before = prompt.inner_text()
    for _ in range(5):
        cell.locator(".jp-InputArea-editor").click()
        page.keyboard.press("Control+Enter")
        with contextlib.suppress(AssertionError):
            expect(prompt).not_to_have_text(before, timeout=3000)
            return
    pytest.fail(f"cell {index} was not run")


def save(page: Page) -> None:
    """Save the notebook; returns when it is on disk. Its kernel goes on."""
    page.keyboard.press("Control+s")
    expect(page.locator("#jp-main-dock-panel .lm-mod-current.jp-mod-dirty")).to_have_count(0)


def choose_theme(page: Page, name: str, light: bool) -> None:
    """Choose a theme in JupyterLab's menu; returns when it is there."""
    page.get_by_role("menuitem", name="Settings").click()
    page.get_by_text("Theme", exact=True).hover()
    page.get_by_text(name, exact=True).click()
    body = page.locator(f'body[data-jp-theme-light="{str(light).lower()}"]')
    body.wait_for(state="attached")
    expect(page.locator(".lm-Menu")).to_have_count(0)
