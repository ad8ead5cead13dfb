"""The panel where room is scarce or looks are another: narrow, enlarged, high contrast, themes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from conftest import run_cell
from playwright.sync_api import Locator, Page, expect

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
    body.closest(".bxl-panel").querySelector("[aria-label='Hide lines that do not match']").click();
    requestAnimationFrame(() => { body.style.display = "" });
}"""


def test_rows_come_back_when_there_is_room_again(notebook: Notebook) -> None:
    """Painted while it had no height for a moment, as between two themes, a short log is filled again."""
    page = notebook(START + "run.add(*map(str, range(10))); run.end(); panel.flush()\npanel")
    run_cell(page, 0)
    expect(page.locator(".bxl-text").last).to_have_text("9")
    page.locator(".bxl-body").evaluate(BETWEEN_THEMES)
    expect(page.locator(".bxl-text").last).to_have_text("9")


LOG = """
run.facts |= {'process': 'a-process-with-a-long-name', 'local': True, 'message': 'a word or two'}
run.add(*(f'line {i} ' + 'of many words ' * (i % 20) for i in range(400)))
run.add('ERROR it broke', stream='stderr')
run.end('failed', 137)
run.facts |= {'integrity': 'gap', 'digest': {'meaning': 'killed', 'first': 3, 'block': [400, 401]}}
while panel.flush(): pass
"""
TASK = """
from stand_in_task import Run as Task, shown as shown_task
from IPython.display import display
task = Task(local=True, model='a-model-with-a-long-name')
task.replay('02-failed.ndjson')
task.end('failed', 'it said no')
panel = shown_task(task)
while panel.flush(): pass
"""

MISPLACED = """panel => {
    const box = panel.getBoundingClientRect();
    const name = (node) => `${node.className} ${node.ariaLabel ?? ""} ${node.textContent.slice(0, 20)}`;
    const shown = (node) => node.checkVisibility({visibilityProperty: true}) && node.offsetWidth > 1;
    const parts = ".bxl-header button, .bxl-toolbar *:is(button, input, select), .bxl-status,"
        + ".bxl-process, .bxl-facts, .bxl-integrity, .bxl-origin, .bxl-digest > *";
    const nodes = [...panel.querySelectorAll(parts)].filter(shown);
    const wrong = [];
    for (const node of nodes) {
        node.scrollIntoView({block: "nearest"});
        const at = node.getBoundingClientRect();
        const edge = panel.getBoundingClientRect();
        if (at.left < edge.left || at.right > edge.right + 0.5) wrong.push(`outside: ${name(node)}`);
        if (at.width < 16 || at.height < 12) wrong.push(`too small: ${name(node)}`);
        const top = document.elementFromPoint(at.x + at.width / 2, at.y + at.height / 2);
        if (top !== node && !node.contains(top)) wrong.push(`covered: ${name(node)} by ${name(top)}`);
        for (const other of nodes) {
            const to = other.getBoundingClientRect();
            if (node === other || node.contains(other) || other.contains(node)) continue;
            const wide = Math.min(at.right, to.right) - Math.max(at.left, to.left);
            const high = Math.min(at.bottom, to.bottom) - Math.max(at.top, to.top);
            if (wide > 1 && high > 1) wrong.push(`overlap: ${name(node)} and ${name(other)}`);
        }
    }
    if (panel.scrollWidth > panel.clientWidth) wrong.push(`wider than its place: ${panel.scrollWidth}`);
    return wrong;
}"""


FOCUS = """panel => {
    const node = document.activeElement;
    if (!panel.contains(node)) return null;
    const drawn = (at) => {
        const { outlineStyle, boxShadow } = getComputedStyle(at);
        return outlineStyle !== "none" || boxShadow !== "none";
    };
    const field = node.closest(".bxl-field");
    const box = node.getBoundingClientRect();
    return {
        name: node.ariaLabel || node.textContent.slice(0, 30),
        seen: drawn(node) || Boolean(field && drawn(field)),
        middle: (box.top + box.bottom) / 2 - panel.getBoundingClientRect().top, left: box.left,
    };
}"""


def both(notebook: Notebook) -> tuple[Page, Locator, Locator]:
    """Show a log and a task, each with as many controls as it can have."""
    page = notebook(START + LOG + "display(panel)" + TASK + "display(panel)")
    run_cell(page, 0)
    expect(page.locator(".bxl-panel")).to_have_count(2)
    page.keyboard.press("Control+B")  # no file browser
    log, task = page.locator(".bxl-panel").all()
    log.get_by_label("Filter the lines (f)").click()
    log.get_by_label("Filter the log").fill("-nothing")
    log.get_by_label("Search the log").fill("of many")
    expect(log.locator(".bxl-count")).to_contain_text("/380")
    task.get_by_label("Search the story").fill("the")
    expect(task.locator(".bxl-count")).to_contain_text("/4")
    return page, log, task


def test_a_narrow_column_and_a_large_type(notebook: Notebook) -> None:
    """In 400 pixels, and at 200 %, every control is there: none is cut off, covered or tiny."""
    page, log, task = both(notebook)
    narrow = page.add_style_tag(content=".jp-OutputArea-output { max-width: 400px }")
    for panel in (log, task):
        assert panel.bounding_box()["width"] == 400
        assert panel.evaluate(MISPLACED) == []
    narrow.evaluate("style => style.remove()")
    zoomed = {"width": 600, "height": 450, "deviceScaleFactor": 2, "mobile": False}
    page.context.new_cdp_session(page).send("Emulation.setDeviceMetricsOverride", zoomed)
    expect(page.locator("html")).to_have_js_property("clientWidth", 600)
    for panel in (log, task):
        assert panel.evaluate(MISPLACED) == []


def test_high_contrast_and_little_motion(notebook: Notebook) -> None:
    """Where colours are the system's, what they say is said by lines; nothing moves by itself."""
    page, log, task = both(notebook)
    page.emulate_media(forced_colors="active", reduced_motion="reduce")
    for panel in (log, task):
        assert panel.evaluate(MISPLACED) == []
    hide = log.get_by_label("Hide lines that do not match")
    expect(hide).to_have_css("outline-style", "solid")
    hide.click()
    expect(hide).to_have_css("outline-style", "none")
    log.get_by_role("button", name="last error: line 401").click()
    expect(log.locator(".bxl-stderr .bxl-gutter")).to_have_css("border-left-width", "3px")
    expect(log.locator(".bxl-current")).to_have_css("outline-style", "solid")
    log.get_by_label("Search the log").focus()
    expect(log.locator(".bxl-field").first).to_have_css("outline-style", "solid")
    moving = "document.getAnimations().filter(a => a.effect.target.closest('.bxl-panel')).length"
    log.locator(".bxl-status").evaluate("status => status.dataset.status = 'running'")
    assert page.evaluate(moving) == 0
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(moving) > 0


def test_the_keyboard_reaches_everything(notebook: Notebook) -> None:
    """Tab goes through every control in reading order, and where it is can be seen."""
    page, log, task = both(notebook)
    for panel in (log, task):
        controls = panel.locator(
            "button:visible, input:visible, select:visible, [tabindex='0']:visible"
        )
        names = controls.evaluate_all(
            "nodes => nodes.filter(node => node.tabIndex >= 0 && !node.closest('.bxl-row'))"
            ".map(node => node.ariaLabel || node.textContent.slice(0, 30))"
        )
        controls.first.focus()
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Tab")
        visited = []
        while at := panel.evaluate(FOCUS):
            visited.append(at)
            page.keyboard.press("Tab")
            assert len(visited) < 100
        assert [at["name"] for at in visited] == names
        assert [at["name"] for at in visited if not at["seen"]] == []
        for before, after in pairwise(visited):
            assert after["middle"] > before["middle"] + 8 or after["left"] > before["left"]
