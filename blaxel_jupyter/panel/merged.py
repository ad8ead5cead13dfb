"""Show several runs as one log: their lines in one order, each with the source that it is from.

It keeps one byte a row, the source; texts stay in the runs' own tables. It knows nothing of messages
or widgets. Pure; imported by the widget.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import accumulate
from operator import or_
from typing import Any, TypeGuard

from blaxel_jupyter.columns import Columns
from blaxel_jupyter.panel.items import Items, TaskLike
from blaxel_jupyter.panel.rows import BATCH_ROWS, Batch, Rows
from blaxel_jupyter.panel.static import Run
from blaxel_jupyter.panel.task_lines import TaskLines
from blaxel_jupyter.table import LOGS, Table

MAX_SOURCES = 255
"""Runs in one panel at most: a row's source is one byte."""

_STEP = 1 << 14
"""Rows from one place where each source's rows are counted to the next."""

Bad = ("failed", "killed", "unknown")


class Order:
    """Which source each row is from, in the order shown; only ever longer.

    Rows of one source keep their order, so that the row's place in its own table is the number of rows of
    that source before it.
    """

    def __init__(self, sources: int) -> None:
        self._sources = sources
        self._owners = bytearray()
        self._counts = [array("Q", bytes(8 * sources))]  # before row 0, _STEP, 2 * _STEP …

    def __len__(self) -> int:
        """Return how many rows have their place."""
        return len(self._owners)

    def extend(self, owners: bytes) -> None:
        """Append rows by their sources; to be called by one thread at a time."""
        # The counts first: whoever reads a row on another thread finds those before it.
        all_there = len(self._owners) + len(owners)
        fresh = bytes(self._owners[(len(self._counts) - 1) * _STEP :]) + owners
        while len(self._counts) * _STEP <= all_there:
            step, fresh = fresh[:_STEP], fresh[_STEP:]
            before = self._counts[-1]
            self._counts.append(array("Q", [n + step.count(s) for s, n in enumerate(before)]))
        self._owners += owners

    def owners(self, first: int, last: int) -> bytes:
        """Return the sources of some rows."""
        return bytes(self._owners[first:last])

    def before(self, row: int) -> list[int]:
        """Count each source's rows before a row."""
        at = min(row // _STEP, len(self._counts) - 1)
        rest = self._owners[at * _STEP : row]
        return [n + rest.count(s) for s, n in enumerate(self._counts[at])]

    def place(self, source: int, row: int) -> int | None:
        """Return where a source's row stands; None while it has no place."""
        n = len(self._owners)
        at = bisect_right(self._counts, row, key=lambda counts: counts[source]) - 1
        low, wanted = at * _STEP, row - self._counts[at][source]
        high = min(low + _STEP, n)
        if self._owners.count(source, low, high) <= wanted:
            return None
        while high - low > 1:  # the row is in low..high
            middle = (low + high) // 2
            there = self._owners.count(source, low, middle)
            if there > wanted:
                high = middle
            else:
                low, wanted = middle, wanted - there
        return low


class _Gathered(Columns):
    """The columns of several tables, in one order: read where they are."""

    def __init__(self, names: Sequence[str], order: Order, tables: Sequence[Any]) -> None:
        super().__init__(names)
        self._order = order
        self._tables = tables

    def parts(self, name: str, start: int, stop: int) -> Iterator[list[Any]]:
        for first in range(start, stop, _STEP):
            yield self._between(name, first, min(first + _STEP, stop))

    def value(self, name: str, row: int) -> Any:
        return self._between(name, row, row + 1)[0]

    def ends(self, stop: int) -> list[int]:
        return [stop]

    def encoded(self, name: str, start: int, stop: int) -> bytes | None:
        return None

    def _between(self, name: str, first: int, last: int) -> list[Any]:
        owners = self._order.owners(first, last)
        starts = self._order.before(first)
        values: dict[int, Iterator[Any]] = {}
        for source in set(owners):
            start = starts[source]
            part = self._part(self._tables[source], name, start, start + owners.count(source))
            if len(part) == len(owners):
                return list(part)
            values[source] = iter(part)
        return list(map(next, map(values.__getitem__, owners)))

    def _part(self, table: Any, name: str, start: int, stop: int) -> list[Any]:
        return list(table.column(name)[start:stop])


class _Shown(_Gathered):
    """The same as displays show them: each table's texts without what it masks."""

    def _part(self, table: Any, name: str, start: int, stop: int) -> list[Any]:
        shown: list[Any] = table.shown(name, start, stop)
        return shown


class MergedLogs(Table):
    """The rows of several tables in one order: columns of ``logs``, read where they are, never copied.

    ``seq`` is the position in the order. It grows with the panel it belongs to.
    """

    def __init__(self, order: Order, tables: Sequence[Any]) -> None:
        super().__init__(LOGS, masks=reduce(or_, (table.masks for table in tables)))
        self._rows = _Gathered(self._rows.names, order, tables)
        self._shown = _Shown(self._rows.names, order, tables)

    def extend(self, n: int, **columns: object) -> None:
        """Refuse: the rows are those of the tables."""
        raise TypeError("the rows of several runs are the runs' own: nothing can be added")

    def publish(self, n: int) -> None:
        """Say how many rows have their place now."""
        self._rows.length = n

    def shown(self, name: str, start: int, stop: int) -> list[Any]:
        """Return a column's values as displays show them: what each run masks is masked in its rows."""
        if name not in self._rows.names:
            return super().shown(name, start, stop)
        start, stop, _ = slice(start, stop).indices(len(self))
        return self._shown.part(name, start, stop)


class _Source:
    """One run of several: its lines, and up to where they have their place."""

    def __init__(self, run: Run | TaskLike) -> None:
        self.told = TaskLines(run) if is_task(run) else None
        self.run: Run = self.told or run  # type: ignore[assignment]  # one of both
        self.asked = run
        self.verbs: tuple[str, ...] = Items.verbs if self.told else Rows.verbs
        self.rows = Rows(self.run)
        self.taken = 0
        self.latest: float = float("-inf")  # when the last row taken was received

    def offered(self) -> list[str]:
        """Return what can be asked of it now."""
        header = self.run.header()
        running = header["status"] == "running" and not header["final"]
        offered: list[str] = header.get("verbs", ["stop", "kill"] if running else [])
        return offered

    def keys(self, n: int) -> list[float]:
        """Return when the next rows were received, at most ``n``, made so that they never go back."""
        part = self.run.logs.column("received")[self.taken : self.taken + n]
        times = (self.latest if at is None else at for at in part)
        return list(accumulate(times, max, initial=self.latest))[1:]


class Merged(Rows):
    """What the panel shows of several runs: a row a line, in the order of arrival.

    At each flush the rows that are new since the last one are sorted by ``received``; a row without a
    time goes with the row before it of the same source. What has its place keeps it: rows of one source
    never change their order, and a backfill that is read later stands later, after what was shown.
    """

    def __init__(self, runs: Sequence[Run | TaskLike]) -> None:
        if len(runs) > MAX_SOURCES:
            raise ValueError(f"a panel shows {MAX_SOURCES} runs at most, not {len(runs)}")
        if len(set(map(id, runs))) < len(runs):
            raise ValueError("a run is given twice: each can be shown once")
        self.sources = [_Source(run) for run in runs]
        self._order = Order(len(runs))
        self.logs = MergedLogs(self._order, [source.run.logs for source in self.sources])
        self._places: dict[tuple[int, int], int] = {}
        self.variable = "panel"
        super().__init__(self)

    # Order ----------------------------------------------------------------------------------------------

    def look(self, variable: str | None) -> None:
        """Take in what agents' runs tell that is new; ``variable`` is what the panel is called."""
        self.variable = variable or self.variable
        for source in self.sources:
            if source.told:
                source.told.update()

    def renew(self) -> bool:
        """Give the rows that are new their places, about a message of them; none ever changes its own."""
        while self.more(len(self._order)) and self._arrange() < BATCH_ROWS // 2:
            pass
        return False

    def more(self, sent: int) -> bool:
        """Tell whether there are rows beyond those, with a place or without."""
        return sent < sum(len(source.run.logs) for source in self.sources)

    def table(self) -> MergedLogs:
        """Return the rows, after giving all that there are now their places."""
        self.look(None)
        until = sum(len(source.run.logs) for source in self.sources)
        while len(self._order) < until:
            self._arrange()
        return self.logs

    def _arrange(self) -> int:
        """Place a bounded number of the next rows; return how many.

        Each source is looked at as far as a window reaches. Where rows lie beyond one, what is sorted
        after its last row has to wait: a row beyond it may come first.
        """
        window = max(1024, BATCH_ROWS // len(self.sources))
        keys: list[float] = []
        owners, ends = bytearray(), []
        for i, source in enumerate(self.sources):
            total = len(source.run.logs)
            fresh = source.keys(min(window, total - source.taken))
            keys += fresh
            owners += bytes([i]) * len(fresh)
            if source.taken + len(fresh) < total:
                ends.append(len(keys) - 1)
        rows = sorted(range(len(keys)), key=keys.__getitem__)
        if ends:
            del rows[min(map(rows.index, ends)) + 1 :]
        placed = bytes(map(owners.__getitem__, rows))
        for i, source in enumerate(self.sources):
            if n := placed.count(i):
                source.latest = keys[owners.index(i) + n - 1]
                source.taken += n
        self._order.extend(placed)
        self.logs.publish(len(self._order))
        return len(placed)

    def page(self, first: int, n: int) -> Batch:
        """Pack rows from ``first``, as many of ``n`` as one message takes, with their sources."""
        content, buffers = super().page(first, n)
        owners = self._order.owners(first, first + content["n"])
        return content, [*buffers, owners]

    # Facts ----------------------------------------------------------------------------------------------

    def header(self) -> dict[str, Any]:
        """Return the facts of all runs in one, and of each in ``sources``."""
        each = self._facts()
        total = {name: sum(one[name] for one in each) for name in ("lines", "bytes", "masked")}
        known = [one["started"] for one in each if one["started"] is not None]
        final = all(one["final"] for one in each) and not self.more(len(self._order))
        ends = [one["ended"] for one in each]
        return {
            **total,
            "sources": each,
            "sandbox": "",
            "process": f"{len(each)} sources",
            "command": "",
            "status": _together([one["status"] for one in each]),
            "exit_code": None,
            "started": min(known, default=None),
            "ended": max(ends) if final and None not in ends else None,
            "integrity": _whole([one["integrity"] for one in each]),
            "local": any(one["local"] for one in each),
            "final": final,
            "message": " · ".join(f"{one['name']}: {one['message']}" for one in each if one["message"])
            or None,
            "verbs": [verb for verb in Rows.verbs if self.orders(verb, None)],
            "variable": self.variable,
            "partial": [
                [*line, i] for i, one in enumerate(each) for line in one.pop("partial")
            ],
        }  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """Return the header."""
        return self.header()

    def orders(self, verb: str, source: object) -> list[tuple[Any, ...]]:
        """Return what a verb is for the callback: for one source by its number, or for all that go on.

        Sent to all, stop and kill cancel the agents' runs; nothing if the verb is unknown.
        """
        if source is None and verb in Rows.verbs:
            each = [(i, _meant(verb, one.verbs), one) for i, one in enumerate(self.sources)]
            return [(meant, i) for i, meant, one in each if meant in one.offered()]
        if not isinstance(source, int) or isinstance(source, bool):
            return []
        if 0 <= source < len(self.sources) and verb in self.sources[source].verbs:
            return [(verb, source)]
        return []

    def title(self) -> str:
        """Return the runs in one line, not sanitised."""
        each = self._facts()
        return ", ".join(f"{one['name']} ({one['status']})" for one in each)

    def _facts(self) -> list[dict[str, Any]]:
        each = [source.rows.facts() for source in self.sources]
        names = [one["process"] for one in each]
        for i, (source, one) in enumerate(zip(self.sources, each, strict=True)):
            alone = names.count(one["process"]) == 1 or not one["sandbox"]
            one["name"] = one["process"] if alone else f"{one['sandbox']}/{one['process']}"
            one["command"] = one["command"][:500]
            one["verbs"] = source.offered()
            one["lines"] = len(source.run.logs)
            one["digest"] = self._digest(i, one.get("digest"))
            one.setdefault("masked", 0)
        return each

    def _digest(self, source: int, digest: dict[str, Any] | None) -> dict[str, Any] | None:
        """Put the panel's rows for the run's own; what has no place yet is not told."""
        if digest is None:
            return None
        first, block = digest["first"], digest["block"]
        block = block and [self._place(source, block[0]), self._place(source, block[1] - 1)]
        if first is not None:
            first = self._place(source, first)
        if block and None in block:
            block = None
        return {**digest, "first": first, "block": block and [block[0], block[1] + 1]}

    def _place(self, source: int, row: int) -> int | None:
        key = source, row
        if key not in self._places and (place := self._order.place(source, row)) is not None:
            self._places[key] = place
        return self._places.get(key)


def is_task(run: Run | TaskLike) -> TypeGuard[TaskLike]:
    """Tell a task's run from a process's."""
    return hasattr(run, "fold")


def _meant(verb: str, verbs: tuple[str, ...]) -> str:
    return verb if verb in verbs else "cancel"


def _together(statuses: list[str]) -> str:
    """Return one status for all: running while one runs, then the worst there is."""
    for status in ("running", "queued", *Bad, "interrupted", "stopped", "cancelled"):
        if status in statuses:
            return "running" if status == "queued" else status
    return statuses[0] if len(set(statuses)) == 1 else "completed"


def _whole(integrities: list[str]) -> str:
    """Return one integrity for all: a gap anywhere is one."""
    return next(
        (word for word in ("gap", "following", "repaired") if word in integrities), "complete"
    )
