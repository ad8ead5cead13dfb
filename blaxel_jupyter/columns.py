"""Keep the columns of a table while they grow: the last rows as lists, older ones in blocks.

A block may be as compact as its values allow: one value for all rows, the bytes of lines that are read
again when somebody looks, or, once a table holds much text, a packed form in a store (``spool``: on disk).
Pure; imported by table.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, repeat
from operator import eq, index
from typing import Any, NamedTuple

import msgspec

from blaxel_jupyter.store import Store
from blaxel_jupyter.wire import Lines, split_text

BLOCK_ROWS, BLOCK_TEXT = 1 << 15, 2 << 20
"""Rows, or characters of text, from which on the last rows become a block."""

ROW = 100
"""Bytes of memory that a row in lists costs beside the characters of its text, about."""

DECODED = 16
"""Columns of blocks that stay decoded: about 50 MB of lines of 100 characters."""


class Spill(NamedTuple):
    """Where rows go that are put away when there are many, and when: limits are for one table."""

    store: Callable[[], Store]
    """Makes what they are put into."""
    held: int = 64 << 20
    """Bytes of memory in lists, as estimated, from which on the oldest blocks are put away."""
    rows: int = BLOCK_ROWS
    """Rows from which on the last ones become a block."""


class Repeated(Sequence[Any]):
    """One value, ``length`` times."""

    def __init__(self, value: object, length: int) -> None:
        self.value = value
        self._range = range(length)

    def __len__(self) -> int:
        """Return how often the value is there."""
        return len(self._range)

    def __getitem__(self, at: Any) -> Any:
        """Return the value, or a list of it for a slice."""
        found = self._range[at]
        return [self.value] * len(found) if isinstance(found, range) else self.value


class Text:
    """Values that are the lines of a block of bytes."""

    __slots__ = ("read",)

    def __init__(self, read: Callable[[], bytes]) -> None:
        self.read = read

    def values(self) -> list[Any]:
        """Return the lines."""
        return split_text(self.read())


class Packed:
    """Values in a store."""

    __slots__ = ("_start", "_stop", "_store")

    def __init__(self, values: list[Any], store: Store) -> None:
        self._store = store
        self._start = store.append(msgspec.msgpack.encode(values))
        self._stop = store.size

    def values(self) -> list[Any]:
        """Read them."""
        data = self._store.read(self._start, self._stop)
        values: list[Any] = msgspec.msgpack.decode(data)
        return values


class Promised:
    """Values that a function gives when somebody looks."""

    __slots__ = ("values",)

    def __init__(self, values: Callable[[], list[Any]]) -> None:
        self.values = values


Form = list[Any] | Repeated | Text | Packed | Promised


class Block:
    """Rows from ``start`` to before ``stop``; ``size`` is what its lists cost, in bytes, about."""

    __slots__ = ("columns", "size", "start", "stop")

    def __init__(self, start: int, stop: int, columns: dict[str, Form], size: int) -> None:
        self.start = start
        self.stop = stop
        self.columns = columns
        self.size = size

    def pack(self, store: Store) -> None:
        """Move the values of lists into a store; of equal values only one is kept."""
        for name, form in self.columns.items():
            if isinstance(form, list):
                equal = not isinstance(form[0], float) and form.count(form[0]) == len(form)
                self.columns[name] = Repeated(form[0], len(form)) if equal else Packed(form, store)


class _Last:
    """The last rows, from the row ``base`` on, as lists that grow."""

    __slots__ = ("base", "lists", "text")

    def __init__(self, base: int, names: Sequence[str]) -> None:
        self.base = base
        self.lists: dict[str, list[Any]] = {name: [] for name in names}
        self.text = 0


class Columns:
    """Columns of equal length that grow at the end.

    One writer calls ``extend``; readers on other threads take no lock: ``length`` is published last, a
    block is there before the rows that lead to it are taken out of the lists, and lists and blocks that
    were looked up stay as they are.

    Args:
        names: The columns.
        spill: Where old rows go; None keeps all rows as lists.
    """

    def __init__(self, names: Sequence[str], spill: Spill | None = None) -> None:
        self.length = 0
        self.names = tuple(names)
        self.store: Store | None = None
        self._spill = spill
        self._size = 0
        self._last = _Last(0, self.names)
        self._blocks: list[Block] = []
        self._starts: list[int] = []
        self._packed = 0  # how many of the blocks
        self._decoded = lru_cache(maxsize=DECODED)(_values)
        self._views = {name: Values(self, name) for name in self.names}

    # Writing

    def extend(self, n: int, columns: Mapping[str, object], text: int) -> None:
        """Append ``n`` rows.

        Args:
            n: How many.
            columns: For each column a list of ``n`` values, a function that returns one later,
                ``Lines``, or every row's value.
            text: Characters of text in lists.
        """
        self._repair()
        if n == 0:
            return
        if any(isinstance(values, Lines) or callable(values) for values in columns.values()):
            self._extend_by_block(n, columns, text)
        else:
            self._extend_lists(n, columns)
            self._last.text += text
        self.length += n
        if self._spill is not None:
            self._make_room(self._spill)

    def _extend_lists(self, n: int, columns: Mapping[str, object]) -> None:
        for name, values in self._last.lists.items():
            new = columns[name]
            if isinstance(new, list):
                values.extend(new)
            elif n == 1:
                values.append(new)
            else:
                values.extend(repeat(new, n))

    def _extend_by_block(self, n: int, columns: Mapping[str, object], text: int) -> None:
        self._seal()
        forms = {name: _form(columns[name], n) for name in self.names}
        size = text + ROW * n * any(isinstance(form, list) for form in forms.values())
        self._add(Block(self.length, self.length + n, forms, size))

    def _seal(self) -> None:
        """Make a block of the last rows."""
        last = self._last
        n = self.length - last.base
        if n:
            self._add(Block(last.base, self.length, dict(last.lists), last.text + ROW * n))

    def _add(self, block: Block) -> None:
        self._blocks.append(block)
        self._starts.append(block.start)
        self._last = _Last(block.stop, self.names)
        self._size += block.size

    def _make_room(self, spill: Spill) -> None:
        """Seal the last rows when they are enough for a block, and pack old blocks away."""
        last = self._last
        if self.length - last.base >= spill.rows or last.text >= BLOCK_TEXT:
            self._seal()
        for block in self._blocks[self._packed : self._packed + 4]:  # a few at a time
            if self._size <= spill.held:
                break
            self.store = self.store or spill.store()
            block.pack(self.store)
            self._packed += 1
            self._size -= block.size

    def _repair(self) -> None:
        """Undo what an extend left that was interrupted half way."""
        if self._last.base > self.length:  # its block was there, its rows were not yet
            self._last = _Last(self.length, self.names)
        while self._blocks and self._blocks[-1].stop > self._last.base:
            self._blocks.pop()
        del self._starts[len(self._blocks) :]
        n = self.length - self._last.base
        for values in self._last.lists.values():
            if len(values) != n:
                del values[n:]

    # Reading

    def column(self, name: str) -> Values:
        """Return the live values of a column, always the same object."""
        return self._views[name]

    def part(self, name: str, start: int, stop: int) -> list[Any]:
        """Return the values of rows ``start`` to before ``stop``, which must be there."""
        return list(chain.from_iterable(self.parts(name, start, stop)))

    def parts(self, name: str, start: int, stop: int) -> Iterator[Sequence[Any]]:
        """Yield the same in lists, a block at a time."""
        last = self._last
        for block in self._within(start, min(stop, last.base)):
            values = self._of(block, name)
            yield values[max(start - block.start, 0) : stop - block.start]
        if stop > last.base:
            yield last.lists[name][max(start - last.base, 0) : stop - last.base]

    def value(self, name: str, row: int) -> Any:
        """Return the value of one row, which must be there."""
        last = self._last
        if row >= last.base:
            return last.lists[name][row - last.base]
        block = self._blocks[bisect_right(self._starts, row) - 1]
        return self._of(block, name)[row - block.start]

    def ends(self, stop: int) -> list[int]:
        """Return where blocks end before the row ``stop``, and ``stop``."""
        base = self._last.base
        return [
            *(block.stop for block in self._within(0, min(stop, base)) if block.stop < stop),
            stop,
        ]

    def encoded(self, name: str, start: int, stop: int) -> bytes | None:
        r"""Return the bytes of values that are lines of bytes, with ``\n`` between; None for others."""
        blocks = list(self._within(start, stop))
        forms = [block.columns[name] for block in blocks]
        if not forms or blocks[0].start != start or blocks[-1].stop != stop:
            return None
        parts = [form.read() for form in forms if isinstance(form, Text)]
        return b"\n".join(parts) if len(parts) == len(forms) else None

    def _within(self, start: int, stop: int) -> Iterator[Block]:
        at = bisect_right(self._starts, start) - 1
        while start < stop and 0 <= at < len(self._blocks):
            block = self._blocks[at]
            yield block
            start = block.stop
            at += 1

    def _of(self, block: Block, name: str) -> Sequence[Any]:
        form = block.columns[name]
        if isinstance(form, list | Repeated):
            return form
        values = self._decoded(form)
        if isinstance(form, Promised):
            block.columns[name] = values
        return values


class Values(Sequence[Any]):
    """The values of one column, as many as there are at the moment; slices are lists."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, columns: Columns, name: str) -> None:
        self._columns = columns
        self._name = name

    def __len__(self) -> int:
        """Return the number of complete rows."""
        return self._columns.length

    def __getitem__(self, at: Any) -> Any:
        """Return a row's value, or a list of those of a slice."""
        n = self._columns.length
        if not isinstance(at, slice):
            row = index(at)
            row = row + n if row < 0 else row
            if not 0 <= row < n:
                raise IndexError(f"row {at} of a column of {n} rows")
            return self._columns.value(self._name, row)
        start, stop, step = at.indices(n)
        if step == 1:
            return self._columns.part(self._name, start, stop) if start < stop else []
        rows = range(start, stop, step)
        if not rows:
            return []
        first, last = min(rows[0], rows[-1]), max(rows[0], rows[-1])
        return self._columns.part(self._name, first, last + 1)[::step]

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the rows there are now."""
        return chain.from_iterable(self._columns.parts(self._name, 0, self._columns.length))

    def __eq__(self, other: object) -> bool:
        """Tell whether another sequence has the same values."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(map(eq, self, other))

    def __repr__(self) -> str:
        """Return the number of values."""
        return f"<{len(self):,} values of {self._name}>"


def _form(values: object, n: int) -> Form:
    if isinstance(values, Lines):
        return Text(values.source())
    if isinstance(values, list):
        return list(values)
    return Promised(values) if callable(values) else Repeated(values, n)


def _values(form: Text | Packed | Promised) -> list[Any]:
    return form.values()
