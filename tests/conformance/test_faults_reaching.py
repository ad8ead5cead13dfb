"""Servers that cannot be reached or trusted: one clear error, nothing lost, no key told; or on it goes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blaxel_jupyter import FollowError, SandboxClient, SandboxRun, TransportError
from tests.faults.held import TEXT, Held, three
from tests.faults.proxy import proxy
from tests.faults.runs import KEY, QUICK
from tests.faults.tls import Authority, tunnel
from tests.imitation import Imitation, imitation

UNTRUSTED = {
    "self-signed": "its certificate is refused: ",
    "wrong host": "IP address mismatch",
    "expired": "certificate has expired",
    "plain": "does not speak SSL (TLS)",
}
ADVICE = ("SSL_CERT_FILE names who else is trusted.", "begins with http:// or https://.")


@pytest.fixture(scope="module")
def server() -> Iterator[Imitation]:
    with imitation(QUICK) as running:
        yield running


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch, authority: Authority, tmp_path: Path) -> None:
    """A key, an authority that is trusted, and little patience."""
    monkeypatch.setenv("BL_API_KEY", KEY)
    monkeypatch.setenv("BL_WORKSPACE", "team")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setattr("blaxel_jupyter.client.FOLLOW_PATIENCE", 0.6)


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Held(tmp_path)


def told(error: BaseException, *words: str) -> str:
    """Assert that an error is short and has these words, and no key; return it."""
    text = str(error)
    assert len(text.splitlines()) == 1
    assert KEY not in text
    for word in words:
        assert word in text
    return text


async def broken_off(run: SandboxRun, harm: Callable[[], Awaitable[Any]]) -> FollowError:
    """Follow, do harm after three lines, and return the error; what is there is a beginning."""
    following = asyncio.ensure_future(run.finish())
    await three(run)
    await harm()
    with pytest.raises(FollowError) as caught:
        await following
    assert 3 <= caught.value.seq == len(run.logs)
    assert TEXT.startswith(run.stdout)
    assert run.integrity == "gap"
    return caught.value


@pytest.mark.parametrize("case", UNTRUSTED)
async def test_a_start_is_never_sent_to_whom_is_not_trusted(
    server: Imitation, authority: Authority, case: str
) -> None:
    """What is wrong with the certificate is said, and what mends it."""
    async with (
        tunnel(server.url, authority.context(case)) as between,
        SandboxClient(url=between.url) as sandbox,
    ):
        server.reset()
        with pytest.raises(TransportError) as caught:
            await sandbox.exec("echo never")
    text = told(caught.value, UNTRUSTED[case])
    assert text.endswith(ADVICE)
    assert not caught.value.sent
    assert not server.requests


async def test_tls_that_is_trusted_is_followed(server: Imitation, authority: Authority) -> None:
    """The same tunnel with the right certificate: the tests around it refuse nothing by accident."""
    async with (
        tunnel(server.url, authority.context("good")) as between,
        SandboxClient(url=between.url) as sandbox,
    ):
        run = await sandbox.exec("echo 1; echo 2 >&2", wait=True)
    assert (run.stdout, run.stderr, run.integrity) == ("1\n", "2\n", "complete")


@pytest.mark.parametrize("case", UNTRUSTED)
async def test_a_certificate_that_goes_bad_in_mid_follow(
    server: Imitation, held: Held, authority: Authority, case: str
) -> None:
    """The follow ends with one clear error; with a good certificate it goes on where it stopped."""
    async with (
        tunnel(server.url, authority.context("good")) as between,
        SandboxClient(url=between.url) as sandbox,
    ):
        run = await sandbox.exec(held.command)
        error = await broken_off(run, lambda: between.change(authority.context(case)))
        assert told(error, "stopped after", UNTRUSTED[case]).endswith(ADVICE)
        await between.change(authority.context("good"))
        held.let_go()
        await run
    assert (run.stdout, run.integrity) == (TEXT, "complete")


async def test_a_certificate_that_is_bad_for_a_moment_ends_nothing(
    server: Imitation, held: Held, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What passes within the patience of a follow is not even an error."""
    monkeypatch.setattr("blaxel_jupyter.client.FOLLOW_PATIENCE", 60.0)
    async with (
        tunnel(server.url, authority.context("good")) as between,
        SandboxClient(url=between.url) as sandbox,
    ):
        run = await sandbox.exec(held.command)
        following = asyncio.ensure_future(run.finish())
        await three(run)
        await between.change(authority.context("self-signed"))
        while run.trouble is None:  # noqa: ASYNC110  # until the header says so
            await asyncio.sleep(0.01)
        await between.change(authority.context("good"))
        held.let_go()
        await following
    assert (run.stdout, run.integrity, run.trouble) == (TEXT, "complete", None)


async def test_a_name_that_is_not_known() -> None:
    """Name and network are named, not the server."""
    async with SandboxClient(url="https://sandbox.invalid") as sandbox:
        with pytest.raises(TransportError) as caught:
            await sandbox.exec("echo never")
    told(caught.value, "sandbox.invalid: the name was not found: ", "the network of this machine.")


async def test_a_name_that_is_not_known_any_more(
    server: Imitation, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver that fails in mid-follow, and later does not."""

    def fails(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    async with (
        proxy(server.url, ()) as between,
        SandboxClient(url=between.url.replace("127.0.0.1", "localhost")) as sandbox,
    ):
        run = await sandbox.exec(held.command)
        with monkeypatch.context() as patch:

            async def harm() -> None:
                patch.setattr("socket.getaddrinfo", fails)

            error = await broken_off(run, harm)
        told(error, "the name was not found: Temporary failure", "the network of this machine.")
        held.let_go()
        await run
    assert (run.stdout, run.integrity) == (TEXT, "complete")


async def test_nobody_listens() -> None:
    """A refused connection is told at once, with what to look at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with SandboxClient(url=f"http://127.0.0.1:{port}") as sandbox:
        with pytest.raises(TransportError) as caught:
            await sandbox.exec("echo never")
    told(caught.value, f"127.0.0.1:{port}", "that the server runs.")
    assert not caught.value.sent


async def test_nobody_listens_any_more(server: Imitation, held: Held) -> None:
    """A server that goes away in mid-follow, and comes back after the patience has ended."""
    async with proxy(server.url, ()) as between, SandboxClient(url=between.url) as sandbox:
        run = await sandbox.exec(held.command)
        error = await broken_off(run, between.close)
        told(error, "stopped after", "that the server runs.")
        await between.start()
        held.let_go()
        await run
    assert (run.stdout, run.integrity) == (TEXT, "complete")
