"""Read what a client asks of a new run, and say clearly what cannot be done here.

It checks bodies of ``POST /tasks`` (protocol 2.2) and ``…/continue`` (2.8), and reads recordings that
are to be replayed; it starts nothing.
"""

from __future__ import annotations

import re
from typing import Any

from blaxel_jupyter.local.replay import RecordingError, load, speed_of
from blaxel_jupyter.local.task_store import Run
from blaxel_jupyter.local.tasks import Asked, Replayed

AGENTS = ("claude", "codex", "grok", "local", "replay")
"""What ``agent`` may say; all but ``replay`` mean the local agent."""

_GITHUB = re.compile(
    r"(?:https?://)?(?:[^/@]*@)?github\.com[/:]([\w.-]+)/([\w.-]+?)(\.git)?/?", re.ASCII
)


class BadRequestError(Exception):
    """A body or parameter that is not accepted; the text says why (status 400)."""


def member(body: dict[str, Any], name: str, kind: type) -> Any:
    """Return a member of a body, None if it is missing or null; lone surrogates in text are replaced.

    Raises:
        BadRequestError: it has another type.
    """
    value = body.get(name)
    if value is not None and not isinstance(value, kind):
        raise BadRequestError(f"{name} must be a {'string' if kind is str else kind.__name__}")
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


async def asked_of(body: dict[str, Any], former: Run | None = None) -> tuple[Asked, int]:
    """Read the body of a create, or of the continuation of a former run.

    Returns:
        What is asked, and how many lines of a recording to replay were no events.

    Raises:
        BadRequestError: something is missing, wrong, or not offered by the local service.
    """
    prompt = member(body, "prompt", str) or member(body, "message", str) or ""
    if not prompt.strip():
        raise BadRequestError("prompt (or message) is required and must not be empty")
    model, agent = member(body, "model", str), member(body, "agent", str)
    if agent is not None and agent not in AGENTS:
        raise BadRequestError(f"agent must be one of {', '.join(AGENTS)}")
    github = None
    if former is None:
        _check_type(body)
        _check_router(body)
        github = _github(body)
    else:
        if model is not None and agent is None:
            raise BadRequestError("model requires agent")
        github = former.github
        if agent is None:
            model, agent = former.model, former.agent
    if agent != "replay":
        return Asked(prompt, model, agent, github), 0
    try:
        speed = speed_of(model)
        recording = await load(prompt)
    except RecordingError as problem:
        raise BadRequestError(str(problem)) from problem
    return Asked(prompt, model, agent, github, Replayed(recording, speed)), recording.skipped


def _check_type(body: dict[str, Any]) -> None:
    kind = member(body, "type", str)
    if kind == "standard":
        raise BadRequestError(
            "the local service runs agent tasks only: leave out type, or say 'claude'"
        )
    if kind not in (None, "claude"):
        raise BadRequestError("type must be 'claude'")


def _check_router(body: dict[str, Any]) -> None:
    """A router of the user's own is not used here, and its key not kept."""
    key, url = member(body, "apiKey", str), member(body, "baseUrl", str)
    if (key is None) != (url is None):
        raise BadRequestError("apiKey and baseUrl go together")


def _github(body: dict[str, Any]) -> dict[str, Any] | None:
    """Return the facts of a repository that is named; nothing is cloned, so no branch is created."""
    url, branch = member(body, "repoUrl", str), member(body, "selectedBranch", str)
    if url is None:
        return None
    found = _GITHUB.fullmatch(url)
    if found is None:
        raise BadRequestError("repoUrl must be the URL of a GitHub repository")
    owner, repo, suffix = found.groups()
    return {
        "repoUrl": f"https://github.com/{owner}/{repo}{suffix or ''}",
        "owner": owner,
        "repo": repo,
        "baseBranch": branch,
        "createdBranch": None,
    }
