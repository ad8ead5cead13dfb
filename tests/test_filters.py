"""The filter language in Python, held to the table that the panel is held to as well."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blaxel_jupyter.columns import Spill
from blaxel_jupyter.filters import BLOCK, Filter, FilterError
from blaxel_jupyter.levels import LEVELS, level, levels
from blaxel_jupyter.panel.escapes import is_plain
from blaxel_jupyter.shown import Shown
from blaxel_jupyter.spool import Spool
from blaxel_jupyter.table import LOGS, Column, Table

CASES: dict[str, Any] = json.loads(Path(__file__).with_name("filter_cases.json").read_text("utf-8"))
TEXTS = [row["text"] for row in CASES["rows"]]
EVERY = range(len(CASES["rows"]))


def logs(spill: Spill | None = None) -> Table:
    """Return the table's rows as a log; ``process`` differs from row to row, so it is stored."""
    table = Table(LOGS, constants={"sandbox": "box"}, spill=spill)
    for row in CASES["rows"]:
        table.extend(1, **{name: [value] for name, value in row.items()}, origin="live")
    return table


def kept(expression: str) -> list[int]:
    return [row["seq"] for row in logs().filter(expression)]


@pytest.mark.parametrize(("expression", "rows"), CASES["filters"])
def test_a_filter_keeps_its_rows(expression: str, rows: list[int]) -> None:
    """Each expression of the table keeps the rows that the table says, in memory and on disk."""
    assert kept(expression) == rows
    on_disk = logs(Spill(lambda: Spool(0), held=0, rows=2)).filter(expression)
    assert on_disk.records() == logs().filter(expression).records()


@pytest.mark.parametrize(("expression", "at", "message"), CASES["errors"])
def test_what_cannot_be_read_says_where(expression: str, at: int, message: str) -> None:
    """An expression with a fault is a ValueError that names the place and the fault."""
    with pytest.raises(FilterError, match=re.escape(f"{message} (filter, character {at + 1})")):
        Filter(expression)
    assert issubclass(FilterError, ValueError)


@pytest.mark.parametrize(("line", "wanted"), CASES["levels"])
def test_levels_are_guessed_with_care(line: str, wanted: str) -> None:
    """A level is taken from where logs write it; any other line is unknown."""
    assert LEVELS[level(line)] == wanted
    assert LEVELS[levels(Shown([line]), frozenset(range(len(LEVELS))))[0]] == wanted
    number = LEVELS.index(wanted)
    assert levels(Shown([line]), frozenset({number}))[0] == number


def test_the_result_is_a_table_of_the_same_columns() -> None:
    """Columns, constants and types stay; ``seq`` is that of the whole log; it filters again."""
    table = logs()
    found = table.filter("level:error kind:line")
    assert found.columns == table.columns
    assert found.records() == [table[seq] for seq in (4, 6, 8)]
    assert found.filter("seq:6..8").column("seq") == [6, 8]
    assert found.to_pandas()["seq"].tolist() == [4, 6, 8]
    assert found.to_polars()["text"].to_list() == [TEXTS[4], TEXTS[6], TEXTS[8]]
    assert len(table.filter("kind:gap kind:line")) == 0


def test_a_growing_table_gives_a_prefix() -> None:
    """Rows that arrive while a filter reads are not in its result, whatever column they reached."""

    class Growing(Table):
        def column(self, name: str) -> Any:
            if name == "text" and len(self) < 10:
                self.extend(3, text=["late a", "late b", "late c"], stream="stdout", kind="line")
            return super().column(name)

    table = Growing(LOGS, constants={"sandbox": "b", "process": "p"})
    table.extend(2, text=["a", "b"], stream=["stdout", "stderr"], kind="line")
    found = table.filter("-x stream:stdout")
    assert len(table) > 2
    assert found.column("text") == ["a"]


def test_columns_that_are_not_there() -> None:
    """A table without kinds holds lines; a field without its column is a KeyError."""
    table = Table([Column("text", "string")], position=None)
    table.extend(3, text=["a", None, "b"])
    assert table.filter("-b").column("text") == ["a", None]
    with pytest.raises(KeyError, match="stream"):
        table.filter("stream:stdout")


def test_many_blocks_are_one_log() -> None:
    """Rows are found at their places on both sides of a block's end, over several blocks."""
    n = 3 * BLOCK + 5
    table = Table(LOGS, constants={"sandbox": "b", "process": "p"})
    table.extend(n, text=[f"line {i}" for i in range(n)], stream="stdout", kind="line")
    places = [0, BLOCK - 1, BLOCK, 2 * BLOCK, n - 1]
    expression = " OR ".join(f"/ {place}$/" for place in places)
    assert list(table.filter(expression).column("seq")) == places
    assert len(table.filter(f"-({expression})")) == n - len(places)


WORDS = st.sampled_from(
    [
        *("server", '"timed out"', "/\\d+%/", "level:error", "level<=warning", "stream:stderr"),
        *("kind:line", "kind:gap", "source:web", "seq:2..8", "time>=2026-11-22T10:01", "/ä/i"),
    ]
)
EXPRESSIONS = st.recursive(
    WORDS,
    lambda inner: st.one_of(
        inner.map(lambda e: f"-({e})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} {pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} OR {pair[1]})"),
    ),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None)
@given(EXPRESSIONS, EXPRESSIONS)
def test_the_laws_of_logic_hold(one: str, other: str) -> None:
    """What is not known stays not known: De Morgan, double negation and order change nothing."""
    assert kept(f"-(({one}) ({other}))") == kept(f"-({one}) OR -({other})")
    assert kept(f"-({one} OR {other})") == kept(f"-({one}) -({other})")
    assert kept(f"NOT NOT ({one})") == kept(one)
    assert kept(f"({one}) ({other})") == kept(f"({other}) ({one})")
    assert set(kept(one)) | set(kept(f"-({one})")) == set(EVERY)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='ab"/\\()[]{}-|*+?.^$:<>=OR NOTisq '))
def test_any_text_is_a_filter_or_a_filter_error(expression: str) -> None:
    """Whatever is typed either filters or says why not, at a place inside it; nothing else is raised."""
    fault = None
    try:
        assert set(kept(expression)) <= set(EVERY)
    except FilterError as error:
        fault = error.at
    assert fault is None or 0 <= fault <= len(expression)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=12), st.text(max_size=8))
def test_a_quoted_text_is_only_text(before: str, wanted: str) -> None:
    """Quoted, any text that is shown as it is is found where it stands."""
    wanted = "".join(c for c in wanted if is_plain(c))
    line = "".join(c for c in before if is_plain(c)) + wanted
    table = Table([Column("text", "string")], position=None)
    table.extend(1, text=[line])
    quoted = wanted.replace("\\", "\\\\").replace('"', '\\"')
    assert len(table.filter(f'"{quoted}"')) == 1
