"""Ask the package index that pip uses here which vulnerabilities it knows of; offline is no failure.

The index's JSON interface tells them with each release. The address is taken from pip's configuration.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 20.0
"""Seconds that one answer may take."""
GIVE_UP = 3
"""Packages without any answer after which the others are not asked for: there is no such index."""

ACCEPTED: dict[str, str] = {}
"""What is known and does no harm here: an advisory's id, and the reason."""


@dataclass(slots=True)
class Answer:
    """What came of asking: the packages that were checked, those that were not, and what is known."""

    checked: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    why: str = ""
    """Why some were not checked: the first reason."""


def index() -> str:
    """Return where the configured index tells about releases; "" if pip knows of none."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    urls = {}
    for line in said.splitlines():
        name, _, value = line.partition("=")
        if name.rpartition(".")[2] == "index-url":
            urls[name.startswith(":env:")] = value.strip("'\"")
    simple = urls.get(True) or urls.get(False) or _default()
    return simple.rstrip("/").removesuffix("/simple") + "/pypi" if simple else ""


def _default() -> str:
    """Return the index that pip uses where none is configured."""
    code = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return said.stdout.strip()


def ask(packages: Iterable[tuple[str, str]], base: str) -> Answer:
    """Ask for each package, a name and a version; an index that does not answer is not asked for long."""
    answer = Answer()
    for name, version in packages:
        shown = f"{name} {version}"
        if not base or (len(answer.unchecked) >= GIVE_UP and not answer.checked):
            answer.unchecked.append(shown)
            continue
        try:
            with urllib.request.urlopen(f"{base}/{name}/{version}/json", timeout=PATIENCE) as said:
                answer.known += _vulnerabilities(shown, json.load(said))
            answer.checked.append(shown)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
            answer.unchecked.append(shown)
            answer.why = answer.why or _reason(problem)
    answer.why = answer.why or ("" if base else "pip knows of no index")
    return answer


def _vulnerabilities(shown: str, release: dict[str, Any]) -> list[str]:
    """Read what an answer tells; one that has no such member tells nothing."""
    return [
        f"{shown}: {each['id']} {' '.join(each.get('aliases') or ())}, "
        f"mended in {', '.join(each.get('fixed_in') or ()) or 'no release yet'}"
        for each in release["vulnerabilities"]
        if not each.get("withdrawn") and each["id"] not in ACCEPTED
    ]


def _reason(problem: Exception) -> str:
    if isinstance(problem, urllib.error.HTTPError):
        return f"the index answers {problem.code}"
    return str(problem) or type(problem).__name__
