"""Read one line of terminal output as text with colours, and nothing else it asks of one.

SGR becomes a style; every other escape is removed; characters nobody can see become marks. Pure;
imported by ``static`` and the panel. Its twin in the browser is ``src/ansi.ts``, and both are held
to ``src/escapes.json``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

Colour = int | tuple[int, int, int]
"""A palette number 0-255, or red, green and blue."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a span looks; the default is plain."""

    fg: Colour | None = None
    bg: Colour | None = None
    bold: bool = False
    dim: bool = False
    italic: bool = False
    underline: bool = False
    inverse: bool = False
    strike: bool = False


class Span(NamedTuple):
    """A piece of a line in one style."""

    text: str
    style: Style


PLAIN = Style()

# Anything a line may hold that is not plain text: C0 except tab, DEL, C1, and look-alikes: bidi
# controls, zero-width and other characters that take no space, tags.
_INVISIBLE = re.compile(
    "[\0-\x08\x0a-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e01ef\ud800-\udfff]"
)
_SELECTED = re.compile("[0-9#*\xa9-\ufdff\ufe10-\U0010ffff]")
"""What a variation selector may follow: an emoji, a letter that has variants; one of each."""
_INTRODUCER = re.compile("[\x1b\x90\x98\x9b\x9d\x9e\x9f]")
_CSI = re.compile(r"[\x30-\x3f]{0,256}[\x20-\x2f]{0,16}([\x40-\x7e])")
_SHORT = re.compile(r"[\x20-\x2f]{0,16}[\x30-\x7e]")
_STRING_END = re.compile("\x07|\x1b\\\\|\x9c|[\x18\x1a]")
_C1 = {"\x90": "P", "\x98": "X", "\x9b": "[", "\x9d": "]", "\x9e": "^", "\x9f": "_"}


def last_state(line: str) -> str:
    """Return what a carriage return leaves of a line: the text after the last one that has any."""
    if "\r" not in line:
        return line
    line = line.rstrip("\r")
    return line[line.rfind("\r") + 1 :]


def is_plain(line: str) -> bool:
    """Tell whether a line is its own reading: no control or invisible character."""
    return _INVISIBLE.search(line) is None


def spans(line: str) -> list[Span]:
    """Split a line into styled spans; the state starts plain with each line."""
    if is_plain(line):
        return [Span(line, PLAIN)] if line else []
    out: list[Span] = []
    style = PLAIN
    ends_known = True  # False once a search for a string's end found none: never search twice
    at = 0
    while at < len(line):
        match = _INTRODUCER.search(line, at)
        start = match.start() if match else len(line)
        if start > at:
            out.append(Span(_visible(line[at:start]), style))
        if not match:
            break
        c1 = _C1.get(match[0])
        kind = c1 or line[start + 1 : start + 2]
        body = start + (1 if c1 else 2)
        end: int | None = None
        if kind == "[":
            if csi := _CSI.match(line, body):
                end = csi.end()
                if csi[1] == "m":
                    style = sgr(csi[0][:-1], style)
        elif kind and kind in "]PX^_":  # OSC, DCS, SOS, PM, APC
            if ends_known:
                finish = _STRING_END.search(line, body)
                end = finish.end() if finish else None
                ends_known = finish is not None
        elif short := _SHORT.match(line, start + 1):
            end = short.end()
        if end is None:  # unfinished: a mark, and what follows is shown as text
            out.append(Span(_visible(match[0]), style))
            end = start + 1
        at = end
    return _joined(out)


def visible_text(line: str) -> str:
    """Return the line as it reads on screen, without styles."""
    return line if is_plain(line) else "".join(span.text for span in spans(line))


def _joined(pieces: list[Span]) -> list[Span]:
    runs = groupby((piece for piece in pieces if piece.text), key=attrgetter("style"))
    return [Span("".join(piece.text for piece in run), style) for style, run in runs]


def _visible(text: str) -> str:
    return _INVISIBLE.sub(_mark, text)


def _mark(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code == 7:
        return ""
    if code < 32:
        return chr(0x2400 + code)
    if code == 127:
        return "\u2421"
    text, at = match.string, match.start()
    if code in (0x200C, 0x200D) and at and text[at - 1] > "\xff" and text[at + 1 : at + 2] > "\xff":
        return match[0]  # a joiner inside a script or an emoji that needs it
    if 0xFE00 <= code <= 0xFE0F and _SELECTED.match(text, at - 1 if at else 0):
        return match[0]
    if 0xD800 <= code <= 0xDFFF:
        return "\ufffd"
    return f"<U+{code:04X}>"


_FLAGS: dict[int, dict[str, bool | None]] = {
    1: {"bold": True},
    2: {"dim": True},
    3: {"italic": True},
    4: {"underline": True},
    7: {"inverse": True},
    9: {"strike": True},
    21: {"underline": True},
    22: {"bold": False, "dim": False},
    23: {"italic": False},
    24: {"underline": False},
    27: {"inverse": False},
    29: {"strike": False},
    39: {"fg": None},
    49: {"bg": None},
}


@lru_cache(maxsize=1024)  # a log has few of them, a hostile line many
def sgr(parameters: str, style: Style) -> Style:
    """Apply the parameters of one SGR sequence; unknown ones (conceal and blink too) do nothing."""
    if re.search("[^0-9;:]", parameters):
        return style
    groups = [list(map(_number, group.split(":"))) for group in parameters.split(";")]
    i = 0
    while i < len(groups):
        group, code = groups[i], groups[i][0]
        i += 1
        if code in (38, 48):
            given = group[1:]
            if given[:1] == [2] and len(given) > 4:
                del given[1]  # 38:2:<colour space>:r:g:b
            if len(group) == 1:
                mode = groups[i][0] if i < len(groups) else 0
                given = [part[0] for part in groups[i : i + {5: 2, 2: 4}.get(mode, 1)]]
                i += len(given)
            colour = _extended(given)
            if colour is not None:
                style = replace(style, fg=colour) if code == 38 else replace(style, bg=colour)
        elif code == 0:
            style = PLAIN
        elif code == 4 and group[1:2] == [0]:
            style = replace(style, underline=False)
        elif code in _FLAGS:
            style = replace(style, **_FLAGS[code])  # type: ignore[arg-type]
        elif 30 <= code <= 37 or 90 <= code <= 97:
            style = replace(style, fg=code - (30 if code < 40 else 82))
        elif 40 <= code <= 47 or 100 <= code <= 107:
            style = replace(style, bg=code - (40 if code < 50 else 92))
    return style


def _number(part: str) -> int:
    """Read a parameter; one that is longer than any is none of those that are known, either."""
    return int(part.lstrip("0")[:6] or 0)


def _extended(given: list[int]) -> Colour | None:
    numbers = given[1:]
    if any(number > 255 for number in numbers):
        return None
    if given[:1] == [5] and len(numbers) == 1:
        return numbers[0]
    if given[:1] == [2] and len(numbers) == 3:
        return numbers[0], numbers[1], numbers[2]
    return None


_CUBE = (0, 95, 135, 175, 215, 255)
_BASIC: tuple[tuple[int, int, int], ...] = (
    (0, 0, 0),
    (205, 0, 0),
    (0, 205, 0),
    (205, 205, 0),
    (0, 0, 238),
    (205, 0, 205),
    (0, 205, 205),
    (229, 229, 229),
    (127, 127, 127),
    (255, 0, 0),
    (0, 255, 0),
    (255, 255, 0),
    (92, 92, 255),
    (255, 0, 255),
    (0, 255, 255),
    (255, 255, 255),
)


def basic(colour: Colour) -> int:
    """Return the nearest of the 16 basic colours, for output whose classes are fixed."""
    if isinstance(colour, int):
        if colour < 16:
            return colour
        if colour >= 232:
            grey = 8 + (colour - 232) * 10
            colour = (grey, grey, grey)
        else:
            n = colour - 16
            colour = (_CUBE[n // 36], _CUBE[n // 6 % 6], _CUBE[n % 6])
    r, g, b = colour
    return min(
        range(16),
        key=lambda i: (_BASIC[i][0] - r) ** 2 + (_BASIC[i][1] - g) ** 2 + (_BASIC[i][2] - b) ** 2,
    )


def sgr_codes(style: Style) -> str:
    """Return the SGR sequence that sets exactly this style in a terminal."""
    on = {"bold": 1, "dim": 2, "italic": 3, "underline": 4, "inverse": 7, "strike": 9}
    codes = ["0", *(str(code) for name, code in on.items() if getattr(style, name))]
    for colour, first in ((style.fg, 38), (style.bg, 48)):
        if isinstance(colour, int):
            codes.append(f"{first};5;{colour}")
        elif colour is not None:
            codes.append(f"{first};2;{colour[0]};{colour[1]};{colour[2]}")
    return f"\x1b[{';'.join(codes)}m"
