"""The panel where room is scarce or looks are another: narrow, enlarged, high contrast, themes."""

from __future__ import annotations

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

BETWEEN_THEMES = """body => {
    body.style.display = "none";
    body.closest(".bxl-panel").querySelector("[aria-label='Wrap long lines']").click();
    requestAnimationFrame(() => { body.style.display = "" });
}"""


def test_rows_come_back_when_there_is_room_again(notebook: Notebook) -> None:
    """Painted while it had no height for a moment, as between two themes, a short log is filled again."""
    page = notebook(START + "run.add(*map(str, range(10))); run.end(); panel.flush()\npanel")
    run_cell(page, 0)
    expect(page.locator(".bxl-text").last).to_have_text("9")
    page.locator(".bxl-body").evaluate(BETWEEN_THEMES)
    expect(page.locator(".bxl-body")).to_have_class("bxl-body bxl-wrap")
    expect(page.locator(".bxl-text").last).to_have_text("9")
