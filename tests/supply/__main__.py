"""Check what an installation brings: ``python -m tests.supply`` with the Python that it is installed in.

Fails on a licence outside of the list and on a known vulnerability; where no index answers, says so.
"""

from __future__ import annotations

import argparse
import sys

from tests.supply.installed import licence, needed, problem, roots
from tests.supply.known import ask, index


def main() -> int:
    """Print the table, the problems and what was not checked; return 1 if there is a problem."""
    parser = argparse.ArgumentParser(prog="python -m tests.supply", description=__doc__)
    parser.add_argument("--offline", action="store_true", help="licences only")
    asked = parser.parse_args()
    found = needed(roots("lab"))
    problems = []
    for name, owner in found.items():
        stated = licence(owner)
        print(f"{name:32} {owner.version:16} {stated}")
        problems.append(problem(name, stated))
    print(f"\n{len(found)} packages, all licences stated: {not any(problems)}")
    if not asked.offline:
        answer = ask(((name, owner.version) for name, owner in found.items()), index())
        problems += answer.known
        print(
            f"known vulnerabilities: {len(answer.known)} in {len(answer.checked)} packages checked"
        )
        if answer.unchecked:
            print(f"NOT CHECKED: no answer for {len(answer.unchecked)} packages ({answer.why})")
    wrong = [each for each in problems if each]
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
