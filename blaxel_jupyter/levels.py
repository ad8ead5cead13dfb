"""Guess how grave a log line is from what it says of itself, and from nothing else.

A line whose level is not written where logs write it has the level ``unknown``; that it went to stderr
says nothing. Pure; imported by filters and digest. Its twin in the browser is ``src/levels.ts``, and both
are held to ``tests/filter_cases.json``.
"""

from __future__ import annotations

import re

from blaxel_jupyter.shown import Shown

LEVELS = ("unknown", "trace", "debug", "info", "warning", "error", "fatal")
"""The levels, each graver than the one before; ``unknown`` is below all and never compared."""

_NAMES = {
    "trace": "trace verbose",
    "debug": "debug dbg",
    "info": "info information notice",
    "warning": "warning warn wrn",
    "error": "error err severe",
    "fatal": "fatal critical crit panic emerg emergency alert",
}
NUMBERS = {
    word: LEVELS.index(level) for level, words in _NAMES.items() for word in words.split()
} | {"unknown": 0}
"""Each word for a level, in lower case, with the level's place in ``LEVELS``."""

ERROR = LEVELS.index("error")

_HEAD = 300
"""Characters of a line that are looked at; of a JSON object or key=value pairs five times as many."""

_WORDS = "|".join(word for words in _NAMES.values() for word in words.split())

# Kept to what JavaScript reads in the same way: src/levels.ts has these expressions character by character.
_JSON = re.compile(
    r'"(?:level|severity|lvl|levelname|log_level|loglevel)"[ \t]*:[ \t]*(?:"(\w+)"|(\d+)\b)',
    re.ASCII | re.IGNORECASE,
)
_PAIRS = re.compile(
    r'(?:^|[ \t])(?:level|severity|lvl)=(?:"(\w+)"|(\w+))', re.ASCII | re.IGNORECASE
)
_KLOG = re.compile(r"^([IWEF])\d{4} \d\d:\d\d:\d\d", re.ASCII)
_SAYINGS = re.compile(
    r"^(?:Traceback \(most recent call last\):|Exception in thread |Caused by: |Uncaught |E {3}"
    r"|thread '[^']*' panicked at |Segmentation fault|FAILED |make(?:\[\d+\])?: \*\*\* |E: "
    r"|npm (?:ERR!|error)|(W: |npm (?:WARN|warn) ))",
    re.ASCII,
)
# What may stand before a level: times, numbers, names in brackets, paths; never a word of a sentence.
# Each of these is taken whole (a lookahead is never entered again), so a line is read in one pass.
_PREFIX = r"^[ \t]*(?:(?=[^ \t]*[\d\[\]|:=]|[^ \t]*\w[./-]\w|-[ \t])[^ \t]+[ \t]+){0,6}?"
_NOT_BARE = r"(?!\d{1,5}[ \t]+[A-Z])"  # "12 ERROR lines"
_UPPER = re.compile(
    f"{_NOT_BARE}{_PREFIX}" + r"[\[(<|*]*(" + _WORDS.upper() + r")(?![\w=-]|\.\w)", re.ASCII
)
_MARKED = re.compile(
    _PREFIX
    + r"(?:[\[(<]("
    + _WORDS
    + r")[\])>]|("
    + _WORDS
    + r"|fatal error)(?:\[\w+\]| [A-Z]+\d+)?:(?=[ \t]|$))",
    re.ASCII | re.IGNORECASE,
)
_RAISED = re.compile(
    _PREFIX + r"(?:[\w$]+\.)*[A-Z]\w*(Error|Exception|Warning)(?::(?=[ \t]|$)|$)", re.ASCII
)
_PINO = {"10": 1, "20": 2, "30": 3, "40": 4, "50": 5, "60": 6}


def level(line: str) -> int:
    """Return a line's level as its place in ``LEVELS``, 0 when unsure.

    Args:
        line: The line as it is shown: without escapes.
    """
    start = line[:1]
    if start == "{":
        match = _JSON.search(line[: _HEAD * 5])
        return _number(match[1], match[2]) if match else 0
    head = line[:_HEAD]
    if found := _UPPER.match(head):
        return NUMBERS[found[1].lower()]
    if found := _MARKED.match(head):
        word = (found[1] or found[2]).lower()
        return NUMBERS.get(word, ERROR)
    if found := _SAYINGS.match(head):
        return ERROR - 1 if found[1] else ERROR
    if found := _RAISED.match(head):
        return ERROR - 1 if found[1] == "Warning" else ERROR
    if found := _KLOG.match(head):
        return {"I": 3, "W": 4, "E": 5, "F": 6}[found[1]]
    if "=" in head and (found := _PAIRS.search(line[: _HEAD * 5])) and _is_pairs(head, found):
        return _number(found[1], found[2])
    return 0


def levels(lines: Shown, wanted: frozenset[int]) -> bytes:
    """Return the levels of lines, one byte a line; those that are not wanted may be 0.

    Many times as fast as one by one: a line without a word for a wanted level is not looked at.
    """
    asked = range(1, len(LEVELS)) if 0 in wanted else wanted
    near = lines.with_words(hint for number in asked for hint in _HINTS[number].split())
    starts = ("{", *(start for number in asked for start in _STARTS.get(number, ())))
    first = {start[0] for start in starts}
    found = bytearray(lines.size)
    texts = lines.texts
    begin = [row for row, line in enumerate(texts) if line[:1] in first]
    near.update(row for row in begin if texts[row].startswith(starts))
    for row in near:
        found[row] = level(texts[row])
    return bytes(found)


_HINTS = (
    "",
    'trace verbose =10 ="10',
    'debug dbg =20 ="20',
    'info notice =30 ="30',
    'warn wrn =40 ="40',
    'err severe exception =50 ="50',
    'fatal crit panic emerg alert =60 ="60',
)
"""For each level, what one of is in every line that has it, but for those that ``_STARTS`` begin.

A JSON object may give its level as a number, with any space before it: all are looked at.
"""

_STARTS = {
    3: ("I",),
    4: ("W",),
    5: ("E", "Traceback", "Caused by", "Uncaught", "thread '", "Segmentation", "FAILED", "make"),
    6: ("F",),
}
"""Where words do not tell: how lines of a level begin."""

_FIRST_PAIR = re.compile(r"^[\w.-]+=", re.ASCII)


def _is_pairs(head: str, found: re.Match[str]) -> bool:
    """Tell whether a line is key=value pairs, not a sentence that names one."""
    return bool(_FIRST_PAIR.match(head)) or not re.search("[A-Za-z]{2} ", head[: found.start() + 1])


def _number(word: str | None, number: str | None) -> int:
    if word is not None:
        return NUMBERS.get(word.lower(), 0)
    return NUMBERS.get((number or "").lower(), _PINO.get(number or "", 0))
