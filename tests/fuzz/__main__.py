"""Fuzz the decoders one after the other, or repeat what was found: ``python -m tests.fuzz --help``."""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.targets import TARGETS

KEPT = Path(".fuzz")
"""Where corpora and finds are kept, in the current folder."""


class Result(NamedTuple):
    """What came of one target."""

    name: str
    executions: int
    found: list[str]


def main() -> int:
    """Run what is asked for; return 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="for each target")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="these alone")
    parser.add_argument("--repeat", type=Path, metavar="FILE", help="feed this file once more")
    parser.add_argument("--keep", type=Path, default=KEPT, metavar="DIR", help="corpora and finds")
    asked = parser.parse_args()
    if asked.repeat:
        TARGETS[asked.repeat.absolute().parent.name].check(asked.repeat.read_bytes())
        print(f"{asked.repeat}: nothing wrong")
        return 0
    if importlib.util.find_spec("atheris") is None:
        parser.error("the fuzzer needs atheris: pip install atheris (Linux)")
    results = []
    for name in asked.target or TARGETS:
        _, executions, found = result = fuzzed(name, asked.seconds, asked.keep)
        results.append(result)
        print(f"{name:20} {executions:>12,} executions  {len(found)} found", flush=True)
        for line in found:
            print(f"    {line}\n    again: python -m tests.fuzz --repeat {line.split()[0]}")
    total = sum(result.executions for result in results)
    finds = sum(len(result.found) for result in results)
    print(f"{len(results)} targets, {total:,} executions, {finds} found")
    return 1 if finds else 0


def fuzzed(name: str, seconds: int, keep: Path) -> Result:
    """Fuzz one target in a process of its own."""
    found = (keep / "found" / name).absolute()
    command = [sys.executable, "-m", "tests.fuzz.engine", name, str(seconds)]
    command += [str((keep / "corpus" / name).absolute()), str(found)]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    finds = [line[6:] for line in ended.stdout.splitlines() if line.startswith("FOUND ")]
    ran = re.search(r"number_of_executed_units: (\d+)", ended.stderr)
    if ended.returncode != 0:  # too slow, too much memory, or the process died
        last = re.findall(r"Test unit written to (\S+)", ended.stderr)
        words = [line for line in ended.stderr.splitlines() if "ERROR" in line or "Error" in line]
        finds.append(f"{last[-1] if last else found} exit code {ended.returncode}: {words[-1:]}")
    return Result(name, int(ran[1]) if ran else 0, finds)


if __name__ == "__main__":
    sys.exit(main())
