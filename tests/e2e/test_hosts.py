"""The panel in other hosts than JupyterLab: a run that streams, a search that finds, a Stop that stops.

VS Code and Colab cannot be run here.
"""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path

import pytest
from conftest import document, run_cell, running_lab, running_server
from playwright.sync_api import Locator, Page, expect
from sleepers import gone, sleepers

pytestmark = pytest.mark.e2e

SETUP = "%load_ext blaxel_jupyter\n%sandbox use local"


def ticking() -> tuple[str, str]:
    """Return a command that prints for ever, and the mark its process is known by."""
    mark = f"mark-{uuid.uuid4().hex}"
    loop = "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.2; done"
    return f"{loop} # {mark}", mark


def streams_and_finds(panel: Locator) -> None:
    """Lines arrive while they are looked at; a search and a filter find among them."""
    expect(panel.locator(".bxl-status")).to_have_text("running")
    last = panel.locator(".bxl-text").last
    before = last.inner_text()
    expect(last).not_to_have_text(before)
    panel.get_by_label("Regular expression").click()
    panel.get_by_label("Search the log").fill("TICK [12]$")
    expect(panel.locator(".bxl-count")).to_have_text("1/2")
    expect(panel.locator(".bxl-current .bxl-mark")).to_have_text("tick 1")
    panel.get_by_label("Search the log").press("Enter")
    expect(panel.locator(".bxl-current .bxl-mark")).to_have_text("tick 2")
    panel.get_by_label("Filter the lines (f)").click()
    panel.get_by_label("Filter the log").fill('"tick 3" seq:0..5')
    expect(panel.locator(".bxl-text")).to_have_text(["tick 3"])
    panel.get_by_label("Filter the lines (f)").click()
    expect(panel.locator(".bxl-badge")).to_have_text(re.compile("new line"))


def stops(panel: Locator, mark: str) -> None:
    """Stop ends the process itself."""
    assert sleepers(mark)
    panel.get_by_role("button", name="Stop the process").click()
    gone(mark)


def test_notebook_7(page: Page, tmp_path: Path) -> None:
    """With the magics, as in JupyterLab; when the run has ended its output is static."""
    command, mark = ticking()
    with running_lab(tmp_path, app="notebook") as server:
        notebook = document(SETUP, f"%%sandbox_exec\n{command}")
        (server.folder / "seven.ipynb").write_text(json.dumps(notebook), "utf-8")
        page.goto(f"{server.url}/notebooks/seven.ipynb?token={server.token}")
        # A cell that is run before the kernel is there only opens a dialog that asks for one. The indicator
        # says idle then, too; the status beside the menu fades only when it has been told of a kernel.
        expect(page.locator(".jp-NotebookKernelStatus-fade")).to_have_text("")
        page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").wait_for()
        run_cell(page, 0)
        expect(page.locator(".jp-Cell").nth(0)).to_contain_text("Selected: local")
        run_cell(page, 1)
        panel = page.locator(".bxl-panel")
        streams_and_finds(panel)
        stops(panel, mark)
        expect(page.locator(".jp-Cell").nth(1)).to_contain_text("was stopped")
        expect(panel).to_have_count(0)


def test_voila(page: Page, tmp_path: Path) -> None:
    """A cell with ``--bg`` leaves a live panel, which stays when the run has ended."""
    command, mark = ticking()
    cells = (SETUP, f"%%sandbox_exec --bg -o back\n{command}", "print('after', back.status)")
    (tmp_path / "app.ipynb").write_text(json.dumps(document(*cells)), "utf-8")
    flags = ["--no-browser", "--Voila.ip=127.0.0.1", "--port={port}", "--port_retries=0"]
    with running_server(tmp_path, ["voila", "app.ipynb", *flags], "/voila/static/voila.js") as url:
        page.goto(url)
        page.get_by_text("after running").wait_for()
        panel = page.locator(".bxl-panel")
        streams_and_finds(panel)
        stops(panel, mark)
        expect(panel.locator(".bxl-status")).to_have_text(re.compile("^stopped"))
        expect(panel.locator(".bxl-text").first).to_be_visible()


MARIMO = """
import marimo

app = marimo.App()


@app.cell
async def _():
    from blaxel_jupyter import LogPanel, SandboxClient

    sandbox = SandboxClient("local")
    run = await sandbox.exec({command!r})
    LogPanel(run)
    return
"""


def test_marimo(page: Page, tmp_path: Path) -> None:
    """Without magics, by the Python API; in a shadow root focus and selection are found, too."""
    command, mark = ticking()
    (tmp_path / "app.py").write_text(MARIMO.format(command=command), "utf-8")
    flags = ["--headless", "--no-token", "--host=127.0.0.1", "--port={port}"]
    with running_server(tmp_path, ["marimo", "--quiet", "run", "app.py", *flags], "/health") as url:
        page.goto(url)
        panel = page.locator(".bxl-panel")
        streams_and_finds(panel)
        stops(panel, mark)
        expect(panel.locator(".bxl-status")).to_have_text(re.compile("^stopped"))
        panel.locator(".bxl-text").last.click(click_count=3)
        panel.get_by_label("Copy lines (y)").click()
        panel.get_by_role("menuitemradio", name="Selected: 1 line").wait_for()
        page.keyboard.press("ArrowDown")
        expect(panel.get_by_role("menuitemradio", name="All: ")).to_be_focused()
