"""Count the hostile cases by place, and with ``--run`` try them: ``python -m tests.hostile --run``."""

from __future__ import annotations

import sys
from collections import Counter

import pytest


class Count:
    """A plugin of pytest's that counts cases and outcomes by place: a file and what it is about."""

    def __init__(self) -> None:
        self.cases: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Count what is there."""
        self.cases.update(map(place, (item.nodeid for item in items)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count what went wrong."""
        if report.failed:
            self.failed[place(report.nodeid)] += 1


def place(nodeid: str) -> str:
    """Return what a test is about, in words."""
    file, _, test = nodeid.partition("::")
    name = file.rpartition("/")[2].removeprefix("test_").removesuffix(".py")
    return f"{name}: {test.partition('[')[0].removeprefix('test_')}".replace("_", " ")


def main() -> int:
    """Print a table; return 1 if a case failed."""
    count, run = Count(), "--run" in sys.argv[1:]
    options = ["-qqq", "-n0", "--no-header", *([] if run else ["--collect-only"])]
    code = pytest.main([*options, "tests/hostile"], plugins=[count])
    for name, cases in count.cases.items():
        print(f"{cases:6,}  {count.failed[name] if run else '-':>4}  {name}")
    failed = count.failed.total() if run else "-"
    print(f"{count.cases.total():6,}  {failed:>4}  in all: cases, and how many failed")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
