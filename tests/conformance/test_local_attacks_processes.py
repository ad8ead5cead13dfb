"""Commands that run away: fork for ever, leave their group, write without end. Each gets a clear end."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from blaxel_jupyter import SandboxClient
from blaxel_jupyter.local import family
from tests.local_service import ROOT, LocalService, raw, run, until

MOST_TASKS = 150
"""The bound of the service under test: the machine that runs the tests must survive a failure."""
CEILING = 400
"""Processes beyond which a bomb stops by itself."""
MiB = 1024 * 1024


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A service with small bounds."""
    service = LocalService(tmp_path_factory.mktemp("runaways")).start(
        BLAXEL_JUPYTER_MAX_TASKS=str(MOST_TASKS), BLAXEL_JUPYTER_MAX_LOG_BYTES=str(MiB)
    )
    yield service
    with service.client() as client:
        left = [each["name"] for each in client.get("/process").json() if not each["completedAt"]]
        for name in left:
            client.delete(f"/process/{name}/kill")
    service.end()


@pytest.fixture
def client(service: LocalService) -> Iterator[httpx.Client]:
    """A client of the sandbox ``local``."""
    with service.client() as client:
        yield client


def start(client: httpx.Client, command: str, **members: Any) -> dict[str, Any]:
    """Start a command and return its facts."""
    facts: dict[str, Any] = client.post("/process", json={"command": command, **members}).json()
    return facts


def ended(client: httpx.Client, name: str) -> dict[str, Any] | None:
    """Return a process's facts if it has ended."""
    facts: dict[str, Any] = client.get(f"/process/{name}").json()
    return facts if facts["completedAt"] else None


def key_of(service: LocalService, name: str) -> str:
    """Return what the processes of a command carry in their environment."""
    state = service.folder / "dir" / "sandboxes" / "local" / "state"
    [path] = [path for path in state.glob("*.json") if f'"name": "{name}"' in path.read_text()]
    return path.stem


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def bomb(folder: Path, leave: str) -> str:
    """Write a program that forks itself twice again and again, up to ``CEILING`` processes in all.

    Each process takes a ticket, a file that only one can make; without one it forks no more. All end by
    themselves after a minute. ``leave`` is what each does to get away.
    """
    tickets = folder / "tickets"
    shutil.rmtree(tickets, ignore_errors=True)
    tickets.mkdir(parents=True)
    program = folder / "bomb.py"
    program.write_text(
        f"import os, signal\n"
        f"def ticket():\n"
        f"    taken = len(os.listdir({str(tickets)!r}))\n"
        f"    if taken >= {CEILING}: return False\n"
        f"    try: os.close(os.open(f'{tickets}/{{taken}}', os.O_CREAT | os.O_EXCL))\n"
        f"    except FileExistsError: return None\n"
        f"    return True\n"
        f"signal.alarm(60)\n"
        f"while (mine := ticket()) is not False:\n"
        f"    if mine and os.fork() == 0:\n"
        f"        signal.alarm(60)\n"
        f"        {leave}\n"
        f"signal.pause()\n"
    )
    return f"{sys.executable} {program}"


@pytest.mark.parametrize(
    ("leave", "after"),
    [
        ("pass", ""),  # all in one group
        ("pass", " & sleep 0.05; exit 0"),  # the shell ends at once, the bomb goes on
        ("os.setsid()", ""),  # each in a session of its own
        ("os.setsid(); os.fork() and os._exit(0)", ""),  # and without a parent
    ],
)
def test_a_fork_bomb_is_ended_and_says_so(
    service: LocalService, client: httpx.Client, tmp_path: Path, leave: str, after: str
) -> None:
    """Killed to the last process, before it is at its ceiling; others are served meanwhile."""
    other = start(client, "while :; do echo on; sleep 0.1; done")["name"]
    name = start(client, bomb(tmp_path, leave) + after)["name"]
    told = f"[Process killed: it had more than {MOST_TASKS} processes and threads]"
    until(lambda: told.encode() in raw(client, name, "stderr"), 60)
    facts = until(lambda: ended(client, name))
    if not after:
        assert (facts["status"], facts["exitCode"]) == ("killed", -1)
    key = key_of(service, name)
    until(lambda: not family.members(family.Roots(key)))
    before = len(raw(client, other))
    until(lambda: len(raw(client, other)) > before)
    assert client.delete(f"/process/{other}/kill").status_code == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_kernel_bounds_a_bomb_of_somebody_who_is_not_root() -> None:
    """A fork beyond the bound fails at once: no need for the service to notice."""
    program = (
        "import os, resource\n"
        "from blaxel_jupyter.local import limits\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "limits.apply()\n"
        "made = 0\n"
        "try:\n"
        "    most, _ = resource.getrlimit(resource.RLIMIT_NPROC)\n"
        "    while made <= most:\n"
        "        if os.fork() == 0: os.read(0, 1); os._exit(0)\n"
        "        made += 1\n"
        "except BlockingIOError: pass\n"
        "print(made, most, flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "BLAXEL_JUPYTER_MAX_TASKS": "9", "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        made, most = map(int, child.stdout.readline().split())
        assert 0 < made <= most
    finally:
        child.communicate(timeout=30)  # the end of its input lets them go


SLEEP = f"sleep 300.{os.getpid()}"
"""What no other test waits with: others run beside these."""

DAEMONS = {
    "session": f"setsid {SLEEP}",
    "orphan": f"(setsid sh -c '{SLEEP} & exit' &)",
    "no mark": f"env -i setsid /bin/{SLEEP}",
    "orphan without mark": f"(env -i setsid /bin/sh -c '/bin/{SLEEP} & exit' &)",
    "deaf": f"setsid sh -c 'trap \"\" TERM HUP INT; while :; do {SLEEP}; done'",
    "nohup": f"nohup {SLEEP} >/dev/null 2>&1",
}


def sleepers() -> set[int]:
    """Return the pids of all that sleep as the daemons here do."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if words[0].endswith(b"sleep") and words[1:2] == [SLEEP.split()[1].encode()]:
            found.add(int(path.parent.name))
    return {pid for pid in found if alive(pid)}


@pytest.mark.parametrize("how", DAEMONS)
def test_kill_reaches_what_has_daemonised(client: httpx.Client, how: str) -> None:
    """Another session, no parent, an empty environment: it is killed with the process it came from."""
    before = sleepers()
    name = start(client, f"{DAEMONS[how]} & echo on; while :; do sleep 0.05; done")["name"]
    daemons = until(lambda: raw(client, name) and sleepers() - before)
    assert client.delete(f"/process/{name}/kill").status_code == 200
    for pid in daemons:
        until(functools.partial(lambda pid: not alive(pid), pid))
    assert until(lambda: ended(client, name))["status"] == "killed"


def test_stop_reaches_what_has_daemonised(client: httpx.Client) -> None:
    """SIGTERM comes to all, and to each once."""
    count = "trap 'n=$((n+1))' TERM; n=0; while [ $n = 0 ]; do sleep 0.05; done; sleep 0.3; echo $n"
    name = start(client, f'setsid sh -c "{count.replace("$", chr(92) + "$")}" & {count}; wait')[
        "name"
    ]
    key_ready = functools.partial(client.get, f"/process/{name}")
    until(lambda: key_ready().json()["status"] == "running")
    until(lambda: len(_shells(int(key_ready().json()["pid"]))) >= 1)
    assert client.delete(f"/process/{name}").status_code == 200
    assert until(lambda: ended(client, name))["stdout"] == "1\n1\n"


def _shells(parent: int) -> list[int]:
    """Return the children of a shell that have set their trap: they sleep in a loop."""
    found = []
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            text = path.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        caught = int(text.partition("SigCgt:\t")[2].split("\n")[0] or "0", 16)
        if f"PPid:\t{parent}\n" in text and caught & 1 << (signal.SIGTERM - 1):
            found.append(int(path.parent.name))
    return found


def test_a_deleted_sandbox_leaves_nothing_running(service: LocalService) -> None:
    """Also not what finished commands had left in the background, in sessions of their own."""
    before = sleepers()
    with service.client("") as control:
        control.post("/v0/sandboxes", json={"metadata": {"name": "doomed"}})
        with service.client("/sandboxes/doomed") as client:
            run(client, f"setsid {SLEEP} >/dev/null 2>&1 & {SLEEP} & echo done")
            until(lambda: len(sleepers() - before) == 2)
        assert control.delete("/v0/sandboxes/doomed").status_code == 200
    until(lambda: not sleepers() - before)


def test_endless_output_does_not_fill_the_disk(service: LocalService, client: httpx.Client) -> None:
    """Of each stream the last part stays on disk, whatever the command writes; it may go on."""
    name = start(client, "yes 0123456789abcdef0123456789abcde & yes e >&2; wait")["name"]
    logs = service.folder / "dir" / "sandboxes" / "local" / "logs"
    paths = [logs / f"{name}.{stream}.log" for stream in ("stdout", "stderr")]
    until(lambda: all(path.stat().st_size > 40 * MiB for path in paths), 60)
    client.delete(f"/process/{name}/kill")
    until(lambda: ended(client, name))
    for path in paths:
        assert path.stat().st_blocks * 512 <= 8 * MiB < path.stat().st_size


def test_what_was_dropped_is_told_with_its_size(
    service: LocalService, client: httpx.Client
) -> None:
    """In the answers and streams by a line; the client counts the missing bytes, and has all others."""
    lines = 500_000
    command = f"seq {lines}; echo last >&2"
    facts = run(client, command, name="dropped")
    whole = "".join(f"{n}\n" for n in range(1, lines + 1))
    notice = "[... truncated, see the process log file for the full output ...]\n"
    assert facts["stdout"].startswith(notice)
    text = client.get("/process/dropped/logs/stream").text
    marked = text.removeprefix("stdout:" + notice.rstrip("\n") + "\n")
    said = marked.replace("stdout:", "").replace("stderr:last\n", "")
    assert marked != text
    assert whole.endswith(said[said.index("\n") + 1 :])
    assert raw(client, "dropped", "stderr") == b"last\n"


async def test_the_client_tells_the_gap(
    service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that are there and bytes that are missing add up to what was written."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(service.runtime.parent))
    lines = 600_000
    with service.client() as client:
        run(client, f"seq {lines}", name="gapped")
    whole = "".join(f"{n}\n" for n in range(1, lines + 1)).encode()
    async with SandboxClient("local") as sandbox, sandbox.follow("gapped") as entries:
        rows = [entry async for entry in entries]
    gaps = [row for row in rows if row.kind == "gap"]
    missing = sum(row.missing_bytes or 0 for row in gaps)
    assert len(gaps) == 1
    assert 0 < missing < len(whole)
    rest = whole[missing:].decode()
    assert [row.text for row in rows if row.kind == "line"] == rest.removesuffix("\n").split("\n")


def test_a_service_that_is_replaced_knows_what_was_dropped(tmp_path: Path) -> None:
    """After ``kill -9`` the next one finds the hole by itself: no NUL is told as output."""
    service = LocalService(tmp_path).start(BLAXEL_JUPYTER_MAX_LOG_BYTES=str(MiB))
    with service.client() as client:
        run(client, "seq 500000", name="kept")
    service.end(signal.SIGKILL)
    service.start()
    with service.client() as client:
        text = client.get("/process/kept/logs/stream").text
    assert "\0" not in text
    assert text.startswith("stdout:[... truncated")
    assert text.endswith("stdout:500000\n")
    service.end()
