"""Make what a saved notebook keeps of an agent's run: escaped, bounded HTML, and plain text.

Like ``static`` for a sandbox run: no script, no kernel and no style sheet is needed to read it.
Pure; imported by what saves a run's output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from blaxel_jupyter.fold import Fold
from blaxel_jupyter.panel import static
from blaxel_jupyter.panel.items import TaskLike
from blaxel_jupyter.panel.story import (
    Section,
    depth,
    other_head,
    other_sections,
    seconds,
    tool_head,
    tool_sections,
)
from blaxel_jupyter.panel.task_text import (
    NEVER_ENDED,
    OUTPUT_LINES,
    TEXT_LINES,
    Printer,
    facts,
    few,
    other_line,
    summary,
    text,
    text_section,
)
from blaxel_jupyter.task_items import Item, TextBlock, ToolCall

__all__ = ["Printer", "html", "text"]


def html(run: TaskLike, *, save: static.Save = "tail", tail: int = 200) -> str:
    """Return the run as HTML that stands alone.

    Only ``div``, ``pre``, ``span``, ``details``, ``summary`` and fixed ``style`` elements are used,
    with fixed classes; all text is escaped. Tool calls are closed, but for those that failed.

    Args:
        run: The run.
        save: ``tail`` keeps the last ``tail`` items of the story and says how many there were,
            ``all`` keeps all, ``none`` the header only.
        tail: Items kept by ``save="tail"``.
    """
    header = run.header()
    items = list(run.fold.items)
    first = static.first_kept(len(items), save, tail)
    head = _div("head", escape(summary(header)))
    said = [
        _div("error" if line.startswith("error: ") else "fact", escape(line))
        for line in facts(header)
    ]
    note = static.kept_note(len(items), first, "items")
    noted = _div("note", escape(note)) if note else ""
    final = bool(header["final"])
    story = [_item(item, run.fold, final=final) for item in items[first:]]
    body = _div("story", "".join(story)) if story else ""
    style = f"<style>{static.STYLE}{_STYLE}</style>"
    return f'{style}<div class="bxs {static.NO_MATH}">{head}{"".join(said)}{noted}{body}</div>'


def _item(item: Item, fold: Fold, *, final: bool) -> str:
    if isinstance(item, TextBlock):
        return _text(item)
    if isinstance(item, ToolCall):
        return _tool(item, final=final)
    head = other_head(item, fold)
    line = escape(other_line(head.group, head.name, head.summary))
    if head.group in ("files", "result"):
        sections = (s for s in other_sections(item, head) if s.form != "event")
        return _div(head.group, f"{line}{_sections(sections)}")
    return _div("error" if head.failed else "quiet", line)


def _text(block: TextBlock) -> str:
    section = text_section(block)
    if not section.text:
        return ""
    content = _lines(section, TEXT_LINES)
    if block.kind == "text":
        return _div("text", content)
    return f'<details class="bxs-thought"><summary>reasoning</summary>{_div("text", content)}</details>'


def _tool(call: ToolCall, *, final: bool) -> str:
    head, failed = tool_head(call), call.is_error
    mark = "○" if failed is None else "✗" if failed else "✓"
    parts = [f'<span class="bxs-name">{escape(head.name)}</span>']
    if head.summary:
        parts.append(f'<span class="bxs-asked">{escape(head.summary)}</span>')
    if failed:
        parts.append(f'<span class="bxs-gap">failed: {escape(head.outcome)}</span>')
    elif failed is None:
        parts.append(f'<span class="bxs-note">{NEVER_ENDED if final else "running"}</span>')
    if call.duration_ms is not None:
        parts.append(f'<span class="bxs-took">{seconds(call.duration_ms / 1000)}</span>')
    opened = " open" if failed else ""
    line = f"<summary>{mark} {' '.join(parts)}</summary>"
    inner = _sections(tool_sections(call)) or _div("note", "nothing more is known")
    return f'<details class="bxs-tool bxs-in{depth(call)}"{opened}>{line}{inner}</details>'


def _sections(sections: Iterable[Section]) -> str:
    return "".join(_section(section) for section in sections)


def _section(section: Section) -> str:
    kind = "bxs-log bxs-bad" if section.form == "error" else "bxs-log"
    # The line feed after <pre> belongs to the tag: without it a first empty line would vanish.
    content = f'<pre class="{kind}">\n{_lines(section, OUTPUT_LINES)}</pre>'
    return f"{_div('label', escape(section.label))}{content}"


def _lines(section: Section, limit: int) -> str:
    kept = few(section, limit)
    note = [f'<span class="bxs-note">{escape(kept.note)}</span>'] if kept.note else []
    return "\n".join([*_html(kept.first), *note, *_html(kept.last)])


def _html(lines: list[str]) -> Iterator[str]:
    return (static.html_line(line) for line in lines)


def _div(name: str, content: str) -> str:
    return f'<div class="bxs-{name}">{content}</div>'


_MONO = "font-family:var(--jp-code-font-family,ui-monospace,monospace)"
_STYLE = "".join(
    [
        ".bxs-fact{padding:0 10px 5px;opacity:.75;overflow-wrap:anywhere}",
        ".bxs .bxs-error{padding:0 10px 5px;color:var(--bxs1);font-weight:600;overflow-wrap:anywhere}",
        ".bxs-story{border-top:1px solid var(--jp-border-color2,#9996);padding:6px 10px;"
        "max-height:520px;overflow:auto}",
        ".bxs-story>*{margin:3px 0}.bxs .bxs-story .bxs-error{padding:0}",
        ".bxs-text{white-space:pre-wrap;overflow-wrap:anywhere;max-width:90ch}",
        ".bxs-quiet,.bxs-thought,.bxs-took{opacity:.75}",
        ".bxs-quiet{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}",
        f".bxs-quiet,.bxs-asked{{{_MONO};font-size:12px}}",
        ".bxs-thought{font-style:italic}",
        ".bxs summary{cursor:pointer;overflow-wrap:anywhere}",
        ".bxs-name{font-weight:600}.bxs-label{margin:4px 0 0 16px;font-size:11px;opacity:.75}",
        ".bxs .bxs-story pre.bxs-log{margin:0 0 4px 16px;padding:4px 8px;max-height:none;"
        "border:0;border-left:2px solid var(--jp-border-color2,#9996);"
        "white-space:pre-wrap;overflow-wrap:anywhere;font-size:12px}",
        ".bxs .bxs-story pre.bxs-bad{border-left-color:var(--bxs1)}",
        *(f".bxs-in{level}{{padding-left:{level * 16}px}}" for level in range(1, 9)),
    ]
)
