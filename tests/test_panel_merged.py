"""Several runs in one panel: the order of their lines, what is sent, what Python gives for the same rows."""

from __future__ import annotations

import json
import time
from array import array
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blaxel_jupyter.fold import Fold
from blaxel_jupyter.panel.merged import Merged, Order
from blaxel_jupyter.panel.task_lines import READ_ANEW, TELLS_LESS
from blaxel_jupyter.panel.widget import LogPanel
from blaxel_jupyter.table import LOGS, Table
from blaxel_jupyter.task_events import read_event
from tests.shells import extended

Message = tuple[dict[str, Any], list[bytes]]
Event = dict[str, Any]


class Run:
    """A process whose lines and facts a test sets."""

    def __init__(self, process: str = "job", sandbox: str = "box") -> None:
        self.logs = Table(LOGS, constants={"sandbox": sandbox, "process": process})
        self.facts: dict[str, Any] = {
            "sandbox": sandbox,
            "process": process,
            "command": "make",
            "status": "running",
            "exit_code": None,
            "started": 1.0,
            "ended": None,
            "bytes": 10,
            "integrity": "following",
            "local": False,
            "final": False,
            "message": None,
        }

    def add(self, *rows: tuple[str, int | None], **more: Any) -> None:
        """Append lines with their times; each is a row of stdout unless ``more`` says otherwise."""
        columns = {"stream": "stdout", "kind": "line", **more}
        texts, times = [text for text, _ in rows], [at for _, at in rows]
        self.logs.extend(len(rows), text=texts, received=times, **columns)

    def header(self) -> dict[str, Any]:
        return {**self.facts, "lines": len(self.logs)}


class Task:
    """An agent's run whose events and facts a test sets."""

    def __init__(self, *events: Event, at: int | None = None) -> None:
        self.facts: dict[str, Any] = {
            "run_id": "r1",
            "target": "blackbox",
            "prompt": "mend it",
            "status": "running",
            "error": None,
            "started": None,
            "ended": None,
            "local": False,
            "final": False,
            "message": None,
        }
        self.read_anew(*events, at=at)

    def read_anew(self, *events: Event, at: int | None = None) -> None:
        self.fold = Fold()
        self.times: list[int | None] = []
        self.add(*events, at=at)

    def add(self, *events: Event, at: int | None = None) -> None:
        for event in events:
            self.times.append(at)
            self.fold.add(len(self.times) - 1, read_event(json.dumps(event).encode()), at)

    @property
    def events(self) -> Task:
        return self

    def column(self, name: str) -> list[int | None]:
        assert name == "received"
        return self.times

    def header(self) -> dict[str, Any]:
        return dict(self.facts)


class Panel(LogPanel):
    """The panel with its wire open to the test."""

    def __init__(self, *runs: Any) -> None:
        self.wire: list[Message] = []
        super().__init__(*runs)

    def send(self, content: Any, buffers: Any = None) -> None:
        self.wire.append((content, buffers or []))

    def hear(self, content: object) -> Message:
        before = len(self.wire)
        self._handle_custom_msg(content, [])
        [message] = self.wire[before:]
        return message

    def flush_all(self) -> None:
        while self.flush():
            pass


def shown(panel: Panel) -> list[tuple[int, str]]:
    """Return what the page got: the source and text of each row."""
    rows: list[tuple[int, str]] = []
    for content, buffers in panel.wire:
        if "n" in content and buffers:
            assert content["from"] == len(rows)
            texts = buffers[0].decode().split("\n")
            assert len(texts) == len(buffers[3]) == len(buffers[1]) == content["n"]
            rows += zip(buffers[3], texts, strict=True)
    return rows


def told(panel: Panel) -> list[tuple[str, str, str]]:
    """Return text, stream and kind of all rows, as Python has them."""
    return [(row["text"], row["stream"], row["kind"]) for row in panel.logs]


def text(delta: str, block: str = "m") -> Event:
    return {"type": "text-delta", "id": block, "delta": delta}


def bash(key: str, command: str, output: Any) -> list[Event]:
    of = {"toolCallId": key, "toolName": "Bash"}
    return [
        {"type": "tool-call-start", **of},
        {"type": "tool-input-available", **of, "input": {"command": command}},
        {"type": "tool-output-available", **of, "output": output},
    ]


def test_lines_stand_in_the_order_of_arrival() -> None:
    """Rows that are new are sorted by their times; equal ones stand in the order of the sources."""
    one, two = Run("one"), Run("two")
    one.add(("a", 10), ("b", 30), ("c", 50))
    two.add(("x", 10), ("y", 20), ("z", 60))
    panel = Panel(one, two)
    panel.flush_all()
    assert shown(panel) == [(0, "a"), (1, "x"), (1, "y"), (0, "b"), (0, "c"), (1, "z")]


def test_a_late_backfill_stands_late() -> None:
    """What was shown keeps its place, however old what comes after it is."""
    one, two = Run("one"), Run("two")
    one.add(("late", 90))
    panel = Panel(one, two)
    panel.flush_all()
    two.add(("old", 10), ("older", 5), ("newer", 95))
    one.add(("last", 92))
    panel.flush_all()
    rows = [(0, "late"), (1, "old"), (1, "older"), (0, "last"), (1, "newer")]
    assert shown(panel) == rows


def test_a_row_without_a_time_stays_behind_the_one_before_it() -> None:
    """Unknown times go with the row before them of the same source, or to the beginning."""
    one, two = Run("one"), Run("two")
    one.add(("first", None), ("b", 30), ("with b", None), ("c", 50))
    two.add(("x", 20), ("y", 40))
    panel = Panel(one, two)
    panel.flush_all()
    assert [text for _, text in shown(panel)] == ["first", "x", "b", "with b", "y", "c"]
    one.add(("with c", None))
    two.add(("z", 60))
    panel.flush_all()
    assert [text for _, text in shown(panel)][6:] == ["with c", "z"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_however_it_grows_nothing_is_lost_or_changes_its_place(data: st.DataObject) -> None:
    """Rows of each source come once, in their order; Python has the same rows as the page; places hold."""
    runs = [Run(name) for name in ("one", "two", "three")]
    panel = Panel(*runs)
    for _ in range(data.draw(st.integers(1, 5))):
        for run in runs:
            times = data.draw(st.lists(st.one_of(st.none(), st.integers(0, 50)), max_size=8))
            run.add(
                *((f"{run.facts['process']} {len(run.logs) + i}", at) for i, at in enumerate(times))
            )
        before = shown(panel)
        panel.flush_all()
        assert shown(panel)[: len(before)] == before
    rows = shown(panel)
    for i, run in enumerate(runs):
        assert [text for source, text in rows if source == i] == run.logs.column("text")
    names = [run.facts["process"] for run in runs]
    assert [(names.index(row["process"]), row["text"]) for row in panel.logs] == rows
    assert [row["seq"] for row in panel.logs] == list(range(len(rows)))


def test_windows_end_nowhere_too_early() -> None:
    """More rows than are looked at together are in the same order as if they were."""
    runs = [Run("one"), Run("two")]
    n = 150_000
    runs[0].add(*((f"a{i}", 2 * i) for i in range(n)))
    runs[1].add(*((f"b{i}", 2 * i + 1) for i in range(n)))
    panel = Panel(*runs)
    assert panel.flush() is True
    panel.flush_all()
    wanted = [row for i in range(n) for row in ((0, f"a{i}"), (1, f"b{i}"))]
    assert shown(panel) == wanted


def test_pages_are_given_by_position() -> None:
    """A page of rows that were lost holds them with their sources, gaps with their sizes."""
    one, two = Run("one"), Run("two")
    one.add(("a", 1), ("b", 3))
    two.add(("", 2), kind="gap", missing_bytes=[77])
    two.add(("note", 4), kind="notice", stream="system")
    panel = Panel(one, two)
    panel.flush_all()
    content, buffers = panel.hear({"kind": "page", "id": 7, "from": 1, "n": 3})
    assert (content["from"], content["n"], content["missing"]) == (1, 3, [(1, 77)])
    assert (buffers[0], list(buffers[3])) == (b"\nb\nnote", [1, 0, 1])
    reply, _ = panel.hear({"kind": "page", "id": 8, "from": 1, "n": 4})
    assert reply["error"] == "no such rows"
    reply, _ = panel.hear({"kind": "page", "id": 9, "from": 0, "n": 0})
    assert [one["name"] for one in reply["status"]["sources"]] == ["one", "two"]


def test_the_header_tells_of_all_and_of_each() -> None:
    """Lines add up, the worst status stands for all, and all is final when each is."""
    one, two = Run("tests", "a"), Run("tests", "b")
    one.add(("x", 1))
    panel = Panel(one, two)
    panel.flush_all()
    header = panel.wire[-1][0]["status"]
    assert [source["name"] for source in header["sources"]] == ["a/tests", "b/tests"]
    assert (header["lines"], header["bytes"], header["status"]) == (1, 20, "running")
    one.facts |= {
        "status": "completed",
        "exit_code": 0,
        "final": True,
        "integrity": "complete",
        "ended": 5.0,
    }
    two.facts |= {"status": "failed", "exit_code": 2, "integrity": "gap", "message": "lost it"}
    panel.flush()
    header = panel.wire[-1][0]["status"]
    assert (header["final"], header["status"], header["integrity"]) == (False, "failed", "gap")
    assert header["message"] == "b/tests: lost it"
    two.facts |= {"final": True, "ended": 9.0}
    panel.flush()
    header = panel.wire[-1][0]["status"]
    assert (header["final"], header["started"], header["ended"]) == (True, 1.0, 9.0)


def test_a_digest_leads_to_the_panels_rows() -> None:
    """The rows that say why a run failed are told by their places in the panel."""
    one, two = Run("one"), Run("two")
    one.add(*((f"a{i}", i * 10) for i in range(10)))
    two.add(*((f"b{i}", i * 10 + 5) for i in range(10)))
    two.facts["digest"] = {"meaning": "failed", "first": 3, "block": [5, 8]}
    panel = Panel(one, two)
    panel.flush_all()
    panel.flush()
    digest = panel.wire[-1][0]["status"]["sources"][1]["digest"]
    rows = [text for _, text in shown(panel)]
    assert rows[digest["first"]] == "b3"
    assert rows[digest["block"][0]], rows[digest["block"][1] - 1] == ("b5", "b7")


def test_lines_that_have_not_ended_have_their_source() -> None:
    """A progress bar of one of the runs is told with that run's number."""
    one, two = Run("one"), Run("two")
    two.facts["partial"] = [["stderr", "10%\r50%"]]
    panel = Panel(one, two)
    panel.flush()
    assert panel.wire[0][0]["status"]["partial"] == [["stderr", "50%", 1]]


def test_python_keeps_what_the_panel_keeps() -> None:
    """``panel.logs.filter`` knows sources by name and by sandbox; nothing needs to be shown for it."""
    one, two = Run("tests", "a"), Run("tests", "b")
    one.add(("x", 1), ("y", 3))
    two.add(("x", 2), ("y", 4))
    panel = Panel(one, two)
    logs = panel.logs
    assert [row["seq"] for row in logs.filter("-source:b/tests")] == [0, 2]
    assert [row["seq"] for row in logs.filter("source:tests y")] == [2, 3]
    one.add(("z", 5))
    assert len(panel.logs.filter("source:a/tests")) == 3
    assert logs[4]["text"] == "z"
    assert logs[1:4:2] == [logs[1], logs[3]]
    assert logs.to_arrow().column("sandbox").to_pylist() == ["a", "b", "a", "b", "a"]
    with pytest.raises(TypeError, match="nothing can be added"):
        logs.extend(1)


def test_one_run_has_its_own_logs() -> None:
    """A panel of one process gives that run's table; a panel of one agent's run has none."""
    run = Run()
    assert Panel(run).logs is run.logs
    with pytest.raises(AttributeError, match="tool_calls"):
        _ = Panel(Task()).logs


@pytest.mark.parametrize(
    ("message", "orders"),
    [
        ({"verb": "stop", "source": 0}, [("stop", 0)]),
        ({"verb": "kill", "source": 0}, [("kill", 0)]),
        ({"verb": "cancel", "source": 2}, [("cancel", 2)]),
        ({"verb": "stop"}, [("stop", 0), ("cancel", 2)]),
        ({"verb": "stop", "source": 2}, []),
        ({"verb": "cancel", "source": 0}, []),
        ({"verb": "cancel"}, []),
        ({"verb": "stop", "source": 3}, []),
        ({"verb": "stop", "source": -1}, []),
        ({"verb": "stop", "source": True}, []),
        ({"verb": "stop", "source": "0"}, []),
        ({"verb": "rm"}, []),
        ({"verb": None, "source": 0}, []),
    ],
)
def test_a_verb_is_for_one_source_or_all(message: Event, orders: list[Any]) -> None:
    """Verbs and sources are checked; to all goes what each run knows, to those that go on."""
    ended = Run("ended")
    ended.facts["final"] = True
    panel = Panel(Run(), ended, Task())
    got: list[Any] = []
    panel.on_command(lambda *order: got.append(order))
    reply, _ = panel.hear({"kind": "command", "id": 1, **message})
    assert got == orders
    assert reply.get("error") == (None if orders else "unknown command")


def test_a_run_is_given_once() -> None:
    """Nothing at all, the same run twice, or more than a byte can count, is refused."""
    run = Run()
    with pytest.raises(ValueError, match="twice"):
        LogPanel(run, run)
    with pytest.raises(TypeError, match="at least one"):
        LogPanel()
    with pytest.raises(ValueError, match="255"):
        LogPanel(*(Run() for _ in range(256)))


class Followed(Run):
    """A run that can be followed in the background, as ours can; ``asked`` is what was asked of it."""

    def __init__(self, process: str) -> None:
        super().__init__(process)
        self.asked: list[Any] = []

    def go_on(self) -> None:
        self.asked.append("go on")

    def in_background(self, function: Any) -> None:
        self.asked.append("pump")

    def obey(self, verb: str) -> None:
        self.asked.append(verb)


HELLO = {"kind": "page", "id": 1, "from": 0, "n": 0}


def test_a_page_sets_off_what_nobody_drives() -> None:
    """When a page has the panel, its runs are followed and shown; once, however many pages there are."""
    one, two = Followed("one"), Followed("two")
    panel = Panel(one, two)
    assert one.asked == []
    panel.hear(HELLO)
    panel.hear(HELLO)
    assert (one.asked, two.asked) == (["go on", "pump"], ["go on"])
    panel.hear({"kind": "command", "id": 2, "verb": "detach", "source": 1})
    assert two.asked == ["go on", "detach"]
    panel.hear({"kind": "command", "id": 3, "verb": "stop"})
    assert (one.asked[2:], two.asked[2:]) == (["stop"], ["stop"])
    panel.hear({"kind": "command", "id": 4, "verb": "follow", "source": 1})
    assert (one.asked[3:], two.asked[3:]) == (["pump"], ["follow"])


@pytest.mark.parametrize("drive", [Panel.flush, lambda panel: panel.on_command(print)])
def test_what_somebody_drives_is_left_to_them(drive: Any) -> None:
    """Who flushes, or takes the commands, follows as well."""
    run = Followed("one")
    panel = Panel(run)
    drive(panel)
    panel.hear(HELLO)
    assert run.asked == []


async def test_a_pump_ends_with_its_panel() -> None:
    """A closed panel is not flushed any more, whatever its runs do."""
    panel = Panel(Run(), Run("other"))
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(panel.pump)
            await anyio.wait_all_tasks_blocked()
            panel.close()
    assert panel.wire


def test_a_panel_knows_its_name_in_the_notebook() -> None:
    """The code for what is shown names the variable that holds the panel, or the output that it is."""
    with extended() as notebook:
        panel = Panel(Run(), Run("other"))
        panel.flush()
        assert panel.wire[-1][0]["status"]["variable"] == "panel"
        notebook.user_ns["_hidden"] = panel
        notebook.user_ns["Out"][7] = panel
        panel.flush()
        assert panel.wire[-1][0]["status"]["variable"] == "Out[7]"
        notebook.user_ns["my_runs"] = panel
        panel.flush()
        assert panel.wire[-1][0]["status"]["variable"] == "my_runs"


# An agent's run as a source


def test_a_tasks_story_is_told_in_lines() -> None:
    """Text by whole lines, each call's begin, output and end, files and the end; each with its stream."""
    out = {"stdout": "1 failed\n\x1b[31mred\x1b[0m\n", "stderr": "warn\n", "exitCode": 1}
    task = Task(text("Look"), text("ing at\n\n  the tests"), at=5)
    panel = Panel(Run(), task)
    panel.flush_all()
    assert told(panel) == [("Looking at", "stdout", "line"), ("", "stdout", "line")]
    assert panel.wire[-1][0]["status"]["partial"] == [["stdout", "  the tests", 1]]
    task.add(*bash("c1", "pytest -q", out)[:2], at=6)
    panel.flush_all()
    assert told(panel)[2:] == [
        ("  the tests", "stdout", "line"),
        ("> Bash: pytest -q", "system", "line"),
    ]
    task.add(bash("c1", "pytest -q", out)[2], at=2_000_006)
    task.add({"type": "reasoning-delta", "id": "r", "delta": "hm\nso"}, at=2_000_007)
    task.add({"type": "finish", "status": "completed"}, at=2_000_008)
    task.facts["final"] = True
    panel.flush_all()
    assert told(panel)[4:] == [
        ("1 failed", "stdout", "line"),
        ("\x1b[31mred\x1b[0m", "stdout", "line"),
        ("warn", "stderr", "line"),
        ("= failed: exit code 1 · 2.0 s", "system", "line"),
        ("~ hm", "system", "line"),
        ("~ so", "system", "line"),
        ("-- finish: completed --", "system", "line"),
    ]
    micros = panel.logs.column("received")
    assert list(micros) == [5, 5, 5, 6, *[2_000_006] * 4, 2_000_007, 2_000_007, 2_000_008]
    assert {row["process"] for row in panel.logs} == {"r1"}


def test_a_task_and_a_process_in_one_order() -> None:
    """Live events and lines stand by their times; an agent's run from a batch log has none."""
    run, task = Run(), Task(text("a\n"), at=10)
    task.add(text("c\n"), at=30)
    run.add(("b", 20), ("d", 40))
    panel = Panel(run, task, Task(text("old\n")))
    panel.flush_all()
    assert [text for _, text in shown(panel)] == ["old", "a", "b", "c", "d"]


def test_a_call_that_never_ended_and_one_in_between() -> None:
    """The end of a call names it where others came in between; one without an end says so."""
    events = [*bash("c1", "one", "x\n")[:2], *bash("c2", "two", None)[:2], bash("c1", "", "x\n")[2]]
    task = Task(*events)
    task.facts["final"] = True
    panel = Panel(Run(), task)
    lines = [row["text"] for row in panel.logs]
    assert lines == [
        "> Bash: one",
        "> Bash: two",
        "x",
        "= Bash: one",
        "= Bash: two · never finished",
    ]


def test_a_task_that_is_read_anew_goes_on() -> None:
    """A better reading of the same events tells only what is new, the begun line included."""
    events = [text("one\ntw"), *bash("c1", "ls", "a\n"), text("three\nfo")]
    task = Task(*events)
    panel = Panel(Run(), task)
    before = told(panel)
    task.read_anew(text("on"), text("e\ntw"), *bash("c1", "ls", "a\n"), text("three\nfour\n"))
    assert told(panel)[len(before) :] == [("four", "stdout", "line")]


@pytest.mark.parametrize(
    ("again", "notice"), [("other\ntext\n", READ_ANEW), ("one", TELLS_LESS)], ids=["other", "less"]
)
def test_a_task_that_is_read_anew_differently_says_so(again: str, notice: str) -> None:
    """Text that does not begin with what was told is told whole, after a notice."""
    task = Task(text("one\ntwo\n"))
    panel = Panel(Run(), task)
    panel.flush_all()
    task.read_anew(text(again))
    task.facts["final"] = True
    rows = told(panel)
    assert rows[:2] == [("one", "stdout", "line"), ("two", "stdout", "line")]
    assert rows[2] == (notice, "system", "notice")
    assert [row[0] for row in rows[3:]] == (again.split() if notice == READ_ANEW else [])


def test_long_output_of_a_call_is_told_whole() -> None:
    """An output of 10,000 lines is 10,000 rows."""
    output = "".join(f"line {i}\n" for i in range(10_000))
    panel = Panel(Run(), Task(*bash("c1", "seq", output)))
    assert [row["text"] for row in panel.logs][1:] == output.splitlines()


# Size


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=400), st.integers(1, 90))
def test_an_order_counts_right(owners: list[int], piece: int) -> None:
    """Places are found both ways, in whatever pieces the order grew."""
    order = Order(3)
    for at in range(0, len(owners), piece):
        order.extend(bytes(owners[at : at + piece]))
    for row, owner in enumerate(owners):
        before = order.before(row)
        assert before == [owners[:row].count(s) for s in range(3)]
        assert order.place(owner, before[owner]) == row
    assert order.place(1, owners.count(1)) is None


def test_an_order_of_many_rows_is_counted_at_steps() -> None:
    """Places far into a long order are exact, across the points where rows are counted."""
    owners = bytes([0, 1, 1]) * 50_000
    order = Order(2)
    for at in range(0, len(owners), 7_001):
        order.extend(owners[at : at + 7_001])
    assert len(order) == 150_000
    for k in (0, 5_461, 16_384, 49_999):
        assert order.place(0, k) == 3 * k
        assert order.before(3 * k) == [k, 2 * k]
    assert order.place(0, 50_000) is None
    assert order.owners(149_998, 150_005) == bytes([1, 1])


def test_a_million_rows_are_packed_in_time() -> None:
    """Two runs of 500,000 lines are ordered and packed in seconds, at a byte a row."""
    runs = [Run("one"), Run("two")]
    for i, run in enumerate(runs):
        times = array("q", range(i, 1_000_000, 2)).tolist()
        run.logs.extend(
            500_000, text=["x" * 80] * 500_000, received=times, stream="stdout", kind="line"
        )
    merged = Merged(runs)
    begun, sent = time.perf_counter(), 0
    while merged.more(sent):
        merged.renew()
        batch = merged.news(sent)
        assert batch is not None
        sent += batch[0]["n"]
    took = time.perf_counter() - begun
    print(f"{sent:,} rows in {took:.2f} s")
    assert sent == 1_000_000
    assert took < 60  # 2 s on an idle machine; the square of the rows would be hours
