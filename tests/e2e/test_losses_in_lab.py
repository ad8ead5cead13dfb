"""Lose messages between JupyterLab's page and the kernel, or show more than a page holds: all is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import run_cell
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.e2e

Notebook = Callable[..., Page]

# Three of ten of the widgets' own messages never come through the page's sockets, nor leave them.
LOSSY = """(() => {
  let state = 7;
  window.lost = 0;
  const decoder = new TextDecoder();
  const drops = (data) => {
    const start = typeof data === 'string' ? data : decoder.decode(new Uint8Array(data).slice(0, 4000));
    if (!start.includes('comm_msg') || !start.includes('custom')) return false;
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const lost = state / 2 ** 32 < 0.3;
    window.lost += lost;
    return lost;
  };
  const { set } = Object.getOwnPropertyDescriptor(WebSocket.prototype, 'onmessage');
  Object.defineProperty(WebSocket.prototype, 'onmessage', {
    set(heard) { set.call(this, heard && ((event) => drops(event.data) || heard.call(this, event))); },
  });
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) { if (!drops(data)) send.call(this, data); };
})()"""

START = """import asyncio
from stand_in import Run, shown
run = Run(); panel = shown(run)
panel"""
FOLLOW = """pump = asyncio.create_task(panel.pump())
for i in range(120):
    run.add(*(f"{i}.{j} {'ab ' * (j % 30)}" for j in range(667)))
    await asyncio.sleep(1 / 30)
run.end()
await pump"""
LINES = 120 * 667


def test_three_messages_of_ten_are_lost(notebook: Notebook, page: Page) -> None:
    """At 20,000 lines a second for some seconds; the panel says so while it goes on, and no longer."""
    page.add_init_script(LOSSY)
    notebook(START, FOLLOW)
    run_cell(page, 0)
    page.locator(".bxl-panel").wait_for()
    run_cell(page, 1)
    note = page.locator(".bxl-note", has_text="lines again")
    note.wait_for()
    panel = page.locator(".bxl-panel.bxl-final")
    panel.wait_for(timeout=60_000)
    expect(panel).to_have_attribute("data-rows", str(LINES), timeout=60_000)
    expect(note).to_have_count(0)
    assert page.evaluate("window.lost") > 20
    with page.expect_download() as download:
        page.get_by_label("Download lines (s)").click()
        page.get_by_role("menuitem", name="Download as text").click()
    wanted = "".join(f"{i}.{j} {'ab ' * (j % 30)}\n" for i in range(120) for j in range(667))
    assert Path(download.value.path()).read_text("utf-8") == wanted


MANY = """asked = []
send = panel.send
def count(content, buffers=None):
    if content["kind"] == "page" and buffers: asked.append(content["from"])
    send(content, buffers)
panel.send = count
for i in range(1500):
    run.add(f"{i} {'needle ' if i == 3 else ''}{'x' * 100_000}")
run.end()
await panel.pump()"""


def test_more_than_the_page_holds(notebook: Notebook) -> None:
    """150 MB can be read and searched from the first line to the last: what was let go comes back."""
    page = notebook(START, MANY, "print('asked for', len(asked), 'first', min(asked))")
    run_cell(page, 0)
    page.locator(".bxl-panel").wait_for()
    run_cell(page, 1)
    panel = page.locator(".bxl-panel.bxl-final")
    panel.wait_for(timeout=120_000)
    text = page.locator(".bxl-text")
    expect(text.last).to_contain_text("1499 xxx")
    expect(panel).to_have_attribute("data-rows", "1500", timeout=100_000)
    page.locator(".bxl-body").focus()
    page.keyboard.press("Home")
    expect(text.first).to_contain_text("0 xxx", timeout=60_000)
    expect(page.locator(".bxl-blank")).to_have_count(0)
    page.keyboard.press("End")
    expect(text.last).to_contain_text("1499 xxx")
    page.get_by_label("Search the log").fill("needle")
    expect(page.locator(".bxl-count")).to_have_text("1/1", timeout=60_000)
    expect(page.locator(".bxl-row.bxl-current")).to_contain_text("3 needle xxx")
    run_cell(page, 2)
    said = page.locator(".jp-OutputArea-output", has_text="asked for")
    said.wait_for()
    assert int(said.inner_text().split()[-1]) < 200  # of the first lines all but those on screen
