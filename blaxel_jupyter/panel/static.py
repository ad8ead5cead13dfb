"""Make what a saved notebook keeps of a run: escaped, bounded HTML and plain text.

It needs no script, no kernel and no style sheet to be read; nothing in it but text comes from the
log.
Pure: imports only the escape reader, the frames of our own words, and Python's own escaping.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, Literal, NamedTuple, Protocol

from blaxel_jupyter.panel.escapes import (
    PLAIN,
    Span,
    Style,
    basic,
    is_plain,
    last_state,
    sgr_codes,
    spans,
    visible_text,
)
from blaxel_jupyter.panel.frames import of_log, ours

Save = Literal["tail", "all", "none"]

MAX_CHARACTERS = 4000
"""Characters of a line that are shown; the rest is counted."""

MAX_SPANS = 400
"""Pieces of a line that have colours of their own; what is beyond is plain."""

MAX_COMMAND = 200
"""Characters of the command, and of a name, in the header."""

NO_MATH = "mathjax_ignore tex2jax_ignore"
"""Classes that keep MathJax, 3 and 2, from setting what is between two ``$`` as a formula."""


class _Columns(Protocol):
    def __len__(self) -> int: ...
    def column(self, name: str) -> Sequence[Any]: ...
    def shown(self, name: str, start: int, stop: int) -> Sequence[Any]: ...


class Run(Protocol):
    """What the panel reads of a run: its table of lines and a dict of facts (see ``LogPanel``)."""

    @property
    def logs(self) -> _Columns:
        """Append-only columns, one row an entry."""

    def header(self) -> dict[str, Any]:
        """Return how the run stands now."""


class _Row(NamedTuple):
    kind: str
    stream: str | None
    spans: list[Span]
    cut: int


def html(run: Run, *, save: Save = "tail", tail: int = 200) -> str:
    """Return the run as HTML that stands alone.

    Only ``div``, ``pre``, ``span`` and one fixed ``style`` are used, with fixed classes; all text
    is escaped. Readable without the style, too.

    Args:
        run: The run.
        save: ``tail`` keeps the last ``tail`` rows and says how many there were, ``all`` keeps all,
            ``none`` the header only.
        tail: Rows kept by ``save="tail"``.
    """
    n = len(run.logs)
    first = first_kept(n, save, tail)
    parts = ["<style>", STYLE, f'</style><div class="bxs {NO_MATH}">']
    header = run.header()
    parts.append(f'<div class="bxs-head">{escape(_summary(header))}</div>')
    if command := _command(header):
        parts.append(f'<div class="bxs-command">{escape(command)}</div>')
    notes = [*_errors(run, header), kept_note(n, first, "lines")]
    parts += [f'<div class="bxs-note">{escape(note)}</div>' for note in notes if note]
    if first < n:
        lines = (_html_row(row) for row in _rows(run, first, n))
        # The line feed after <pre> belongs to the tag: without it a first empty line would vanish.
        parts.extend(['<pre class="bxs-log">\n', "\n".join(lines), "</pre>"])
    return "".join([*parts, "</div>"])


def text(run: Run, *, save: Save = "tail", tail: int = 200) -> str:
    """Return the run as plain text without any escape; arguments as for ``html``."""
    n = len(run.logs)
    first = first_kept(n, save, tail)
    header = run.header()
    lines = [_summary(header)]
    if command := _command(header):
        lines.append(command)
    notes = [*_errors(run, header), kept_note(n, first, "lines")]
    lines.extend(note for note in notes if note)
    lines.extend(_text_row(row) for row in _rows(run, first, n))
    return "\n".join(lines)


def plain(line: str, colour: bool = False) -> str:
    """Make one line safe to print in a terminal.

    Carriage returns leave their last state, escapes are removed, invisible characters become marks; what is
    too long is cut and counted.

    Args:
        line: One line without its line feed; a line feed inside becomes a mark.
        colour: Keep colours and bold as SGR, reset at the end of the line.
    """
    if len(line) <= MAX_CHARACTERS and is_plain(line):
        return line
    pieces, cut = _bounded(last_state(line))
    if not colour or all(span.style == PLAIN for span in pieces):
        return "".join(span.text for span in pieces) + _more(cut)
    coloured = "".join(f"{sgr_codes(span.style)}{span.text}" for span in pieces)
    return f"{coloured}\x1b[0m{_more(cut)}"


def plain_row(kind: str, text: str, colour: bool = False) -> str:
    """Make one row of a log safe to print: a line of it, or words of ours that no line can imitate."""
    return of_log(plain(text, colour)) if kind == "line" else ours(plain(text))


def gap_text(missing: int | None) -> str:
    """Return what stands where output is known to be lost; ``missing`` in bytes or None."""
    return f"gap: {'output' if missing is None else f'{missing:,} bytes'} missing"


def first_kept(n: int, save: Save, tail: int) -> int:
    """Return the position of the first of ``n`` things that is kept."""
    if save == "all":
        return 0
    return max(0, n - tail) if save == "tail" else n


def kept_note(n: int, first: int, things: str) -> str:
    """Say how many were not kept; "" if all are."""
    kept = n - first
    if first == 0:
        return ""
    return f"the last {kept:,} of {n:,} {things}" if kept else f"{n:,} {things}, not saved"


def masked_note(n: int) -> str:
    """Say how many values were masked."""
    return f"{n:,} value{'' if n == 1 else 's'} masked"


def _command(header: dict[str, Any]) -> str:
    whole = str(header["command"])
    command = visible_text(whole[: MAX_COMMAND * 4].replace("\n", " ⏎ "))
    cut = max(0, len(command) - MAX_COMMAND) + max(0, len(whole) - MAX_COMMAND * 4)
    return f"$ {command[:MAX_COMMAND]}{_more(cut)}" if command else ""


def _summary(header: dict[str, Any]) -> str:
    status = _name(header["status"])
    if header["exit_code"] is not None:
        status += f", exit code {header['exit_code']}"
    if meaning := (header.get("digest") or {}).get("meaning"):
        status += f" ({_name(meaning)})"
    parts = [
        f"{_name(header['process'])} in {_name(header['sandbox'])}",
        status,
        *_elapsed(header["started"], header["ended"]),
        f"{header['lines']:,} line{'' if header['lines'] == 1 else 's'}",
        f"{header['bytes']:,} bytes",
    ]
    if header["integrity"] != "following":
        parts.append(_name(header["integrity"]))
    if masked := header.get("masked"):
        parts.append(masked_note(masked))
    if header["message"]:
        parts.append(plain(str(header["message"])))
    return " · ".join(parts)


def _name(value: object) -> str:
    """Return a name, or another word of a server, as it reads on screen, cut."""
    text = str(value)
    shown = visible_text(text[: MAX_COMMAND * 4])
    is_cut = len(shown) > MAX_COMMAND or len(text) > MAX_COMMAND * 4
    return f"{shown[:MAX_COMMAND]}…" if is_cut else shown


def _errors(run: Run, header: dict[str, Any]) -> list[str]:
    """Name the first error line of a bad end, and the last error block, with what they say."""
    digest = header.get("digest") or {}
    first, block = digest.get("first"), digest.get("block")
    notes = []
    if first is not None:
        notes.append(f"first error: line {first + 1:,}: {_said(run, first)}")
    if block and (first is None or list(block) != [first, first + 1]):
        start, end = block
        rows = f"lines {start + 1:,}–{end:,}" if end - start > 1 else f"line {start + 1:,}"
        notes.append(f"last error: {rows}: {_said(run, end - 1)}")
    return notes


def _said(run: Run, row: int) -> str:
    """Return a line as text, cut."""
    [line] = run.logs.shown("text", row, row + 1)
    text = "".join(span.text for span in _bounded(last_state(line or ""))[0])
    text = text.strip()
    return text[:MAX_COMMAND] + _more(len(text) - MAX_COMMAND)


def _elapsed(started: float | None, ended: float | None) -> list[str]:
    if started is None or ended is None:
        return []
    seconds = max(0.0, ended - started)
    if seconds < 60:
        return [f"{seconds:.1f} s"]
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return [f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"]


def _rows(run: Run, first: int, n: int) -> Iterator[_Row]:
    logs = run.logs
    columns = [logs.column(name)[first:n] for name in ("kind", "stream", "missing_bytes")]
    for kind, stream, missing, content in zip(*columns, logs.shown("text", first, n), strict=True):
        shown = last_state(content or "")
        if kind == "gap":
            reason = f" ({shown})" if shown else ""
            shown = ours(f"{gap_text(missing)}{reason}")
        elif kind == "notice":
            shown = ours(shown)
        yield _Row(kind, stream, *_bounded(shown))


def _bounded(line: str) -> tuple[list[Span], int]:
    # Style sequences are short: this much input holds what is shown; a 10 MB line costs no more.
    whole = line[: MAX_CHARACTERS * 8]
    left, cut = MAX_CHARACTERS, len(line) - len(whole)
    kept: list[Span] = []
    rest: list[str] = []
    for piece, style in spans(whole):
        if left and len(kept) < MAX_SPANS:
            kept.append(Span(piece[:left], style))
        elif left:
            rest.append(piece[:left])
        cut += max(0, len(piece) - left)
        left = max(0, left - len(piece))
    return [*kept, Span("".join(rest), PLAIN)] if rest else kept, cut


def _text_row(row: _Row) -> str:
    text = "".join(span.text for span in row.spans) + _more(row.cut)
    return of_log(text) if row.kind == "line" else text


def html_line(line: str) -> str:
    """Return one line of terminal output as spans, bounded."""
    return _html_content(*_bounded(line))


def _html_content(pieces: list[Span], cut: int) -> str:
    content = "".join(_html_span(span) for span in pieces)
    return content + f'<span class="bxs-note">{_more(cut)}</span>' if cut else content


def _html_row(row: _Row) -> str:
    content = _html_content(row.spans, row.cut)
    if row.kind != "line":
        return f'<span class="bxs-{"gap" if row.kind == "gap" else "notice"}">{content}</span>'
    return f'<span class="bxs-err">{content}</span>' if row.stream == "stderr" else content


def _more(cut: int) -> str:
    return f"… {cut:,} more characters" if cut > 0 else ""


def _html_span(span: Span) -> str:
    content = escape(span.text)
    classes = _classes(span.style)
    return f'<span class="{classes}">{content}</span>' if classes else content


def _classes(style: Style) -> str:
    fg, bg = (style.bg, style.fg) if style.inverse else (style.fg, style.bg)
    names = [
        name
        for name in ("bold", "dim", "italic", "underline", "strike", "inverse")
        if getattr(style, name)
    ]
    classes = [f"bxs-{name}" for name in names]
    if fg is not None and bg is None:  # a background brings the text colour that reads on it
        classes.append(f"bxs-f{basic(fg)}")
    if bg is not None:
        classes.append(f"bxs-b{basic(bg)}")
    return " ".join(classes)


_BACK = (
    "3e424d b3362b 1c7a42 8a5a0a 1f66b3 8f3a94 127f80 d5d8dc "
    "6f7780 e57373 7bd88f f5d76e 7fb8ff e6a3e0 8be0e0 ffffff"
)
_ON = ("fff",) * 7 + ("16181d", "fff") + ("16181d",) * 7  # text that can be read on each of _BACK
_LIGHT = (
    "3e424d b3261e 00722f 8a6100 1264b8 9a2f8c 11707a 6b6b6b "
    "5c616d d0342c 0a8a40 a37200 1f7bd8 b33fa4 188590 8a8a8a"
)
_DARK = (
    "8a8f9a ff7b72 56c77a d8b04a 6cb0ff e08fd5 60c6c8 c9c9c9 "
    "a0a6b2 ffa198 7ee2a0 f0cf72 a0cdff f0b6e8 97e3e5 ffffff"
)


def _style() -> str:
    rules = [
        ".bxs{border:1px solid var(--jp-border-color2,#9996);border-radius:3px;margin:2px 0;"
        "color:var(--jp-content-font-color1,inherit);"
        "font:13px/1.4 var(--jp-ui-font-family,system-ui,sans-serif)}",
        ".bxs-head,.bxs-command{padding:5px 10px;overflow-wrap:anywhere}",
        ".bxs-command{padding-top:0;opacity:.75;"
        "font-family:var(--jp-code-font-family,ui-monospace,monospace)}",
        ".bxs div.bxs-note{padding:0 10px 4px}.bxs-note{opacity:.75;font-style:italic}",
        ".bxs pre.bxs-log{margin:0;padding:6px 10px;max-height:430px;overflow:auto;background:none;"
        "border:0;border-top:1px solid var(--jp-border-color2,#9996);"
        "font:13px/1.4 var(--jp-code-font-family,ui-monospace,monospace);"
        "color:inherit;white-space:pre}",
        ".bxs .bxs-err{display:inline-block;margin-left:-7px;padding-left:4px;"
        "border-left:3px solid var(--bxs1)}",
        ".bxs .bxs-gap{color:var(--bxs1);font-weight:600}",
        ".bxs .bxs-notice{font-style:italic;opacity:.75}",
        ".bxs .bxs-bold{font-weight:700}.bxs .bxs-dim{opacity:.7}",
        ".bxs .bxs-italic{font-style:italic}.bxs .bxs-underline{text-decoration:underline}",
        ".bxs .bxs-strike{text-decoration:line-through}",
        ".bxs .bxs-inverse{outline:1px solid}",
    ]
    for selector, colours in ((".bxs", _LIGHT), ("[data-jp-theme-light=false] .bxs", _DARK)):
        rules.append(
            selector + "{" + ";".join(f"--bxs{i}:#{c}" for i, c in enumerate(colours.split())) + "}"
        )
    for i in range(16):
        rules.append(f".bxs .bxs-f{i}{{color:var(--bxs{i})}}")
        rules.append(f".bxs .bxs-b{i}{{background:#{_BACK.split()[i]};color:#{_ON[i]}}}")
    return "".join(rules)


STYLE = _style()
"""The style sheet of saved outputs."""
