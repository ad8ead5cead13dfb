"""The command line: ``blaxel-jupyter serve`` and ``blaxel-jupyter doctor``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from blaxel_jupyter.errors import BlaxelError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    parser = argparse.ArgumentParser(prog="blaxel-jupyter", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser(
        "serve", help="serve local sandboxes on this machine, as you and without isolation"
    )
    serve.add_argument(
        "--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)"
    )
    serve.add_argument("--dir", type=Path, help="where sandboxes and logs are kept")
    serve.add_argument(
        "--idle", type=float, default=900.0, metavar="SECONDS", help="exit when unused for so long"
    )
    commands.add_parser("doctor", help="say what is installed, configured and reachable")
    options = parser.parse_args(arguments)
    try:
        if options.command == "serve":
            return _serve(options.port, options.dir, options.idle)
        return _doctor()
    except BlaxelError as error:
        print(f"blaxel-jupyter: {error}", file=sys.stderr)
        return 1


def _serve(port: int, folder: Path | None, idle: float) -> int:
    from blaxel_jupyter.local import state_dir
    from blaxel_jupyter.local.server import serve

    serve(port=port, folder=(folder or state_dir()).absolute(), idle=idle)
    return 0


def _doctor() -> int:
    return 0


if __name__ == "__main__":
    sys.exit(main())
