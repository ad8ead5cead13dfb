"""The kernel's half of the panel: what it sends, and how it answers what a page may ask."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blaxel_jupyter.errors import BlaxelError
from blaxel_jupyter.panel.rows import BATCH_BYTES
from blaxel_jupyter.panel.widget import LogPanel
from blaxel_jupyter.table import LOGS, Table

Message = tuple[dict[str, Any], list[bytes]]


class Run:
    """A run whose lines and facts a test sets."""

    def __init__(self, *lines: str) -> None:
        self.logs = Table(LOGS, constants={"sandbox": "box", "process": "job"})
        self.facts: dict[str, Any] = {
            "sandbox": "box",
            "process": "job",
            "command": "make",
            "status": "running",
            "exit_code": None,
            "started": 1.0,
            "ended": None,
            "lines": 0,
            "bytes": 0,
            "integrity": "following",
            "local": False,
            "final": False,
            "message": None,
        }
        self.add(*lines)

    def add(
        self, *lines: str, stream: str | None = "stdout", kind: str = "line", **more: Any
    ) -> None:
        self.logs.extend(len(lines), text=list(lines), stream=stream, kind=kind, **more)
        self.facts["lines"] = len(self.logs)

    def header(self) -> dict[str, Any]:
        return dict(self.facts)


class Panel(LogPanel):
    """The panel with its wire open to the test: what is sent is kept, what a page says is put in."""

    def __init__(self, run: Run) -> None:
        self.wire: list[Message] = []
        super().__init__(run)

    def send(self, content: Any, buffers: Any = None) -> None:
        self.wire.append((content, buffers or []))

    def hear(self, content: object) -> dict[str, Any]:
        """Deliver a message from the page as ipywidgets does; return the one reply."""
        before = len(self.wire)
        self._handle_custom_msg(content, [])
        [(reply, _)] = self.wire[before:]
        return reply


def lines(messages: list[Message]) -> list[str]:
    """Read the rows of batches, which must follow one another."""
    out: list[str] = []
    for content, buffers in messages:
        if content["kind"] not in ("append", "page") or "n" not in content:
            continue
        assert content["from"] == len(out)
        rows = buffers[0].decode().split("\n")
        assert len(rows) == content["n"] == len(buffers[1]) == len(buffers[2]) // 8
        out.extend(rows)
    return out


def test_a_flush_is_one_message() -> None:
    """Rows and a changed header travel together; without news nothing is sent."""
    run = Run("one", "two")
    panel = Panel(run)
    assert panel.flush() is False
    [(content, _)] = panel.wire
    assert (content["kind"], content["from"], content["n"], content["sent"]) == ("append", 0, 2, 2)
    assert content["status"]["process"] == "job"
    panel.flush()
    assert len(panel.wire) == 1
    run.facts["status"] = "stopped"
    panel.flush()
    assert panel.wire[1][0]["kind"] == "status"
    assert panel.wire[1][0]["status"]["status"] == "stopped"


def test_the_second_part_of_the_front_end_is_sent_when_asked_for() -> None:
    """It is none of the widget's state; each request is answered, with the same script."""
    panel = Panel(Run("one"))
    for number in (7, 8):
        reply = panel.hear({"kind": "later", "id": number, "name": "../widget.py"})
        assert (reply["kind"], reply["id"]) == ("later", number)
        [script] = panel.wire[-1][1]
        assert b" as worker}" in script
        assert script.decode() not in str(panel.get_state())


def test_rows_keep_their_stream_kind_origin_time_and_size() -> None:
    """One flag byte, one float of milliseconds, and sizes only where there are any."""
    run = Run()
    run.add("a", origin="live", received=1_500_000)
    run.add("b", stream="stderr", origin="backfill")
    run.add("", stream=None, kind="gap", missing_bytes=[77], origin="batch")
    panel = Panel(run)
    panel.flush()
    content, [_text, flags, times] = panel.wire[0]
    assert list(flags) == [1 | 0 | 32, 2 | 0 | 16, 0 | 4 | 48]
    received, *unknown = memoryview(times).cast("d")
    assert received == 1500.0
    assert all(math.isnan(time) for time in unknown)
    assert content["missing"] == [(2, 77)]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.sampled_from(["", "x", "ü" * 1000, "y" * 80_000, "€" * 50_000]), max_size=20))
def test_batches_are_bounded_and_complete(rows: list[str]) -> None:
    """However long the rows, each batch holds a bounded amount of text and none is lost."""
    panel = Panel(Run(*rows))
    while panel.flush():
        pass
    assert lines(panel.wire) == rows
    assert all(len(buffers[0]) <= BATCH_BYTES for _, buffers in panel.wire if buffers)


def test_a_page_that_cannot_keep_up_is_told_the_number_of_rows() -> None:
    """It lags for some seconds, with a window now and then; then no row is pushed, pages bring them."""
    run = Run(*["x" * 100_000] * 900)
    panel = Panel(run)
    panel.hear({"kind": "page", "id": 1, "from": 0, "n": 0, "have": 0})
    while panel.flush():
        pass
    pushed = [content["sent"] for content, _ in panel.wire if content["kind"] == "append"]
    assert 160 <= pushed[-1] < 600  # three windows of 16 MiB at most, of 90 MB
    told = panel.wire[-1][0]
    assert (told["kind"], told["behind"], told["sent"]) == ("status", True, 900)
    run.add("live")
    panel.flush()
    content, buffers = panel.wire[-1]
    assert (content["kind"], content["behind"], content["sent"], buffers) == (
        "status",
        True,
        901,
        [],
    )
    panel._handle_custom_msg({"kind": "have", "have": 901}, [])
    run.add("live again")
    panel.flush()
    content, buffers = panel.wire[-1]
    assert (content["from"], buffers[0]) == (901, b"live again")


def test_a_page_that_was_never_heard_gets_every_row() -> None:
    """While a cell runs, a kernel may hear nothing of a page: rows are pushed without a limit."""
    rows = ["x" * 100_000] * 200
    panel = Panel(Run(*rows))
    while panel.flush():
        pass
    assert lines(panel.wire) == rows


def test_whatever_is_sent_next_says_which_request_was_answered() -> None:
    """A page that lost an answer sees so by the next message that it gets."""
    run = Run("a")
    panel = Panel(run)
    panel.hear({"kind": "page", "id": 7, "from": 0, "n": 1})
    run.add("b")
    panel.flush()
    assert panel.wire[-1][0]["answered"] == 7


def test_rows_that_cannot_be_read_are_an_answer() -> None:
    """Rows on a disk that is gone are refused with what the system says; nothing raises."""

    class Gone(list[str]):
        def __getitem__(self, _rows: Any) -> Any:
            raise OSError(5, "Input/output error")

    run = Run("a")
    panel = Panel(run)
    column = run.logs.column
    run.logs.column = lambda name: Gone() if name == "text" else column(name)  # type: ignore[method-assign]
    reply = panel.hear({"kind": "page", "id": 1, "from": 0, "n": 1})
    assert reply["error"] == "lines cannot be read: [Errno 5] Input/output error"


def test_a_row_larger_than_a_batch_travels_alone() -> None:
    """A row of 5 MB is sent whole, by itself."""
    rows = ["a", "b" * 5_000_000, "c"]
    panel = Panel(Run(*rows))
    while panel.flush():
        pass
    assert [content["n"] for content, _ in panel.wire] == [1, 1, 1]
    assert lines(panel.wire) == rows


def test_pages() -> None:
    """A page is answered from the table, in pieces, whether or not it was flushed."""
    panel = Panel(Run("a", "b", "c"))
    reply = panel.hear({"kind": "page", "id": 1, "from": 0, "n": 0})
    assert (reply["kind"], reply["id"], reply["sent"]) == ("page", 1, 0)
    assert "n" not in reply
    panel.hear({"kind": "page", "id": 2, "from": 1, "n": 2})
    content, buffers = panel.wire[-1]
    assert (content["id"], content["from"], content["n"]) == (2, 1, 2)
    assert buffers[0] == b"b\nc"


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "page", "id": 1},
        {"kind": "page", "id": 1, "from": -1, "n": 1},
        {"kind": "page", "id": 1, "from": 0, "n": 10**9},
        {"kind": "page", "id": 1, "from": "0", "n": True},
        {"kind": "page", "id": 1, "from": 1e3, "n": None},
        {"kind": "command", "id": 1},
        {"kind": "command", "id": 1, "verb": "shutdown"},
        {"kind": "command", "id": 1, "verb": ["stop"]},
        {"kind": "exec", "id": 1},
        {"id": 1},
    ],
)
def test_a_bad_request_gets_an_error_reply(message: dict[str, Any]) -> None:
    """What the page may not ask is refused with its id; nothing raises, nothing is done."""
    verbs: list[str] = []
    panel = Panel(Run("a"))
    panel.on_command(verbs.append)
    reply = panel.hear(message)
    assert reply["id"] == 1
    assert reply["error"]
    assert verbs == []


@pytest.mark.parametrize("message", [None, "x", [], {}, {"id": "1"}, {"id": True}, {"id": -1}])
def test_a_message_without_an_id_is_dropped(message: object) -> None:
    """There is nobody to answer, and nothing raises."""
    panel = Panel(Run("a"))
    panel._handle_custom_msg(message, [])
    assert panel.wire == []


def test_commands_reach_the_callback() -> None:
    """Stop and kill are passed on; each is answered with its id."""
    verbs: list[str] = []
    panel = Panel(Run())
    assert panel.hear({"kind": "command", "id": 1, "verb": "stop"})["error"]  # nobody listens yet
    panel.on_command(verbs.append)
    assert "error" not in panel.hear({"kind": "command", "id": 2, "verb": "stop"})
    assert "error" not in panel.hear({"kind": "command", "id": 3, "verb": "kill"})
    assert verbs == ["stop", "kill"]


def test_without_a_callback_the_run_obeys() -> None:
    """A run that takes a verb gets it: a panel in a user's own code needs no more for its Stop."""
    verbs: list[str] = []
    run = Run()
    run.obey = verbs.append  # type: ignore[attr-defined]
    assert "error" not in Panel(run).hear({"kind": "command", "id": 1, "verb": "stop"})
    assert verbs == ["stop"]


def test_a_failed_command_is_a_reply() -> None:
    """An error of the callback goes back to the page that asked."""

    def fail(verb: str) -> None:
        raise BlaxelError(f"cannot {verb} it; look at %sandbox ps")

    panel = Panel(Run())
    panel.on_command(fail)
    reply = panel.hear({"kind": "command", "id": 9, "verb": "stop"})
    assert reply["error"] == "cannot stop it; look at %sandbox ps"


def test_no_line_becomes_widget_state() -> None:
    """The synced state does not grow with the log, and holds none of it."""
    run = Run()
    panel = Panel(run)
    before = panel.get_state()
    run.add(*["a secret line"] * 10_000)
    panel.flush()
    assert panel.get_state() == before


def test_repr_is_one_line_without_the_object() -> None:
    """A front end without widgets shows what the panel is of, sanitised."""
    run = Run()
    run.facts["process"] = "job\x1b[2J\n"
    data, _ = Panel(run)._repr_mimebundle_()
    assert data["text/plain"] == "LogPanel: job␊ in box, running"
    assert "application/vnd.jupyter.widget-view+json" in data


def test_unfinished_lines_are_cut() -> None:
    """A progress bar without a line feed is shown as it stands, never as megabytes."""
    run = Run()
    run.facts["partial"] = [["stdout", "x" * 1_000_000 + "\r50%"], ["stderr", "y" * 1_000_000]]
    panel = Panel(run)
    panel.flush()
    (_, first), (_, second) = panel.wire[0][0]["status"]["partial"]
    assert first == "50%"
    assert len(second) <= 4000


@pytest.mark.anyio
async def test_pump_ends_when_all_is_sent() -> None:
    """Pump sends what comes while it runs, and returns after the final row and header."""
    run = Run("a")
    panel = Panel(run)
    async with anyio.create_task_group() as group:
        group.start_soon(panel.pump)
        await anyio.wait_all_tasks_blocked()
        run.add("b")
        run.facts |= {"status": "completed", "final": True}
    assert lines(panel.wire) == ["a", "b"]
    assert panel.wire[-1][0]["status"]["final"] is True
