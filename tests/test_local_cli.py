"""The command line: ``doctor`` tells names and places, and never a value."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local_service import LocalService


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LocalService]:
    """A service of this test's own."""
    service = LocalService(tmp_path).start()
    yield service
    service.end()


def test_doctor(service: LocalService) -> None:
    """It finds the settings, the running service, and what answers; nothing reaches outside."""
    environment = service.environment(
        HOME=str(service.folder),
        BL_WORKSPACE="team-of-mine",
        BL_API_KEY="bl_s3cret",
        BLACKBOX_API_KEY="bb_s3cret",
        BL_API_URL=f"{service.url}/v0",
        BLACKBOX_API_URL="http://127.0.0.1:9/api/v1",
    )
    command = [sys.executable, "-m", "blaxel_jupyter.cli", "doctor"]
    done = subprocess.run(
        command, env=environment, cwd=service.folder, capture_output=True, text=True
    )
    assert done.stderr == ""
    for name in ("BL_WORKSPACE", "BL_API_KEY", "BLACKBOX_API_KEY"):
        assert f"ok  {name}: " in done.stdout
    for value in ("team-of-mine", "s3cret", service.facts["token"]):
        assert value not in done.stdout
    assert f"running at {service.url}" in done.stdout
    assert f"{service.url}/v0: yes (HTTP 401)" in done.stdout
    assert "http://127.0.0.1:9/api/v1: no (" in done.stdout
    assert "ok  panel.js: " in done.stdout
    assert "ok  task-panel.js: " in done.stdout


def test_usage() -> None:
    """Without a command it says how to call it."""
    command = [sys.executable, "-m", "blaxel_jupyter.cli"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "serve" in done.stderr
