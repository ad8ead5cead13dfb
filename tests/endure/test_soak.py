"""Lines arrive for hours through a network that breaks: ``python -m tests.endure soak``; here for seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from blaxel_jupyter import SandboxClient
from tests.endure import soak_client
from tests.endure.soak import RATE, soak
from tests.endure.soak_client import Figures, digest, read, written
from tests.local_service import LocalService


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LocalService]:
    """A service."""
    running = LocalService(tmp_path).start()
    yield running
    running.end()


async def test_lines_through_cuts_are_exact(service: LocalService) -> None:
    """Some seconds with a cut in every second one: every byte, and no more memory or descriptors."""
    figures = await soak(service, 8.0, RATE, 1.5, 2.0)
    assert figures.problems() == [], figures.verdict()
    assert figures.lines == 8 * RATE + 8 * RATE // 1000
    assert figures.cuts >= 5


async def test_a_wrong_byte_is_found(
    service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison can fail: a run with other bytes than the soak's writer's is not exact."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(service.runtime.parent))
    wrong = soak_client.WRITER.replace("9973:.4f", "9974:.4f")
    async with SandboxClient("local") as sandbox:
        for writer, same in ((soak_client.WRITER, True), (wrong, False)):
            run = await sandbox.exec(f"python3 - 500 1000 <<'PYTHON'\n{writer}PYTHON", wait=True)
            for stream, alike in (("stdout", same), ("stderr", True)):
                is_alike = digest(read(run, stream)) == digest(written(stream, 1000))
                assert is_alike == alike, stream
    assert Figures(cuts=1, code=0, exact=True, integrity="complete").problems() == []
    assert Figures(cuts=1, code=1, memory=[900.0], descriptors=[5, 50], threads=[3, 4]).problems()
