"""Faults of the request that starts a process: started once or not at all, and never without a word of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest

from blaxel_jupyter import BlaxelError, SandboxClient, StatusError
from tests.faults.answers import BROKEN, PORTALS, REDIRECTS, REFUSALS, UNAVAILABLE
from tests.faults.plans import Fault
from tests.faults.proxy import proxy
from tests.faults.runs import KEY, QUICK
from tests.imitation import Imitation, imitation

COMMAND = "echo started >> starts-{name}; cat starts-{name}; sleep .3"


@pytest.fixture(scope="module")
def server() -> Iterator[Imitation]:
    with imitation(QUICK) as running:
        yield running


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BL_API_KEY", KEY)
    monkeypatch.setenv("BL_WORKSPACE", "team")
    monkeypatch.setattr("blaxel_jupyter.start.LATE", 0.5)
    monkeypatch.setattr("blaxel_jupyter.start.PAUSES", (0.1, 0.2))


def again(body: str, *headers: str) -> bytes:
    """Return an answer that turns a request away."""
    lines = ["HTTP/1.1 429 Too Many Requests", "Connection: close", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode()


FOUND = {
    "answer lost": Fault("lost", 0),
    "answer cut in its head": Fault("lost cut", 0, 20),
    "answer cut in its body": Fault("lost cut", 0, 600),
    "connection half-open": Fault("lost hang", 0, seconds=20.0),
    "gateway gave up": Fault("lost answer", 0, answer=BROKEN[3]),
    "portal in the answer's place": Fault("lost answer", 0, answer=PORTALS[0]),
    "other JSON in the answer's place": Fault("lost answer", 0, answer=PORTALS[2]),
    "sent twice on the way": Fault("sent twice", 0),
}


@pytest.mark.parametrize("case", FOUND)
async def test_a_start_whose_answer_is_lost_is_found_by_its_name(
    server: Imitation, case: str
) -> None:
    """The process that runs is returned; it was started once, and all of its output is there."""
    name = f"found-{list(FOUND).index(case)}"
    async with (
        proxy(server.url, (), [FOUND[case]]) as between,
        SandboxClient(url=between.url) as sandbox,
    ):
        run = await sandbox.exec(COMMAND.format(name=name), name=name)
        await run
    assert (run.stdout, run.integrity, run.status) == ("started\n", "complete", "completed")
    assert between.starts == 1


LATER = {
    "not there yet": UNAVAILABLE,
    "too many": again("slow down"),
    "too many, a second": again("{}", "Retry-After: 1"),
    "too many, until a time": again("{}", "Retry-After: @LATER@"),
}


@pytest.mark.parametrize("case", LATER)
async def test_a_start_that_was_turned_away_is_sent_again(server: Imitation, case: str) -> None:
    """It is sent when the server wants it, and carried out once."""
    name = f"later-{list(LATER).index(case)}"
    fault = Fault("turned away", 0, answer=LATER[case])
    async with (
        proxy(server.url, (), [fault]) as between,
        SandboxClient(url=between.url) as sandbox,
    ):
        began = time.monotonic()
        run = await sandbox.exec(COMMAND.format(name=name), name=name, wait=True)
    assert (run.stdout, between.starts) == ("started\n", 1)
    asked = {"too many, a second": 1.0, "too many, until a time": 0.9}.get(case, 0.0)
    assert time.monotonic() - began >= asked


async def test_nobody_waits_for_hours() -> None:
    """A server that wants no start for hours is told as such, with when to try again."""
    late = again("{}", f"Retry-After: {formatdate(time.time() + 9000, usegmt=True)}")
    fault = Fault("turned away", 0, answer=late)
    async with (
        proxy("http://127.0.0.1:1", (), [fault] * 3) as between,
        SandboxClient(url=between.url) as sandbox,
    ):
        with pytest.raises(StatusError, match=r"429.*Try again in 60 s\.") as caught:
            await sandbox.exec("echo never")
    assert caught.value.retry_after == 60.0


UNKNOWN = {
    "cut before it arrived": Fault("unsent", 0),
    "reset before it arrived": Fault("unsent reset", 0),
    "gateway out of order": Fault("start portal", 0, answer=BROKEN[1]),
    "gateway gave up": Fault("start portal", 0, answer=BROKEN[3]),
    "portal": Fault("start portal", 0, answer=PORTALS[0]),
}


@pytest.mark.parametrize("case", UNKNOWN)
async def test_where_one_cannot_know_the_error_says_so(server: Imitation, case: str) -> None:
    """It is not sent again; the error names the process to look for, and trying again by hand works."""
    name = f"unknown-{list(UNKNOWN).index(case)}"
    async with (
        proxy(server.url, (), [UNKNOWN[case]]) as between,
        SandboxClient(url=between.url) as sandbox,
    ):
        with pytest.raises(BlaxelError) as caught:
            await sandbox.exec(COMMAND.format(name=name), name=name)
        assert between.starts == 0
        run = await sandbox.exec(COMMAND.format(name=name), name=name, wait=True)
    text = str(caught.value)
    assert f"look for '{name}' in `%sandbox ps` before you run it again." in text
    assert "Try again" not in text
    assert KEY not in text
    assert (run.stdout, between.starts) == ("started\n", 1)


async def test_a_start_that_was_sent_twice_and_cannot_be_looked_for(server: Imitation) -> None:
    """That the name is taken is no proof of whose process it is: the error says what is not known."""
    async with (
        proxy(
            server.url, [Fault("refused", 0, answer=REFUSALS[0])], [Fault("sent twice", 0)]
        ) as edge,
        SandboxClient(url=edge.url) as sandbox,
    ):
        with pytest.raises(BlaxelError, match="look for 'both' in `%sandbox ps`"):
            await sandbox.exec(f"{COMMAND.format(name='both')}; sleep 2", name="both")
        run = await (await sandbox.attach("both"))
    assert (run.stdout, edge.starts) == ("started\n", 1)


async def test_a_network_that_is_gone_after_the_start(server: Imitation) -> None:
    """Where the look-up fails as well, the error says what is not known, and the process is found later."""
    gone = [Fault("cut", 0) for _ in range(40)]
    async with (
        proxy(server.url, gone, [Fault("lost", 0)]) as between,
        SandboxClient(url=between.url) as sandbox,
    ):
        with pytest.raises(BlaxelError, match="Whether the command was started is not known"):
            await sandbox.exec(COMMAND.format(name="gone"), name="gone")
    async with SandboxClient(url=server.url) as sandbox:
        run = await (await sandbox.attach("gone"))
    assert (run.stdout, between.starts) == ("started\n", 1)


@pytest.mark.parametrize("answer", REDIRECTS, ids=map(str, range(len(REDIRECTS))))
async def test_a_redirect_is_never_followed(server: Imitation, answer: bytes) -> None:
    """Not with the key to another origin, nor to another path: the error says that it is a redirect."""
    async with (
        proxy(server.url, (), [Fault("start redirect", 0, answer=answer)]) as between,
        SandboxClient(url=between.url) as sandbox,
    ):
        with pytest.raises(StatusError, match="use the final address"):
            await sandbox.exec("echo never")
        assert between.strayed == []
    assert between.starts == 0


async def test_a_name_that_another_command_has_is_taken(server: Imitation) -> None:
    """A running process of that name is nobody's lost start if its command is another one."""
    async with SandboxClient(url=server.url) as one, SandboxClient(url=server.url) as other:
        run = await one.exec("sleep 30", name="mine")
        with pytest.raises(StatusError, match="still running"):
            await other.exec("sleep 31", name="mine")
        with pytest.raises(StatusError, match="still running"):
            await other.exec("sleep 30", name="mine")
        await one.kill(run.name)
