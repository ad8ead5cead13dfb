"""The public names, and what importing and loading the package costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import blaxel_jupyter

PUBLIC = {
    "AuthError",
    "BlaxelError",
    "CredentialsError",
    "FollowError",
    "LogEntry",
    "LogPanel",
    "NotFoundError",
    "Process",
    "ProcessError",
    "ProtocolError",
    "SandboxClient",
    "SandboxRun",
    "StatusError",
    "Table",
    "Task",
    "TaskClient",
    "TaskError",
    "TaskEvent",
    "TaskRun",
    "TaskRuns",
    "TaskStatus",
    "TransportError",
    "load_ipython_extension",
    "run",
    "unload_ipython_extension",
}


def loaded_after(code: str, **environment: str) -> set[str]:
    """Return the packages that a fresh interpreter has loaded after some code."""
    code += "\nimport json, sys; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        text=True,
        env=os.environ | environment,
    )
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return {name.split(".")[0] for name in names}


def test_public_names_are_pinned() -> None:
    """A name is added on purpose and never goes."""
    assert set(blaxel_jupyter.__all__) == PUBLIC
    assert blaxel_jupyter.__all__ == sorted(PUBLIC)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_public_name_is_there(name: str) -> None:
    """Every public name can be had, and says what it is."""
    found: Any = getattr(blaxel_jupyter, name)
    assert found.__doc__
    assert getattr(blaxel_jupyter, name) is found


def test_star_import_gives_the_public_names() -> None:
    """``from blaxel_jupyter import *`` gives all of them and nothing else."""
    namespace: dict[str, object] = {}
    exec("from blaxel_jupyter import *", namespace)
    assert namespace.keys() - {"__builtins__"} == PUBLIC


def test_unknown_name_is_an_attribute_error() -> None:
    """A typing mistake fails as everywhere in Python."""
    with pytest.raises(AttributeError, match="SandboxCleint"):
        _ = blaxel_jupyter.SandboxCleint  # type: ignore[attr-defined]


def test_import_is_cheap() -> None:
    """Importing the package loads no HTTP client, no IPython, nothing from elsewhere at all."""
    before, after = loaded_after("pass"), loaded_after("import blaxel_jupyter")
    assert after - before - set(sys.stdlib_module_names) == {"blaxel_jupyter"}


def test_load_ext_loads_no_dataframes_and_no_server(tmp_path: Path) -> None:
    """``%load_ext`` registers magics; it loads no DataFrame library, server, or nested loop."""
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell()\n"
        "shell.run_line_magic('load_ext', 'blaxel_jupyter')\n"
        "assert shell.find_cell_magic('sandbox_exec')\n"
    )
    unwanted = {"pandas", "polars", "pyarrow", "duckdb", "nanoarrow"}
    unwanted |= {"starlette", "uvicorn", "nest_asyncio", "nest_asyncio2", "blaxel"}
    assert not loaded_after(code, IPYTHONDIR=str(tmp_path)) & unwanted


@pytest.mark.parametrize("home", ["errors", "wire", "process", "ledger", "table"])
def test_pure_modules_load_without_the_rest(home: str) -> None:
    """What is pure can be used alone."""
    assert not loaded_after(f"import blaxel_jupyter.{home}") & {"httpx", "IPython", "anywidget"}
