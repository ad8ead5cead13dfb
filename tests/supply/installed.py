"""Find the distributions that an installation of the package needs, and the licence each says it has."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]

ALLOWED = frozenset(
    (
        *(
            "MIT",
            "MIT-0",
            "MIT-CMU",
            "BSD-2-Clause",
            "BSD-3-Clause",
            "BSD",
            "ISC",
            "0BSD",
            "Apache-2.0",
        ),
        *(
            "PSF-2.0",
            "Python-2.0",
            "CNRI-Python",
            "HPND",
            "Unlicense",
            "CC0-1.0",
            "Zlib",
            "Bitstream-Vera",
        ),
        "MPL-2.0",  # its duty ends at its own files, which are not changed here
    )
)
"""Licences, by their SPDX names, that an installation of the package may bring: they ask for a notice."""

EXCEPTIONS = {
    # distribution: the licence it states, and why that is no obstacle
}
"""What is outside of the list and fine all the same."""

_WORDS = (
    # what old metadata calls a licence, most special first: pattern and SPDX name
    (r"\b[la]?gpl|gnu (lesser|affero|library|general)", "GPL"),
    (r"mozilla public license 2\.0|mpl[- ]2\.0", "MPL-2.0"),
    (r"apache( software)? license|apache[- ]2", "Apache-2.0"),
    (r"3-clause bsd|bsd[- ]3[- ]clause|new bsd|modified bsd", "BSD-3-Clause"),
    (r"2-clause bsd|bsd[- ]2[- ]clause|simplified bsd", "BSD-2-Clause"),
    (r"\bbsd\b", "BSD"),
    (r"python software foundation|\bpsf", "PSF-2.0"),
    (r"\bisc\b", "ISC"),
    (r"unlicense", "Unlicense"),
    (r"hpnd|historical permission notice", "HPND"),
    (r"\bmit\b", "MIT"),
)


def roots(*extras: str) -> list[str]:
    """Return what the package's own project file asks for, with these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    more = project["optional-dependencies"]
    return [*project["dependencies"], *(line for extra in extras for line in more[extra])]


def needed(requirements: Iterable[str]) -> dict[str, Distribution]:
    """Return the installed distributions that meet requirements here, transitively, by name.

    Raises:
        PackageNotFoundError: one of them is not installed.
    """
    found: dict[str, Distribution] = {}
    done: set[tuple[str, str]] = set()
    waiting = [(line, "") for line in requirements]
    while waiting:
        line, asked = waiting.pop()
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": asked}):
            continue
        name = canonicalize_name(wanted.name)
        found[name] = owner = distribution(wanted.name)
        for extra in ("", *wanted.extras):
            if (name, extra) not in done:
                done.add((name, extra))
                waiting += [(each, extra) for each in owner.requires or ()]
    return dict(sorted(found.items()))


def licence(owner: Distribution) -> str:
    """Return the licence that a distribution states: an SPDX expression, or a name made one; "" if none."""
    metadata = owner.metadata
    if stated := metadata.get("License-Expression"):
        return stated
    classified = [
        text.rpartition(" :: ")[2]
        for text in metadata.get_all("Classifier") or ()
        if text.startswith("License :: ") and not text.endswith("OSI Approved")
    ]
    stated = metadata.get("License") or ""
    texts = [stated, *classified] if len(stated) < 100 else [*classified, stated[:300]]
    names = [name for text in (*texts, *_files(owner)) if (name := _named(text))]
    return names[0] if names else ""


def _named(text: str) -> str:
    if text in ALLOWED:
        return text
    for pattern, name in _WORDS:
        if re.search(pattern, text, re.IGNORECASE):
            return name
    return ""


def _files(owner: Distribution) -> Iterator[str]:
    """Yield the beginnings of the licence files that came with a distribution."""
    for file in owner.files or ():
        if re.match(r"(?i)(licen[cs]e|copying)", file.name):
            try:
                yield file.read_text()[:300]
            except (OSError, UnicodeDecodeError):
                continue


def allowed(expression: str) -> bool:
    """Whether an SPDX expression can be met with allowed licences alone: each of AND, one of OR."""
    return _either(re.findall(r"\(|\)|[\w.+-]+", expression))


def _either(words: list[str]) -> bool:
    fine = _each(words)
    while words and words[0].upper() == "OR":
        words.pop(0)
        fine = _each(words) or fine
    return fine


def _each(words: list[str]) -> bool:
    fine = _one(words)
    while words and words[0].upper() == "AND":
        words.pop(0)
        fine = _one(words) and fine
    return fine


def _one(words: list[str]) -> bool:
    if not words:
        return False
    word = words.pop(0)
    if word == "(":
        fine = _either(words)
        if words:
            words.pop(0)
        return fine
    if words and words[0].upper() == "WITH":
        del words[:2]  # an exception only ever permits more
    return word in ALLOWED


def problem(name: str, stated: str) -> str:
    """Say what is wrong with a distribution's licence; "" if nothing is."""
    if name in EXCEPTIONS:
        known, _ = EXCEPTIONS[name]
        return "" if stated == known else f"{name}: now states {stated!r}, not {known!r}"
    if not stated:
        return f"{name}: states no licence"
    return "" if allowed(stated) else f"{name}: {stated} is not on the list"
