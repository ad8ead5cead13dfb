"""Logins that end in mid-follow: renewed if anything can renew them, else told; nothing that came is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from blaxel_jupyter import FollowError, SandboxClient, SandboxRun
from tests.faults.answers import BROKEN, TURNED_AWAY
from tests.faults.gate import Gate, gate, token
from tests.faults.held import TEXT, Held, three
from tests.faults.runs import QUICK
from tests.imitation import Imitation, imitation


@pytest.fixture(scope="module")
def server() -> Iterator[Imitation]:
    with imitation(QUICK) as running:
        yield running


@pytest.fixture
async def edge(
    server: Imitation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Gate]:
    """Blaxel's edge; this machine has its address, and no login yet."""
    for name in ("BL_API_KEY", "BL_WORKSPACE", "BL_CLIENT_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("blaxel_jupyter.client.FOLLOW_PATIENCE", 30.0)
    async with gate(server.url) as running:
        monkeypatch.setenv("BL_API_URL", f"{running.url}/v0")
        yield running


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Held(tmp_path)


def log_in(edge: Gate, name: str, refresh: str | None = "refresh-CANARY") -> Path:
    """Write what ``bl login`` writes; what was valid before is not any more."""
    config = Path("~/.blaxel/config.yaml").expanduser()
    config.parent.mkdir(exist_ok=True)
    access = token(f"{name}-CANARY")
    edge.valid, edge.refresh = {access}, {refresh} if refresh else set()
    more = f"\n    refresh_token: {refresh}\n    device_code: dev" if refresh else ""
    config.write_text(
        "context:\n  workspace: team\nworkspaces:\n- name: team\n  credentials:\n"
        f"    access_token: {access}{more}\n"
    )
    return config


async def refused(run: SandboxRun, following: asyncio.Future[SandboxRun]) -> str:
    """Return the error of a follow whose login ended; what had come is there, and no token is told."""
    with pytest.raises(FollowError) as caught:
        await following
    chain: BaseException | None = caught.value
    while chain is not None:
        assert "CANARY" not in f"{chain!r} {chain} {vars(chain)}"
        chain = chain.__cause__ or chain.__context__
    assert caught.value.seq == len(run.logs) >= 3
    assert TEXT.startswith(run.stdout)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


async def test_a_token_that_ends_is_renewed(edge: Gate, held: Held) -> None:
    """One renewal for all requests that meet the refusal; the CLI's file has the new tokens."""
    config = log_in(edge, "first")
    async with SandboxClient("box") as sandbox:
        run = await sandbox.exec(held.command)
        following = asyncio.ensure_future(run.finish())
        await three(run)
        edge.valid.clear()
        held.let_go()
        await following
    assert (run.stdout, run.integrity, edge.renewals) == (TEXT, "complete", 1)
    assert edge.refused >= 1
    assert "refresh-1-CANARY" in config.read_text()


@pytest.mark.parametrize("said", [BROKEN[2], TURNED_AWAY[0]], ids=["503", "429"])
async def test_a_renewal_that_fails_for_a_moment_is_tried_again(
    edge: Gate, held: Held, said: bytes
) -> None:
    """A token endpoint that is out of order for a while is no reason to log in again."""
    log_in(edge, "first")
    async with SandboxClient("box") as sandbox:
        run = await sandbox.exec(held.command)
        following = asyncio.ensure_future(run.finish())
        await three(run)
        edge.token_answers += [said] * 3
        edge.valid.clear()
        held.let_go()
        await following
    assert (run.stdout, run.integrity, edge.renewals) == (TEXT, "complete", 1)
    assert edge.token_answers == []


async def test_a_token_that_another_kernel_has_renewed_is_taken_over(
    edge: Gate, held: Held
) -> None:
    """A refresh token serves once: whoever comes second takes what the first one wrote to the file."""
    log_in(edge, "first")
    async with SandboxClient("box") as sandbox, SandboxClient("box") as other:
        run = await sandbox.exec(held.command)
        await other.processes()
        following = asyncio.ensure_future(run.finish())
        await three(run)
        edge.valid.clear()
        held.let_go()
        await asyncio.gather(following, other.processes())
        await other.processes()
    assert (run.stdout, run.integrity) == (TEXT, "complete")
    assert edge.renewals >= 1


async def test_a_login_that_has_ended_is_told_and_a_new_one_goes_on(edge: Gate, held: Held) -> None:
    """Where nothing can be renewed, the next step is said; after ``bl login`` the same run goes on."""
    log_in(edge, "first")
    async with SandboxClient("box") as sandbox:
        run = await sandbox.exec(held.command)
        following = asyncio.ensure_future(run.finish())
        await three(run)
        edge.valid.clear()
        edge.refresh.clear()
        assert "Log in again with `bl login`" in await refused(run, following)
        log_in(edge, "second", "refresh-again-CANARY")
        held.let_go()
        await run
    assert (run.stdout, run.integrity, edge.renewals) == (TEXT, "complete", 0)


async def test_a_token_without_a_refresh_token(edge: Gate, held: Held) -> None:
    """The same where the login never could be renewed."""
    log_in(edge, "first", None)
    async with SandboxClient("box") as sandbox:
        run = await sandbox.exec(held.command)
        following = asyncio.ensure_future(run.finish())
        await three(run)
        edge.valid.clear()
        assert "401" in await refused(run, following)
        log_in(edge, "second", None)
        held.let_go()
        await run
    assert (run.stdout, run.integrity) == (TEXT, "complete")


async def test_a_key_that_is_revoked(
    edge: Gate, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API key is named by its variable; once it serves again, the run goes on."""
    monkeypatch.setenv("BL_API_KEY", "key-CANARY")
    monkeypatch.setenv("BL_WORKSPACE", "team")
    edge.valid = {"key-CANARY"}
    async with SandboxClient("box") as sandbox:
        run = await sandbox.exec(held.command)
        following = asyncio.ensure_future(run.finish())
        await three(run)
        edge.valid.clear()
        assert "BL_API_KEY" in await refused(run, following)
        edge.valid = {"key-CANARY"}
        held.let_go()
        await run
    assert (run.stdout, run.integrity) == (TEXT, "complete")
