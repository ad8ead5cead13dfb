"""Several views of one panel in a real JupyterLab: the same rows, each with its own search and place."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from conftest import run_cell
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.e2e
Notebook = Callable[..., Page]

TICKING = """
import threading
from stand_in import Run, shown
run = Run()
run.add(*(f'line {i}' for i in range(300)))
panel = shown(run)
def tick():
    while not run.header()['final']:
        run.add(f"tick {run.facts['lines']}")
        panel.flush()
        threading.Event().wait(0.1)
    while panel.flush(): pass
threading.Thread(target=tick, daemon=True).start()
panel
"""


def test_two_views_agree_and_part(notebook: Notebook) -> None:
    """While lines arrive both views have them all; searches are apart; one closes, the other goes on."""
    page = notebook(TICKING, "run.end()\n'ended'")
    run_cell(page, 0)
    views = page.locator(".bxl-panel")
    expect(views.first.locator(".bxl-text").last).to_have_text(re.compile("^tick"))
    page.locator(".jp-OutputArea-output").first.click(button="right")
    page.get_by_role("menuitem", name="Create New View for Cell Output").click()
    expect(views).to_have_count(2)
    one, other = views.all()
    for view in (one, other):
        last = view.locator(".bxl-text").last
        before = last.inner_text()
        expect(last).not_to_have_text(before)
        expect(last).to_have_text(re.compile("^tick"))
    one.get_by_label("Search the log").fill("line 177")
    other.get_by_label("Search the log").fill("line 288")
    expect(one.locator(".bxl-current .bxl-text")).to_have_text("line 177")
    expect(one.locator(".bxl-count")).to_have_text("1/1")
    expect(other.locator(".bxl-current .bxl-text")).to_have_text("line 288")
    expect(other.locator(".bxl-count")).to_have_text("1/1")
    page.locator(".lm-DockPanel-tabBar .lm-TabBar-tab", has_text="Output View").locator(
        ".lm-TabBar-tabCloseIcon"
    ).click()
    expect(views).to_have_count(1)
    expect(views.locator(".bxl-current .bxl-text")).to_have_text("line 177")
    before = int(views.get_attribute("data-rows") or 0)
    expect(views).not_to_have_attribute("data-rows", str(before))
    run_cell(page, 1)
    expect(views.locator(".bxl-status")).to_have_text(re.compile("^completed"))
    views.locator(".bxl-body").press("End")
    expect(views.locator(".bxl-text").last).to_have_text(re.compile("^tick"))
