"""The README tells the truth: names, options and commands are there, and its code runs."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from pathlib import Path

import pytest

import blaxel_jupyter
from blaxel_jupyter import SandboxClient, TaskClient, complete, task_magics, task_tables
from blaxel_jupyter.local import prompt
from blaxel_jupyter.magics import BlaxelMagics
from blaxel_jupyter.table import LOGS, Column
from blaxel_jupyter.task import STATUSES
from blaxel_jupyter.task_magics import TaskMagics
from tests.notebook_runs import ROOT, TOUR, by_start, cells, own_folders, run, shown, write

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
MAGICS = {
    "%sandbox": BlaxelMagics.sandbox_magic,
    "%%sandbox_exec": BlaxelMagics.sandbox_exec,
    "%sandbox_logs": BlaxelMagics.sandbox_logs,
    "%%task": TaskMagics.task,
    "%task_logs": TaskMagics.task_logs,
}
TABLES = {
    "events": task_tables.EVENTS,
    "tool_calls": task_tables.TOOL_CALLS,
    "text_blocks": task_tables.TEXT_BLOCKS,
    "summary": task_tables.SUMMARY,
}
SOURCES = ("stream", "buffer", "reconstructed", "merged", "…+messages", "recording")
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


@pytest.mark.parametrize("action", complete.TASK_ACTIONS)
def test_every_action_of_task_is_told(action: str) -> None:
    """Each action of ``%task`` has its row."""
    assert f"| `%task {action}" in section("### `%%task`")


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
def test_every_column_is_told(column: Column) -> None:
    """Each column of ``logs`` has its row."""
    assert f"| `{column.name}` |" in section("## What a cell leaves behind")


def test_table_of_task_list_is_told() -> None:
    """The columns of ``%task list`` are named in their order."""
    told = section("### `%%task`").partition("| `%task list` |")[2].splitlines()[0]
    assert re.findall(r"`(\w+)`", told) == [column.name for column in task_magics.LIST]


@pytest.mark.parametrize("table", TABLES)
def test_columns_of_a_runs_tables_are_told(table: str) -> None:
    """Each column of a run's four tables is in that table, and no other one."""
    text = section("### Its tables")
    part = text[text.index(f"\n`{table}`, one row ") :].split("\n\n")[1]
    firsts = re.findall(r"^\| (`.*?) \|", part, re.MULTILINE)
    told = [name for first in firsts for name in re.findall(r"`(\w+)`", first)]
    assert sorted(told) == sorted(column.name for column in TABLES[table])


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_is_told(source: str) -> None:
    """Each place that a log may come from has its row."""
    assert f"| `{source}` |" in section("### Where a log comes from")


@pytest.mark.parametrize("status", sorted(set(STATUSES.values())))
def test_every_status_is_told(status: str) -> None:
    """Each status of a run is named where ``.status`` is."""
    assert re.search(rf"^\| `\.status`.*`{status}`", README, re.MULTILINE)


@pytest.mark.parametrize("shell", prompt.SHELLS)
def test_every_fence_is_told(shell: str) -> None:
    """Each word that makes a fenced block a step is in the local agent's table."""
    assert re.search(rf"^\| a fenced block .*`{shell}`", section("### Its tasks"), re.MULTILINE)


@pytest.mark.parametrize("method", ["create", "logs", "logs_many", "follow_up", "list"])
def test_every_option_of_the_task_client_is_told(method: str) -> None:
    """Each argument of a method is named in the table of Python names."""
    for name in inspect.signature(getattr(TaskClient, method)).parameters:
        assert name == "self" or re.search(rf"\b{name}\b", section("### Tasks from Python")), name


@pytest.mark.parametrize("name", inspect.signature(SandboxClient.exec).parameters)
def test_every_option_of_exec_is_told(name: str) -> None:
    """Each argument of ``exec`` is named."""
    assert name == "self" or re.search(rf"\b{name}\b", section("## Python"))


@pytest.mark.parametrize(
    ("client", "title", "untold"),
    [
        (SandboxClient, "## Python", {"aclose", "url"}),
        (TaskClient, "### Tasks from Python", {"aclose"}),
    ],
)
def test_every_method_of_a_client_is_told(client: type, title: str, untold: set[str]) -> None:
    """Each public method of a client has its row."""
    methods = {name for name, _ in inspect.getmembers(client, inspect.isfunction)}
    told = set(re.findall(r"`\.(\w+)\(", section(title)))
    assert {name for name in methods if not name.startswith("_")} - told == untold


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
        if language == "ipython" or (language == "python" and 'Client("local")' in code)
    ]
    assert len(sources) >= 11
    write(tmp_path / "readme.ipynb", sources)
    with own_folders(tmp_path):
        run("jupyter", "execute", "readme.ipynb", "--output=done.ipynb", cwd=tmp_path)
    done = cells(tmp_path / "done.ipynb")
    assert "0 complete" in shown(by_start(done, "print(_sandbox.stdout"))
    counted = shown(by_start(done, "from blaxel_jupyter import SandboxClient\n\nasync", "follow"))
    assert "0 stdout 1" in counted
    loud = shown(by_start(done, "async with SandboxClient"))
    assert (loud.count("err"), loud.count("out")) == (2, 2)
    calls = shown(by_start(done, "calls = hello"))
    assert re.search(r"^bash +2 ", calls, re.MULTILINE)
    assert re.search(r"lint \. +127 +sh: 1: lint: not found", calls)
    told = shown(by_start(done, "from blaxel_jupyter import TaskClient"))
    assert "completed I count.\nDone. 1\n2\n3\n" in told
    assert re.search(r"^2 TaskStatus\(.*status='completed'", told, re.MULTILINE)
