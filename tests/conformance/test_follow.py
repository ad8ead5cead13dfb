"""What a follow promises, against the imitation of the real server: every byte, once, whatever happens."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator

import pytest

from blaxel_jupyter import NotFoundError, SandboxClient, SandboxRun, StatusError
from tests.imitation import Fault, Habits, Imitation, imitation

PY = "python3 -u -c "
QUICK = Habits(keepalive=0.2, ndjson_keepalive=0.1)
FALLBACK = Habits(keepalive=0.2, ndjson_keepalive=0.1, raw_files=False, watch=False)

SCENARIOS = {
    "hello": "printf 'Hello World\\n'",
    "nothing": "true",
    "exit": "echo out; echo err >&2; exit 42",
    "burst": "seq 1 20000",
    "both": "for i in $(seq 1 200); do echo out $i; echo err $i >&2; done",
    "partial": "printf par; sleep .15; printf 'tial\\n'; printf prompt; sleep .1; echo oops >&2",
    "unterminated": "printf 'one\\ntwo'; printf warn >&2; exit 7",
    "lookalike": "printf 'stdout:a\\nstderr:b\\n[keepalive]\\nx [keepalive]\\n{\"error\":1}\\n'",
    "lookalike_slow": "for w in stderr:b '[keepalive]' 'x stdout:y'; do echo \"$w\"; sleep .1; done",
    "progress": "for i in 1 2 3 4; do printf '\\r%d%%' $i >&2; sleep .06; done; echo >&2",
    "crlf": "printf 'a\\r\\nb\\r\\n'; sleep .1; printf 'c\\r\\n\\r\\n'",
    "empty": "printf '\\n\\n \\n\\n'; printf '\\n' >&2",
    "bytes": PY
    + r"""'import os; os.write(1,b"ok\n\xff\xfe bad\nnul\x00mid\n\x00lead\ncut \xe2\x82");"""
    r"""os.write(1,b"\xac\n"); os.write(2,b"\xc3(\x80\n")'""",
    "utf8": PY + '\'import os; os.write(1, ("\\u20ac" * 40 + "\\n").encode() * 750)\'',
    "long_line": PY + '\'import os; os.write(1, b"head\\n" + b"x" * 1200000 + b"\\ntail\\n")\'',
    "zeros": "head -c 300000 /dev/zero; echo end",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Imitation]:
    with imitation(QUICK) as running:
        yield running


@pytest.fixture(scope="module")
def streams_only() -> Iterator[Imitation]:
    with imitation(FALLBACK) as running:
        yield running


@pytest.fixture
async def sandbox(server: Imitation) -> AsyncIterator[SandboxClient]:
    async with SandboxClient(url=server.url) as client:
        yield client


def written(server: Imitation, run: SandboxRun) -> tuple[bytes, bytes]:
    """Return what the process really wrote."""
    return tuple((server.folder / f"{run.name}.{s}.log").read_bytes() for s in ("stdout", "stderr"))  # type: ignore[return-value]


async def rows(run: SandboxRun, n: int) -> None:
    """Wait until a run that is being followed has ``n`` rows."""
    while len(run.logs) < n:  # noqa: ASYNC110  # a run has no event to wait for
        await asyncio.sleep(0.01)


def is_exact(server: Imitation, run: SandboxRun) -> None:
    """Assert that text, bytes and table are what was written."""
    stdout, stderr = written(server, run)
    assert run.integrity == "complete"
    assert (run.stdout_bytes, run.stderr_bytes) == (stdout, stderr)
    assert run.stdout == stdout.decode("utf-8", "replace")
    rows = run.logs.records()
    for stream, data in (("stdout", stdout), ("stderr", stderr)):
        lines = [line.decode("utf-8", "replace") for line in data.split(b"\n")]
        if not lines[-1]:
            lines.pop()
        assert [row["text"] for row in rows if row["stream"] == stream] == lines
    assert [row["seq"] for row in rows] == list(range(len(rows)))


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_fresh_run_is_exact(server: Imitation, sandbox: SandboxClient, scenario: str) -> None:
    """A run that is started and awaited has exactly what the process wrote."""
    run = await sandbox.exec(SCENARIOS[scenario], wait=True)
    is_exact(server, run)


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_late_follow_is_exact(
    server: Imitation, sandbox: SandboxClient, scenario: str
) -> None:
    """A follow that attaches after the end has exactly what the process wrote, as backfill."""
    name = (await sandbox.exec(SCENARIOS[scenario])).name
    await sandbox.wait(name)
    run = await (await sandbox.attach(name))
    is_exact(server, run)
    assert {row["origin"] for row in run.logs} <= {"backfill"}
    assert run.started is None


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_fallback_is_right_or_says_so(streams_only: Imitation, scenario: str) -> None:
    """Without raw files the text is right, or ``repaired`` where bytes are known as U+FFFD only."""
    async with SandboxClient(url=streams_only.url) as sandbox:
        run = await sandbox.exec(SCENARIOS[scenario], wait=True)
    stdout, stderr = (data.decode("utf-8", "replace") for data in written(streams_only, run))
    if "\ufffd" in stdout + stderr:
        assert run.integrity == "complete" or run.stdout.count("\ufffd") >= stdout.count("\ufffd")
    else:
        assert (run.stdout, run.stderr) == (stdout, stderr)
    assert run.integrity in {"complete", "repaired"}
    rows = [row["text"] for row in run.logs if row["stream"] == "stdout" and row["kind"] == "line"]
    if run.integrity == "complete":
        assert rows == stdout.removesuffix("\n").split("\n") if stdout else rows == []


async def test_entries_are_live(sandbox: SandboxClient) -> None:
    """Lines are delivered while the process still runs, in order, each once."""
    run = await sandbox.exec("for i in 1 2 3; do echo $i; sleep .2; done; sleep .3")
    seen = []
    async with sandbox.follow(run.name) as entries:
        async for entry in entries:
            seen.append((entry.seq, entry.text, (await sandbox.process(run.name)).status))
    assert seen == [(0, "1", "running"), (1, "2", "running"), (2, "3", "running")]


async def test_callbacks_get_each_line_once(sandbox: SandboxClient) -> None:
    """on_log gets every line, on_stdout and on_stderr their own, in order, once."""
    log: list[str] = []
    out: list[str] = []
    err: list[str] = []

    async def on_stderr(line: str) -> None:
        await asyncio.sleep(0)
        err.append(line)

    run = await sandbox.exec(
        "printf 'a\\nb\\nc\\n'; sleep .2; echo x >&2; printf last",
        on_log=log.append,
        on_stdout=out.append,
        on_stderr=on_stderr,
    )
    await run
    assert (out, err) == (["a", "b", "c", "last"], ["x"])
    assert log == ["a", "b", "c", "x", "last"]


async def test_stream_logs_closes(sandbox: SandboxClient) -> None:
    """``stream_logs`` calls back past and live lines; after ``close`` nothing comes; twice is fine."""
    run = await sandbox.exec("echo 1; sleep .3; echo 2; sleep 30")
    lines: list[str] = []
    two = asyncio.Event()

    def on_log(line: str) -> None:
        lines.append(line)
        if line == "2":
            two.set()

    stream = sandbox.stream_logs(run.name, on_log=on_log)
    await asyncio.wait_for(two.wait(), 10)
    stream.close()
    stream.close()
    assert await stream.wait() is None
    assert lines == ["1", "2"]
    await sandbox.kill(run.name)
    assert (await sandbox.wait(run.name)).status == "killed"


@pytest.mark.parametrize("seed", range(6))
async def test_cut_connections_lose_nothing(server: Imitation, seed: int) -> None:
    """Drops, resets, short bodies, strays and 5xx in the middle: exact all the same."""
    dice = random.Random(seed)
    command = "for i in $(seq 1 40); do seq $i 400; echo e$i >&2; sleep .02; done"
    async with SandboxClient(url=server.url) as sandbox:
        run = await sandbox.exec(command, name=f"cuts-{seed}")
        for _ in range(8):
            kind = dice.choice(["drop", "reset", "stray", "status", "unavailable"])
            server.fail(
                Fault(
                    kind,  # type: ignore[arg-type]
                    path=f"cuts-{seed}|stat",
                    method="GET",
                    skip=4 * dice.randrange(6),
                    after=dice.choice([-1, 0, 1, 100, 5000]),
                    status=dice.choice([429, 502, 503, 504]),
                )
            )
        await run
        server.reset()
    is_exact(server, run)


async def test_server_restart_in_mid_follow() -> None:
    """The API's restart is survived: the processes live on, the follow resumes at its offset."""
    with imitation(QUICK) as server:
        async with SandboxClient(url=server.url) as sandbox:
            run = await sandbox.exec("for i in $(seq 1 30); do echo $i; sleep .05; done")
            following = asyncio.ensure_future(run.finish())
            await rows(run, 5)
            await asyncio.to_thread(server.restart, 0.3)
            await following
        is_exact(server, run)


async def test_resuming_downloads_nothing_twice() -> None:
    """A backlog of 2 MB crosses the wire once, also when connections break."""
    with imitation(QUICK) as server:
        async with SandboxClient(url=server.url) as sandbox:
            run = await sandbox.exec(
                "seq 1 300000; for i in 1 2 3 4 5 6 7 8; do sleep .1; echo $i; done"
            )
            await asyncio.sleep(0.3)
            server.fail(Fault("reset", path="stdout.log", method="GET", skip=1, times=2, after=-1))
            await run
            is_exact(server, run)
        sent = sum(n for path, n in server.sent.items() if "stdout.log" in path)
        assert len(run.stdout_bytes) <= sent < len(run.stdout_bytes) + 20_000


async def test_freed_head_is_a_gap_that_adds_up() -> None:
    """Bytes that the server freed before they were read are a gap with their number."""
    with imitation(Habits(cap=300_000, cap_period=0.2)) as server:
        async with SandboxClient(url=server.url) as sandbox:
            run = await sandbox.exec("seq 1 200000; sleep 1")
            await asyncio.sleep(0.8)
            await run
        total = (server.folder / f"{run.name}.stdout.log").stat().st_size
        gaps = [row for row in run.logs if row["kind"] == "gap"]
        assert run.integrity == "gap"
        assert sum(row["missing_bytes"] for row in gaps) + len(run.stdout_bytes) == total
        assert b"\0" not in run.stdout_bytes
        assert run.stdout_bytes.endswith(b"199999\n200000\n")


async def test_cap_behind_a_follow_costs_nothing() -> None:
    """A follow that keeps up has every byte although the head is freed behind it."""
    with imitation(Habits(cap=300_000, cap_period=0.1)) as server:
        async with SandboxClient(url=server.url) as sandbox:
            run = await sandbox.exec(
                "for i in $(seq 1 40); do seq 1 10000; sleep .05; done", wait=True
            )
    expected = "".join(f"{i}\n" for i in range(1, 10001)) * 40
    assert run.integrity == "complete"
    assert run.stdout == expected


async def test_restarts_are_followed_to_the_last(sandbox: SandboxClient, server: Imitation) -> None:
    """restartOnFailure: the run ends after the last restart, with every run's output once."""
    run = await sandbox.exec("echo run; exit 1", restart_on_failure=2, wait=True)
    assert (run.status, run.exit_code, run.process.restart_count) == ("failed", 1, 2)
    assert run.stdout.count("run\n") == 3
    is_exact(server, run)


async def test_name_reuse_is_never_mixed(sandbox: SandboxClient) -> None:
    """A follow whose name is taken by a newer process ends with a gap, never with foreign lines."""
    first = await sandbox.exec("trap '' TERM; echo first; sleep 1.5; echo late", name="reused")
    following = asyncio.ensure_future(first.finish())
    await rows(first, 1)
    await sandbox.stop("reused")
    await sandbox.exec("sleep 2", name="reused")
    await following
    assert first.integrity == "gap"
    assert first.stdout == "first\n"


async def test_stop_and_kill_say_what_happened(sandbox: SandboxClient) -> None:
    """A stopped run waits for the real end: exit code and last words included."""
    run = await sandbox.exec("trap 'echo bye; exit 9' TERM; echo up; while :; do sleep .05; done")
    following = asyncio.ensure_future(run.finish())
    await rows(run, 1)
    await sandbox.stop(run.name)
    await following
    assert (run.status, run.exit_code, run.stdout) == ("stopped", 9, "up\nbye\n")
    killed = await sandbox.exec("sleep 30")
    await sandbox.kill(killed.name)
    await killed
    assert (killed.status, killed.exit_code) == ("killed", -1)


async def test_timeout_kills(sandbox: SandboxClient) -> None:
    """``timeout`` kills the process and says so in the table."""
    run = await sandbox.exec("echo up; sleep 60", timeout=1, wait=True)
    assert (run.status, run.timed_out) == ("killed", True)
    assert run.logs[-1]["kind"] == "notice"
    assert "1 s" in run.logs[-1]["text"]


async def test_lost_answer_never_starts_twice(server: Imitation, sandbox: SandboxClient) -> None:
    """When the answer to a start is lost, the process is found by its name, not started again."""
    server.fail(Fault("drop", path="^/process$", method="POST", after=-1))
    run = await sandbox.exec("echo once >> once.txt; cat once.txt")
    await run
    assert run.stdout == "once\n"


async def test_errors_are_told_apart(sandbox: SandboxClient) -> None:
    """Unknown process, name taken, bad folder: typed errors with the next step."""
    with pytest.raises(NotFoundError, match="no process 'nope'"):
        await sandbox.process("nope")
    with pytest.raises(NotFoundError, match="no process 'nope'"):
        async with sandbox.follow("nope"):
            pass
    run = await sandbox.exec("sleep 30", name="taken")
    with pytest.raises(StatusError, match="Choose another name"):
        await sandbox.exec("true", name="taken")
    await sandbox.kill(run.name)
    with pytest.raises(StatusError, match="does not exist"):
        await sandbox.exec("true", cwd="/no/such/folder")
    with pytest.raises(ValueError, match="pid"):
        await sandbox.exec("true", name="123")


async def test_background_child_does_not_hold_the_end(sandbox: SandboxClient) -> None:
    """The run ends with its shell, though a child writes on."""
    run = await sandbox.exec("(sleep 20; echo late) & echo now", wait=True)
    assert run.stdout == "now\n"
    assert run.integrity == "complete"


async def test_old_servers_that_cut_streams() -> None:
    """Watches and streams that are cut in mid-run are taken up again."""
    for raw in (True, False):
        with imitation(Habits(cut_after=0.4, raw_files=raw, watch=raw)) as server:
            async with SandboxClient(url=server.url) as sandbox:
                run = await sandbox.exec(
                    "for i in $(seq 1 15); do echo $i; sleep .1; done", wait=True
                )
            assert run.stdout == "".join(f"{i}\n" for i in range(1, 16))
            assert run.integrity == "complete" if raw else run.integrity in {"complete", "repaired"}


async def test_ranges_that_are_not_passed_on() -> None:
    """An edge that ignores Range still gives an exact follow."""
    with imitation(Habits(ranges=False)) as server:
        async with SandboxClient(url=server.url) as sandbox:
            run = await sandbox.exec(
                "for i in $(seq 1 10); do seq 1 100; sleep .05; done", wait=True
            )
        is_exact(server, run)
