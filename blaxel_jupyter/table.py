"""Keep rows as append-only columns and hand them to DataFrame libraries through Arrow.

A table grows by one writer while any thread reads a consistent prefix; it never changes a row, and
it knows nothing of sandboxes beyond the column lists below. Pure: imports columns, filters, and nanoarrow
when exported; pandas, polars and pyarrow only when asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain, compress, repeat
from typing import TYPE_CHECKING, Any, NamedTuple, Self, overload

from blaxel_jupyter import pandas_columns
from blaxel_jupyter.arrow import Type, buffers_of, check_size, line_buffers, uniform_buffers
from blaxel_jupyter.columns import BLOCK_ROWS, Columns, Repeated, Spill
from blaxel_jupyter.filters import Filter
from blaxel_jupyter.masks import NONE, Masks, Screen
from blaxel_jupyter.table_html import table_html
from blaxel_jupyter.wire import Lines

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

_Uniform = Callable[[Type, Any, int, int], list[object]]

BATCH_ROWS = 1 << 16
"""Rows of one Arrow batch."""

BATCH_BYTES = 1 << 28
"""Bytes of text in one column of a batch, unless one value is longer: below int32 offsets' end."""

EXPORTED_AT_ONCE = 1 << 20
"""Rows that are exported in one go; more are, too, where pyarrow is not installed."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SURROGATE = re.compile("[\ud800-\udfff]")


class Column(NamedTuple):
    """Name one column and its type.

    ``timestamp`` is an int of UTC microseconds in memory, an aware datetime in dicts and
    ``timestamp[us, UTC]`` in Arrow. Every column but ``seq`` may hold nulls.
    """

    name: str
    type: Type


LOGS: tuple[Column, ...] = (
    Column("seq", "int64"),
    Column("sandbox", "string"),
    Column("process", "string"),
    Column("stream", "string"),
    Column("text", "string"),
    Column("kind", "string"),
    Column("received", "timestamp"),
    Column("origin", "string"),
    Column("missing_bytes", "int64"),
)
"""The columns of ``SandboxRun.logs``, one row an entry."""


class Table:
    """Hold append-only columns that read as a sequence of dicts and export as Arrow.

    One writer calls ``extend``; readers on other threads take no lock, since the length is
    published last. ``polars.DataFrame(t)``, ``duckdb.sql("from t")`` and ``pyarrow.table(t)`` read
    it directly (Arrow PyCapsule interface), at any time: a growing table exports the rows it has
    at that moment.

    Args:
        columns: Names and types, in order.
        constants: Columns that have one value in all rows, stored once.
        position: The column that is the row's position, from 0, and is never stored.
        spill: Where rows are put away when there are many; None keeps all of them in memory. They are
            read back when somebody looks, the same for every reader.
        masks: What displays of the rows must not show; the rows themselves are as they are.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        constants: Mapping[str, object] | None = None,
        position: str | None = "seq",
        spill: Spill | None = None,
        masks: Masks = NONE,
    ) -> None:
        self._types: dict[str, Type] = {column.name: column.type for column in columns}
        self._constants = {
            name: _encodable([value])[0] if isinstance(value, str) else value
            for name, value in (constants or {}).items()
        }
        if unknown := self._constants.keys() - self._types.keys():
            raise TypeError(f"no such column: {', '.join(sorted(unknown))}")
        names = [name for name in self._types if name != position and name not in self._constants]
        self._rows = Columns(names, spill)
        self._spill = spill
        self._screen = Screen(masks)

    # Writing

    def extend(self, n: int, **columns: object) -> None:
        """Append ``n`` rows; to be called by one thread at a time.

        Args:
            n: How many rows.
            **columns: A list gives each row its value, a function returns that list when the column
                is first read, ``Lines`` are decoded whenever the column is read, anything else is every
                row's value. Columns left out are null. Lists are copied; strings are shared, but for
                lone surrogates, which no consumer can encode: they become U+FFFD (a function's are taken
                as they are).

        Raises:
            ValueError: A list, or lines, are not ``n`` values; nothing was appended.
            TypeError: A column does not exist or is not stored, or a list for a text column holds
                something else; nothing was appended.
        """
        for name, values in columns.items():
            if name not in self._rows.names:
                raise TypeError(f"no such stored column: {name}")
            if isinstance(values, list | Lines) and len(values) != n:
                raise ValueError(f"{name}: {len(values)} values for {n} rows")
        size, given = 0, dict.fromkeys(self._rows.names) | columns
        for name, values in columns.items():
            if isinstance(values, list) and self._types[name] == "string":
                joined = "".join(filter(None, values))
                size += len(joined)
                given[name] = _encodable(values, joined)
            elif isinstance(values, str) and not values.isascii():
                [given[name]] = _encodable([values])
        stored = [name for name in columns if self._types[name] == "string"]
        self._screen.look(len(self), len(self) + n, (given[name] for name in stored))
        self._rows.extend(n, given, size)

    # Reading

    @property
    def columns(self) -> tuple[str, ...]:
        """The column names, in order."""
        return tuple(self._types)

    def column(self, name: str) -> Sequence[Any]:
        """Return the live values of one column, not a copy: a sequence whose slices are lists.

        It grows with the table, and equals any sequence of the same values. Timestamps are ints, UTC
        microseconds.

        Raises:
            KeyError: There is no such column.
        """
        if name in self._rows.names:
            return self._rows.column(name)
        if name in self._constants:
            return Repeated(self._constants[name], len(self))
        if name in self._types:
            return range(len(self))
        raise KeyError(name)

    @property
    def masks(self) -> Masks:
        """What displays of the rows do not show."""
        return self._screen.masks

    def with_masks(self, masks: Masks) -> Self:
        """Let displays of all rows mask values, also of those that are there; return the table."""
        self._screen = Screen(masks, every=True)
        return self

    @property
    def masked(self) -> int:
        """How many values displays of all rows mask."""
        return self._screen.count

    def shown(self, name: str, start: int, stop: int) -> list[Any]:
        """Return a column's values from row ``start`` to before ``stop`` as displays show them: masked.

        Raises:
            KeyError: There is no such column.
        """
        values = list(self.column(name)[start:stop])
        return self._screen.shown(values, start) if name in self._rows.names else values

    def __len__(self) -> int:
        """Return the number of complete rows."""
        return self._rows.length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Iterate over the rows there are now, as dicts."""
        return self._dicts(range(len(self)))

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        """Return one row as a dict, or a slice of rows as a list of dicts.

        Raises:
            IndexError: There is no such row.
        """
        rows = range(len(self))
        if isinstance(index, slice):
            return list(self._dicts(rows[index]))
        try:
            position = rows[index]
        except IndexError:
            raise IndexError(f"row {index} of a table of {len(rows)} rows") from None
        return next(self._dicts(range(position, position + 1)))

    def filter(self, expression: str) -> Table:
        """Return the rows that a filter keeps, of those there are now: ``logs.filter("level:error")``.

        The language is the panel's own (``blaxel_jupyter.filters``). The result has the same columns;
        its ``seq`` are those of this table, which it does not follow when that grows.

        Raises:
            FilterError: A ``ValueError``: the expression cannot be read; it says where.
            KeyError: The expression asks for a column that this table does not have.
        """
        wanted, n = Filter(expression), len(self)
        columns = [Column(*column) for column in self._types.items()]
        kept = Table(columns, constants=self._constants, position=None, spill=self._spill)
        kept._screen = Screen(self.masks)
        for start in range(0, n, BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, n))
            mask = wanted.mask(self.column, rows.start, rows.stop)
            if any(mask):
                kept.extend(
                    len(mask) - mask.count(0),
                    **{
                        name: list(compress(self.column(name)[rows], mask))
                        for name in kept._rows.names
                    },
                )
        return kept

    def records(self) -> list[dict[str, Any]]:
        """Return all rows as plain dicts; timestamps are aware datetimes (UTC), nulls are None."""
        return list(self)

    def _dicts(self, rows: range) -> Iterator[dict[str, Any]]:
        names = tuple(self._types)
        times = _Datetimes()
        cells = [
            map(times.__getitem__, self._cells(name, rows))
            if kind == "timestamp"
            else self._cells(name, rows)
            for name, kind in self._types.items()
        ]
        return (dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True))

    def _cells(self, name: str, rows: range) -> Iterator[Any]:
        if name in self._constants:
            return repeat(self._constants[name], len(rows))
        if name not in self._rows.names:
            return iter(rows)
        if rows.step == 1:
            return chain.from_iterable(self._rows.parts(name, rows.start, rows.stop))
        return map(self._rows.column(name).__getitem__, rows)

    # Exporting

    def to_pandas(self) -> pandas.DataFrame:
        """Return a pandas DataFrame; needs pandas, not pyarrow.

        Dtypes do not depend on the values: ``seq`` int64, other integers Int64, booleans boolean,
        timestamps datetime64[us, UTC], text pandas' own default for text.

        Raises:
            ImportError: pandas is not installed.
        """
        pd = _module("pandas", "to_pandas()")
        n = len(self)
        index = pd.RangeIndex(n)
        through_arrow = n > pandas_columns.FEW and pandas_columns.keeps_arrow(pd)
        columns = {}
        for name, kind in self._types.items():
            if through_arrow and kind == "string" and name in self._rows.names:
                text = self._arrow(BATCH_ROWS, BATCH_BYTES, {name: kind})
                columns[name] = pandas_columns.arrow_text(pd, text, index)
            else:
                columns[name] = pandas_columns.column(pd, kind, self.column(name)[:n], index)
        frame: pandas.DataFrame = pd.DataFrame(columns, index=index)
        return frame

    def to_polars(self) -> polars.DataFrame:
        """Return a polars DataFrame.

        Raises:
            ImportError: polars is not installed.
        """
        frame: polars.DataFrame = _module("polars", "to_polars()").DataFrame(self)
        return frame

    def to_arrow(self) -> pyarrow.Table:
        """Return a pyarrow Table.

        Raises:
            ImportError: pyarrow is not installed.
        """
        return _module("pyarrow", "to_arrow()").table(self)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Export the rows there are now as an Arrow stream capsule.

        Of a long table each batch is made when it is consumed, if pyarrow is installed; else all are
        there at once. ``requested_schema`` is ignored, as the protocol allows: consumers cast by themselves.
        """
        return self._arrow(BATCH_ROWS, BATCH_BYTES).__arrow_c_stream__()

    def _arrow(self, rows: int, size: int, columns: dict[str, Type] | None = None) -> Any:
        """Return the rows there are now as what exports a stream, of all columns unless they are named.

        Both limits are those of one batch.
        """
        import nanoarrow

        types: dict[Type, Any] = {
            "int64": nanoarrow.int64(),
            "string": nanoarrow.string(),
            "timestamp": nanoarrow.timestamp("us", "UTC"),
            "bool": nanoarrow.bool_(),
            "float64": nanoarrow.float64(),
        }
        wanted = self._types if columns is None else columns
        schema = nanoarrow.struct({name: types[kind] for name, kind in wanted.items()})
        uniform = lru_cache(maxsize=16)(uniform_buffers)  # its batches share what is equal

        def batches(part: range) -> Iterator[Any]:
            try:
                children = [
                    self._arrow_column(name, kind, types[kind], part, size, uniform)
                    for name, kind in wanted.items()
                ]
            except OverflowError:
                if len(part) == 1:
                    raise
                middle = len(part) // 2
                yield from batches(part[:middle])
                yield from batches(part[middle:])
            else:
                yield nanoarrow.c_array_from_buffers(schema, len(part), [None], children=children)

        parts = self._parts(len(self), rows)
        all_batches = (batch for part in parts for batch in batches(part))
        if len(self) > EXPORTED_AT_ONCE and importlib.util.find_spec("pyarrow"):
            pyarrow = importlib.import_module("pyarrow")
            return pyarrow.RecordBatchReader.from_batches(
                pyarrow.schema(schema), map(pyarrow.record_batch, all_batches)
            )
        return nanoarrow.Array.from_chunks(all_batches)

    def _parts(self, n: int, rows: int) -> Iterator[range]:
        """Yield the rows of batches, which end where blocks end if they are long enough."""
        start = 0
        for end in self._rows.ends(n):
            while end - start > rows:
                yield range(start, start := start + rows)
            if end - start > rows // 2 or end == n:  # also of no rows: it carries the types
                yield range(start, start := end)

    def _arrow_column(
        self, name: str, kind: Type, schema: Any, rows: range, size: int, uniform: _Uniform
    ) -> Any:
        import nanoarrow

        if name in self._constants:
            buffers = uniform(kind, self._constants[name], len(rows), size)
        elif name not in self._rows.names:
            buffers = [None, array("q", rows)]
        elif lines := self._rows.encoded(name, rows.start, rows.stop):
            buffers = line_buffers(lines, size)
        else:
            values = self._rows.part(name, rows.start, rows.stop)
            if values and values.count(values[0]) == len(values):
                buffers = uniform(kind, values[0], len(rows), size)
            elif kind == "string":
                check_size(values, size)
                return nanoarrow.c_array(values, schema)
            else:
                buffers = buffers_of(kind, values)
        return nanoarrow.c_array_from_buffers(schema, len(rows), buffers)

    # Showing

    def __repr__(self) -> str:
        """Return the number of rows and the column names."""
        return f"<Table of {len(self):,} rows: {', '.join(self._types)}>"

    def _repr_html_(self) -> str:
        """Return the first and last rows as an HTML table of bounded size, every value escaped."""
        return table_html(tuple(self._types), len(self), self._masked)

    def _masked(self, start: int, stop: int) -> list[dict[str, Any]]:
        """Return rows as dicts, their texts as displays show them."""
        rows = self[start:stop]
        for name, kind in self._types.items():
            if kind == "string":
                for row, text in zip(rows, self.shown(name, start, stop), strict=True):
                    row[name] = text
        return rows


class _Datetimes(dict[int | None, datetime | None]):
    """Turn UTC microseconds into datetimes, each once: rows that came together share their time."""

    def __missing__(self, microseconds: int | None) -> datetime | None:
        time = None if microseconds is None else _EPOCH + timedelta(microseconds=microseconds)
        self[microseconds] = time
        return time


def _encodable(texts: list[Any], joined: str | None = None) -> list[Any]:
    """Return ``texts`` itself, or a copy without lone surrogates where there are any."""
    joined = "".join(filter(None, texts)) if joined is None else joined
    if joined.isascii():
        return texts
    try:
        joined.encode()
    except UnicodeEncodeError:
        return [text and _SURROGATE.sub("\ufffd", text) for text in texts]
    return texts


def _module(name: str, wanted_by: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        message = f"{wanted_by} needs the package {name}: %pip install {name}"
        raise ImportError(message, name=name) from error
