"""A page that is watched for all that hostile text could make it do, and a look at what elements it holds.

The look needs no policy of the page: it goes through every element and attribute below a place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page

from tests.hostile.payloads import HOST

PANEL_TAGS = {
    *("a", "button", "canvas", "dd", "details", "div", "dl", "dt", "input", "label", "mark"),
    *(
        "option",
        "path",
        "pre",
        "section",
        "select",
        "span",
        "summary",
        "svg",
        "circle",
        "rect",
        "line",
    ),
}
PANEL_ATTRIBUTES = {
    *("class", "title", "type", "role", "tabindex", "style", "hidden", "disabled", "spellcheck"),
    *("placeholder", "open", "href", "target", "rel", "referrerpolicy", "draggable", "value"),
    *("viewBox", "d", "fill", "stroke", "stroke-width", "stroke-linecap", "stroke-linejoin"),
    *(
        "width",
        "height",
        "x",
        "y",
        "r",
        "cx",
        "cy",
        "transform",
        "preserveAspectRatio",
        "x1",
        "x2",
        "y1",
        "y2",
    ),
    *(
        "data-rows",
        "data-shown",
        "data-n",
        "data-status",
        "data-integrity",
        "data-state",
        "data-events",
    ),
    *("data-at", "data-row", "data-lm-suppress-shortcuts", "data-t", "data-i", "data-part"),
}
"""What the panel is made of, besides ``aria-*``; ``href`` is looked at by itself."""

SAVED_TAGS = {"style", "div", "pre", "span", "details", "summary"}
SAVED_ATTRIBUTES = {"class", "open"}

LOOK = """([roots, tags, attributes]) => {
  const foreign = [];
  for (const root of document.querySelectorAll(roots)) {
    for (const node of [root, ...root.querySelectorAll("*")]) {
      const tag = node.localName;
      if (!tags.includes(tag)) foreign.push(tag);
      for (const { name, value } of node.attributes) {
        const ours = attributes.includes(name) || name.startsWith("aria-");
        if (!ours) foreign.push(`${tag} ${name}`);
        if (name === "href" && !/^(https?|mailto):/.test(value)) foreign.push(value);
        if (name === "style" && /url|expression|import/i.test(value)) foreign.push(value);
        if (name === "class" && !/^[-\\w ]*$/.test(value)) foreign.push(value);
      }
    }
  }
  return foreign;
}"""


class Watched:
    """A page, and what was noticed on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.noticed: list[str] = []
        page.on("dialog", self._dialog)
        page.on("popup", lambda popup: self.noticed.append(f"a window: {popup.url}"))
        page.on("request", self._request)
        page.on("framenavigated", self._navigated)

    def _dialog(self, dialog: Any) -> None:
        self.noticed.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Any) -> None:
        if HOST in request.url.partition("?")[0]:
            self.noticed.append(f"a request: {request.url}")

    def _navigated(self, frame: Any) -> None:
        if frame.url.startswith(("javascript:", "data:", "vbscript:")):
            self.noticed.append(f"a page: {frame.url[:80]}")

    def fired(self) -> list[str]:
        """Return what hostile text has made the page do: nothing, it is hoped."""
        told = list(self.noticed)
        if (canary := self.page.evaluate("window.canary")) is not None:
            told.append(f"a script: {canary}")
        if self.page.evaluate("({}).polluted") is not None:
            told.append("a prototype")
        return told

    def foreign(self, roots: str, *, saved: bool = False) -> list[str]:
        """Return the elements and attributes below some places that are not of ours."""
        tags, attributes = PANEL_TAGS, PANEL_ATTRIBUTES
        if saved:
            tags, attributes = SAVED_TAGS, SAVED_ATTRIBUTES
        assert self.page.locator(roots).count() > 0, f"there is no {roots}"
        found: list[str] = self.page.evaluate(LOOK, [roots, sorted(tags), sorted(attributes)])
        return found


@contextmanager
def watched(browser: Browser) -> Iterator[Watched]:
    """Open a page that is watched."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(30_000)
    try:
        yield Watched(page)
    finally:
        context.close()
