"""Read the regular expressions of a filter: those that Python and JavaScript understand alike.

What means something else in the other language is refused, with the place. Pure; imported by filters. Its
twin in the browser is ``src/patterns.ts``.
"""

from __future__ import annotations

import re

_COUNT = re.compile(r"\{\d+(?:,\d*)?\}", re.ASCII)
_REPEAT = re.compile(r"(?:[*+?]|\{\d+(?:,\d*)?\})\??", re.ASCII)
_HEX = re.compile(r"x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}")
_WORD = "[A-Za-z0-9_]"
# Spelt out, since Python's own know letters and digits of all scripts, within (?a:…), too.
_ASCII = {"d": "[0-9]", "D": r"[^0-9\n]", "w": _WORD, "W": r"[^A-Za-z0-9_\n]", "s": r"[^\S\n]"}
_EDGES = {
    "b": f"(?:(?<!{_WORD})(?={_WORD})|(?<={_WORD})(?!{_WORD}))",
    "B": f"(?:(?<!{_WORD})(?!{_WORD})|(?<={_WORD})(?={_WORD}))",
}
_LETTERS_I = "iI\u0130\u0131"
_FOLDED_EDGES = {c: e.replace(_WORD, "(?-i:[A-Za-z0-9_\u017f\u212a])") for c, e in _EDGES.items()}
"""Where words end in any case of letters: two more letters are those of words then, as in JavaScript."""
_IN_CLASS = {"d": "0-9", "w": "A-Za-z0-9_", "s": r"\s", "S": r"\S"}


class PatternError(ValueError):
    """A regular expression that cannot be read, ``at`` characters from its start."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.at = at


def compiled(source: str, *, ignore_case: bool) -> re.Pattern[str]:
    r"""Compile an expression that is to be searched in lines as they are shown, or in many at once.

    ``^`` and ``$`` know each line, and nothing in it takes a ``\n``, which no line has: in lines joined
    by it the same is found as in each. ``\d \w \b`` know ASCII only, as in JavaScript; ``i`` knows all
    letters. Not to be had, because the two languages differ: back references, names, inline flags,
    lookbehind, possessive repeats, ``\p``.

    Raises:
        PatternError: It cannot be read, or is not read alike by both languages.
    """
    flags = re.MULTILINE | (re.IGNORECASE if ignore_case else re.NOFLAG)
    try:
        return re.compile(_translated(source, ignore_case=ignore_case), flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise PatternError("the regular expression cannot be read", 0) from error


def _translated(source: str, *, ignore_case: bool) -> str:
    fold = _folded if ignore_case else str
    out: list[str] = []
    groups: list[tuple[int, bool]] = []  # where each begins, and whether it may be repeated
    repeatable = False  # whether the last thing may be
    at = 0
    while at < len(source):
        start, c = at, source[at]
        at += 1
        if c == "\\":
            edge = _FOLDED_EDGES.get(source[at : at + 1]) if ignore_case else None
            piece, at, repeatable = _escape(source, at)
            out.append(edge or fold(piece))
        elif c == "[":
            piece, at = _class(source, at)
            out.append(fold(piece))
            repeatable = True
        elif c == "(":
            if source.startswith(("?:", "?=", "?!"), at):
                out.append(source[start : at + 2])
                groups.append((start, source[at + 1] == ":"))
                at += 2
            elif source.startswith("?", at):
                raise PatternError("only (?:, (?= and (?! are read here", start)
            else:
                out.append("(")
                groups.append((start, True))
            repeatable = False
        elif c == ")":
            if not groups:
                raise PatternError("no group is open", start)
            repeatable = groups.pop()[1]
            out.append(c)
        elif c in "*+?" or (c == "{" and _COUNT.match(source, start)):
            if not repeatable:
                raise PatternError("nothing to repeat", start)
            match = _COUNT.match(source, start)
            at = match.end() if match else at
            if source.startswith("?", at):
                at += 1
            out.append(source[start:at])
            repeatable = False
        elif c in "^$|":
            out.append(c)
            repeatable = False
        else:
            out.append(c if c == "." else fold(_one_line(re.escape(c))))
            repeatable = True
    if groups:
        raise PatternError("the group is not closed", groups[-1][0])
    return "".join(out)


def _folded(piece: str) -> str:
    """Keep what takes one character, in any case of letters, from taking one i for another.

    Python takes the Turkish letters for the Latin one; JavaScript, and Unicode's simple folding, do not.
    """
    if piece.startswith(
        "[^"
    ):  # all but what the class takes; Python's own knows no case beyond U+FFFF
        return rf"(?:(?!{_folded(f'[{piece[2:-3]}]')})[^\n])"
    try:
        if not any(re.match(piece, letter, re.IGNORECASE) for letter in _LETTERS_I):
            return piece
        taken = {letter for letter in _LETTERS_I if re.match(piece, letter)}
    except re.error:  # told when the whole is compiled
        return piece
    taken |= set("iI") if taken.intersection("iI") else set()
    others = f"(?![{_LETTERS_I}]){piece}"
    return f"(?:{others}|(?-i:[{''.join(sorted(taken))}]))" if taken else f"(?:{others})"


def literal_of(source: str) -> str:
    """Return the longest text, if there is one, that each line has in which a valid expression is found."""
    runs, at, depth = [""], 0, 0
    while at < len(source):
        c = source[at]
        if c == "|" and depth == 0:
            return ""
        piece, end = c, at + 1
        if c == "\\":
            piece, end, _ = _escape(source, at + 1)
            piece = source[at + 1] if piece == re.escape(source[at + 1]) else ""
        elif c == "[":
            piece, end = "", _class(source, at + 1)[1]
        elif c in "().^$":
            piece = ""
            depth += {"(": 1, ")": -1}.get(c, 0)
        repeat = _REPEAT.match(source, end)
        if repeat or not piece or depth:
            runs.append("")
        else:
            runs[-1] += piece
        at = repeat.end() if repeat else end
    return max(runs, key=len)


def _escape(source: str, at: int) -> tuple[str, int, bool]:
    """Read what follows a backslash: its translation, where it ends, whether it may be repeated."""
    c = source[at : at + 1]
    if match := _HEX.match(source, at):
        return _one_line(f"\\{match[0]}"), match.end(), True
    if c in _EDGES:
        return _EDGES[c], at + 1, False
    if c in _ASCII:
        return _ASCII[c], at + 1, True
    if c and c in "Stnrfv":
        return _one_line(f"\\{c}"), at + 1, True
    if c == "" or (c.isascii() and c.isalnum()):
        raise PatternError(f"\\{c} is not read here", at - 1)
    return re.escape(c), at + 1, True


def _class(source: str, at: int) -> tuple[str, int]:
    """Read a class from after its ``[``: its translation, and where it ends."""
    start = at - 1
    out = ["["]
    if source.startswith("^", at):
        out.append("^")
        at += 1
    if source.startswith("]", at):
        raise PatternError("the class is empty", start)
    while at < len(source) and source[at] != "]":
        c = source[at]
        at += 1
        if c == "\\":
            c = source[at : at + 1]
            if match := _HEX.match(source, at):
                out.append(f"\\{match[0]}")
                at = match.end()
                continue
            if c in _IN_CLASS:
                out.append(_IN_CLASS[c])
            elif c and c in "tnrfv":
                out.append(f"\\{c}")
            elif c == "" or (c.isascii() and c.isalnum()):
                raise PatternError(f"\\{c} is not read in a class", at - 1)
            else:
                out.append(f"\\{c}")
            at += 1
        elif c == "-" and len(out) > 1 and out[-1] != "^" and source[at : at + 1] != "]":
            out.append("-")
        else:
            out.append(f"\\{c}" if c in "-[&~|^\\" else c)
    if at >= len(source):
        raise PatternError("the class is not closed", start)
    if out[1:2] == ["^"]:
        return "".join([*out, r"\n]"]), at + 1
    return _one_line("".join([*out, "]"])), at + 1


def _one_line(piece: str) -> str:
    r"""Keep what takes one character from taking a ``\n``."""
    try:
        takes = re.match(piece, "\n") is not None
    except re.error:  # told when the whole is compiled
        return piece
    return rf"(?:(?!\n){piece})" if takes else piece
