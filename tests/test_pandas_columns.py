"""Frames of pandas are the same by values and, of many rows, through Arrow."""

from __future__ import annotations

import pandas
import pytest

from blaxel_jupyter.pandas_columns import FEW, arrow_text, column, keeps_arrow
from blaxel_jupyter.table import LOGS, Table
from blaxel_jupyter.wire import Lines

AWKWARD = [
    b"plain",
    b"",
    b"\xff\xfe no UTF-8",
    "€ 🎉".encode(),
    b"nul \x00 in it",
    b"\r",
    b"x" * 9000,
]


def table(rows: int) -> Table:
    """Return a log of awkward lines, as bytes and as values, with nulls between."""
    lines = [AWKWARD[i % len(AWKWARD)] for i in range(rows)]
    made = Table(LOGS, constants={"sandbox": "box", "process": "job"})
    made.extend(rows, text=Lines(b"\n".join(lines)), stream="stdout", kind="line", received=7)
    made.extend(2, text=[None, "€"], stream=["stderr", None], received=[None, 5], missing_bytes=3)
    made.extend(rows, text=Lines(b"\n".join(reversed(lines))), stream="stdout", kind="line")
    return made


@pytest.mark.parametrize("rows", [1, FEW // 2, 3 * FEW])
def test_frames_hold_what_the_table_does(rows: int) -> None:
    """Values and nulls are the table's, dtypes those of a small table."""
    logs = table(rows)
    frame = logs.to_pandas()
    for name in ("text", "stream", "kind", "origin"):
        got = [None if pandas.isna(value) else value for value in frame[name]]
        assert got == list(logs.column(name))
    assert frame.dtypes.equals(table(1).to_pandas().dtypes)


def test_both_ways_are_the_same() -> None:
    """Text that came through Arrow equals text that was made of values, also where more rows have come."""
    assert keeps_arrow(pandas)  # as it does with what the tests install
    logs, index = table(50), pandas.RangeIndex(70)
    values = column(pandas, "string", logs.column("text")[:70], index)
    pandas.testing.assert_series_equal(
        arrow_text(pandas, logs._arrow(16, 1 << 20, {"text": "string"}), index), values
    )
