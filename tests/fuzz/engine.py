"""Fuzz one target in this process, led by what of the package each input reaches (atheris, libFuzzer).

It goes on after a find: each is written to a file once for the place it comes from. Started by
``tests.fuzz.__main__`` alone: libFuzzer ends the process it runs in.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import traceback
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["blaxel_jupyter", "dotenv", "yaml"]):
    from tests.fuzz.target import Target
    from tests.fuzz.targets import TARGETS

SLOW = 20
"""Seconds that one input may take: more is a find, too."""
MEMORY = 2048
"""Megabytes that the process may take."""


def main() -> None:
    """Fuzz until the time is over; finds are told on stdout, one a line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("seconds", type=int)
    parser.add_argument("corpus", type=Path, help="what was interesting before, and is kept")
    parser.add_argument("found", type=Path, help="where finds are written")
    asked = parser.parse_args()
    target = TARGETS[asked.target]
    for folder in (asked.corpus, asked.found):
        folder.mkdir(parents=True, exist_ok=True)
    words = asked.corpus.parent / f"{target.name}.dict"
    words.write_text("".join(f'"{_quoted(word)}"\n' for word in target.words if len(word) < 64))
    flags = [
        f"-max_total_time={asked.seconds}",
        f"-max_len={target.largest}",
        f"-dict={words}",
        f"-artifact_prefix={asked.found}/",
        f"-timeout={SLOW}",
        f"-rss_limit_mb={MEMORY}",
        "-print_final_stats=1",
        str(asked.corpus),
        *[str(folder) for folder in {path.parent for path in target.seeds()}],
    ]
    atheris.Setup([sys.argv[0], *flags], Catching(target, asked.found))
    atheris.Fuzz()


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


if __name__ == "__main__":
    main()
