"""Fuzz targets led by what of the package each input reaches (atheris, libFuzzer), each in a child process.

It goes on after a find: each is written to a file once for the place it comes from. The package is read and
instrumented once, by importing this module, before anything else imports it.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import traceback
from pathlib import Path
from typing import NamedTuple, NoReturn

import atheris

with atheris.instrument_imports(include=["blaxel_jupyter", "dotenv", "yaml"]):
    from tests.fuzz.target import Target
    from tests.fuzz.targets import TARGETS

__all__ = ["TARGETS", "Result", "fuzzed"]

SLOW = 20
"""Seconds that one input may take: more is a find, too."""
MEMORY = 2048
"""Megabytes that the process may take."""


class Result(NamedTuple):
    """What came of one target; each find in a line that begins with its file."""

    name: str
    executions: int
    found: list[str]


def fuzzed(target: Target, seconds: int, keep: Path) -> Result:
    """Fuzz one target; corpus, finds and libFuzzer's own words are kept in folders of ``keep``."""
    corpus, found = keep / "corpus" / target.name, keep / "found" / target.name
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    log = keep / f"{target.name}.log"
    child = os.fork()
    if child == 0:
        _fuzz(target, seconds, corpus, found, log)
    _, status = os.waitpid(child, 0)
    said = log.read_text("utf-8", "replace")
    finds = re.findall(r"^FOUND (.*)$", said, re.MULTILINE)
    if status != 0:  # too slow, too much memory, or the process died
        last = re.findall(r"Test unit written to (\S+)", said)
        words = [line for line in said.splitlines() if "ERROR" in line or "Error" in line]
        finds.append(f"{last[-1] if last else log} ended with {status}: {words[-1:]}")
    ran = re.search(r"number_of_executed_units: (\d+)", said)
    return Result(target.name, int(ran[1]) if ran else 0, finds)


def _fuzz(target: Target, seconds: int, corpus: Path, found: Path, log: Path) -> NoReturn:
    """Fuzz until the time is over; libFuzzer ends the process."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream in (1, 2):
        os.dup2(file, stream)
    words = log.with_suffix(".words")
    words.write_text("".join(f'"{_quoted(word)}"\n' for word in target.words if len(word) < 64))
    flags = [
        f"-max_total_time={seconds}",
        f"-max_len={target.largest}",
        f"-dict={words}",
        f"-artifact_prefix={found}/",
        f"-timeout={SLOW}",
        f"-rss_limit_mb={MEMORY}",
        "-print_final_stats=1",
        str(corpus),
        *{str(path.parent) for path in target.seeds()},
    ]
    atheris.Setup([sys.argv[0], *flags], Catching(target, found))
    atheris.Fuzz()
    os._exit(0)


class Catching:
    """Feed a target; keep what it lets through."""

    def __init__(self, target: Target, found: Path) -> None:
        self._target = target
        self._found = found
        self._seen: set[str] = set()

    def __call__(self, data: bytes) -> None:
        """Take one input."""
        try:
            self._target.check(data)
        except Exception as error:  # whatever a decoder lets through is what is looked for
            self._keep(data, error)

    def _keep(self, data: bytes, error: Exception) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{type(error).__name__} {frames[-1].filename}:{frames[-1].lineno}"
        ours = [frame for frame in frames if "/blaxel_jupyter/" in frame.filename]
        where += f" {ours[-1].filename}:{ours[-1].lineno}" if ours else ""
        if where in self._seen:
            return
        self._seen.add(where)
        path = self._found / hashlib.sha256(where.encode()).hexdigest()[:12]
        if not path.exists() or len(path.read_bytes()) > len(data):
            path.write_bytes(data)
        print(f"FOUND {path} {type(error).__name__}: {str(error)[:200]!r} at {where}", flush=True)


def _quoted(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)
