"""The kernel's half of the task view: what it sends of a story, and how it answers what a page may ask."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blaxel_jupyter.fold import Fold
from blaxel_jupyter.masks import NONE, Masks
from blaxel_jupyter.panel.items import BATCH_ITEMS, SHOWN_TEXT
from blaxel_jupyter.panel.story import SHOWN
from blaxel_jupyter.panel.widget import LogPanel
from blaxel_jupyter.recording import read_recording
from blaxel_jupyter.task_events import read_event

RECORDINGS = Path(__file__).parent / "blackbox"
Message = tuple[dict[str, Any], list[bytes]]
Event = dict[str, Any]


class Run:
    """A run whose events and facts a test sets."""

    def __init__(self, *events: Event, **facts: Any) -> None:
        self.fold = Fold()
        self.seq = 0
        self.masks = NONE
        self.facts: dict[str, Any] = {"run_id": "r1", "status": "running", "final": False, **facts}
        self.add(*events)

    def add(self, *events: Event) -> None:
        for event in events:
            self.fold.add(self.seq, read_event(json.dumps(event).encode()))
            self.seq += 1

    def header(self) -> dict[str, Any]:
        return {**self.facts, "events": self.seq}


class Panel(LogPanel):
    """The panel with its wire open to the test."""

    def __init__(self, run: Run) -> None:
        self.wire: list[Message] = []
        super().__init__(run)

    def send(self, content: Any, buffers: Any = None) -> None:
        self.wire.append((content, buffers or []))

    def hear(self, content: object) -> Message:
        """Deliver a message from the page as ipywidgets does; return the one reply."""
        before = len(self.wire)
        self._handle_custom_msg(content, [])
        [message] = self.wire[before:]
        return message


class Page:
    """What a page knows after these messages: items by number, held to the rules of the wire."""

    def __init__(self) -> None:
        self.length = 0
        self.items: dict[int, dict[str, Any]] = {}

    def take(self, *messages: Message) -> Page:
        for content, buffers in messages:
            if not buffers:
                continue
            assert content["from"] <= self.length
            for entry in json.loads(buffers[0]):
                before = self.items.get(entry["i"], {}).get("text", "")
                if "text" in entry:
                    assert entry["at"] <= len(before)
                    entry["text"] = before[: entry["at"]] + entry["text"]
                self.items[entry["i"]] = entry
            self.length = max(self.length, content["from"] + content["n"])
        return self


def text(delta: str, block: str = "m") -> Event:
    return {"type": "text-delta", "id": block, "delta": delta}


def call(key: str, output: Any = None, **given: Any) -> list[Event]:
    events: list[Event] = [
        {"type": "tool-call-start", "toolCallId": key, "toolName": "bash"},
        {"type": "tool-input-available", "toolCallId": key, "input": given or {"command": "ls"}},
    ]
    if output is not None:
        events.append({"type": "tool-output-available", "toolCallId": key, "output": output})
    return events


def flushed(panel: Panel) -> list[Message]:
    """Flush until nothing is left; return what was sent."""
    before = len(panel.wire)
    while panel.flush():
        pass
    return panel.wire[before:]


def entries(message: Message) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = json.loads(message[1][0])
    return read


def test_the_run_chooses_the_view() -> None:
    """A run with a fold is shown as a story: the one thing of it that is widget state."""
    panel = Panel(Run())
    assert panel.get_state()["_view"] == "task"
    assert panel._repr_mimebundle_()[0]["text/plain"] == "LogPanel: task r1, running"


def test_a_flush_is_one_message() -> None:
    """What changed and a changed header travel together; without news nothing is sent."""
    run = Run(*call("a", {"stdout": "x", "exitCode": 0}))
    panel = Panel(run)
    [(content, _), *more] = flushed(panel)
    assert more == []
    assert (content["kind"], content["from"], content["n"], content["sent"]) == ("append", 0, 3, 3)
    assert content["status"]["run_id"] == "r1"
    panel.flush()
    panel.flush()
    assert len(panel.wire) == 1
    run.facts["status"] = "completed"
    panel.flush()
    assert panel.wire[1][0]["kind"] == "status"


def test_text_is_sent_as_what_is_new() -> None:
    """A growing text travels piece by piece; together the pieces are the text."""
    run = Run(text("one "))
    panel = Panel(run)
    page = Page().take(*flushed(panel))
    run.add(text("two"))
    [message] = flushed(panel)
    assert [entry["text"] for entry in entries(message)] == ["two"]
    assert page.take(message).items[0]["text"] == "one two"


def test_a_call_is_sent_as_it_stands() -> None:
    """The same item is replaced as its input and its output come."""
    run = Run(*call("a", command="pytest -q"))
    panel = Panel(run)
    page = Page().take(*flushed(panel))
    assert page.items[0]["failed"] is None
    assert page.items[0]["summary"] == "pytest -q"
    output = {"stdout": "1 failed\n", "exitCode": 1, "seed": 12345678901234567890}
    run.add({"type": "tool-output-available", "toolCallId": "a", "output": output})
    page.take(*flushed(panel))
    [item] = page.items.values()
    assert (item["failed"], item["outcome"]) == (True, "exit code 1")
    assert [section[:3] for section in item["sections"]] == [
        ["command", "text", "pytest -q"],
        ["stdout", "text", "1 failed\n"],
        ["output", "json", '{\n  "seed": 12345678901234567890\n}'],
    ]


def test_a_page_gets_texts_whole() -> None:
    """Who asks for positions that were lost gets what changed there as it stands now."""
    run = Run(text("one "), *call("a"), text("two "), text("three"))
    panel = Panel(run)
    flushed(panel)
    content, buffers = panel.hear({"kind": "page", "id": 7, "from": 3, "n": 2})
    assert (content["id"], content["from"], content["n"]) == (7, 3, 2)
    [item] = json.loads(buffers[0])
    assert (item["at"], item["text"]) == (0, "two three")


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_whatever_is_lost_the_page_ends_with_all(data: st.DataObject) -> None:
    """Messages dropped at random are replaced by pages; the page then knows what a new one knows."""
    run, page = Run(), Page()
    panel = Panel(run)
    pieces = [
        text("a\n"),
        *call("k", {"stdout": "o"}),
        text("b"),
        text("c", "n"),
        {"type": "start"},
    ]
    for events in data.draw(st.lists(st.lists(st.sampled_from(pieces), max_size=6), max_size=8)):
        run.add(*events)
        for message in flushed(panel):
            lost = data.draw(st.booleans())
            if not lost and message[0].get("from", 0) <= page.length:
                page.take(message)
    while page.length < len(run.fold.touched):
        n = len(run.fold.touched) - page.length
        page.take(panel.hear({"kind": "page", "id": 1, "from": page.length, "n": n}))
    whole = Page()
    while whole.length < len(run.fold.touched):
        n = len(run.fold.touched) - whole.length
        whole.take(panel.hear({"kind": "page", "id": 2, "from": whole.length, "n": n}))
    for item in (*page.items.values(), *whole.items.values()):
        item.pop("at", None)
    assert page.items == whole.items
    texts = [item["text"] for _, item in sorted(page.items.items()) if item["kind"] == "text"]
    assert "".join(texts) == run.fold.text()


def test_messages_are_bounded() -> None:
    """Many items come in several messages, and what is huge is cut and counted."""
    huge = "x" * 10_000_000
    run = Run(*[event for i in range(1000) for event in call(str(i), {"stdout": "y" * 500})])
    run.add(*call("huge", {"stdout": huge}), text(huge))
    panel = Panel(run)
    messages = flushed(panel)
    assert len(messages) >= 1002 / BATCH_ITEMS
    assert max(len(buffers[0]) for _, buffers in messages if buffers) < 500_000
    page = Page().take(*messages)
    assert len(page.items) == 1002
    [_, stdout] = page.items[1000]["sections"]
    assert len(stdout[2]) + len(stdout[4]) == SHOWN
    assert stdout[3] == len(huge) - SHOWN
    assert len(page.items[1001]["text"]) == SHOWN_TEXT
    assert page.items[1001]["cut"] == len(huge) - SHOWN_TEXT


def test_deep_json_costs_little() -> None:
    """JSON nested without end is laid out as far as it is shown, not at the square of its depth."""
    run = Run()
    raw = b'{"type":"x","v":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    run.fold.add(0, read_event(raw))
    [message] = flushed(Panel(run))
    assert len(message[1][0]) < 3_000_000


def test_an_event_that_was_half_taken_in_is_looked_at_again() -> None:
    """The item changed last is sent once more if it is another one at the next flush."""
    run = Run(*call("a"))
    panel = Panel(run)
    flushed(panel)
    run.fold.calls["a"].got = (None, None, 3)  # as if the writing thread had just gone on
    [(content, buffers)] = flushed(panel)
    assert (content["from"], content["n"]) == (2, 0)
    assert json.loads(buffers[0])[0]["outcome"] == "exit code 3"
    assert flushed(panel) == []


def test_a_story_that_is_read_anew_is_sent_anew() -> None:
    """When the run has another fold the epoch goes up and all is sent from the beginning."""
    run = Run(text("half an ans"))
    panel = Panel(run)
    [before] = flushed(panel)
    run.fold, run.seq = Fold(), 0
    run.add(text("the whole answer"))
    [after] = flushed(panel)
    assert (before[0]["epoch"], after[0]["epoch"]) == (0, 1)
    assert Page().take(after).items[0]["text"] == "the whole answer"


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "page", "id": 1, "from": -1, "n": 1},
        {"kind": "page", "id": 1, "from": 0, "n": 10**9},
        {"kind": "page", "id": 1, "from": "0", "n": True},
        {"kind": "command", "id": 1, "verb": "stop"},
        {"kind": "command", "id": 1, "verb": "kill"},
        {"kind": "command", "id": 1, "verb": ["cancel"]},
        {"kind": "exec", "id": 1},
    ],
)
def test_a_bad_request_gets_an_error_reply(message: dict[str, Any]) -> None:
    """What the page may not ask is refused with its id; a log's commands are none of a task's."""
    verbs: list[str] = []
    panel = Panel(Run(text("a")))
    panel.on_command(verbs.append)
    reply, _ = panel.hear(message)
    assert reply["id"] == 1
    assert reply["error"]
    assert verbs == []


def test_cancel_reaches_the_callback() -> None:
    """Cancel is passed on and answered."""
    verbs: list[str] = []
    panel = Panel(Run())
    assert panel.hear({"kind": "command", "id": 1, "verb": "cancel"})[0]["error"]  # nobody listens
    panel.on_command(verbs.append)
    assert "error" not in panel.hear({"kind": "command", "id": 2, "verb": "cancel"})[0]
    assert verbs == ["cancel"]


def test_what_is_no_text_or_number_travels() -> None:
    """Lone surrogates and numbers that JSON has not become what a message can carry."""
    run = Run(text("a\ud800b"), error="x\ud800" * 5000, total_cost_usd=float("nan"))
    [(content, buffers)] = flushed(Panel(run))
    json.dumps(content, allow_nan=False).encode()
    assert content["status"]["total_cost_usd"] is None
    assert len(content["status"]["error"]) <= 2000
    assert json.loads(buffers[0])[0]["text"].encode() == "a\ufffdb".encode()


def test_nothing_of_the_story_becomes_widget_state() -> None:
    """The synced state does not grow with the story, and holds none of it."""
    run = Run()
    panel = Panel(run)
    before = panel.get_state()
    run.add(*[text("a secret\n")] * 1000)
    flushed(panel)
    assert panel.get_state() == before


def told(name: str) -> list[tuple[Any, ...]]:
    """Return how the items of a recorded run are told: kind, name, summary, outcome, failed, depth."""
    run = Run()
    recorded = read_recording((RECORDINGS / name).read_bytes(), Counter())
    for seq, (event, received) in enumerate(recorded):
        run.fold.add(seq, event, received)
    page = Page().take(*flushed(Panel(run)))
    return [
        (
            item["kind"],
            item["name"],
            item["summary"][:24],
            item.get("outcome", ""),
            item["failed"],
            item.get("depth", 0),
        )
        for _, item in sorted(page.items.items())
        if "text" not in item
    ]


def test_a_recorded_run_is_told() -> None:
    """Aliases, orphans, nested, denied and unknown: each is what it is, and looks so."""
    assert told("04-tolerance.ndjson") == [
        ("other", "start", '"messageId": "msg_tol", ', "", None, 0),
        ("other", "start-step", "", "", None, 0),
        ("tool", "Bash", "echo hi", "", False, 0),
        ("tool", "Task", "", "", False, 0),
        ("tool", "Grep", "{not json", "Invalid arguments", True, 1),
        ("tool", "Bash", "false", "exit code 1", True, 0),
        ("tool", "WebFetch", "https://example.invalid", "denied", True, 0),
        ("other", "message-metadata", '"messageMetadata": {"inp', "", None, 0),
        ("other", "data-progress", '"id": "p1", "data": {"pc', "", None, 0),
        ("unknown", "checkpoint-saved", '{"type":"checkpoint-save', "", None, 0),
        ("other", "finish-step", "", "", None, 0),
        ("end", "abort", "user cancelled", "", None, 0),
        ("end", "finish", "stop", "", None, 0),
    ]


def test_a_call_without_an_end_is_neither_failed_nor_not() -> None:
    """What never finished is unknown, and stays so."""
    [unfinished] = [item for item in told("03-cancelled.ndjson") if item[2].startswith("psql")]
    assert unfinished[4] is None


@pytest.mark.parametrize("n", range(1, 21))
def test_a_secret_that_comes_in_pieces_is_masked(n: int) -> None:
    """No piece of it is sent, however it is cut; a page that comes late and one from the start agree."""
    key = "sk-CANARY-0123456789"
    said = f"a {key} b {key}{key[:6]} c"
    run = Run()
    run.masks = Masks([("KEY", key)])
    panel = Panel(run)
    page = Page()
    for at in range(0, len(said), n):
        run.add(text(said[at : at + n]))
        page.take(*flushed(panel))
        late = Page().take(
            panel.hear({"kind": "page", "id": at, "from": 0, "n": len(run.fold.touched)})
        )
        for told in (page, late):
            assert "CANARY" not in told.items[0]["text"]
            shown = told.items[0]["text"].removesuffix("[KEY masked]")
            whole = said.replace(key, "[KEY masked]")
            assert any(whole.startswith(shown[: len(shown) - k]) for k in range(4)), "three of it"
    run.add({"type": "text-end", "id": "m"})
    page.take(*flushed(panel))
    assert page.items[0]["text"] == f"a [KEY masked] b [KEY masked]{key[:6]} c"
    assert b"CANARY" not in b"".join(part for _, parts in panel.wire for part in parts)
