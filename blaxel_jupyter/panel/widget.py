"""Show a run's lines in the notebook while they arrive: the live log panel.

It sends rows in bounded binary batches and answers requests for lost ones; it never talks to a
sandbox. Imported by the magics and by users who show a run of their own; needs the front end that
the build leaves in ``dist/``.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeGuard

import anyio
import anywidget

from blaxel_jupyter.errors import BlaxelError
from blaxel_jupyter.panel.escapes import last_state, visible_text
from blaxel_jupyter.panel.static import MAX_CHARACTERS, Run

__all__ = ["LogPanel"]

BATCH_BYTES = 1 << 21
"""UTF-8 text of one message at most, unless a single row is longer: about 60 ms in a browser."""

BATCH_ROWS = 1 << 15
"""Rows of one message at most."""

RATE = 30
"""Messages a second at most: a quarter of Jupyter's default limit is 250."""

VERBS = ("stop", "kill")

_STREAMS: dict[str | None, int] = {None: 0, "stdout": 1, "stderr": 2, "system": 3}
_KINDS: dict[str, int] = {"line": 0, "gap": 4, "notice": 8}
_ORIGINS: dict[str | None, int] = {None: 0, "backfill": 16, "live": 32, "batch": 48}
_FLAGS = {
    (stream, kind, origin): s | k | o
    for stream, s in _STREAMS.items()
    for kind, k in _KINDS.items()
    for origin, o in _ORIGINS.items()
}
_NAN = float("nan")


class LogPanel(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]
    """A live view of one run: header, lines, search, and Stop.

    Rows travel as messages, never as widget state, so nothing of the log is saved with the
    notebook's widgets. Call ``flush`` (at most 30 times a second, always from the same thread) or
    await ``pump``.

    Args:
        run: What to show. ``run.logs`` is a ``Table`` with the ``logs`` columns; ``run.header()``
            is called from any thread and returns a dict: ``sandbox``, ``process``, ``command``,
            ``status`` (``running``, ``completed``, ``failed``, ``stopped``, ``killed``),
            ``exit_code`` (int or None), ``started`` and ``ended`` (UTC epoch seconds or None),
            ``lines``, ``bytes``, ``integrity``, ``local`` (no isolation), ``final`` (nothing more
            will come), ``message`` (str or None) and, if there are any, ``partial``: the lines that
            have not ended yet, as ``[stream, text]``.

    Raises:
        RuntimeError: The front end was not built.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._sent = 0
        self._header: dict[str, Any] | None = None
        self._command: Callable[[str], object] | None = None
        self._esm = _asset("panel.js")
        self._css = _asset("panel.css")
        super().__init__()
        _answer_while_busy(self.comm)
        self.on_msg(self._receive)

    def on_command(self, callback: Callable[[str], object]) -> None:
        """Call ``callback("stop")`` or ``callback("kill")`` when the button is pressed.

        It runs on whatever thread serves the message, and must return at once: set a flag, or hand
        the work to a loop.
        """
        self._command = callback

    def flush(self) -> bool:
        """Send what is new since the last flush: one batch, and the header if it changed.

        Returns:
            Whether rows are left for the next flush.
        """
        header = self._facts()
        total = len(self._run.logs)
        status = {} if header == self._header else {"status": header}
        if total > self._sent:
            content, buffers = _batch(self._run, self._sent, total)
            self._sent += content["n"]
            self._reply({"kind": "append", **content, **status}, buffers)
        elif status:
            self._reply({"kind": "status", **status})
        self._header = header
        return self._sent < total

    def close(self) -> None:
        """Close the widget and its layout on both sides; the views of it go blank."""
        self.layout.close()
        super().close()

    async def pump(self) -> None:
        """Flush until the header says ``final`` and every row was sent."""
        while True:
            due = time.monotonic() + 1 / RATE
            final = self._run.header()["final"]
            if not self.flush() and final:
                return
            await anyio.sleep(max(0.0, due - time.monotonic()))

    def _receive(self, _widget: object, content: object, _buffers: object) -> None:
        """Answer one message of a view; it may run on any thread and never raises."""
        message = content if isinstance(content, dict) else {}
        number = message.get("id")
        if not _is_count(number):
            return  # not ours: without an id there is nothing to answer to
        if message.get("kind") == "page":
            self._page(number, message.get("from"), message.get("n"))
        elif message.get("kind") == "command":
            self._obey(number, message.get("verb"))
        else:
            self._reply({"kind": "error", "id": number, "error": "unknown request"})

    def _page(self, number: int, first: object, n: object) -> None:
        total = len(self._run.logs)
        reply = {"kind": "page", "id": number, "status": self._facts()}
        if not (_is_count(first) and _is_count(n) and first + n <= total):
            self._reply({**reply, "error": "no such rows"})
        elif n == 0:  # a view that has just begun, or that asks whether we are here
            self._reply(reply)
        else:
            content, buffers = _batch(self._run, first, first + n)
            self._reply({**reply, **content}, buffers)

    def _obey(self, number: int, verb: object) -> None:
        reply = {"kind": "command", "id": number}
        if verb not in VERBS:
            self._reply({**reply, "error": "unknown command"})
        elif self._command is None:
            self._reply({**reply, "error": "this panel cannot stop the process"})
        else:
            try:
                self._command(verb)
            except (BlaxelError, OSError, RuntimeError, TypeError, ValueError) as error:
                self._reply({**reply, "error": str(error)[:500]})
            else:
                self._reply(reply)

    def _facts(self) -> dict[str, Any]:
        """Return the header; lines that have not ended are cut to what a row shows."""
        header = self._run.header()
        partial = [[s, last_state(text)[:MAX_CHARACTERS]] for s, text in header.get("partial", [])]
        return {**header, "partial": partial}

    def _reply(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        self.send({**content, "sent": self._sent, "now": time.time()}, buffers)

    def _repr_mimebundle_(self, **_options: object) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the widget, and one line for a front end that has none."""
        header = self._run.header()
        line = f"LogPanel: {header['process']} in {header['sandbox']}, {header['status']}"
        widget = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return {
            "text/plain": visible_text(line),
            "application/vnd.jupyter.widget-view+json": widget,
        }, {}


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
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _batch(run: Run, first: int, last: int) -> tuple[dict[str, Any], list[bytes]]:
    """Pack rows from ``first``, as many as one message takes, before ``last``."""
    last = min(last, first + BATCH_ROWS)
    texts = [text or "" for text in run.logs.column("text")[first:last]]
    text, n = _text(texts)
    last = first + n
    stream, kind, origin, received, missing = (
        run.logs.column(name)[first:last]
        for name in ("stream", "kind", "origin", "received", "missing_bytes")
    )
    flags = bytes(map(_FLAGS.__getitem__, zip(stream, kind, origin, strict=True)))
    times = array("d", [_NAN if at is None else at / 1000 for at in received])
    sizes = [(first + i, size) for i, size in enumerate(missing) if size is not None]
    return {"from": first, "n": n, "missing": sizes}, [text, flags, times.tobytes()]


def _text(texts: list[str]) -> tuple[bytes, int]:
    """Join as many lines as fit in a batch, at least one; return the UTF-8 text and how many."""
    ends = list(accumulate(len(text) + 1 for text in texts))
    n = max(1, bisect_right(ends, BATCH_BYTES + 1))
    while True:
        text = "\n".join(texts[:n]).encode("utf-8", "replace")
        if n == 1 or len(text) <= BATCH_BYTES:
            return text, n
        n = max(1, n * BATCH_BYTES // len(text))
