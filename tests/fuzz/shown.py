"""Targets of what is shown: escapes, rows, levels, filters, the panel's messages, magics' options."""

from __future__ import annotations

import json
import re
import warnings
from argparse import Namespace
from typing import Any

from IPython.core.error import UsageError

from blaxel_jupyter import options, script
from blaxel_jupyter.filters import Filter, FilterError
from blaxel_jupyter.levels import LEVELS, level, levels
from blaxel_jupyter.magics import BlaxelMagics
from blaxel_jupyter.panel import static
from blaxel_jupyter.panel.allowance import Allowance
from blaxel_jupyter.panel.escapes import last_state, spans, visible_text
from blaxel_jupyter.panel.rows import BATCH_BYTES, Rows
from blaxel_jupyter.panel.widget import LogPanel
from blaxel_jupyter.patterns import PatternError, compiled, literal_of
from blaxel_jupyter.shown import Shown
from blaxel_jupyter.table import LOGS, Table
from blaxel_jupyter.task_magics import TaskMagics
from blaxel_jupyter.wire import Lines
from tests.fuzz.target import target as fuzzed
from tests.fuzz.target import text_of

ESCAPES = (
    *(
        b"\x1b[",
        b"\x1b]8;;",
        b"\x07",
        b"\x1b\\",
        b"\x18",
        b"\r",
        b"38;5;",
        b"38:2::1:2:3m",
        b"48;2;",
    ),
    *(c.encode() for c in "\x9b\x9d\x9c\u200d\ufe0f\u202e\U000e0001\U0001f600\xa9"),
    b"0000031m",
)
_CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_TAG = re.compile(r"<(/?)([a-z]+)((?: [a-z]+=\"[^\"<>]*\")*)( open)?>")
_OWN_TAGS = {"div", "pre", "span", "style", "details", "summary"}


def has_no_control(text: str) -> None:
    """Check that nothing in a text steers a terminal or turns it around."""
    found = _CONTROL.search(text)
    assert found is None, f"{found[0]!r} in {text!r}"


def is_safe_html(page: str) -> None:
    """Check that a page has our own tags alone, each with a class or a fixed style."""
    body = re.sub("<style>[^<]*</style>", "", page)
    has_no_control(body)
    rest = _TAG.sub(_own, body)
    assert "<" not in rest and ">" not in rest.replace("<", ""), rest


def _own(match: re.Match[str]) -> str:
    assert match[2] in _OWN_TAGS, match[0]
    assert not re.search(r" (?!class=|style=)[a-z]+=", match[3]), match[0]
    return ""


def logs_of(data: bytes) -> Table:
    """Return lines of bytes as a log."""
    table = Table(LOGS, constants={"sandbox": "box", "process": "job"})
    lines = Lines(data)
    table.extend(len(lines), text=lines, stream="stdout", kind="line", origin="live", received=1)
    return table


@fuzzed(*ESCAPES, b"m", b"A")
def escapes(data: bytes) -> None:
    """A line is shown as text without anything that steers, and no longer than nine times itself."""
    for line in (text_of(data), data.decode("latin-1"), data.decode("utf-8", "surrogateescape")):
        pieces = spans(line)
        shown = "".join(piece.text for piece in pieces)
        has_no_control(shown)
        assert "\n" not in shown
        assert shown == visible_text(line)
        assert len(shown) <= 9 * len(line)
        colours = [c for piece in pieces for c in (piece.style.fg, piece.style.bg) if c is not None]
        parts = [part for c in colours for part in (c if isinstance(c, tuple) else (c,))]
        assert all(0 <= part < 256 for part in parts)
        has_no_control(static.plain(line).replace("\n", ""))
        has_no_control(re.sub(r"\x1b\[[0-9;]*m", "", static.plain(line, colour=True)))


class Run:
    """A log as a run, for what shows one."""

    def __init__(self, logs: Table, said: str) -> None:
        self.logs = logs
        self._said = said

    def header(self) -> dict[str, Any]:
        """Return facts in which every text is the input."""
        texts = dict.fromkeys(("sandbox", "process", "command", "message"), self._said)
        numbers = {
            "lines": len(self.logs),
            "bytes": 1,
            "exit_code": 1,
            "started": 0.0,
            "ended": 1.0,
        }
        facts = {"status": "failed", "integrity": "complete", "local": False, "final": True}
        return {**texts, **numbers, **facts, "partial": [["stdout", self._said]]}


@fuzzed(*ESCAPES, b"\n", b"<b>", b"&", b'"', b"ERROR: ")
def rows(data: bytes) -> None:
    """Rows of any bytes are shown the same one by one and at once, in HTML, text and the panel."""
    logs = logs_of(data)
    lines = list(logs.column("text"))
    assert Shown(lines).texts == [visible_text(last_state(line)) for line in lines]
    run = Run(logs, text_of(data))
    is_safe_html(static.html(run, save="all"))
    has_no_control(static.text(run, save="all"))
    page = Rows(run)
    sent: list[bytes] = []
    while len(sent) < len(lines):
        content, [text, flags, times] = page.page(len(sent), len(lines) - len(sent))
        assert content["n"] == len(flags) == len(times) // 8 == text.count(b"\n") + 1
        assert content["n"] == 1 or len(text) <= BATCH_BYTES
        sent += text.split(b"\n")
    assert sent == [line.encode() for line in lines]


@fuzzed(
    *b'ERROR WARN: {"level":" level=info [ ] ValueError: "severity":50 1.2/a npm'.split(),
    *(b"I0102 03:04:05", b"npm ERR!", b"make[1]: *** ", b"\n", b" "),
)
def level_of_lines(data: bytes) -> None:
    """Levels of many lines at once are those of each alone."""
    shown = Shown(list(logs_of(data).column("text")))
    each = [level(text) for text in shown.texts]
    assert list(levels(shown, frozenset(range(len(LEVELS))))) == each
    for number in range(1, len(LEVELS)):
        some = levels(shown, frozenset({number}))
        assert [one == number for one in some] == [one == number for one in each]


FILTERS = (
    *b"level:error level>= stream:stderr kind:gap source:job seq:1..3 time:2026-11-22 T10:05:30.5".split(),
    *rb'OR NOT AND - ( ) " / /i \d [^a] {2,} (?: \b .. I K'.split(),
    *(b" OR ", b" ", b"\n"),
)


@fuzzed(*FILTERS, largest=512)
def filter_expression(data: bytes) -> None:
    """An expression is read, or refused at a place in it; it keeps of many rows what it keeps of each."""
    first, _, rest = data.partition(b"\n")
    expression = text_of(first)
    logs = logs_of(rest)
    n = len(logs)
    try:
        kept = Filter(expression)
    except FilterError as error:
        assert 0 <= error.at <= len(expression)
        return
    mask = kept.mask(logs.column, 0, n)
    assert mask == b"".join(kept.mask(logs.column, row, row + 1) for row in range(n))
    if expression.strip() and not expression.strip().startswith("-"):
        other = Filter(f"NOT ({expression})").mask(logs.column, 0, n)
        assert [bool(one) for one in mask] == [not one for one in other]


@fuzzed(*FILTERS, b"|", b"*?", b"$", b"^", b"\\x41", b"[a-z]", b"\\s", largest=256)
def pattern(data: bytes) -> None:
    """A line in which an expression is found has the text that it says each such line has."""
    first, _, rest = data.partition(b"\n")
    source = text_of(first)
    if re.search(r"[*+}][^/]*[*+}][^/]*[*+}]", source):
        return  # may take for ever, here as in any program that searches by such expressions
    try:
        found = compiled(source, ignore_case=False)
    except PatternError as error:
        assert 0 <= error.at <= len(source)
        return
    literal = literal_of(source)
    shown = Shown(list(logs_of(rest).column("text")))
    each = [row for row, line in enumerate(shown.texts) if found.search(line)]
    assert all(literal in shown.texts[row] for row in each)
    assert list(shown.with_pattern(found, literal)) == each
    assert list(shown.with_pattern(found)) == each


MAGICS: list[Any] = [
    *(BlaxelMagics.sandbox_magic, BlaxelMagics.sandbox_exec, BlaxelMagics.sandbox_logs),
    *(TaskMagics.task_logs, TaskMagics.task),
]


@fuzzed(
    *rb"""--name -e KEY= --timeout nan 1e999 --wait-for-port -o ' " \ --tail --help -s -- = 9""".split(),
    *(b"--save all", b"--restart-on-failure 9", b" "),
    largest=256,
)
def magic_line(data: bytes) -> None:
    """What stands behind a magic is options, or a usage error of one line: nothing else is raised."""
    line = text_of(data)
    for magic in MAGICS:
        if "--help" in line.split():
            continue
        try:
            given = options.parsed(magic, line)
            assert isinstance(given, Namespace)
            if hasattr(given, "out"):
                compile(f"{options.variable_name(given.out)} = 1", "cell", "exec")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for key in script.environment(getattr(given, "env", [])):
                    assert key.isidentifier()
        except UsageError as error:
            assert str(error)


@fuzzed(b"{", b"}", b"{{", b"!r", b":>9", b"x", b"[0]", largest=256)
def expanded(data: bytes) -> None:
    """A body is expanded or refused; one without braces stays as it is."""
    body = text_of(data)
    if re.search(r"\{[^{}]*[^{}x!r:sa\[\]0-9]", body):
        return  # only names that are harmless
    try:
        found = script.expand(body, "sh", {"x": ["a b", "c"], "__builtins__": {}})
    except UsageError:
        return
    assert "{" in body or "}" in body or found == body


class Panel(LogPanel):
    """The panel with its wire open: what is sent is kept."""

    def __init__(self, run: Any) -> None:
        self.wire: list[Any] = []
        super().__init__(run)
        self._answers = self._orders = Allowance(1e9, 1e9)  # floods are a test of their own

    def send(self, content: Any, buffers: Any = None) -> None:
        """Keep what would travel, and see that it can."""
        json.dumps(content, allow_nan=False)
        self.wire.append(content)


_PANELS: list[Panel] = []


@fuzzed(
    *(
        b'{"kind":"page","id":',
        b'{"kind":"command","id":1,"verb":"',
        b"9" * 4000,
        b"\\ud800",
        b"\n",
    ),
    *b'"from": ,"n": "have": 1e400 true -1 null "source": stop [] {} }'.split(),
)
def panel_message(data: bytes) -> None:
    """Whatever a page says, the kernel answers once and raises nothing; what has no id is not answered."""
    if not _PANELS:
        _PANELS.append(Panel(Run(logs_of(b"one\ntwo\nthree"), "job")))
        _PANELS[0].on_command(lambda verb: None)
    panel = _PANELS[0]
    for line in data.split(b"\n"):
        try:
            content = json.loads(text_of(line))
        except (ValueError, RecursionError):
            content = text_of(line)
        panel.wire.clear()
        panel._handle_custom_msg(content, [])
        number = content.get("id") if isinstance(content, dict) else None
        valid = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 1 << 53
        assert len(panel.wire) == valid
        assert not valid or panel.wire[0].get("id") == number
