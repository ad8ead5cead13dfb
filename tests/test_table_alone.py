"""What a table does where pandas, polars, pyarrow or nanoarrow are not installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_table import logs


def run_without(*packages: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a Python where ``packages`` cannot be imported."""
    block = "".join(f"sys.modules[{package!r}] = None\n" for package in packages)
    root = Path(__file__).parent.parent
    return subprocess.run(
        [sys.executable, "-c", f"import sys\n{block}{code}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_to_pandas_needs_no_pyarrow() -> None:
    """Without pyarrow, ``to_pandas`` gives the same values and types."""
    code = (
        "import json\n"
        "from blaxel_jupyter.table import LOGS, Table\n"
        "t = Table(LOGS, constants={'sandbox': 'é'})\n"
        "t.extend(2, text=['a', None], received=[5, None], missing_bytes=[None, 9])\n"
        "f = t.to_pandas()\n"
        "print(json.dumps([str(d) for d in f.dtypes]))\n"
        "print(f.to_csv(index=False), end='')\n"
    )
    done = run_without("pyarrow", code=code)
    assert done.returncode == 0, done.stderr
    dtypes, csv = done.stdout.split("\n", 1)
    assert json.loads(dtypes) == [str(dtype) for dtype in logs(1).to_pandas().dtypes]
    assert csv == (
        "seq,sandbox,process,stream,text,kind,received,origin,missing_bytes\n"
        "0,é,,,a,,1970-01-01 00:00:00.000005+00:00,,\n"
        "1,é,,,,,,,9\n"
    )


@pytest.mark.parametrize(
    ("method", "package"),
    [("to_pandas", "pandas"), ("to_polars", "polars"), ("to_arrow", "pyarrow")],
)
def test_a_missing_library_is_named(method: str, package: str) -> None:
    """Without the library, the error says what to install."""
    code = f"from blaxel_jupyter.table import LOGS, Table\nTable(LOGS).{method}()\n"
    done = run_without(package, code=code)
    assert done.stderr.strip().splitlines()[-1] == (
        f"ImportError: {method}() needs the package {package}: %pip install {package}"
    )


def test_import_loads_no_dataframe_library() -> None:
    """Importing the module and reading rows loads neither nanoarrow nor a DataFrame library."""
    libraries = ("nanoarrow", "pandas", "polars", "pyarrow", "duckdb", "numpy")
    code = (
        "from blaxel_jupyter.table import LOGS, Table\n"
        "t = Table(LOGS); t.extend(1, text='a'); t.records(); t._repr_html_()\n"
    )
    done = run_without(*libraries, code=code)
    assert done.returncode == 0, done.stderr
