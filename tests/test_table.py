"""Promises of ``blaxel_jupyter.table``, read by the real pandas, polars, DuckDB and pyarrow."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any

import duckdb
import pandas
import polars
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blaxel_jupyter.columns import Spill
from blaxel_jupyter.spool import Spool
from blaxel_jupyter.table import LOGS, Column
from blaxel_jupyter.table import Table as AnyTable

sql: Any = duckdb.sql  # typed as None where a statement gives no rows
NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
NOON_US = (NOON - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

ALL_TYPES = (
    Column("seq", "int64"),
    Column("run_id", "string"),
    Column("count", "int64"),
    Column("text", "string"),
    Column("at", "timestamp"),
    Column("ok", "bool"),
    Column("cost", "float64"),
)

ROWS: list[dict[str, Any]] = [
    {"count": 1, "text": "plain", "at": NOON, "ok": True, "cost": 0.5},
    {"count": None, "text": None, "at": None, "ok": None, "cost": None},
    {"count": -(2**63), "text": "", "at": NOON, "ok": False, "cost": -1.0},
    {"count": 2**63 - 1, "text": "é 🚀 \x00\x1b[31m", "at": NOON, "ok": True, "cost": 1e300},
]


SPILLS = {"in memory": None, "on disk": Spill(lambda: Spool(0), held=0, rows=2)}
spill: Spill | None = None


@pytest.fixture(scope="module", autouse=True, params=SPILLS)
def _place(request: pytest.FixtureRequest) -> Iterator[None]:
    """Show each promise twice: of tables in memory, and of tables that keep two rows there."""
    global spill
    spill = SPILLS[request.param]
    yield
    spill = None


class Table(AnyTable):
    """A table that keeps its rows where the fixture says."""

    def __init__(self, columns: Sequence[Column], **options: Any) -> None:
        super().__init__(columns, spill=spill, **options)


def filled(rows: list[dict[str, Any]] | None = None) -> Table:
    """A table of every type that holds ``rows``, in one extend."""
    rows = ROWS if rows is None else rows
    table = Table(ALL_TYPES, constants={"run_id": "r-1"})
    columns: dict[str, Any] = {
        name: [row[name] for row in rows] for name in ("count", "text", "ok", "cost")
    }
    times = [
        row["at"] and NOON_US + (row["at"] - NOON) // timedelta(microseconds=1) for row in rows
    ]
    table.extend(len(rows), at=times, **columns)
    return table


def expected(rows: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """What every consumer must read from ``filled(rows)``."""
    rows = ROWS if rows is None else rows
    return [{"seq": i, "run_id": "r-1", **row} for i, row in enumerate(rows)]


def logs(n: int = 0) -> Table:
    """A logs table of ``n`` lines."""
    table = Table(LOGS, constants={"sandbox": "box", "process": "tests"})
    if n:
        texts = [f"line {i}" for i in range(n)]
        table.extend(n, stream="stdout", text=texts, kind="line", received=NOON_US, origin="live")
    return table


# Rows


def test_logs_columns_are_those_promised() -> None:
    """The logs table has the columns of the public interface, in that order."""
    names = "seq sandbox process stream text kind received origin missing_bytes"
    assert logs().columns == tuple(names.split())


def test_reads_as_a_sequence_of_dicts() -> None:
    """Iterating, indexing, slicing and records give plain dicts with aware times."""
    table = filled()
    assert len(table) == 4
    assert table.records() == expected()
    assert list(table) == expected()
    assert table[1] == expected()[1]
    assert table[-1] == expected()[-1]
    assert table[1:3] == expected()[1:3]
    assert table[::-2] == expected()[::-2]
    assert table[10:] == []
    assert table[0]["at"].tzinfo is UTC
    for index in (4, -5):
        with pytest.raises(IndexError, match="4 rows"):
            table[index]


def test_extend_repeats_scalars_and_leaves_the_rest_null() -> None:
    """A scalar is every row's value; a column left out is null."""
    table = logs()
    table.extend(2, text=["a", "b"], stream="stderr")
    table.extend(1, text="c", missing_bytes=7)
    table.extend(0)
    assert [row["text"] for row in table] == ["a", "b", "c"]
    assert [row["stream"] for row in table] == ["stderr", "stderr", None]
    assert [row["missing_bytes"] for row in table] == [None, None, 7]
    assert [row["seq"] for row in table] == [0, 1, 2]


@pytest.mark.parametrize(
    ("n", "columns", "error"),
    [
        (2, {"text": ["only one"]}, ValueError),
        (1, {"texts": "misspelt"}, TypeError),
        (1, {"seq": 1}, TypeError),
        (1, {"sandbox": "other"}, TypeError),
        (2, {"stream": "stdout", "text": ["a", 1]}, TypeError),
    ],
)
def test_a_wrong_extend_appends_nothing(n: int, columns: dict[str, Any], error: Any) -> None:
    """A wrong length, name or type is refused, and the next rows are whole."""
    table = logs(3)
    with pytest.raises(error):
        table.extend(n, **columns)
    assert len(table) == 3
    table.extend(1, text="next", stream="stderr")
    assert (table[3]["text"], table[3]["stream"], table[3]["kind"]) == ("next", "stderr", None)
    assert table.to_arrow().num_rows == 4


def test_an_unknown_constant_is_refused() -> None:
    """A constant must be a column."""
    with pytest.raises(TypeError, match="colour"):
        Table(LOGS, constants={"colour": "red"})


def test_column_is_live_and_not_a_copy() -> None:
    """``column`` gives the values in memory, also for constants and positions."""
    table = logs(2)
    texts = table.column("text")
    table.extend(1, text="third")
    assert texts[2] == "third"
    assert table.column("text") is texts
    assert table.column("received")[0] == NOON_US
    assert list(table.column("seq")) == [0, 1, 2]
    assert list(table.column("process")) == ["tests"] * 3
    assert table.column("process")[1:] == ["tests", "tests"]
    with pytest.raises(KeyError):
        table.column("nothing")


# Consumers


def test_pandas_from_records() -> None:
    """``pandas.DataFrame(t.records())`` keeps values, and the types that pandas can infer."""
    frame = pandas.DataFrame(logs(3).records())
    assert frame["text"].tolist() == ["line 0", "line 1", "line 2"]
    assert frame["seq"].dtype == "int64"
    assert str(frame["received"].dtype) == "datetime64[us, UTC]"
    assert frame["received"][0] == NOON
    assert frame["missing_bytes"].isna().all()


def check_pandas(frame: Any) -> None:
    """Fail unless ``frame`` is what ``to_pandas`` promises of ``filled()``."""
    text = pandas.Series([""]).dtype
    dtypes = {
        "seq": "int64", "run_id": text, "count": "Int64", "text": text,
        "at": "datetime64[us, UTC]", "ok": "boolean", "cost": "float64",
    }  # fmt: skip
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        name: str(dtype) for name, dtype in dtypes.items()
    }
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    assert rows == expected()


def test_to_pandas() -> None:
    """``to_pandas`` keeps every value, null and type; int64 is exact beside nulls."""
    check_pandas(filled().to_pandas())


@pytest.mark.parametrize("rows", [[], ROWS[1:2], ROWS[:1] * 3])
def test_to_pandas_types_do_not_depend_on_the_values(rows: list[dict[str, Any]]) -> None:
    """No rows, only nulls and equal values have the types of any others."""
    frame = filled(rows).to_pandas()
    assert len(frame) == len(rows)
    assert frame.dtypes.equals(filled().to_pandas().dtypes)
    assert frame.isna().equals(pandas.DataFrame(expected(rows), columns=frame.columns).isna())


def test_polars() -> None:
    """``polars.DataFrame(t)`` and ``to_polars`` keep every value, null and type."""
    for frame in (polars.DataFrame(filled()), filled().to_polars()):
        assert dict(frame.schema) == {
            "seq": polars.Int64,
            "run_id": polars.String,
            "count": polars.Int64,
            "text": polars.String,
            "at": polars.Datetime("us", "UTC"),
            "ok": polars.Boolean,
            "cost": polars.Float64,
        }
        assert frame.to_dicts() == expected()


def test_pyarrow() -> None:
    """``pyarrow.table(t)`` and ``to_arrow`` keep every value, null and type, and validate."""
    for table in (pyarrow.table(filled()), filled().to_arrow()):
        table.validate(full=True)
        assert table.schema.equals(
            pyarrow.schema(
                {
                    "seq": pyarrow.int64(),
                    "run_id": pyarrow.string(),
                    "count": pyarrow.int64(),
                    "text": pyarrow.string(),
                    "at": pyarrow.timestamp("us", "UTC"),
                    "ok": pyarrow.bool_(),
                    "cost": pyarrow.float64(),
                }
            )
        )
        assert table.to_pylist() == expected()


def test_duckdb() -> None:
    """``duckdb.sql("from t")`` finds the table by its variable's name."""
    t = filled()
    relation = sql('select seq, run_id, count, text, epoch_us("at"), ok, cost from t')
    assert relation.fetchall() == [
        (row["seq"], row["run_id"], row["count"], row["text"], row["at"] and NOON_US,
         row["ok"], row["cost"])
        for row in expected()
    ]  # fmt: skip
    kinds = [str(kind) for kind in sql("from t").types]
    assert kinds == [
        "BIGINT", "VARCHAR", "BIGINT", "VARCHAR", "TIMESTAMP WITH TIME ZONE", "BOOLEAN", "DOUBLE",
    ]  # fmt: skip
    del t


@pytest.mark.parametrize("rows", [[], ROWS[1:2] * 9, ROWS[:1] * 9, ROWS[3:] * 9])
def test_arrow_of_no_rows_nulls_and_equal_values(rows: list[dict[str, Any]]) -> None:
    """Empty tables, columns of nulls only and of one value export like any others."""
    table = filled(rows).to_arrow()
    table.validate(full=True)
    assert table.to_pylist() == expected(rows)
    assert polars.DataFrame(filled(rows)).to_dicts() == expected(rows)
    assert table.schema.equals(filled().to_arrow().schema)


texts = st.none() | st.text(st.characters(exclude_categories=[]), max_size=9)
integers = st.none() | st.integers(-(2**63), 2**63 - 1)


@settings(deadline=None)
@given(
    st.lists(st.tuples(texts, integers, st.none() | st.booleans())),
    st.integers(1, 9),
    st.integers(1, 40),
)
def test_any_values_in_any_batches(
    rows: list[tuple[str | None, int | None, bool | None]], batch: int, size: int
) -> None:
    """Batches of any number of rows and bytes give the same values; surrogates become U+FFFD."""
    table = Table(ALL_TYPES, constants={"run_id": "é"})
    split = len(rows) // 2
    for part in (rows[:split], rows[split:]):
        table.extend(
            len(part),
            text=[text for text, _, _ in part],
            count=[count for _, count, _ in part],
            ok=[ok for _, _, ok in part],
        )
    arrow = pyarrow.table(table._arrow(batch, size))
    arrow.validate(full=True)
    assert arrow.to_pylist() == table.records()
    assert [row["text"] for row in table] == [
        text and re.sub("[\ud800-\udfff]", "\ufffd", text) for text, _, _ in rows
    ]
    assert [(row["count"], row["ok"]) for row in table] == [row[1:] for row in rows]


def test_batches_keep_text_below_the_limit() -> None:
    """A batch of more text than the limit is halved; a longer value stands alone."""
    table = Table([Column("text", "string"), Column("same", "string")], constants={"same": "xx"})
    table.extend(6, text=["a", "b" * 50, "c", "d", "e", "f"])
    arrow = pyarrow.table(table._arrow(100, 8))
    column = arrow.column("text")
    assert max(sum(map(len, chunk.to_pylist())) for chunk in column.chunks) == 50
    assert all(len(chunk) == 1 or len("".join(chunk.to_pylist())) <= 8 for chunk in column.chunks)
    assert arrow.to_pylist() == table.records()


def test_lone_surrogates_break_no_consumer() -> None:
    """What UTF-8 cannot hold is U+FFFD for every reader alike."""
    t = Table(LOGS, constants={"sandbox": "\ud800", "process": "p"})
    t.extend(2, text=["\udcff", "\ud83d\ude00"], stream="\ud800")
    t.extend(1, text="\udc00", stream="stdout")
    wanted = ["\ufffd", "\ufffd\ufffd", "\ufffd"]
    assert pandas.DataFrame(t.records())["text"].tolist() == wanted
    assert t.to_pandas()["text"].tolist() == wanted
    assert t.to_polars()["text"].to_list() == wanted
    assert t.to_arrow()["sandbox"].to_pylist() == ["\ufffd"] * 3
    assert sql("select text from t").fetchall() == [(text,) for text in wanted]


def test_a_growing_table_exports_a_consistent_prefix() -> None:
    """Exports while another thread appends hold whole rows, in order, each once."""
    table = logs()
    stop = threading.Event()
    sizes = [0]

    def grow() -> None:
        n = 0
        while n < 24_000 and not stop.is_set():
            size = 1 + n % 7
            texts = [str(i) for i in range(n, n + size)]
            table.extend(size, text=texts, received=n, missing_bytes=list(range(n, n + size)))
            n += size
            while n > sizes[-1] + 1_000 and not stop.is_set():
                stop.wait(0.0001)

    def read(name: str, rows: Any) -> list[Any]:
        if isinstance(rows, list):
            return [row[name] for row in rows]
        column = rows[name]
        return column.to_pylist() if isinstance(rows, pyarrow.Table) else list(column)

    writer = threading.Thread(target=grow)
    writer.start()
    exports = cycle((table.to_arrow, table.to_polars, table.to_pandas, table.records))
    try:
        while writer.is_alive():
            before = len(table)
            rows: Any = next(exports)()
            assert before <= len(rows) <= len(table)
            sizes.append(len(rows))
            assert read("seq", rows) == read("missing_bytes", rows) == list(range(len(rows)))
            assert read("text", rows) == [str(i) for i in range(len(rows))]
    finally:
        stop.set()
        writer.join()
    assert len(set(sizes)) > 20, "the table grew while it was exported"


# Showing


def test_repr_is_short() -> None:
    """The repr says how many rows, and holds none of them."""
    assert repr(logs(1234)).startswith("<Table of 1,234 rows: seq, sandbox,")
    assert "line" not in repr(logs(1234))


def test_html_is_escaped_and_bounded() -> None:
    """HTML holds the first and last rows, text cut, nothing that a browser would interpret."""
    table = logs(100_000)
    table.extend(
        3, text=["<script>alert('1')</script>&amp;", "\x1b[31m\r\x00\u202e\x85", "y" * 10_000_000]
    )
    shown = table._repr_html_()
    assert "100,003 rows" in shown
    assert "line 0" in shown
    assert "line 50000" not in shown
    assert "<script" not in shown
    assert "&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;&amp;amp;" in shown
    assert r"\x1b[31m\r\x00\u202e\x85" in shown
    assert "10,000,000 characters" in shown
    assert len(shown) < 10_000
    assert re.fullmatch(r"[\n -~…]+", shown)


def test_html_of_few_rows_shows_all() -> None:
    """A small table is shown whole."""
    assert logs(10)._repr_html_().count("<tr>") == 11
    assert logs(0)._repr_html_().endswith("<p>0 rows</p>")


def test_promised_values_are_put_in_at_the_first_look() -> None:
    """A function's values are asked for once, when the column is read, in every way of reading."""
    asked: list[int] = []

    def texts() -> list[str]:
        asked.append(1)
        return ["a", "b", "c"]

    table = Table(LOGS, constants={"sandbox": "s", "process": "p"})
    table.extend(1, text=["first"], stream="stdout")
    table.extend(3, text=texts, stream="stdout")
    table.extend(1, text=["last"], stream="stderr")
    assert (len(table), asked) == (5, [])
    assert [row["text"] for row in table] == ["first", "a", "b", "c", "last"]
    assert table.to_arrow()["text"].to_pylist() == ["first", "a", "b", "c", "last"]
    assert list(table.column("text")) == ["first", "a", "b", "c", "last"]
    assert asked == [1]


def test_a_long_table_is_exported_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is long is made while it is consumed: whole for every consumer, with errors for it, too."""
    monkeypatch.setattr("blaxel_jupyter.table.EXPORTED_AT_ONCE", 10)
    table = filled(ROWS * 20_000)
    wanted = expected(ROWS * 20_000)
    reader = pyarrow.RecordBatchReader.from_stream(table)
    first = reader.read_next_batch()
    table.extend(1, text="later")
    assert len(first) < len(wanted)
    assert first.to_pylist() + reader.read_all().to_pylist() == wanted
    assert polars.DataFrame(table)[:-1].to_dicts() == wanted
    t = table
    assert sql("select count(*), count(text) from t").fetchall() == [(80_001, 60_001)]
    del t
    table.extend(1, count=lambda: [1 // 0])
    for consumer in (pyarrow.table, polars.DataFrame):
        with pytest.raises(BaseException, match="division"):
            consumer(table)
