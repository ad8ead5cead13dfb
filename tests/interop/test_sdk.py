"""The checklist of the official SDK's own test suites (protocol 6.1), a test a row."""

from __future__ import annotations

import asyncio
import socket
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.interop.conftest import close

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # the SDK forgets connections
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

REGION = "us-pdx-1"  # the SDK warns without one


def unique(prefix: str) -> str:
    """Return a process name that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


async def status_of(sandbox: Any, name: str) -> str:
    """Return the status of a process."""
    return str((await sandbox.process.get(name)).status.value)


async def test_executes_simple_command(sandbox: Any) -> None:
    """Waiting gives status completed and the output."""
    result = await sandbox.process.exec(
        {"command": "echo 'Hello World'", "wait_for_completion": True}
    )
    assert result.status.value == "completed"
    assert "Hello World" in result.logs


async def test_custom_name(sandbox: Any) -> None:
    """The process has the name that was asked for."""
    name = unique("custom")
    result = await sandbox.process.exec(
        {"name": name, "command": "true", "wait_for_completion": True}
    )
    assert result.name == name


async def test_generates_name(sandbox: Any) -> None:
    """Without a name one is made up."""
    result = await sandbox.process.exec({"command": "true", "wait_for_completion": True})
    assert result.name.startswith("proc-")


async def test_working_directory(sandbox: Any) -> None:
    """The command runs in the folder that was asked for."""
    result = await sandbox.process.exec(
        {"command": "pwd", "working_dir": "/tmp", "wait_for_completion": True}
    )
    assert "/tmp" in result.logs


async def test_working_directory_default(sandbox: Any, scratch: Path) -> None:
    """Without one it runs in the sandbox's scratch folder."""
    result = await sandbox.process.exec({"command": "pwd", "wait_for_completion": True})
    assert result.logs == f"{scratch}\n"


async def test_captures_stdout_and_stderr(sandbox: Any) -> None:
    """Both are in the result, apart and together."""
    result = await sandbox.process.exec(
        {"command": "echo out; echo err >&2", "wait_for_completion": True}
    )
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    assert "out" in result.logs
    assert "err" in result.logs


@pytest.mark.parametrize("code", [0, 42])
async def test_returns_exit_code(sandbox: Any, code: int) -> None:
    """The exit code comes back."""
    result = await sandbox.process.exec({"command": f"exit {code}", "wait_for_completion": True})
    assert result.exit_code == code


async def test_receives_logs_via_callback(sandbox: Any) -> None:
    """With wait and on_log the output is streamed."""
    logs: list[str] = []
    await sandbox.process.exec(
        {
            "command": "echo line1; echo line2; echo line3",
            "wait_for_completion": True,
            "on_log": logs.append,
        }
    )
    assert "".join(logs) == "line1\nline2\nline3\n"


async def test_receives_stdout_via_on_stdout(sandbox: Any) -> None:
    """Separate callbacks each get their own; the stream ends with the process."""
    name, out, err, logs = unique("streams"), [], [], []  # type: ignore[var-annotated]
    command = "for i in 1 2 3; do echo tick$i; sleep 0.1; done; echo oops >&2; sleep 0.1"
    await sandbox.process.exec({"name": name, "command": command})
    stream = sandbox.process.stream_logs(
        name, {"on_log": logs.append, "on_stdout": out.append, "on_stderr": err.append}
    )
    await sandbox.process.wait(name, max_wait=10000, interval=50)
    await eventually(lambda: len(logs) == 4)
    stream.close()
    assert out == ["tick1", "tick2", "tick3"]
    assert err == ["oops"]
    assert logs == [*out, *err]


async def eventually(condition: Any, seconds: float = 10.0) -> None:
    """Wait until the condition holds; fail after ``seconds``."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the SDK has no event to wait for
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("wait", [True, False, None])
async def test_no_duplicates(sandbox: Any, wait: bool | None) -> None:
    """Each line comes in exactly one call, whatever ``wait_for_completion`` says."""
    logs: list[str] = []
    request: dict[str, Any] = {
        "name": unique("once"),
        "command": "for i in 1 2 3 4 5; do echo line$i; sleep 0.1; done",
        "on_log": logs.append,
    }
    if wait is not None:
        request["wait_for_completion"] = wait
    result = await sandbox.process.exec(request)
    await eventually(lambda: "line5" in "\n".join(logs))
    result.close()
    assert "\n".join(logs).split() == [f"line{i}" for i in (1, 2, 3, 4, 5)]


async def test_returns_immediately_without_wait(sandbox: Any) -> None:
    """A long command does not hold the call."""
    name = unique("later")
    async with asyncio.timeout(4):
        result = await sandbox.process.exec({"name": name, "command": "sleep 30"})
    assert (result.name, result.status.value) == (name, "running")
    await sandbox.process.kill(name)


async def test_get_info_and_running(sandbox: Any) -> None:
    """``get`` says completed or running."""
    done, running = unique("done"), unique("running")
    await sandbox.process.exec({"name": done, "command": "true", "wait_for_completion": True})
    await sandbox.process.exec({"name": running, "command": "sleep 30"})
    assert await status_of(sandbox, done) == "completed"
    assert await status_of(sandbox, running) == "running"
    await sandbox.process.kill(running)


@pytest.mark.parametrize(
    ("kind", "expected"), [("all", "out\nerr\n"), ("stdout", "out\n"), ("stderr", "err\n")]
)
async def test_logs(sandbox: Any, kind: str, expected: str) -> None:
    """``logs`` gives what was asked for."""
    name = unique("logs")
    await sandbox.process.exec(
        {"name": name, "command": "echo out; echo err >&2", "wait_for_completion": True}
    )
    assert await sandbox.process.logs(name, kind) == expected


async def test_streams_in_real_time(sandbox: Any) -> None:
    """Lines arrive while the process runs."""
    name, logs = unique("live"), []  # type: ignore[var-annotated]
    await sandbox.process.exec({"name": name, "command": "echo first; sleep 30"})
    stream = sandbox.process.stream_logs(name, {"on_log": logs.append})
    await eventually(lambda: logs == ["first"])
    assert await status_of(sandbox, name) == "running"
    stream.close()
    await sandbox.process.kill(name)


async def test_close_stream_early(sandbox: Any) -> None:
    """After close no callback fires; closing twice is fine."""
    name, logs = unique("closed"), []  # type: ignore[var-annotated]
    await sandbox.process.exec({"name": name, "command": "while :; do echo tick; sleep 0.02; done"})
    stream = sandbox.process.stream_logs(name, {"on_log": logs.append})
    await eventually(lambda: len(logs) > 2)
    stream.close()
    stream.close()
    seen = len(logs)
    await asyncio.sleep(0.2)
    assert len(logs) == seen
    await sandbox.process.kill(name)


async def test_wait_for_completion(sandbox: Any) -> None:
    """After ``wait``, ``get`` says completed."""
    name = unique("wait")
    await sandbox.process.exec({"name": name, "command": "sleep 0.3"})
    await sandbox.process.wait(name, max_wait=10000, interval=50)
    assert await status_of(sandbox, name) == "completed"


async def test_respects_max_wait(sandbox: Any) -> None:
    """``wait`` gives up after the time that was asked for."""
    name = unique("long")
    await sandbox.process.exec({"name": name, "command": "sleep 60"})
    with pytest.raises(Exception, match="did not finish in time"):
        await sandbox.process.wait(name, max_wait=500, interval=100)
    await sandbox.process.kill(name)


@pytest.mark.parametrize(("verb", "status"), [("kill", "killed"), ("stop", "stopped")])
async def test_kill_and_stop_running(sandbox: Any, verb: str, status: str) -> None:
    """A running process is ended, and says how."""
    name = unique(verb)
    await sandbox.process.exec({"name": name, "command": "sleep 60"})
    await getattr(sandbox.process, verb)(name)
    assert await status_of(sandbox, name) == status


@pytest.mark.parametrize("verb", ["kill", "stop"])
async def test_kill_and_stop_completed(sandbox: Any, verb: str) -> None:
    """A finished process is refused with 404 and keeps its status."""
    name = unique(verb)
    await sandbox.process.exec({"name": name, "command": "true", "wait_for_completion": True})
    with pytest.raises(Exception, match="404"):
        await getattr(sandbox.process, verb)(name)
    assert await status_of(sandbox, name) == "completed"


async def test_list_all_running_details(sandbox: Any) -> None:
    """The list has finished and running processes, each with pid and status."""
    done, running = unique("list"), unique("list")
    await sandbox.process.exec({"name": done, "command": "true", "wait_for_completion": True})
    await sandbox.process.exec({"name": running, "command": "sleep 30"})
    listed = {each.name: each for each in await sandbox.process.list()}
    assert listed[done].status.value == "completed"
    assert listed[running].status.value == "running"
    assert all(each.pid and each.status for each in listed.values())
    await sandbox.process.kill(running)


async def test_restart_on_failure(sandbox: Any) -> None:
    """A failing process is restarted as often as was asked."""
    result = await sandbox.process.exec(
        {
            "command": "exit 1",
            "restart_on_failure": True,
            "max_restarts": 3,
            "wait_for_completion": True,
        }
    )
    assert result.restart_count == 3


async def test_keep_alive_completes(sandbox: Any) -> None:
    """A keepAlive process completes like any other."""
    result = await sandbox.process.exec(
        {"command": "echo kept", "keep_alive": True, "wait_for_completion": True}
    )
    assert (result.status.value, result.keep_alive) == ("completed", True)


async def test_keep_alive_killed_after_timeout(sandbox: Any) -> None:
    """It is killed after its timeout."""
    name = unique("kept")
    await sandbox.process.exec(
        {"name": name, "command": "sleep 60", "keep_alive": True, "timeout": 1}
    )
    await sandbox.process.wait(name, max_wait=10000, interval=50)
    assert await status_of(sandbox, name) == "killed"


async def test_keep_alive_timeout_zero_is_infinite(sandbox: Any) -> None:
    """A timeout of 0 kills nothing."""
    name = unique("kept")
    await sandbox.process.exec(
        {"name": name, "command": "sleep 0.5; echo end", "keep_alive": True, "timeout": 0}
    )
    await sandbox.process.wait(name, max_wait=10000, interval=50)
    assert await status_of(sandbox, name) == "completed"


async def test_keep_alive_is_off_by_default(sandbox: Any) -> None:
    """Nobody gets keepAlive unasked."""
    result = await sandbox.process.exec({"command": "true", "wait_for_completion": True})
    assert result.keep_alive is False


async def test_wait_for_ports(sandbox: Any) -> None:
    """Exec returns when the port is up; a fetch then gives 200 OK."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = (
        "import http.server as h\n"
        "class H(h.BaseHTTPRequestHandler):\n"
        " def do_GET(self):\n"
        "  self.send_response(200);self.end_headers();self.wfile.write(b'OK')\n"
        f"h.HTTPServer(('0.0.0.0',{port}),H).serve_forever()\n"
    )
    name = unique("server")
    await sandbox.process.exec(
        {"name": name, "command": f'python3 -c "{program}"', "wait_for_ports": [port]}
    )
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/")).text == "OK"
    await sandbox.process.kill(name)


async def test_separate_callbacks_get_every_line_of_a_burst(sandbox: Any) -> None:
    """What the real server's framing loses (protocol 5.6), the local one's does not."""
    name, out = unique("burst"), []  # type: ignore[var-annotated]
    await sandbox.process.exec({"name": name, "command": "seq 1 20000; sleep 30"})
    stream = sandbox.process.stream_logs(name, {"on_stdout": out.append})
    await eventually(lambda: len(out) >= 20000)
    stream.close()
    await sandbox.process.kill(name)
    assert out == [str(i) for i in range(1, 20001)]


async def test_crud_concurrent_create_if_not_exists(control: Any) -> None:
    """Five concurrent calls for one name give one sandbox, which works."""
    wanted = {"name": unique("crud"), "region": REGION}
    made = await asyncio.gather(*(control.create_if_not_exists(wanted) for _ in range(5)))
    assert {each.metadata.name for each in made} == {wanted["name"]}
    result = await made[0].process.exec({"command": "echo test", "wait_for_completion": True})
    assert result.logs == "test\n"
    assert wanted["name"] in {each.metadata.name for each in (await control.list()).data}
    await control.delete(wanted["name"])
    with pytest.raises(Exception, match=r"404|not found"):
        await control.get(wanted["name"])
    await close(made[0])


async def test_fast_operations(control: Any) -> None:
    """Create, exec, delete, three times over."""
    for _ in range(3):
        name = unique("fast")
        created = await control.create({"name": name, "region": REGION})
        async with asyncio.timeout(10):
            result = await created.process.exec({"command": "pwd", "wait_for_completion": True})
        assert name in result.logs
        await control.delete(name)
        await close(created)


async def test_create_taken_name_is_409(control: Any) -> None:
    """A taken name is refused in the control plane's way."""
    wanted = {"name": unique("taken"), "region": REGION}
    await control.create(wanted)
    with pytest.raises(Exception, match=r"409|already exists"):
        await control.create(wanted)
    await control.delete(wanted["name"])


async def test_files(sandbox: Any, scratch: Path) -> None:
    """Text files are written, listed, read and removed in the scratch folder."""
    await sandbox.fs.write("notes/a.txt", "héllo\n")
    assert (scratch / "notes" / "a.txt").read_text() == "héllo\n"
    assert await sandbox.fs.read("notes/a.txt") == "héllo\n"
    assert [each.name for each in (await sandbox.fs.ls("notes")).files] == ["a.txt"]
    await sandbox.fs.rm("notes/a.txt")
    assert not (scratch / "notes" / "a.txt").exists()


async def test_binary_files(sandbox: Any, scratch: Path) -> None:
    """Bytes go up and come back exactly."""
    data = bytes(range(256)) * 3 + b"\r\n--\r\n"
    await sandbox.fs.write_binary("data.bin", data)
    assert (scratch / "data.bin").read_bytes() == data
    assert await sandbox.fs.read_binary("data.bin") == data
