"""Show a run in the notebook while it goes on: the live panel of a process's log or an agent's story.

It sends what is new in bounded batches and answers requests for what was lost; it never talks to a
service. Imported by the magics and by users who show a run of their own; needs the front end that
the build leaves in ``dist/``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard, cast

import anyio
import anywidget
import traitlets

from blaxel_jupyter.errors import BlaxelError
from blaxel_jupyter.panel.allowance import ANSWERS, ORDERS, Allowance
from blaxel_jupyter.panel.escapes import visible_text
from blaxel_jupyter.panel.items import Items, TaskLike
from blaxel_jupyter.panel.merged import Merged, is_task
from blaxel_jupyter.panel.naming import name_of
from blaxel_jupyter.panel.pace import Pace
from blaxel_jupyter.panel.rows import Batch, Rows
from blaxel_jupyter.panel.static import Run
from blaxel_jupyter.table import Table

__all__ = ["LogPanel"]

RATE = 30
"""Flushes a second at most."""

BUSY_RATE = 60
"""The same while rows are left over."""

BURST = 4
"""Messages at once while pumping: with ``BUSY_RATE`` a quarter of what Jupyter lets through by default."""


SCRIPTS = {"log": "panel.js", "task": "task-panel.js"}
"""Each kind of panel has a script of its own, so that it carries no more than it shows."""

LATER = "later.js"
"""What both load when they show something: sent when it is asked for, so no notebook keeps it."""


class LogPanel(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]
    """A live view of one run, a process's lines or an agent's story, or of several in one log.

    What is shown travels as messages, never as widget state, so nothing of it is saved with the
    notebook's widgets. Runs of a client are followed, and shown as they go on, as soon as a front end
    has the panel. To drive it yourself, call ``flush`` (at most 30 times a second), await ``pump``, or
    set ``on_command``, before that.

    Several runs are shown in the order of arrival, each line with the name of its process; an agent's run
    tells its story in lines, under its run id. At each flush the lines that are new are sorted by
    the time of their receipt, those without one stay behind the line before them of the same run, and
    what was shown keeps its place: what is read late stands late. ``logs`` has the same rows.

    Args:
        runs: What to show, each run once; their names tell them apart, with the sandbox's where two are
            the same. A run's ``header()`` is called from any thread and returns a dict of facts;
            times are UTC epoch seconds or None.

            A sandbox run: ``run.logs`` is a ``Table`` with the ``logs`` columns; the header has
            ``sandbox``, ``process``, ``command``, ``status`` (``running``, ``completed``,
            ``failed``, ``stopped``, ``killed``), ``exit_code`` (int or None), ``started``,
            ``ended``, ``lines``, ``bytes``, ``integrity``, ``local`` (no isolation), ``final``
            (nothing more will come), ``message`` (str or None) and, if there are any, ``partial``:
            the lines that have not ended yet, as ``[stream, text]``; ``variable``, the run's name in the
            notebook, for code that is copied; ``digest``, None or why it failed: ``meaning`` (of the
            exit code, or None), ``first`` (the row of the first error, or None) and ``block`` (the first
            row of the last error block and the one past it, or None); ``verbs``, what its buttons offer
            now (stop and kill of a run that is ``running`` where they are left out).

            An agent run: ``run.fold`` is a ``Fold``; the header has ``run_id``, ``status``,
            ``source``, ``error``, ``prompt``, ``target``, ``model``, ``started``, ``ended``,
            ``events``, ``tool_calls``, ``tool_errors``, ``unfinished``, ``text_chars``,
            ``input_tokens``, ``output_tokens``, ``total_cost_usd``, ``warnings``, ``local``,
            ``final`` and ``message``; what is not known is None.

    Raises:
        RuntimeError: The front end was not built.
    """

    _view = traitlets.Unicode("log").tag(sync=True)

    def __init__(self, *runs: Run | TaskLike) -> None:
        self._source = _source(runs)
        self._lock = threading.Lock()
        self._sent = 0
        self._pace = Pace()
        self._answers, self._orders = Allowance(*ANSWERS), Allowance(*ORDERS)
        self._answered = 0
        self._header: dict[str, Any] | None = None
        self._command: Callable[..., object] | None = _obeying(runs)
        self._runs = runs
        self._driven = False  # whether somebody flushes, or has begun to
        self._host: Any = None  # the run that pumps for this panel in the background
        self._hosted = False
        self._esm = _asset(SCRIPTS[self._source.view])
        self._css = _asset("panel.css")
        super().__init__(_view=self._source.view)
        _answer_while_busy(self.comm)
        self.on_msg(self._receive)

    @property
    def logs(self) -> Table:
        """The rows that the panel shows, in its order, with the columns of a run's ``logs``.

        ``seq`` is the position in the panel. Filters of the panel keep the same rows here:
        ``panel.logs.filter("level:error")``. It grows with the panel; a panel of an agent's run
        alone, which shows no lines, has none.

        Raises:
            AttributeError: It shows an agent's run alone.
        """
        if isinstance(self._source, Items):
            raise AttributeError("an agent's run alone is no log: see its events and tool_calls")
        with self._lock:
            return self._source.table()

    def on_command(self, callback: Callable[..., object]) -> None:
        """Call ``callback(verb)`` when a button is pressed: ``stop`` or ``kill``, or ``cancel``.

        Where the header's ``verbs`` offer them also ``detach``, to stop following, and ``follow``.

        A panel of several runs calls ``callback(verb, i)``, ``i`` counted from 0 as the runs were given.
        Without this, the runs themselves are told, if each has a method ``obey(verb)``: ours have.
        It runs on whatever thread serves the message, and must return at once: set a flag, or hand
        the work to a loop.
        """
        self._command = callback
        self._driven = True

    def flush(self) -> bool:
        """Send what is new since the last flush: a few batches, and the header if it changed.

        To a page that cannot keep up only the number of rows is sent: it asks for what it shows.

        Returns:
            Whether rows are left for the next flush.
        """
        self._driven = True
        with self._lock:
            return self._flush(2 * BURST)

    def _flush(self, most: int) -> bool:
        header = self._facts()
        status = {} if header == self._header else {"status": header}
        for _ in range(most if self._source.paged else 1):
            if self._source.renew():
                self._sent = 0
            total = self._source.total()
            if self._source.paged and total > self._sent and not self._pace.open():
                if not self._pace.behind():
                    if status:
                        self._reply({"kind": "status", **status})
                    break
                self._sent = total
                self._reply({"kind": "status", "behind": True, **status})
            elif news := self._source.news(self._sent):
                self._push(news, status)
            elif status:
                self._reply({"kind": "status", **status})
            else:
                break
            status = {}
        self._header = header
        more = self._source.more(self._sent)
        if not more and self._pace.open():
            self._pace.caught_up()
        return more

    def _facts(self) -> dict[str, Any]:
        if isinstance(self._source, Merged):
            self._source.look(name_of(self))
        return self._source.facts()

    def _push(self, news: Batch, status: dict[str, Any]) -> None:
        content, buffers = news
        self._sent = content["from"] + content["n"]
        self._pace.pushed(self._sent, sum(map(len, buffers)))
        self._reply({"kind": "append", **content, **status}, buffers)

    def close(self) -> None:
        """Close the widget and its layout on both sides; the views of it go blank."""
        self.layout.close()
        super().close()

    async def pump(self) -> None:
        """Flush until the header says ``final`` and every row was sent, or the panel is closed."""
        self._driven = True
        while self.comm is not None:
            start = time.monotonic()
            final = self._source.facts()["final"]
            with self._lock:
                more = self._flush(BURST)
            if final and not more:
                return
            due = start + 1 / (BUSY_RATE if more else RATE)
            await anyio.sleep(max(0.0, due - time.monotonic()))

    def _receive(self, _widget: object, content: object, _buffers: object) -> None:
        """Answer one message of a view; it may run on any thread and never raises."""
        message = content if isinstance(content, dict) else {}
        if _is_count(have := message.get("have")):
            self._pace.heard(min(have, self._sent))
        number = message.get("id")
        if not _is_count(number):
            return  # not ours: without an id there is nothing to answer to
        allowed = self._orders if message.get("kind") == "command" else self._answers
        if not allowed.take():
            return  # a flood; a panel asks again
        if message.get("kind") == "page":
            self._page(number, message.get("from"), message.get("n"))
        elif message.get("kind") == "later":
            self._reply({"kind": "later", "id": number}, [_asset(LATER).encode()])
        elif message.get("kind") == "command":
            self._obey(number, message.get("verb"), message.get("source"))
        else:
            self._reply({"kind": "error", "id": number, "error": "unknown request"})
        self._answered = number  # the page sees it in all that comes now: answers get lost

    def _page(self, number: int, first: object, n: object) -> None:
        total = self._source.total()
        reply = {"kind": "page", "id": number, "status": self._source.facts()}
        if not (_is_count(first) and _is_count(n) and first + n <= total):
            self._reply({**reply, "error": "no such rows"})
        elif n == 0:  # a view that has just begun, or that asks whether we are here
            self._begin()
            self._reply(reply)
        else:
            try:
                content, buffers = self._source.page(first, n)
            except OSError as error:  # rows that were put away cannot be read any more
                self._reply({**reply, "error": f"lines cannot be read: {error}"[:500]})
            else:
                self._reply({**reply, **content}, buffers)

    def _begin(self) -> None:
        """Follow the runs and flush in the background, where nobody does and the runs know how."""
        runs: list[Any] = [run for run in self._runs if hasattr(run, "in_background")]
        if self._driven or not runs:
            return
        self._driven = True
        self._host = runs[0]
        for run in runs:
            run.go_on()
        self._host.in_background(self._pump_hosted)

    async def _pump_hosted(self) -> None:
        if self._hosted:
            return
        self._hosted = True
        try:
            await self.pump()
        finally:
            self._hosted = False

    def _obey(self, number: int, verb: object, source: object) -> None:
        reply = {"kind": "command", "id": number}
        orders = self._source.orders(verb, source) if isinstance(verb, str) else []
        if not orders:
            self._reply({**reply, "error": "unknown command"})
        elif self._command is None:
            self._reply({**reply, "error": self._source.helpless})
        else:
            try:
                for order in orders:
                    self._command(*order)
                if verb == "follow" and self._host is not None:  # the pump may have come to an end
                    self._host.in_background(self._pump_hosted)
            except (BlaxelError, OSError, RuntimeError, TypeError, ValueError) as error:
                self._reply({**reply, "error": str(error)[:500]})
            else:
                self._reply(reply)

    def _reply(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        place = {"sent": self._sent, "epoch": self._source.epoch, "now": self._now()}
        self.send({**place, "answered": self._answered, **content}, buffers)

    def set_state(self, sync_data: object) -> None:
        """Take no state from a page: other pages would run a script that one of them put there."""

    def _now(self) -> float:
        """Return the time by the first run's own clock, so that it tells since when that runs."""
        clock = getattr(self._runs[0], "clock", None)
        return time.time() if clock is None else clock.now() / 1e6

    def _repr_mimebundle_(self, **_options: object) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the widget, and one line for a front end that has none."""
        line = f"LogPanel: {self._source.title()}"
        widget = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return {
            "text/plain": visible_text(line[:500]),
            "application/vnd.jupyter.widget-view+json": widget,
        }, {}


def _source(runs: tuple[Run | TaskLike, ...]) -> Rows | Items | Merged:
    if not runs:
        raise TypeError("LogPanel shows at least one run: LogPanel(run)")
    if len(runs) > 1:
        return Merged(runs)
    [run] = runs
    return Items(run) if is_task(run) else Rows(cast(Run, run))


def _obeying(runs: tuple[Run | TaskLike, ...]) -> Callable[..., object] | None:
    """Return what carries a verb to the runs, where each of them obeys."""
    obeys: list[Any] = [getattr(run, "obey", None) for run in runs]
    if None in obeys:
        return None
    return obeys[0] if len(runs) == 1 else lambda verb, i: obeys[i](verb)


def _asset(name: str) -> str:
    path = Path(__file__).parent / "dist" / name
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise RuntimeError(
            f"the panel's {name} was not built; in a checkout run: "
            "python -m blaxel_jupyter.panel.build"
        ) from None


def _answer_while_busy(comm: object) -> None:
    """Let this comm be served while a cell blocks the main thread.

    ipykernel 7.4 sends messages to the (sub)shell of the comm's last message, which a blocked cell
    holds; this lets the one that the front end chose stand, as in 7.0 to 7.3. A private name: where
    it does not exist, nothing changes.
    """
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda data, default: default


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53
