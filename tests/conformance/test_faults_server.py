"""Servers that change under a follow: a name used again, a server that knows nothing, answers of others."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from blaxel_jupyter import FollowError, SandboxClient, SandboxRun
from tests.faults.answers import BROKEN, PORTALS, REDIRECTS, REFUSALS, TURNED_AWAY
from tests.faults.plans import Fault
from tests.faults.proxy import Proxy, proxy
from tests.faults.runs import HABITS, QUICK
from tests.imitation import Imitation, imitation

FIRST = "echo one; echo two; printf par; sleep 60"
GIVEN = "one\ntwo\npar"


@pytest.fixture(scope="module")
def server() -> Iterator[Imitation]:
    with imitation(QUICK) as running:
        yield running


@pytest.fixture(scope="module")
def no_files() -> Iterator[Imitation]:
    with imitation(HABITS["no files"]) as running:
        yield running


@pytest.fixture
async def between(server: Imitation) -> AsyncIterator[Proxy]:
    async with proxy(server.url, ()) as running:
        yield running


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # a run has no event to wait for
        await asyncio.sleep(0.01)


NEWER = {
    "the same and more": f"printf 'one\\ntwo\\npar'; echo {'t' * 40}; sleep 60",
    "something longer": "seq 1 400; sleep 60",
    "something shorter": "echo 1; sleep 60",
    "nothing": "sleep 60",
}


@pytest.mark.parametrize(
    ("case", "stops"),
    [*((case, "killed") for case in NEWER), ("something longer", "stopped and alive")],
)
async def test_a_name_used_again_while_nobody_could_look(
    server: Imitation, between: Proxy, case: str, stops: str
) -> None:
    """Whatever the newer process writes, none of it is the first one's; that something may miss is said."""
    name = f"again-{list(NEWER).index(case)}-{stops[0]}"
    first = FIRST if stops == "killed" else f"trap '' TERM; {FIRST}"
    async with SandboxClient(url=between.url) as sandbox, SandboxClient(url=server.url) as other:
        run = await sandbox.exec(first, name=name)
        following = asyncio.ensure_future(run.finish())
        await until(lambda: run.stdout == GIVEN)
        async with between.frozen():
            await (other.kill if stops == "killed" else other.stop)(name)
            newer = await other.exec(NEWER[case], name=name)
            await until_written(other, newer)
        if stops != "killed":
            await asyncio.to_thread(end, run)
        await following
        await other.kill(name)
    assert GIVEN.startswith(run.stdout)
    assert (run.integrity, run.status) == ("gap", "unknown")
    if case != "the same and more":
        assert run.stdout == GIVEN
    [gap] = [row for row in run.logs if (row["kind"], row["stream"]) == ("gap", "stdout")]
    assert gap["missing_bytes"] is None


def end(run: SandboxRun) -> None:
    """End a process that its server takes for stopped."""
    os.killpg(int(run.process.pid), signal.SIGKILL)


async def until_written(sandbox: SandboxClient, run: SandboxRun) -> None:
    """Wait until a newer process has written what it writes."""
    words = {"seq": "400\n", "t" * 40: "t\n", "echo 1": "1\n"}
    ends = next((last for word, last in words.items() if word in run.command), "")
    while not (await sandbox.logs(run.name)).endswith(ends):  # noqa: ASYNC110  # no event for it
        await asyncio.sleep(0.01)


async def test_a_name_used_again_without_raw_files(no_files: Imitation) -> None:
    """The server's log is the newer process's then: it corrects nothing."""
    async with (
        proxy(no_files.url, ()) as between,
        SandboxClient(url=between.url) as sandbox,
        SandboxClient(url=no_files.url) as other,
    ):
        run = await sandbox.exec(FIRST, name="again")
        following = asyncio.ensure_future(run.finish())
        await until(lambda: run.stdout == GIVEN)
        async with between.frozen():
            await other.kill("again")
            await other.exec("seq 1 400; sleep 60", name="again")
        await following
        await other.kill("again")
    assert GIVEN.startswith(run.stdout)
    assert (run.integrity, run.status) == ("gap", "unknown")


async def test_what_is_read_so_far_says_that_the_name_was_used_again(server: Imitation) -> None:
    """A run of the first process reads nothing of the second one's."""
    async with SandboxClient(url=server.url) as sandbox:
        run = await sandbox.exec("echo mine", name="soon")
        await sandbox.wait("soon")
        await sandbox.exec("seq 1 400", name="soon")
        await sandbox.wait("soon")
        await sandbox.read_so_far(run)
    assert run.stdout_bytes == b""
    assert {row["kind"] for row in run.logs} <= {"gap", "notice", "line"}
    assert any(row["kind"] == "gap" for row in run.logs)


async def test_a_server_that_starts_without_its_state(server: Imitation, between: Proxy) -> None:
    """The process is lost, and said to be: what came is there, and a gap for what may have come."""
    async with SandboxClient(url=between.url) as sandbox:
        run = await sandbox.exec(FIRST)
        following = asyncio.ensure_future(run.finish())
        await until(lambda: run.stdout == GIVEN)
        with imitation(QUICK) as empty:
            between.upstream = empty.url
            await asyncio.to_thread(end, run)
            await following
    assert (run.stdout, run.status, run.exit_code) == (GIVEN, "unknown", None)
    assert run.integrity == "gap"


async def finished(run: SandboxRun) -> None:
    """Follow to the end, again after an error."""
    while not run.final:
        rows = len(run.logs)
        try:
            await run
        except FollowError as error:
            rows = error.seq
        assert rows <= len(run.logs)


OTHERS = {
    **{f"portal {i}": [Fault("portal", 0, answer=said)] for i, said in enumerate(PORTALS)},
    **{f"stray {i}": [Fault("stray", 0, i)] * 3 for i in (0, 1, 5)},
    "too many": [Fault("answer", 0, answer=TURNED_AWAY[3])],
    "out of order": [Fault("answer", 0, answer=said) for said in BROKEN[1:2]],
    "cut": [Fault("cut", 0, n) for n in (0, 10, 400)],
}


@pytest.mark.parametrize("case", OTHERS)
async def test_answers_of_others_are_nobody_s_log(server: Imitation, case: str) -> None:
    """At each place of a follow once: no byte of theirs, and none of the process's missing."""
    command = "seq 1 30; echo err >&2; sleep .1; seq 31 60; printf end"
    text = "".join(f"{i}\n" for i in range(1, 61)) + "end"
    async with SandboxClient(url=server.url) as direct:
        for skip in (0, 4):
            faults = [Fault("cut", skip, 10_000_000), *OTHERS[case]]
            async with (
                proxy(server.url, faults) as between,
                SandboxClient(url=between.url) as sandbox,
            ):
                run = await sandbox.exec(command)
                await finished(run)
            assert (run.stdout, run.stderr) == (text, "err\n")
            assert run.integrity in {"complete", "repaired"}
        assert await direct.logs(run.name) == text


@pytest.mark.parametrize(
    "said", [*REDIRECTS[:4], *REFUSALS], ids=["301", "301 away", "302", "302 away", "401", "403"]
)
async def test_what_ends_a_follow_loses_nothing(server: Imitation, said: bytes) -> None:
    """A redirect or a refusal is one error; nothing went to another origin, and following again goes on."""
    faults = [Fault("cut", 6, 10_000_000), Fault("redirect", 0, answer=said)]
    command = "for i in $(seq 1 20); do echo $i; sleep .03; done"
    async with (
        proxy(server.url, faults) as between,
        SandboxClient(url=between.url) as sandbox,
    ):
        run = await sandbox.exec(command)
        await finished(run)
        assert between.strayed == []
    assert (run.stdout, run.integrity) == ("".join(f"{i}\n" for i in range(1, 21)), "complete")


Call = Callable[[SandboxClient], Awaitable[object]]


async def texts(sandbox: SandboxClient) -> object:
    return await sandbox.logs("calls", stream="all")


async def facts(sandbox: SandboxClient) -> object:
    return (await sandbox.process("calls")).exit_code


async def names(sandbox: SandboxClient) -> object:
    return [process.name for process in await sandbox.processes()]


async def so_far(sandbox: SandboxClient) -> object:
    run = await sandbox.attach("calls")
    await sandbox.read_so_far(run)
    return run.stdout_bytes, run.stderr_bytes, [row["kind"] for row in run.logs][-1]


@pytest.mark.parametrize("call", [texts, facts, names, so_far], ids=lambda call: call.__name__)
async def test_calls_that_read_answer_the_same_whatever_happens(call: Call) -> None:
    """Reading a log, one process, the list: each with one fault of each kind at each of its requests."""
    with imitation(QUICK) as server:
        async with SandboxClient(url=server.url) as sandbox:
            await sandbox.exec("seq 1 2000; printf err >&2; exit 3", name="calls", wait=True)
            expected = await call(sandbox)
        kinds = [
            Fault("answer", 0, answer=BROKEN[1]),
            Fault("portal", 0, answer=PORTALS[2]),
            Fault("stray", 0, 0),
            Fault("stray", 0, 7),
            Fault("cut", 0, 600),
            Fault("shorter", 0, 50),
        ]
        for fault in kinds:
            for skip in (0, 2):
                faults = [Fault("cut", skip, 10_000_000), fault]
                async with (
                    proxy(server.url, faults) as between,
                    SandboxClient(url=between.url) as sandbox,
                ):
                    between.starts = 1  # it was started before
                    assert await call(sandbox) == expected, (fault, skip)


@pytest.mark.parametrize("said", [2, 4, 6])
async def test_that_there_are_no_files_is_believed_if_it_is_said_twice(
    server: Imitation, said: int
) -> None:
    """One strange answer to the first read does not leave a follow with the text stream: it is complete."""
    async with (
        proxy(server.url, [Fault("portal", 0, answer=PORTALS[said])]) as between,
        SandboxClient(url=between.url) as sandbox,
    ):
        # A text stream cannot tell this from its own words: it would have to be repaired.
        run = await sandbox.exec("echo 'x stdout:y'; echo '[keepalive]'", wait=True)
        assert len(between.done) == 1
    assert (run.stdout_bytes, run.integrity) == (b"x stdout:y\n[keepalive]\n", "complete")
