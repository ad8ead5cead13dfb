"""The README tells the truth: names, options and commands are there, and its code runs."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from pathlib import Path

import pytest

import blaxel_jupyter
from blaxel_jupyter import SandboxClient, complete
from blaxel_jupyter.magics import BlaxelMagics
from blaxel_jupyter.table import LOGS
from tests.notebook_runs import ROOT, TOUR, cells, own_folders, run, shown, write

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
MAGICS = {
    "%sandbox": BlaxelMagics.sandbox_magic,
    "%%sandbox_exec": BlaxelMagics.sandbox_exec,
    "%sandbox_logs": BlaxelMagics.sandbox_logs,
}
OPTIONS = [
    (magic, option)
    for magic, function in MAGICS.items()
    for action in function.parser._actions
    for option in action.option_strings
]


def section(title: str) -> str:
    """Return the text below a heading that starts like this, to the next one of its level."""
    level = title.split()[0]
    start = README.index(f"\n{title}")
    rest = README[start + 1 :]
    ends = [match.start() for match in re.finditer(rf"^#{{1,{len(level)}}} ", rest, re.MULTILINE)]
    return rest[: ends[1]] if len(ends) > 1 else rest


@pytest.mark.parametrize(("magic", "option"), OPTIONS)
def test_every_option_is_told(magic: str, option: str) -> None:
    """Each option of each magic is in that magic's table."""
    assert re.search(rf"^\|.*`{option}[` ]", section(f"### `{magic}"), re.MULTILINE)


@pytest.mark.parametrize("magic", MAGICS)
def test_no_option_is_made_up(magic: str) -> None:
    """The README's tables hold no option that a magic does not have."""
    rows = re.findall(r"^\| (`-.*?) \|", section(f"### `{magic}"), re.MULTILINE)
    told = {option for row in rows for option in re.findall(r"`(--?[a-z-]+)", row)}
    assert told == {option for its, option in OPTIONS if its == magic}


@pytest.mark.parametrize("action", complete.ACTIONS)
def test_every_action_is_told(action: str) -> None:
    """Each action of ``%sandbox`` has its row."""
    assert f"| `%sandbox {action}" in section("### `%sandbox`")


@pytest.mark.parametrize("columns", [complete.SANDBOX_COLUMNS, complete.PROCESS_COLUMNS])
def test_tables_of_sandbox_are_told(columns: tuple[str, ...]) -> None:
    """The columns of ``list`` and ``ps`` are named in their order."""
    rows = section("### `%sandbox`").splitlines()
    assert any(re.findall(r"`(\w+)`", row.partition(": ")[2]) == list(columns) for row in rows)


@pytest.mark.parametrize("name", blaxel_jupyter.__all__)
def test_every_public_name_is_told(name: str) -> None:
    """Each public name is in the README as code."""
    assert re.search(rf"`{name}\b", README)


@pytest.mark.parametrize("column", LOGS, ids=lambda column: column.name)
def test_every_column_is_told(column: object) -> None:
    """Each column of ``logs`` has its row."""
    assert f"| `{column.name}` |" in section("## What a cell leaves behind")  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", inspect.signature(SandboxClient.exec).parameters)
def test_every_option_of_exec_is_told(name: str) -> None:
    """Each argument of ``exec`` is named."""
    assert name == "self" or re.search(rf"\b{name}\b", section("## Python"))


def test_every_method_of_the_client_is_told() -> None:
    """Each public method of the client has its row."""
    methods = {name for name, _ in inspect.getmembers(SandboxClient, inspect.isfunction)}
    told = set(re.findall(r"`\.(\w+)\(", section("## Python")))
    assert {name for name in methods if not name.startswith("_")} - told == {"aclose", "url"}


def test_the_two_commands_are_there() -> None:
    """One line installs and opens the tour, one installs and runs the tests."""
    commands = [code for language, code in BLOCKS if language == "sh" and "venv .venv" in code]
    assert [command.count("\n") for command in commands] == [1, 1]
    tour, tests = commands
    assert tour.endswith(f".venv/bin/jupyter lab {TOUR.relative_to(ROOT)}\n")
    assert tests.endswith(".venv/bin/python -m pytest\n")
    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for extras in re.findall(r'install (?:-e )?"\.\[(.*?)\]"', tour + tests):
        assert set(extras.split(",")) <= set(known["optional-dependencies"])


def test_the_picture_is_there() -> None:
    """The README's pictures are PNG files in the repository, and small."""
    pictures = re.findall(r"!\[.+?\]\((.+?)\)", README)
    assert pictures
    for picture in pictures:
        data = (ROOT / picture).read_bytes()
        assert data.startswith(b"\x89PNG")
        assert len(data) < 150_000


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:tests|notebooks)/[\w./]+", README))))
def test_files_it_names_are_there(path: str) -> None:
    """A path in the README is a path in the repository."""
    assert (ROOT / path.rstrip(".")).exists()


@pytest.mark.parametrize("module", sorted(set(re.findall(r"-m (tests[\w.]+)", README))))
def test_modules_it_names_are_there(module: str) -> None:
    """A module that the README runs is in the repository."""
    path = ROOT / module.replace(".", "/")
    assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()


@pytest.mark.parametrize("code", PYTHON)
def test_python_compiles(code: str) -> None:
    """Every Python block could be a cell."""
    compile(code, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_code_runs(tmp_path: Path) -> None:
    """Its cells, and the Python that needs no account, run in a kernel one after the other."""
    sources = [
        code
        for language, code in BLOCKS
        if language == "ipython" or (language == "python" and 'SandboxClient("local")' in code)
    ]
    assert len(sources) >= 7
    write(tmp_path / "readme.ipynb", sources)
    with own_folders(tmp_path):
        run("jupyter", "execute", "readme.ipynb", "--output=done.ipynb", cwd=tmp_path)
    done = cells(tmp_path / "done.ipynb")
    assert "0 complete" in shown(done[3])
    assert "0 stdout 1" in shown(done[-2])
    assert shown(done[-1]).count("err") == 2
    assert shown(done[-1]).count("out") == 2
