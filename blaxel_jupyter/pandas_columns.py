"""Make the columns of a pandas DataFrame of values, or of Arrow's text where pandas keeps it so.

The dtypes do not depend on the values. Pure: it knows no table; numpy comes with pandas.
"""

from __future__ import annotations

import importlib
import importlib.util
from array import array
from collections.abc import Sequence
from typing import Any

from blaxel_jupyter.arrow import Type

FEW = 1000
"""Rows up to which a way through Arrow does not pay."""

_NOT_A_TIME = -(1 << 63)
_DTYPES = {"int64": "Int64", "bool": "boolean", "float64": "float64"}


def column(pd: Any, kind: Type, values: Sequence[Any], index: Any) -> Any:
    """Return a Series of values: ints of a range int64, times datetime64[us, UTC], nulls allowed else."""
    if isinstance(values, range):
        return pd.Series(values, index, "int64")
    if kind == "timestamp":
        micros = array("q", [_NOT_A_TIME if value is None else value for value in values])
        times = importlib.import_module("numpy").frombuffer(micros, "datetime64[us]")
        return pd.Series(times, index).dt.tz_localize("UTC")
    dtype = _DTYPES[kind] if kind in _DTYPES else text_dtype(pd)
    if values and values.count(values[0]) == len(values):  # ten times faster for pandas
        return pd.Series(values[0], index, dtype)
    return pd.Series(values, index, dtype)


def text_dtype(pd: Any) -> Any:
    """Return pandas' own default for text."""
    return pd.Series([""]).dtype


def keeps_arrow(pd: Any) -> bool:
    """Tell whether pandas keeps text as Arrow does: then it need not be taken apart for it."""
    arrow = getattr(text_dtype(pd), "storage", None) == "pyarrow"
    return arrow and importlib.util.find_spec("pyarrow") is not None


def arrow_text(pd: Any, stream: Any, index: Any) -> Any:
    """Return a Series of the one column of text that an Arrow stream has, as long as the index."""
    chunks = importlib.import_module("pyarrow").table(stream).column(0)
    return pd.Series(text_dtype(pd).__from_arrow__(chunks.slice(0, len(index))), index)
