"""What an installation brings: licences, the answer of an index, and a panel that is all ours."""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.supply import installed, known

PANEL = installed.ROOT / "blaxel_jupyter" / "panel"
ADVISORY = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fixed_in": ["2.0"], "withdrawn": None}


def test_every_dependency_states_a_licence_of_the_list() -> None:
    """Of the package itself, transitively."""
    found = installed.needed(installed.roots())
    assert {"httpx", "starlette", "uvicorn", "h11", "ipython", "certifi"} <= set(found)
    problems = [installed.problem(name, installed.licence(owner)) for name, owner in found.items()]
    assert [each for each in problems if each] == []


@pytest.mark.parametrize(
    ("expression", "fine"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-2.0-only", False),
        ("MIT OR GPL-2.0-only", True),
        ("GPL-2.0-only OR Apache-2.0", True),
        ("(MIT OR GPL-2.0-only) AND BSD-3-Clause", True),
        ("(MIT AND GPL-2.0-only) OR AGPL-3.0", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("MIT OR (GPL-2.0-only AND X)", True),
        ("LGPL", False),
        ("", False),
        ("AND", False),
    ],
)
def test_licence_expressions(expression: str, fine: bool) -> None:
    """Each of AND, one of OR, brackets first."""
    assert installed.allowed(expression) is fine
    assert bool(installed.problem("x", expression)) is not fine


class Index(http.server.BaseHTTPRequestHandler):
    """An index's JSON interface: ``bad`` has a known vulnerability, ``lost`` is not there."""

    def do_GET(self) -> None:
        """Answer for one release."""
        name = self.path.split("/")[2]
        self.send_response(404 if name == "lost" else 200)
        self.end_headers()
        withdrawn = ADVISORY | {"withdrawn": "2024-01-01"}
        said = {"bad": [ADVISORY], "withdrawn": [withdrawn]}.get(name, [])
        self.wfile.write(
            b"<html>" if name == "page" else json.dumps({"vulnerabilities": said}).encode()
        )

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def index() -> Iterator[str]:
    """The address of an index on this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/pypi"
        server.shutdown()
        thread.join()


def test_known_vulnerabilities_are_told(index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what mends them; withdrawn ones are not; what gets no answer is not called checked."""
    packages = [(name, "1.0") for name in ("good", "bad", "withdrawn", "lost", "page")]
    answer = known.ask(packages, index)
    assert answer.known == ["bad 1.0: PYSEC-1 CVE-1, mended in 2.0"]
    assert answer.checked == ["good 1.0", "bad 1.0", "withdrawn 1.0"]
    assert answer.unchecked == ["lost 1.0", "page 1.0"]
    assert answer.why == "the index answers 404"
    monkeypatch.setitem(known.ACCEPTED, "PYSEC-1", "for the sake of this test")
    assert known.ask(packages, index).known == []


def test_an_index_that_does_not_answer_is_said() -> None:
    """Offline, or none at all: nothing is checked, nothing fails, and few are asked for."""
    packages = [(f"p{number}", "1") for number in range(50)]
    for base in ("http://127.0.0.1:9/pypi", ""):
        answer = known.ask(packages, base)
        assert (answer.checked, answer.known, len(answer.unchecked)) == ([], [], 50)
        assert answer.why


def test_the_index_is_pips_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip is configured to use is asked, and no address stands in this repository."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/index/simple/")
    assert known.index() == "http://127.0.0.1:9/index/pypi"


def test_the_command_prints_the_table_and_fails_on_nothing() -> None:
    """``python -m tests.supply --offline``."""
    command = [sys.executable, "-m", "tests.supply", "--offline"]
    child = subprocess.run(command, cwd=installed.ROOT, capture_output=True, text=True, timeout=120)
    assert child.returncode == 0, child.stdout + child.stderr
    assert re.search(r"^httpx +\S+ +BSD-3-Clause$", child.stdout, re.MULTILINE)


IMPORT = r"""(?:^import\s[^;"'=(]*|^export\s[^;"'=(]*\bfrom\s*|\bimport\(\s*)["']([^"']+)["']"""


def sources() -> list[Path]:
    """Return the panel's own modules, tests aside."""
    return [path for path in sorted(PANEL.glob("src/**/*.ts")) if ".test." not in path.name]


def test_the_panel_is_made_of_nothing_but_its_sources() -> None:
    """No module imports a package, and the only package of the build is the bundler."""
    assert len(sources()) > 10
    for path in sources():
        for line in re.findall(IMPORT, path.read_text(), re.MULTILINE):
            ours = line.startswith(".") or line == "search-worker"  # which bundle.cjs makes of ours
            assert ours, f"{path.name} imports {line}"
    package = json.loads((PANEL / "package.json").read_text())
    assert set(package["dependencies"]) == {"esbuild"}


def test_the_bundle_names_no_other_machine() -> None:
    """No address, no request, no code from text."""
    for path in (*PANEL.glob("dist/*.js"), *PANEL.glob("dist/*.css")):
        text = path.read_text()
        assert re.findall(r"(?:https?|wss?):?//(?!www\.w3\.org/)[\w.]+", text) == []
        for asking in (
            "XMLHttpRequest",
            "WebSocket(",
            "EventSource",
            "sendBeacon",
            "importScripts",
            "eval(",
        ):
            assert asking not in text, f"{path.name} holds {asking}"
        assert not re.search(r"(?<![\w.$])fetch\(|new Function\(|@import", text), path.name
