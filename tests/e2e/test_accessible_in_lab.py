"""The panel for those who see little, or use no mouse: axe-core's rules in light and dark."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import choose_theme, run_cell
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.e2e
Notebook = Callable[..., Page]

START = """
from stand_in import Run, shown
from IPython.display import display

def colours(run, *numbers):
    for n in numbers:
        run.add(f'\\x1b[{n}mcolour {n}\\x1b[0m plain \\x1b[1;{n}mbold\\x1b[0m \\x1b[2;{n}mdim\\x1b[0m')
    run.add('\\x1b[2mdim\\x1b[0m \\x1b[7minverse\\x1b[0m \\x1b[37;44mwhite on blue\\x1b[0m')

def filled(*numbers, **facts):
    run = Run()
    colours(run, *numbers)
    run.add('oops', 'ERROR it broke', stream='stderr')
    run.add('', kind='gap', missing_bytes=[9])
    run.add('a word of ours', stream='system', kind='notice')
    run.add('WARNING late', 'x' * 5000, 'done')
    run.facts |= facts
    return run

def display_all(run):
    panel = shown(run)
    while panel.flush(): pass
    display(panel)
"""
LIVE = "run = filled(*range(30, 38), local=True, partial=[['stdout', '50 %']]); display_all(run)"
BRIGHT = "run = filled(*range(90, 98)); display_all(run)"
ENDED = "run = filled(*range(40, 48)); run.end(); display_all(run)"
EMPTY = "display_all(Run())"
FAILED = """
run = filled(*range(100, 108), message='a word about it')
run.end('failed', 137)
run.facts |= {'integrity': 'gap'}
run.facts['digest'] = {'meaning': 'killed', 'first': 9, 'block': [9, 11]}
display_all(run)
"""
READ = """
run = Run()
trace = ['Traceback (most recent call last):', '  File "a.py", line 1', '    f()', 'KeyError: 1']
for i in range(3):
    run.add(f'INFO line {i}', *trace, 'level=warn msg="so so" took=12ms')
run.add('see https://example.com/x', 'ERROR {"user": "ada", "tags": ["a"]}', 'x' * 9000, 'a\\u202eb')
run.end('failed', 1)
display_all(run)
"""
SEVERAL = """
from blaxel_jupyter.panel import LogPanel
runs = [filled(30 + i, process=f'part-{i}') for i in range(8)]
panel = LogPanel(*runs)
panel.on_command(lambda verb, i: None)
while panel.flush(): pass
display(panel)
"""
TASK = """
from stand_in_task import Run as Task, shown as shown_task
def task(name, *end, **facts):
    run = Task(**facts)
    run.replay(name)
    run.end(*end)
    panel = shown_task(run)
    while panel.flush(): pass
    display(panel)
task('02-failed.ndjson', 'failed', 'it said no', local=True)
task('01-success.capture.ndjson')
task('04-tolerance.ndjson', 'cancelled')
"""


THEMES = (("JupyterLab Light", True), ("JupyterLab Dark", False))


def violations(page: Page) -> list[str]:
    """Return what axe-core finds wrong within the panels, one line each."""
    # JupyterLab's body has no height and hides what overflows: axe would take all for hidden.
    page.evaluate("document.body.style.height = '100vh'")
    said = []
    for panel in page.locator(".bxl-panel").all():
        panel.evaluate("panel => panel.scrollIntoView({block: 'center'})")
        panel.evaluate("panel => panel.id = 'examined'")
        response = Axe().run(page, "#examined").response
        panel.evaluate("panel => panel.removeAttribute('id')")
        for found in response["violations"]:
            for node in found["nodes"]:
                why = (node["any"] or node["all"] or node["none"])[0]["message"]
                said.append(f"{found['id']}, {found['impact']}: {why} {node['html'][:160]}")
    return said


def contrasts(page: Page) -> int:
    """Return of how many elements of the last panel axe-core can tell the contrast."""
    panel = page.locator(".bxl-panel").last
    panel.evaluate("panel => panel.scrollIntoView({block: 'center'})")
    panel.evaluate("panel => panel.id = 'examined'")
    response = Axe().run(page, "#examined", {"runOnly": ["color-contrast"]}).response
    return sum(len(found["nodes"]) for found in response["passes"])


def test_logs(notebook: Notebook) -> None:
    """Live, ended and failed, filtered and searched: no rule is broken in either theme."""
    page = notebook(START + EMPTY, LIVE, BRIGHT, ENDED, FAILED)
    for cell in range(5):
        run_cell(page, cell)
        expect(page.locator(".bxl-panel")).to_have_count(cell + 1)
    _empty, _live, bright, ended, failed = page.locator(".bxl-panel").all()
    failed.locator(".bxl-digest").wait_for()
    bright.get_by_label("Search the log").fill("colour 9")
    expect(bright.locator(".bxl-count")).to_have_text("1/8")
    expect(bright.locator(".bxl-mark")).to_have_count(8)
    bright.get_by_label("Filter the lines (f)").click()
    bright.get_by_label("Filter the log").fill("(")
    ended.get_by_label("Search the log").fill("bold")
    expect(ended.locator(".bxl-mark")).to_have_count(8)
    failed.get_by_label("Filter the lines (f)").click()
    failed.get_by_label("Filter the log").fill("level>=error")
    failed.get_by_label("Hide lines that do not match").click()
    failed.locator(".bxl-faint").first.wait_for()
    for theme, light in THEMES:
        choose_theme(page, theme, light)
        assert violations(page) == [], theme
    assert contrasts(page) > 30


def test_what_opens(notebook: Notebook) -> None:
    """Numbers, times, the histogram, details, menus, keys and sources: no rule is broken in either theme."""
    page = notebook(START + READ, SEVERAL)
    for cell in range(2):
        run_cell(page, cell)
        expect(page.locator(".bxl-panel")).to_have_count(cell + 1)
    read, _several = page.locator(".bxl-panel").all()
    for name in ("Line numbers (l)", "Arrival times (t)", "Lines over time (h)"):
        read.get_by_label(name).click()
        expect(read.get_by_label(name)).to_have_attribute("aria-pressed", "true")
    read.get_by_text("{…}").first.click()
    read.get_by_role("region", name="Details of a line").wait_for()
    for theme, light in THEMES:
        choose_theme(page, theme, light)
        assert violations(page) == [], theme
        for name in ("Copy lines (y)", "Keys (?)"):
            read.get_by_label(name).click()
            read.locator(".bxl-popup").wait_for()
            assert violations(page) == [], (theme, name)
            page.keyboard.press("Escape")


def test_tasks(notebook: Notebook) -> None:
    """A story with its calls open: no rule is broken in either theme."""
    page = notebook(START + TASK)
    run_cell(page, 0)
    expect(page.locator(".bxl-panel")).to_have_count(3)
    for panel in page.locator(".bxl-panel").all():
        panel.locator(".bxl-body").press("Home")
        for _ in range(3):
            panel.locator(".bxl-head[aria-expanded=false]").first.click()
        panel.get_by_label("Search the story").fill("in")
        panel.locator(".bxl-mark").first.wait_for()
    for theme, light in THEMES:
        choose_theme(page, theme, light)
        assert violations(page) == [], theme
    assert contrasts(page) > 10
