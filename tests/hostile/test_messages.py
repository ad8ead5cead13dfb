"""Hostile messages of a page to the panel: fixed verbs, ids and sizes; nothing raises, dies or costs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blaxel_jupyter.panel.allowance import ANSWERS, ORDERS, Allowance
from blaxel_jupyter.panel.items import Items
from blaxel_jupyter.panel.merged import Merged
from blaxel_jupyter.panel.rows import Rows
from blaxel_jupyter.panel.widget import LogPanel
from tests.hostile.payloads import LINES
from tests.kernels import kernel
from tests.notebook_runs import own_folders
from tests.test_panel import Panel, Run
from tests.test_static_task import Run as TaskRun

DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]
VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        -1,
        0,
        1,
        2,
        3,
        1.0,
        1e308,
        float("nan"),
        1 << 53,
        1 << 64,
        10**400,
        -(10**400),
    ),
    *("", "0", "stop", "page", "__proto__", "x" * 1_000_000, [], [0], {}, {"id": 1}, DEEP),
]
NAMES = ["kind", "id", "from", "n", "verb", "source", "have", "buffers", "__class__"]
KINDS: list[Any] = ["page", "command", "have", "append", "error", "exec", "", None, ["page"]]
VERBS = {"stop", "kill", "cancel", "detach", "follow"}


def opened(*runs: Any) -> tuple[Panel, list[tuple[Any, ...]]]:
    """Return a panel whose wire is open, and what it asks of the runs."""
    asked: list[tuple[Any, ...]] = []
    panel = Panel(*runs) if len(runs) == 1 else Several(*runs)
    panel.on_command(lambda *order: asked.append(order))
    return panel, asked


class Several(Panel):
    """The same panel of several runs."""

    def __init__(self, *runs: Any) -> None:
        self.wire = []
        LogPanel.__init__(self, *runs)


PANELS = {
    "log": lambda: (Run("a", "b", "c"),),
    "task": lambda: (TaskRun({"type": "text-delta", "id": "m", "delta": "a"}),),
    "several": lambda: (Run("a"), Run("b")),
}


@pytest.mark.parametrize("place", PANELS)
@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_values(place: str, kind: Any) -> None:
    """Whatever a member is, no message raises, and none does more than what a button does."""
    panel, asked = opened(*PANELS[place]())
    panel._answers = panel._orders = Allowance(1e9, 1e9)
    for name in NAMES:
        for value in VALUES:
            panel._handle_custom_msg({"kind": kind, "id": 7, "from": 0, "n": 1, name: value}, [])
    for reply, buffers in panel.wire:
        assert reply["kind"] in {"page", "command", "error"}
        assert 0 <= reply["id"] < 1 << 53  # what a page can count
        assert len(json.dumps(reply, allow_nan=False)) + sum(map(len, buffers)) < 10_000
    if kind == "command":
        assert {order[0] for order in asked} <= VERBS
    else:
        assert asked == []


@pytest.mark.parametrize("message", VALUES, ids=lambda value: repr(value)[:20])
def test_what_is_no_message(message: Any) -> None:
    """It is dropped: nobody is answered."""
    panel, asked = opened(Run("a"))
    panel._handle_custom_msg(message, [])
    panel._handle_custom_msg(message, [b"x" * 1000] * 10)
    assert ([reply for reply, _ in panel.wire if reply["kind"] != "error"], asked) == ([], [])


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
            max_leaves=5,
        )
        | st.sampled_from(["page", "command", "stop"]),
    )
)
def test_any_message(message: dict[str, Any]) -> None:
    """None raises."""
    panel, _ = opened(Run("a"), Run("b"))
    panel._handle_custom_msg(message, [])


@pytest.mark.parametrize("one", LINES, ids=str)
def test_verbs_and_sources(one: Any) -> None:
    """A verb or a source that is any text is no order, in every kind of panel."""
    for source in (Rows(Run()), Items(TaskRun()), Merged((Run(), Run("x")))):
        assert source.orders(one.text, None) == []
        assert source.orders("stop", one.text) == []
        assert source.orders("stop", -1) == []
        assert source.orders("stop", 2) == []
        assert source.orders("stop", 0.0) == []


def test_a_million_requests_cost_little() -> None:
    """What is beyond what a panel may ask is dropped; then all goes on."""
    panel, asked = opened(Run("a", "b"))
    start = time.monotonic()
    for kind in ("page", "command"):
        message = {"kind": kind, "id": 1, "from": 0, "n": 2, "verb": "stop"}
        for _ in range(500_000):
            panel._receive(panel, message, [])
    seconds = time.monotonic() - start
    answers = sum(reply["kind"] == "page" for reply, _ in panel.wire)
    assert answers <= ANSWERS[1] + ANSWERS[0] * (seconds + 1)
    assert 1 <= len(asked) <= ORDERS[1] + ORDERS[0] * (seconds + 1)
    panel._answers = Allowance(*ANSWERS)
    assert panel.hear({"kind": "page", "id": 3, "from": 0, "n": 1})["n"] == 1


def test_an_allowance_comes_back() -> None:
    """After a pause there is the whole of it again, and never more."""
    now = 0.0
    allowance = Allowance(10, 5, lambda: now)
    assert [allowance.take() for _ in range(7)] == [True] * 5 + [False] * 2
    now = 0.2
    assert [allowance.take() for _ in range(3)] == [True, True, False]
    now = 1e9
    assert [allowance.take() for _ in range(6)] == [True] * 5 + [False]


def test_a_page_cannot_open_the_flow() -> None:
    """A page that says that it has more than was sent does not switch off how others are spared."""
    panel, _ = opened(Run(*["x" * 100_000] * 900))
    panel._handle_custom_msg({"kind": "have", "have": (1 << 53) - 1}, [])
    while panel.flush():
        pass
    assert panel.wire[-1][0]["behind"] is True


def test_a_page_cannot_change_the_panel(tmp_path: Path) -> None:
    """In a real kernel: neither its script nor its state is a page's to set, and the panel goes on."""
    cell = (
        "from blaxel_jupyter import LogPanel\nfrom tests.test_panel import Run\n"
        "run = Run('a', 'b'); panel = LogPanel(run); asked = []; panel.on_command(asked.append)\n"
        "before = {name: hash(str(value)) for name, value in panel.get_state().items()}"
    )
    with own_folders(tmp_path), kernel(tmp_path, cell) as running:
        comm = running.value("panel.model_id")
        state = {"_esm": "alert(1)", "_css": "*{}", "_view": "x", "_model_name": "x", "no": 1}
        running.comm(comm, {"method": "update", "state": state, "buffer_paths": [["_esm"]]})
        running.comm(comm, {"method": "update", "state": 3})
        running.comm(
            comm, {"method": "custom", "content": {"kind": "command", "id": 1, "verb": "x"}}
        )
        running.comm(comm, {"method": ["custom"], "content": DEEP})
        running.comm(
            comm, {"method": "custom", "content": {"kind": "command", "id": 2, "verb": "stop"}}
        )
        assert running.value("asked") == ["stop"]
        now = "{name: hash(str(value)) for name, value in panel.get_state().items()}"
        assert running.value(f"before == {now}") is True
