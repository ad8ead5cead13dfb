"""Say what one item of a task's story shows: its line, and the sections that it opens to.

The live panel, the saved output and the printer all show a run through this one reading. It escapes
and cuts nothing but what would be too long to be read. Pure; imported by the panel alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeGuard

from blaxel_jupyter.fold import Fold
from blaxel_jupyter.json_values import lenient, text_of
from blaxel_jupyter.panel.escapes import last_state, visible_text
from blaxel_jupyter.task_items import Other, ToolCall

LINE = 300
"""Characters of an item's one line."""

SHOWN = 20_000
"""Characters of one section; of longer ones the beginning and the end."""

MAX_FILES = 500
"""Files of one event that are listed."""

Form = Literal["text", "error", "json", "event"]
"""Terminal output, the same of an error, JSON, and JSON that only repeats what is shown."""

Group = Literal["tool", "files", "result", "end", "error", "other", "unknown"]

_INDENTS = 24
"""Levels of JSON that are indented: hostile nesting would cost the square of its depth."""


class Section(NamedTuple):
    """A part that an item opens to: ``text``, then ``cut`` characters left out, then ``tail``."""

    label: str
    form: Form
    text: str
    cut: int = 0
    tail: str = ""


class Head(NamedTuple):
    """An item's one line: ``failed`` is None while nobody knows; texts are one line, not sanitised."""

    group: Group
    name: str
    summary: str
    failed: bool | None = None
    outcome: str = ""


def tool_head(call: ToolCall) -> Head:
    """Return the line of a tool call: its name, what it was asked, and how that went wrong if it did."""
    outcome = []
    if call.exit_code:
        outcome.append(f"exit code {call.exit_code}")
    if call.state == "output-denied":
        outcome.append("denied")
    error = one_line(call.error_text or "")
    if error and not (call.exit_code and re.fullmatch(r"Exit code -?\d+", error)):
        outcome.append(error)
    if call.is_error and not outcome:
        outcome.append(call.state)
    name = one_line(call.tool_name or "tool")
    return Head("tool", name, one_line(_asked(call)), call.is_error, " · ".join(outcome))


def _asked(call: ToolCall) -> str:
    """Return what a call was asked: its command, what it looks for, its path, or all of its input."""
    if call.command or not call.input:
        return call.command or ""
    value = lenient(call.input.encode("utf-8", "replace"))
    members = value if isinstance(value, dict) else {}
    pattern = text_of(members.get("pattern"))
    if pattern and call.path:
        return f"{pattern} in {call.path}"
    only = next(iter(members.values())) if len(members) == 1 else value
    return call.path or pattern or text_of(only) or call.input


def tool_sections(call: ToolCall, limit: int = SHOWN) -> Iterator[Section]:
    """Yield what a tool call was given and what came back: of texts at most ``limit`` characters."""
    asked = lenient(call.input.encode("utf-8", "replace")) if call.input else None
    if call.command is not None and isinstance(asked, dict):
        yield _text("command", call.command)
        if more := _without(asked, "command"):
            yield _json("input", more)
    elif call.input is not None:
        yield _json("input", call.input)
    yield from _output(call, limit)
    if call.error_text:
        yield _text("error", call.error_text, "error", limit)


def _output(call: ToolCall, limit: int) -> Iterator[Section]:
    if call.output is None:
        return
    value = lenient(call.output.encode("utf-8", "replace"))
    if isinstance(value, str):
        yield _text("output", value, limit=limit)
    elif call.stdout is not None or call.stderr is not None:
        if call.stdout:
            yield _text("stdout", call.stdout, limit=limit)
        if call.stderr:
            yield _text("stderr", call.stderr, "error", limit)
        said = ("status",) if value.get("status") in ("completed", "failed") else ()
        if more := _without(value, "stdout", "stderr", "exitCode", "exit_code", *said):
            yield _json("output", more)
    elif (words := _blocks(value)) is not None:
        yield _text("output", words, limit=limit)
    else:
        yield _json("output", call.output)


def other_head(item: Other, fold: Fold) -> Head:
    """Return the line of any other event: what it is, and the little that matters of it."""
    data, name, failure = item.event.data, item.type, item.event.failure
    if name is None or name in fold.unknown:
        return Head("unknown", one_line(name or "event without a type"), one_line(item.event.json))
    shown = one_line(name)
    if isinstance(data.get("files"), list):
        n = len(data["files"])
        return Head("files", shown, f"{n:,} file{'' if n == 1 else 's'}")
    if name == "result":
        return Head("result", shown, _figures(data), data.get("is_error") is True)
    if name in ("error", "auth-error"):
        return Head("error", shown, one_line(failure or item.event.json), True)
    if name == "finish":
        return Head("end", shown, one_line(data.get("status") or data.get("finishReason")))
    if name == "abort":
        return Head("end", shown, one_line(data.get("reason")))
    return Head("other", shown, one_line(failure) or _preview(data))


def other_sections(item: Other, head: Head) -> Iterator[Section]:
    """Yield what any other event opens to."""
    data = item.event.data
    if head.group == "files":
        yield _text("files", "\n".join(_listed(data["files"])))
    elif head.group == "result" and (words := text_of(data.get("result"))):
        yield _text("result", words)
    elif head.group == "error" and item.event.failure:
        yield _text("error", item.event.failure, "error")
    shows = head.group in ("files", "result", "error")
    yield _json("event", item.event.json, "event" if shows else "json")


def one_line(value: object, limit: int = LINE) -> str:
    """Return text on one line, as it reads on screen, cut where it is too long; "" for no text."""
    if not isinstance(value, str):
        return ""
    shown = re.sub(r"\s*\n\s*", " ⏎ ", value[: limit * 4].strip())
    shown = visible_text(shown)
    return shown if len(shown) <= limit and len(value) <= limit * 4 else shown[:limit] + "…"


def indented(raw: str) -> str:
    """Lay out JSON text, one member a line; numbers and texts stay as they were written.

    Text that is not JSON, or its beginning alone, passes, too.
    """
    out: list[str] = []
    depth, before = 0, ""
    for match in _TOKEN.finditer(raw):
        token = match[0]
        if token in "}]":
            depth = max(0, depth - 1)
            if before not in ("{", "["):
                out.append(_line(depth))
        elif before in ("{", "[", ","):
            out.append(_line(depth))
        out.append(": " if token == ":" else _readable(token))
        if token in "{[":
            depth += 1
        before = token
    return "".join(out)


def clip(text: str, limit: int) -> tuple[str, int, str]:
    """Keep at most ``limit`` characters: the beginning, how many are left out, and the end."""
    if len(text) <= limit:
        return text, 0, ""
    start, end = limit * 2 // 5, len(text) - limit * 3 // 5
    # Whole lines, where a line break is near.
    if (feed := text.rfind("\n", max(0, start - 400), start)) != -1:
        start = feed + 1
    if (feed := text.find("\n", end, end + 400)) != -1:
        end = feed + 1
    return text[:start], end - start, text[end:]


def lines_of(text: str) -> list[str]:
    """Split terminal output into lines as they stand after their carriage returns."""
    return [last_state(line) for line in text.removesuffix("\n").split("\n")]


def depth(call: ToolCall) -> int:
    """Return how deep a call is nested, by its id, up to 8."""
    return min(8, call.tool_call_id.count(":"))


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)


def _line(depth: int) -> str:
    return "\n" + "  " * min(depth, _INDENTS)


def _readable(token: str) -> str:
    """Spell out characters beyond ASCII that were written as escapes."""
    if not token.startswith('"') or "\\u" not in token:
        return token
    return _ESCAPE.sub(_character, token)


def _character(match: re.Match[str]) -> str:
    code = int(match[1][1:], 16) if len(match[1]) == 5 else 0
    return chr(code) if code >= 0xA0 and not 0xD800 <= code <= 0xDFFF else match[0]


def _text(label: str, text: str, form: Form = "text", limit: int = SHOWN) -> Section:
    return Section(label, form, *clip(text, limit))


def _json(label: str, raw: str, form: Form = "json") -> Section:
    return Section(label, form, indented(raw[:SHOWN]), max(0, len(raw) - SHOWN))


def _without(value: Any, *names: str) -> str:
    """Return the JSON text of an object's other members; "" where there are none."""
    rest = {k: v for k, v in value.items() if k not in names} if isinstance(value, dict) else {}
    return json.dumps(rest, ensure_ascii=False) if rest else ""


def _preview(data: dict[str, Any]) -> str:
    """Return an event's members on one line, without its type."""
    return one_line(_without(data, "type")[1:-1])


def _blocks(value: object) -> str | None:
    """Return the text of a list of text blocks; None for anything else."""
    if not isinstance(value, list) or not value:
        return None
    plain = [item for item in value if isinstance(item, dict) and set(item) == {"type", "text"}]
    texts = [item["text"] for item in plain if isinstance(item["text"], str)]
    return "\n".join(texts) if len(texts) == len(value) else None


def _listed(files: list[Any]) -> Iterator[str]:
    for file in files[:MAX_FILES]:
        facts = file if isinstance(file, dict) else {}
        name = text_of(facts.get("path")) or text_of(facts.get("name"))
        size = facts.get("size")
        line = one_line(name if name else file if isinstance(file, str) else json.dumps(file))
        yield f"{line}  {size:,} bytes" if is_number(size) else line
    if len(files) > MAX_FILES:
        yield f"… {len(files) - MAX_FILES:,} more files"


def _figures(data: dict[str, Any]) -> str:
    usage = data.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    parts = [one_line(data.get("subtype"))]
    if is_number(ms := data.get("duration_ms")):
        parts.append(seconds(ms / 1000))
    if is_number(turns := data.get("num_turns")):
        parts.append(f"{turns:,} turn{'' if turns == 1 else 's'}")
    parts += tokens(usage.get("input_tokens"), usage.get("output_tokens"))
    parts += cost(data.get("total_cost_usd"))
    return " · ".join(part for part in parts if part)


def tokens(given: object, made: object) -> list[str]:
    """Return the tokens that are known, as words."""
    names = ((given, "in"), (made, "out"))
    known = [f"{n:,} {name}" for n, name in names if is_number(n)]
    return [f"{', '.join(known)} tokens"] if known else []


def cost(usd: object) -> list[str]:
    """Return the cost in US dollars, if it is known."""
    if not is_number(usd):
        return []
    return [f"${usd:,.2f}" if usd >= 1 else f"${usd:.4f}"]


def seconds(value: float) -> str:
    """Return a duration as words."""
    value = max(0.0, value)
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def is_number(value: object) -> TypeGuard[int | float]:
    """Tell whether a value of JSON is a number that can be a count, a time or a price."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e15
