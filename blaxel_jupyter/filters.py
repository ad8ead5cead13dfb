r"""Read the one filter language of logs, and tell which rows of a table it keeps.

The grammar, the same in the panel (``src/filter.ts``) and in Python; ``tests/filter_cases.json`` holds
both to it:

| write | keeps lines |
| --- | --- |
| ``timed out`` | with both texts, in any case of letters |
| ``"timed out"`` | with this text; ``\"`` and ``\\`` stand for themselves |
| ``/t\d+ms/`` ``/t\d+ms/i`` | that the regular expression is found in; ``i`` ignores case |
| ``-retry`` ``NOT retry`` | without it |
| ``a OR b`` ``(a OR b) c`` | with one of them; the terms beside each other must all hold |
| ``level:error`` ``level>=warning`` | of a level: trace, debug, info, warning, error, fatal, or unknown |
| ``stream:stderr`` | of a stream: stdout, stderr or system |
| ``kind:gap`` | of a kind: line, gap or notice |
| ``source:tests`` ``source:box/tests`` | of a process, or of that in a sandbox; of a run, by its id |
| ``seq:100..200`` ``seq>=100`` | by number, both ends included |
| ``time:2026-11-22T10:05..2026-11-22T10:06`` | by arrival, UTC; a time covers all of its last unit |

Texts are searched in lines as the panel shows them: without colours, after carriage returns. Levels are
guessed (``levels.py``). What is not known is not held against a row: gaps and notices stay, whatever is
said of texts and levels, unless ``kind`` leaves them out. Pure, but for the patience with an expression
that never ends; imported by table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from operator import and_, ge, gt, le, lt, or_
from typing import Any, NoReturn

from blaxel_jupyter.levels import LEVELS, NUMBERS, levels
from blaxel_jupyter.patience import patience
from blaxel_jupyter.patterns import PatternError, compiled, literal_of
from blaxel_jupyter.shown import Shown

Columns = Callable[[str], Sequence[Any]]

BLOCK = 1 << 13
"""Rows that are looked at together."""

PATIENCE = 10.0
"""Seconds for a regular expression in as many rows; it takes milliseconds, or may never end."""

DEEPEST = 50
"""Groups in one another."""

FALSE, UNKNOWN, TRUE = 0, 1, 3  # two bits: what holds, and what may; "and" and "or" work on both
_NOT = bytes({FALSE: TRUE, TRUE: FALSE}.get(value, value) for value in range(256))


class FilterError(ValueError):
    """A filter that cannot be read; ``at`` is the place, in characters from 0."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(f"{message} (filter, character {at + 1})")
        self.message = message
        self.at = at


class Block:
    """Some rows: their columns, and what is made of them when it is asked for."""

    def __init__(self, column: Columns, rows: slice) -> None:
        self._column = column
        self.rows = rows
        self.size = rows.stop - rows.start

    def column(self, name: str) -> Sequence[Any]:
        """Return the values of a column in these rows."""
        return self._column(name)[self.rows]

    @cached_property
    def shown(self) -> Shown:
        """The lines as they are shown."""
        return Shown(self.column("text"))

    @cached_property
    def kinds(self) -> list[str]:
        """The kinds; a table without them holds lines."""
        try:
            return list(self.column("kind"))
        except KeyError:
            return ["line"] * self.size

    @cached_property
    def sandboxes(self) -> Sequence[str | None]:
        """The sandboxes; a table may have none."""
        try:
            return self.column("sandbox")
        except KeyError:
            return [None] * self.size

    @cached_property
    def apart(self) -> int:
        """Rows that are no output, as a number of ``UNKNOWN`` bytes: gaps and notices."""
        if "gap" not in self.kinds and "notice" not in self.kinds:
            return 0
        return _number(UNKNOWN if kind in {"gap", "notice"} else FALSE for kind in self.kinds)

    def said(self, found: Iterable[int]) -> int:
        """Say in which lines something was found; gaps and notices are not judged by their texts."""
        flags = bytearray(self.size)
        for line in found:
            flags[line] = TRUE
        return self.judged(bytes(flags))

    def judged(self, flags: bytes) -> int:
        """Return the same of a byte for each line, ``TRUE`` or ``FALSE``."""
        value = int.from_bytes(flags, "little")
        if self.apart:
            value = (value & ~(self.apart * TRUE)) | self.apart
        return value


Term = Callable[[Block], int]
"""What holds of each row of a block: an integer of one byte a row, which "and" and "or" take at once."""


class Filter:
    """A filter that was read.

    Args:
        expression: See the grammar above; nothing but white space keeps every row.

    Raises:
        FilterError: It cannot be read; the message says where and why.
    """

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.fields: set[str] = set()
        self._term = _Reader(expression, self.fields).read()

    def mask(self, column: Columns, begin: int, end: int) -> bytes:
        """Tell of each row from ``begin`` to before ``end`` whether it is kept: not 0.

        Args:
            column: Returns a column's values, as ``Table.column`` does.
            begin: The first row to look at.
            end: The row after the last; columns may be longer.

        Raises:
            KeyError: There is no such column.
        """
        if self._term is None:
            return b"\1" * (end - begin)
        parts = []
        for start in range(begin, end, BLOCK):
            block = Block(column, slice(start, min(start + BLOCK, end)))
            parts.append(self._term(block).to_bytes(block.size, "little"))
        return b"".join(parts)


def _number(values: Any) -> int:
    return int.from_bytes(bytes(values), "little")


# Reading

_FIELD = re.compile(r"(level|stream|kind|source|seq|time)(:|[<>]=?)")
_SPACE = "\t\n\v\f\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""What stands between terms: what both Python and JavaScript take for space, and nothing else."""
_SPACES = re.compile(f"[{_SPACE}]*")
_ENDS = re.compile(f"[{_SPACE}()]")
_VALUES = {"stream": ("stdout", "stderr", "system"), "kind": ("line", "gap", "notice")}
_COMPARE = {">=": ge, ">": gt, "<=": le, "<": lt}
_COLUMNS = {"level": "text", "source": "process", "time": "received"}
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?)?Z?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Reader:
    """One pass over an expression, from left to right."""

    def __init__(self, source: str, fields: set[str]) -> None:
        self._source = source
        self._fields = fields
        self._at = 0
        self._depth = 0

    def read(self) -> Term | None:
        self._skip()
        if self._at == len(self._source):
            return None
        term = self._any()
        if self._at < len(self._source):
            self._fail("no group is open", self._at)
        return term

    def _any(self) -> Term:
        terms = [self._all()]
        while self._word("OR"):
            terms.append(self._all())
        return _joined(or_, terms)

    def _all(self) -> Term:
        terms = [self._one()]
        while self._peek() not in {"", ")"} and not self._ahead("OR"):
            self._word("AND")
            terms.append(self._one())
        return _joined(and_, terms)

    def _one(self) -> Term:
        negative = False
        while self._word("NOT"):
            negative = not negative
        term = self._with_sign()
        return _negated(term) if negative else term

    def _with_sign(self) -> Term:
        following = self._source[self._at + 1 : self._at + 2]
        if self._peek() == "-" and following and not _SPACES.fullmatch(following):
            self._at += 1
            return _negated(self._plain())
        return self._plain()

    def _plain(self) -> Term:
        start, c = self._at, self._peek()
        if c in {"", ")"} or self._ahead("OR") or self._ahead("AND"):
            self._fail("a term is missing", start)
        if c == "(":
            self._at += 1
            self._depth += 1
            if self._depth > DEEPEST:
                self._fail("groups are nested too deep", start)
            self._skip()
            term = self._any()
            self._depth -= 1
            if self._peek() != ")":
                self._fail("the group is not closed", start)
            self._at += 1
        elif c == "/":
            term = self._regex()
        elif field := _FIELD.match(self._source, start):
            term = self._field(field[1], field[2])
        else:
            term = _text(self._quoted() if c == '"' else self._bare())
            self._fields.add("text")
        self._skip()
        return term

    def _regex(self) -> Term:
        start = self._at
        end, in_class = start + 1, False
        while end < len(self._source) and (in_class or self._source[end] != "/"):
            in_class = {"[": True, "]": False}.get(self._source[end], in_class)
            end += 2 if self._source[end] == "\\" else 1
        if end >= len(self._source):
            self._fail(
                "the regular expression is not closed; a text in quotes may begin with /", start
            )
        source = self._source[start + 1 : end]
        self._at = end + 1
        flags = self._bare()
        if flags not in {"", "i"}:
            self._fail(
                "only i may follow a regular expression; a text in quotes may begin with /", end + 1
            )
        try:
            pattern = compiled(source, ignore_case=flags == "i")
        except PatternError as error:
            self._fail(str(error), start + 1 + error.at)
        self._fields.add("text")
        literal = literal_of(source) if not flags else ""
        endless = FilterError("the regular expression takes too long", start)

        def found(block: Block) -> int:
            with patience(PATIENCE, endless):
                return block.said(block.shown.with_pattern(pattern, literal))

        return found

    def _field(self, name: str, sign: str) -> Term:
        start = self._at
        self._at += len(name) + len(sign)
        value_at = self._at
        value = self._quoted() if self._peek() == '"' else self._bare()
        if value == "":
            self._fail(f"{name} needs a value", value_at)
        self._fields.add(_COLUMNS.get(name, name))
        if sign != ":" and name in {"stream", "kind", "source"}:
            self._fail(f"{name} is not compared: use {name}:", start)
        if name == "level":
            return self._level(sign, value.lower(), value_at)
        if name in {"seq", "time"}:
            return self._range(name, sign, value, value_at)
        wanted = value.lower()
        if name in _VALUES and wanted not in _VALUES[name]:
            self._fail(f"{name} is one of {', '.join(_VALUES[name])}", value_at)
        return {"stream": _stream, "kind": _kind, "source": _source}[name](wanted)

    def _level(self, sign: str, value: str, at: int) -> Term:
        if value not in NUMBERS or (value == "unknown" and sign != ":"):
            known = LEVELS[1:] if sign != ":" else (*LEVELS[1:], LEVELS[0])
            self._fail(f"level is one of {', '.join(known)}", at)
        number = NUMBERS[value]
        if sign == ":":
            kept = frozenset({number})
        else:
            compare = _COMPARE[sign]
            kept = frozenset(one for one in range(1, len(LEVELS)) if compare(one, number))

        truth = bytes(TRUE if level in kept else FALSE for level in range(256))
        return lambda block: block.judged(levels(block.shown, kept).translate(truth))

    def _range(self, name: str, sign: str, value: str, at: int) -> Term:
        low, high = -1, 1 << 62
        if sign == ":":
            first, dots, last = value.partition("..")
            if first:
                low, high = self._bounds(name, first, at)
            if dots:
                high = self._bounds(name, last, at + len(first) + 2)[1] if last else 1 << 62
                if not first and not last:
                    self._fail(f"{name} needs a value", at)
        else:
            one, end = self._bounds(name, value, at)
            if sign[0] == ">":
                low = one if sign == ">=" else end + 1
            else:
                high = end if sign == "<=" else one - 1
        column = _COLUMNS.get(name, name)
        return lambda block: _number(
            UNKNOWN if one is None else TRUE if low <= one <= high else FALSE
            for one in block.column(column)
        )

    def _bounds(self, name: str, value: str, at: int) -> tuple[int, int]:
        """Return the first and last number, or microsecond, that a value stands for."""
        if name == "time":
            return self._moment(value, at)
        if not (value.isascii() and value.isdigit() and len(value) <= 15):
            self._fail("seq is a number or a range such as 100..200", at)
        return int(value), int(value)

    def _moment(self, value: str, at: int) -> tuple[int, int]:
        match = _TIME.fullmatch(value)
        day, minute, second, fraction = match.groups() if match else ("", None, None, None)
        try:
            start = datetime.fromisoformat(f"{day}T{minute or '00:00'}:{second or '00'}+00:00")
        except ValueError:
            self._fail("time is written as 2026-11-22T10:05:30, in UTC", at)
        unit = 86_400 * 10**6 if minute is None else 60 * 10**6 if second is None else 10**6
        first = (start - _EPOCH) // timedelta(microseconds=1)
        if fraction:
            unit = 10 ** (6 - len(fraction))
            first += int(fraction) * unit
        return first, first + unit - 1

    def _bare(self) -> str:
        match = _ENDS.search(self._source, self._at)
        end = match.start() if match else len(self._source)
        word = self._source[self._at : end]
        self._at = end
        return word

    def _quoted(self) -> str:
        start = self._at
        match = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL).match(self._source, start)
        if match is None:
            self._fail("the quote is not closed", start)
        self._at = match.end()
        return re.sub(r'\\(["\\])', r"\1", match[1])

    def _peek(self) -> str:
        return self._source[self._at : self._at + 1]

    def _ahead(self, word: str) -> bool:
        end = self._at + len(word)
        following = self._source[end : end + 1]
        return self._source.startswith(word, self._at) and (
            following == "" or _ENDS.match(following) is not None
        )

    def _word(self, word: str) -> bool:
        found = self._ahead(word)
        if found:
            self._at += len(word)
            self._skip()
        return found

    def _skip(self) -> None:
        if match := _SPACES.match(self._source, self._at):
            self._at = match.end()

    def _fail(self, message: str, at: int) -> NoReturn:
        raise FilterError(message, at)


# Terms


def _joined(operator: Callable[[int, int], int], terms: list[Term]) -> Term:
    if len(terms) == 1:
        return terms[0]

    def joined(block: Block) -> int:
        found = terms[0](block)
        for term in terms[1:]:
            if found == 0 and operator is and_:  # no row can be kept any more
                return 0
            found = operator(found, term(block))
        return found

    return joined


def _negated(term: Term) -> Term:
    def negated(block: Block) -> int:
        return int.from_bytes(term(block).to_bytes(block.size, "little").translate(_NOT), "little")

    return negated


def _text(text: str) -> Term:
    wanted = text.lower()
    return lambda block: block.said(block.shown.with_words([wanted]))


def _stream(wanted: str) -> Term:
    def value(stream: str | None, kind: str) -> int:
        if stream == wanted:
            return TRUE
        known = stream is not None and (kind == "line" or stream != "system")
        return FALSE if known else UNKNOWN  # a notice of ours belongs to both

    return lambda block: _number(map(value, block.column("stream"), block.kinds))


def _kind(wanted: str) -> Term:
    return lambda block: _number(TRUE if kind == wanted else FALSE for kind in block.kinds)


def _source(wanted: str) -> Term:
    known: dict[tuple[str | None, str | None], int] = {}

    def value(name: str | None, sandbox: str | None) -> int:
        key = name, sandbox
        if key not in known:
            names = (str(name).lower(), f"{sandbox}/{name}".lower())
            known[key] = UNKNOWN if name is None else TRUE if wanted in names else FALSE
        return known[key]

    return lambda block: _number(map(value, block.column("process"), block.sandboxes))
