"""Secrets in a real JupyterLab: not on the page, not by search, copy or download, not in the file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.canary import Search
from tests.e2e.conftest import Lab, run_cell

pytestmark = pytest.mark.e2e

KEY = "sk-CANARY/5up3r+s3cr3t=~%x"
SEARCH = Search(KEY)
LIVE = 20_000

SETUP = (
    "%load_ext blaxel_jupyter\n%sandbox use local\n"
    f"import os; os.environ['API_KEY'] = ''.join(map(chr, {list(map(ord, KEY))}))"
)
"""The notebook's source does not hold the key as it is."""

CELL = (
    "%%sandbox_exec --bg -e API_KEY\necho plain $API_KEY; printf %s $API_KEY | base64; "
    'printf \'\\033[31msk-\\033[m%s\\n\' "${API_KEY#sk-}"; echo "Error: $API_KEY" >&2\n'
    "printf 'open %s' \"$API_KEY\"; until [ -e go ]; do sleep .1; done"
)


def test_a_secret_is_nowhere_on_the_page(notebook: Callable[..., Page], lab: Lab) -> None:
    """Live, searched for, copied, downloaded, and in what is saved; the header says how many there were."""
    page = notebook(SETUP, CELL, "%%sandbox_exec -q\ntouch go", "_sandbox.logs")
    for cell in (0, 1):
        run_cell(page, cell)
    panel = page.locator(".bxl-panel")
    expect(panel).to_contain_text("open [API_KEY masked]", timeout=LIVE)
    expect(panel).to_contain_text("plain [API_KEY masked]")
    expect(page.locator(".bxl-facts")).to_contain_text("4 values masked")
    SEARCH.clean(page.content(), "the live page")
    search = page.get_by_label("Search the log")
    search.fill(KEY)
    expect(page.locator(".bxl-count")).to_have_text("no match")
    search.fill("[API_KEY masked]")
    expect(page.locator(".bxl-count")).to_have_text("1/4")
    search.fill("")
    page.get_by_label("Copy lines (y)").click()
    page.get_by_role("menuitem", name="Copy as text").click()
    page.get_by_text("copied", exact=True).wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.count("[API_KEY masked]") == 5
    SEARCH.clean(copied, "the clipboard")
    with page.expect_download() as download:
        page.get_by_label("Download lines (s)").click()
        page.get_by_role("menuitem", name="Download as text").click()
    SEARCH.clean(Path(download.value.path()).read_bytes(), "a download")
    run_cell(page, 2)
    expect(page.locator(".bxs-head").first).to_contain_text("5 values masked", timeout=LIVE)
    SEARCH.clean(page.content(), "the page when it has ended")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+s")
    [path] = lab.folder.glob("test_a_secret*.ipynb")
    deadline = time.monotonic() + 20
    while "[API_KEY masked]" not in path.read_text("utf-8"):
        assert time.monotonic() < deadline, "the notebook was not saved"
        page.wait_for_timeout(100)
    SEARCH.clean(path.read_bytes(), "the notebook's file")
