"""Columns that grow: blocks, promises and packed rows read as the lists that they were."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blaxel_jupyter.columns import BLOCK_ROWS, Columns, Spill
from blaxel_jupyter.ledger import Ledger
from blaxel_jupyter.spool import Spool
from blaxel_jupyter.store import Store
from blaxel_jupyter.wire import Lines

VALUES = st.none() | st.integers(-(2**63), 2**63 - 1) | st.text("aé🚀\n\0", max_size=5)
EXTENDS = st.lists(
    st.one_of(
        st.lists(VALUES, max_size=6),  # lists
        st.tuples(st.integers(0, 5), VALUES),  # one value for all rows
        st.binary(max_size=20).map(Lines),
        st.lists(VALUES, max_size=6).map(lambda values: lambda: list(values)),
    ),
    max_size=12,
)


def grown(extends: list[Any], columns: Columns) -> list[Any]:
    """Extend both of two columns, one by the values themselves; return what they must hold."""
    wanted: list[Any] = []
    for given_ in extends:
        n, values, plain = given_, given_, given_
        if isinstance(given_, tuple):
            n, values = given_
            plain = [values] * n
        else:
            plain = given_.texts() if isinstance(given_, Lines) else plain
            plain = plain() if callable(plain) else plain
            n = len(plain)
        columns.extend(n, {"a": values, "b": list(range(len(wanted), len(wanted) + n))}, n)
        wanted += plain
    return wanted


@settings(max_examples=200, deadline=None)
@given(
    extends=EXTENDS,
    rows=st.integers(1, 9),
    held=st.integers(0, 900),
    at=st.slices(30),
)
def test_columns_are_lists(extends: list[Any], rows: int, held: int, at: slice) -> None:
    """Whatever was appended and wherever it went, length, items, slices and iteration are a list's."""
    for spill in (None, Spill(lambda: Spool(5), held=held, rows=rows)):
        columns = Columns(("a", "b"), spill)
        wanted = grown(extends, columns)
        a, b = columns.column("a"), columns.column("b")
        assert (len(a), list(a), a) == (len(wanted), wanted, wanted)
        assert a[at] == wanted[at]
        assert [a[i] for i in range(len(wanted))] == wanted
        assert [a[-1 - i] for i in range(len(wanted))] == wanted[::-1]
        assert b == range(len(wanted))
        assert columns.ends(len(wanted))[-1] == len(wanted)


def test_rows_go_to_the_store() -> None:
    """Beyond the limit, old rows are no lists any more; below it there is no store at all."""
    text = "x" * 100
    small = Columns(("text",), Spill(Spool, held=10_000_000))
    large = Columns(("text",), Spill(Store, held=10_000, rows=10))
    for columns in (small, large):
        for i in range(200):
            columns.extend(1, {"text": f"{text}{i}"}, 103)
    assert small.store is None
    assert large.store is not None
    assert large.store.size > 100 * 140
    assert small.column("text") == large.column("text")


def test_equal_values_cost_nothing() -> None:
    """A packed column of one value takes no room in the store."""
    columns = Columns(("stream", "text"), Spill(Store, held=0, rows=50))
    for i in range(100):
        columns.extend(1, {"stream": "stdout", "text": str(i)}, 2)
    assert columns.store is not None
    assert columns.store.size < 100 * 4
    assert set(columns.column("stream")) == {"stdout"}


def test_index_errors_are_a_lists() -> None:
    """There is no row before the first or after the last."""
    columns = Columns(("a",))
    columns.extend(2, {"a": [1, 2]}, 0)
    for row in (2, -3):
        with pytest.raises(IndexError):
            columns.column("a")[row]
    assert columns.column("a") != [1, 2, 3]
    assert columns.column("a") != 5


def test_lines_of_a_ledger_are_kept_once() -> None:
    """Large output is in the ledger's store alone; the table reads it from there, bad bytes as U+FFFD."""
    ledger, columns = Ledger("stdout", Spool(1000)), Columns(("text",), Spill(Spool))
    data = b"".join(b"%d \xff line\n" % i for i in range(100_000))
    for at in range(0, len(data), 300_000):
        for rows in ledger.commit(at, data[at : at + 300_000]):
            assert len(rows.lines) <= BLOCK_ROWS
            columns.extend(len(rows.lines), {"text": rows.lines}, 0)
    assert columns.store is None
    assert ledger.data == data
    assert columns.column("text") == data[:-1].decode("utf-8", "replace").split("\n")
    assert columns.column("text")[99_999] == "99999 \ufffd line"


def test_an_interrupted_extend_leaves_whole_rows() -> None:
    """After an interrupt at any step of an extend, the rows before it are there and the next fit."""

    class Stop(list[Any]):
        """A list that an interrupt hits when its values are taken."""

        def __iter__(self) -> Any:
            raise KeyboardInterrupt

    columns = Columns(("a", "b"), Spill(Store, held=0, rows=2))
    for i in range(5):
        columns.extend(1, {"a": [i], "b": [-i]}, 0)
        for broken in ({"a": [1, 2], "b": Stop([3, 4])}, {"a": Lines(b"x\ny"), "b": Stop([3, 4])}):
            with pytest.raises(KeyboardInterrupt):
                columns.extend(2, broken, 0)
        assert columns.column("a") == list(range(i + 1))
    assert columns.column("b") == [0, -1, -2, -3, -4]


def test_readers_beside_a_writer() -> None:
    """Any prefix that a reader sees is whole, while rows become blocks and are packed away."""
    columns = Columns(("text", "number"), Spill(lambda: Spool(2000), held=5_000, rows=64))
    wrong: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            n = len(columns.column("text"))
            if columns.column("text")[:n] != [f"row {i}" for i in range(n)]:
                wrong.append(n)
            if n and columns.column("number")[n - 1] != n - 1:
                wrong.append(-n)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    n = 0
    while n < 20_000:
        size = 1 + n % 40
        texts = [f"row {i}" for i in range(n, n + size)]
        block = Lines("\n".join(texts).encode()) if n % 3 else texts
        columns.extend(size, {"text": block, "number": list(range(n, n + size))}, 9 * size)
        n += size
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
