"""Fuzz the decoders one after the other, or repeat what was found: ``python -m tests.fuzz --help``."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

KEPT = Path(".fuzz")
"""Where corpora and finds are kept, in the current folder."""


def main() -> int:
    """Run what is asked for; return 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="for each target")
    parser.add_argument(
        "--target", action="append", metavar="NAME", help="this one alone, or these"
    )
    parser.add_argument("--repeat", type=Path, metavar="FILE", help="feed this file once more")
    parser.add_argument("--keep", type=Path, default=KEPT, metavar="DIR", help="corpora and finds")
    asked = parser.parse_args()
    if asked.repeat:
        return repeated(asked.repeat.absolute())
    if importlib.util.find_spec("atheris") is None:
        parser.error("the fuzzer needs atheris: pip install atheris (Linux)")
    from tests.fuzz.engine import TARGETS, fuzzed  # instruments what it imports

    if unknown := set(asked.target or ()) - TARGETS.keys():
        parser.error(f"no such target: {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    results = []
    for name in asked.target or TARGETS:
        _, executions, found = result = fuzzed(TARGETS[name], asked.seconds, asked.keep.absolute())
        results.append(result)
        print(f"{name:20} {executions:>12,} executions  {len(found)} found", flush=True)
        for line in found:
            print(f"    {line}\n    again: python -m tests.fuzz --repeat {line.split()[0]}")
    total = sum(result.executions for result in results)
    finds = sum(len(result.found) for result in results)
    print(f"{len(results)} targets, {total:,} executions, {finds} found")
    return 1 if finds else 0


def repeated(file: Path) -> int:
    """Feed a file to the target that its folder is named after; what is wrong is raised."""
    from tests.fuzz.targets import TARGETS

    TARGETS[file.parent.name].check(file.read_bytes())
    print(f"{file}: nothing wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main())
