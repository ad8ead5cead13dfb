"""Runs that say a hostile line wherever a run can: for the tests of each place that shows one."""

from __future__ import annotations

from typing import Any

from tests.hostile.payloads import Payload


def facts_of_log(line: str) -> dict[str, Any]:
    """Return what a process's header may have from servers and users, all of it the line."""
    names = ("sandbox", "process", "command", "status", "integrity", "message")
    return dict.fromkeys(names, line)


def facts_of_task(line: str) -> dict[str, Any]:
    """Return what a task's header may have from its service, all of it the line."""
    names = ("run_id", "status", "source", "error", "prompt", "message", "target", "model")
    return dict.fromkeys(names, line)


def events(line: str, number: int = 0) -> list[dict[str, Any]]:
    """Return events that say the line as text, name, id, input, output, error, file and type."""
    key = f"{number}{line[:300]}"
    call = {"toolCallId": key, "toolName": line}
    other = {"toolCallId": f"{key}:{line[:300]}", "toolName": line}
    return [
        {"type": "text-delta", "id": "m", "delta": f"{line}\n"},
        {"type": "reasoning", "id": line, "text": line},
        {"type": "tool-input-available", **call, "input": {line: line, "path": line}},
        {"type": "tool-output-error", "toolCallId": key, "errorText": line},
        {"type": "tool-input-available", **other, "input": {"command": line}},
        {
            "type": "tool-output-available",
            **other,
            "output": {"stdout": line, "stderr": line, "exitCode": 1, line: line},
        },
        {"type": "files", "files": [{"path": line, "size": 1}, line, {line: line}]},
        {"type": "result", "result": line, "subtype": line},
        {"type": line, "errorText": line},
        {"type": "error", "errorText": line},
        {"type": "finish", "status": line},
    ]


def shown(one: Payload) -> str:
    """Return what of a payload is to be found in text on one line, whatever stands around it."""
    return " ".join(one.seen.split())
