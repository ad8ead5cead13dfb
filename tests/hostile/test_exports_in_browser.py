"""Hostile text in what others make of a saved notebook: nbconvert's HTML, and the static HTML by itself.

Both are opened in a real Chromium, without any policy of a server's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import nbconvert
import nbformat
import pytest

from blaxel_jupyter.panel import static, task_static
from tests.e2e.conftest import running_browser
from tests.hostile.payloads import LINES, Payload
from tests.hostile.saved import PLACES, log, notebook, task
from tests.hostile.watched import Watched, watched

pytestmark = pytest.mark.e2e


@dataclass
class Exports:
    """What the browser showed of each export."""

    texts: dict[str, str] = field(default_factory=dict)
    fired: dict[str, list[str]] = field(default_factory=dict)
    foreign: dict[str, list[str]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """Export the notebook, open what comes of it, and read it."""
    folder, found = tmp_path_factory.mktemp("exports"), Exports()
    html, _ = nbconvert.HTMLExporter().from_notebook_node(nbformat.from_dict(notebook()))
    pages = {
        "nbconvert": html,
        "log": f"<!DOCTYPE html><meta charset=utf-8>{static.html(log(), save='all')}",
        "task": f"<!DOCTYPE html><meta charset=utf-8>{task_static.html(task(), save='all')}",
    }
    with running_browser() as browser:
        for name, content in pages.items():
            path = folder / f"{name}.html"
            path.write_text(content, "utf-8")
            with watched(browser) as page:
                read(found, page, name, path)
    return found


def read(found: Exports, page: Watched, name: str, path: Path) -> None:
    """Open a file, unfold it, and press all that could be pressed in it."""
    page.page.route(
        "**/*", lambda route: route.continue_() if "file:" in route.request.url else route.abort()
    )
    page.page.goto(path.as_uri(), wait_until="domcontentloaded")
    page.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    page.page.evaluate(
        "document.querySelectorAll('.bxs *, .jp-OutputArea *').forEach(one =>"
        " one.dispatchEvent(new MouseEvent('mouseover', { bubbles: true })))"
    )
    found.foreign[name] = page.foreign(".bxs", saved=True)
    if name == "nbconvert":
        outputs = page.page.locator(".jp-OutputArea-output")
        assert outputs.count() == len(PLACES)
        for i, place in enumerate(PLACES):
            found.texts[f"nbconvert {place}"] = outputs.nth(i).evaluate("node => node.textContent")
    else:
        found.texts[name] = page.page.evaluate("document.body.textContent")
    found.fired[name] = page.fired()


NAMES = ["log", "task", *(f"nbconvert {place}" for place in PLACES)]


@pytest.mark.parametrize("name", ["nbconvert", "log", "task"])
def test_nothing_fired(exports: Exports, name: str) -> None:
    """No script, dialog, window, request or prototype; every element of our outputs is ours."""
    assert exports.fired[name] == []
    assert exports.foreign[name] == []


@pytest.mark.parametrize("place", NAMES)
@pytest.mark.parametrize("one", LINES, ids=str)
def test_a_line_is_read(exports: Exports, one: Payload, place: str) -> None:
    """What the line says is in the text of the page, and nothing of it was lost or hidden."""
    told = exports.texts[place]
    if place.endswith("table"):
        assert table_cell(one) in told
    elif place.endswith("pandas"):
        assert (
            "".join(one.text.split())[:20].strip("\0\r") in "".join(told.split())
            or one.seen != one.text
        )
    else:
        assert "".join(one.seen.split()) in "".join(told.split())


def table_cell(one: Payload) -> str:
    """Return how a table of ours shows a value: escapes as Python writes them, 200 characters."""
    text = one.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:200]
    )
