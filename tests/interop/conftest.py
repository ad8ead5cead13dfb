"""The official SDK, unmodified, in front of a real local service; nothing may reach outside."""

from __future__ import annotations

import asyncio
import gc
import os
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local_service import LocalService

os.environ["DO_NOT_TRACK"] = "1"  # before anything imports blaxel


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The SDK's clients are asyncio's."""
    return "asyncio"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """One service for the whole suite."""
    service = LocalService(tmp_path_factory.mktemp("interop")).start()
    yield service
    service.end()


@pytest.fixture(scope="module")
def official(service: LocalService) -> Iterator[Any]:
    """The SDK's ``blaxel.core``, its credentials and control plane set by its own means."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DO_NOT_TRACK", "1")
        patch.setenv("BL_WORKSPACE", "local")
        patch.setenv("BL_API_KEY", service.facts["token"])
        patch.setenv("BL_SANDBOX_LOCAL_URL", f"{service.url}/sandboxes/local")
        patch.setenv("HOME", str(service.folder))  # no login of the user's
        core = pytest.importorskip("blaxel.core")
        from blaxel.core.authentication import auth
        from blaxel.core.client import client
        from blaxel.core.common.settings import settings

        settings.auth = auth(settings.env, settings.base_url)
        client.with_base_url(f"{service.url}/v0").with_auth(settings.auth)
        yield core
        client.with_base_url(settings.base_url)


async def close(instance: Any) -> None:
    """Close an instance's HTTP clients, which the SDK leaves to the garbage collector."""
    for _ in range(20):
        await asyncio.sleep(0)  # the task of a stream that was closed ends a few turns later
    for part in (instance.process, instance.fs):
        await part.get_client().aclose()


@pytest.fixture(autouse=True)
def collect() -> Iterator[None]:
    """Collect the connections that the SDK forgets, here, where that is no error."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
async def sandbox(official: Any) -> AsyncIterator[Any]:
    """A SandboxInstance of the sandbox ``local``, reached through ``BL_SANDBOX_LOCAL_URL``."""
    from blaxel.core.client.models import Metadata, Sandbox, SandboxSpec

    instance = official.SandboxInstance(
        Sandbox(metadata=Metadata(name="local"), spec=SandboxSpec())
    )
    yield instance
    await close(instance)


@pytest.fixture
async def control(official: Any) -> AsyncIterator[Any]:
    """The SDK's own control-plane calls, made to the local service."""
    from blaxel.core.client import client

    yield official.SandboxInstance
    await client.get_async_httpx_client().aclose()


@pytest.fixture
def scratch(service: LocalService) -> Path:
    """The folder in which the sandbox's commands run."""
    return service.folder / "dir" / "sandboxes" / "local" / "work"
