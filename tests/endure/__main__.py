"""Endure one thing for as long as asked: ``python -m tests.endure --help``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.endure import awaits, cells, interrupts, soak
from tests.endure.operations import world


def main() -> int:
    """Do what the command line asks; return 1 if it was not endured."""
    parser = argparse.ArgumentParser(prog="python -m tests.endure", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    asked = verbs.add_parser("awaits", help="each client operation, ended at each of its awaits")
    asked.add_argument("only", nargs="*", help="these operations alone")
    asked = verbs.add_parser("cells", help="a notebook that runs and runs")
    asked.add_argument("--cells", type=int, default=500)
    asked = verbs.add_parser(
        "interrupts", help="cells of a real kernel, interrupted at many moments"
    )
    asked.add_argument("--moments", type=int, default=30)
    asked = verbs.add_parser("soak", help="2,000 lines a second, cut every 20 s")
    asked.add_argument("--hours", type=float, default=1.0)
    asked.add_argument("--tell", type=float, default=60.0, help="seconds between two lines")
    options = parser.parse_args()
    if options.verb == "awaits":
        with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as (_, operations):
            return awaits.main(operations, options.only)
    if options.verb == "interrupts":
        return interrupts.main(options.moments)
    if options.verb == "cells":
        return cells.main(options.cells)
    return soak.main(options.hours, tell=options.tell)


if __name__ == "__main__":
    sys.exit(main())
