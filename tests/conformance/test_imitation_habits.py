"""What the recordings show in half a minute, the imitation shows in a second: periods, stalls, caps, faults.

The periods are shortened; the words are compared with the recordings where there are any.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Literal
from urllib.parse import urlsplit

import httpx
import pytest

from tests.imitation import Fault, Habits, Imitation, imitation
from tests.recordings import load

LOGS = "/filesystem/%2Fvar%2Flog%2Fsandbox-api"
RAW = {"Accept": "application/octet-stream"}
NDJSON = {"Accept": "text/event-stream"}
UNTIL_TOLD = "while [ ! -e go ]; do sleep 0.05; done"


@contextmanager
def served(habits: Habits | None = None) -> Iterator[tuple[Imitation, httpx.Client]]:
    """Run an imitation and a client of it."""
    with (
        imitation(habits) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=10) as client,
    ):
        yield server, client


def start(client: httpx.Client, name: str, command: str, **members: object) -> httpx.Response:
    """Start a process by a plain POST."""
    return client.post("/process", json={"name": name, "command": command, **members})


def tell(client: httpx.Client) -> None:
    """Let a process that waits ``UNTIL_TOLD`` go on."""
    client.put("/filesystem/go", json={"content": ""})


def hold(server: Imitation, path: str) -> socket.socket:
    """Send a GET and read nothing of the answer but its beginning."""
    address = urlsplit(server.url)
    held = socket.create_connection((address.hostname, address.port))
    held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    held.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    held.recv(64)
    return held


def ask_forever(client: httpx.Client, path: str) -> None:
    """GET until no answer comes within 1.5 s."""
    while True:
        client.get(path, timeout=1.5)


def broken_download(client: httpx.Client, path: str) -> tuple[bytes, int]:
    """Return what came before the connection broke, and the Content-Length."""
    got = bytearray()
    with client.stream("GET", path, headers=RAW) as answer:
        try:
            for piece in answer.iter_raw():
                got += piece
        except httpx.TransportError:
            return bytes(got), int(answer.headers["content-length"])
    raise AssertionError("the download was whole")


def test_a_keepalive_lands_inside_an_unfinished_line() -> None:
    """The text stream is that of ``quiet_35s``, byte for byte."""
    with served(Habits(keepalive=1.0)) as (_, client):
        start(
            client, "quiet", f"echo start; printf '50%%'; {UNTIL_TOLD}; printf ' 60%%\\n'; echo end"
        )
        body = b""
        with client.stream("GET", "/process/quiet/logs/stream") as answer:
            for piece in answer.iter_raw():
                body += piece
                if piece.endswith(b"[keepalive]\n"):
                    tell(client)
    assert body == load("quiet_35s").one("a_text_live").body


def test_ndjson_says_keepalive_in_two_ways() -> None:
    """Beside the typed keepalive there is the bogus stdout event, as in ``quiet_35s``."""
    recorded = {
        line for line in load("quiet_35s").one("b_ndjson").body.splitlines() if b"keepalive" in line
    }
    with served(Habits(keepalive=0.6, ndjson_keepalive=0.2)) as (_, client):
        body = client.post(
            "/process", json={"command": "sleep 1; echo end"}, headers=NDJSON
        ).content
    lines = [line for line in body.splitlines() if b"keepalive" in line]
    assert set(lines) == recorded
    assert len(lines) >= 4


def test_keepalives_of_a_dropped_stream_spoil_other_answers() -> None:
    """A waiting POST becomes text/plain with keepalives first; NDJSON gets bare lines (4.4)."""
    with served(Habits(keepalive=0.4)) as (_, client):
        start(client, "base", "sleep 20")
        with client.stream("GET", "/process/base/logs/stream"):
            pass
        answer = start(client, "waits", "sleep 0.7; echo done", waitForCompletion=True)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        recorded = load("stray_keepalive_json").one("waiting_post_2")
        assert set(answer.headers) == {name.lower() for name, _ in recorded.headers}
        body = answer.content
        assert body.startswith(b"[keepalive]\n")
        assert json.loads(body.replace(b"[keepalive]\n", b""))["stdout"] == "done\n"
        lines = client.post("/process", json={"command": "sleep 0.7"}, headers=NDJSON).content
        assert b"[keepalive]" in lines.splitlines()


def test_a_client_that_does_not_read_stalls_the_process_api() -> None:
    """GET and POST hang; ``/health`` and raw files answer; all recovers when the client closes (4.6)."""
    with served(Habits(send_buffer=4096, round_pause=0.0)) as (server, client):
        start(client, "slow", f"{UNTIL_TOLD}; head -c 8000000 /dev/zero | tr '\\0' 'a'; sleep 20")
        with closing(hold(server, "/process/slow/logs/stream")):
            tell(client)
            with pytest.raises(httpx.ReadTimeout):
                ask_forever(client, "/process/slow")
            with pytest.raises(httpx.ReadTimeout):
                client.post("/process", json={"command": "true"}, timeout=0.5)
            assert client.get("/health").json()["status"] == "ok"
            asked = RAW | {"Range": "bytes=0-8"}
            assert client.get(f"{LOGS}%2Fslow.stdout.log", headers=asked).content == b"aaaaaaaaa"
        assert client.get("/process/slow").json()["status"] == "running"


def test_a_capped_file_keeps_its_size_and_loses_its_head() -> None:
    """The head up to a block's end becomes NULs, as in ``cap_head_punched``; ``/logs`` shows a notice."""
    share = 64 * 1024
    with served(Habits(cap=share, cap_period=0.2)) as (_, client):
        start(client, "cap", "seq 1 60000; sleep 1", waitForCompletion=True)
        raw = client.get(f"{LOGS}%2Fcap.stdout.log", headers=RAW).content
        logs = client.get("/process/cap/logs").json()["stdout"]
    written = b"".join(b"%d\n" % number for number in range(1, 60001))
    punched = (len(written) - share) // 4096 * 4096
    assert raw == b"\0" * punched + written[punched:]
    notice, _, rest = logs.partition("\n")
    assert notice == "[... truncated, see the process log file for the full output ...]"
    assert rest.encode() == written[punched:]


def test_the_stream_lags_behind_the_raw_file() -> None:
    """At 4096 bytes a round the combined log has a fraction of a burst that the raw file has whole."""
    with served() as (_, client):
        start(client, "burst", "seq 1 60000; touch ready; sleep 20")
        while client.get("/filesystem/ready").status_code != 200:
            pass
        raw = client.get(f"{LOGS}%2Fburst.stdout.log", headers=RAW).content
        combined = client.get(f"{LOGS}%2Fburst.log", headers=RAW).content
    assert raw.endswith(b"\n60000\n")
    assert len(combined) < len(raw) / 4


def test_a_watch_tells_of_writes_in_the_recorded_words() -> None:
    """Events, ignored paths, headers and the 400 are those of ``watch_log_dir``."""
    recording = load("watch_log_dir")
    recorded = recording.one("watch_ignore_combined")
    with served() as (_, client):
        url = f"/watch{LOGS}?ignore=/watch-a.log"
        start(client, "other", "sleep 0.3; touch go; sleep 20")
        start(
            client,
            "watch-a",
            f"{UNTIL_TOLD}; echo a; sleep 0.2; echo b >&2",
        )
        with client.stream("GET", url) as answer:
            names = {name for name in answer.headers if name != "date"}
            lines = iter(answer.iter_lines())
            seen = [next(lines), next(lines)]
        missing = client.get("/watch/filesystem/%2Fno%2Fsuch")
    assert names == {name.lower() for name, _ in recorded.headers} - {"date"}
    assert set(seen) <= set(recorded.body.decode().splitlines())
    assert len(set(seen)) == 2
    assert missing.content == recording.one("watch_missing").body
    assert missing.status_code == 400


def test_a_watch_says_keepalive() -> None:
    """Its headers come with the first line, be it a keepalive."""
    with (
        served(Habits(keepalive=0.2)) as (_, client),
        client.stream("GET", f"/watch{LOGS}") as answer,
    ):
        assert next(answer.iter_lines()) == "[keepalive]"


def test_streams_are_cut_when_their_time_is_over() -> None:
    """After ``cut_after`` the body breaks off without its last chunk, while the process runs on."""
    with served(Habits(cut_after=0.3)) as (_, client):
        start(client, "long", "echo a; sleep 20")
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("/process/long/logs/stream")
        assert client.get("/process/long").json()["status"] == "running"


def test_after_a_restart_of_the_api_processes_are_adopted_without_a_tailer() -> None:
    """The raw file goes on, the combined log does not; the end is ``completed`` with 0 (3.6, 4.6)."""
    with served() as (server, client):
        start(
            client,
            "lives",
            f"echo before; {UNTIL_TOLD}; echo after; exit 3",
        )
        with client.stream("GET", "/process/lives/logs/stream") as answer:
            lines = answer.iter_lines()
            assert next(lines) == "stdout:before"
            server.restart()
            with pytest.raises(httpx.TransportError):
                next(lines)
        assert client.get("/process/lives").json()["status"] == "running"
        tell(client)
        assert client.get("/process/lives/logs/stream").content == b"stdout:before\n"
        process = client.get("/process/lives").json()
    assert (process["status"], process["exitCode"]) == ("completed", 0)
    assert process["stdout"] == "before\nafter\n"


def test_a_process_that_ended_while_the_api_was_down_has_failed() -> None:
    """It is ``failed`` with exit code -1 (3.6)."""
    with served() as (server, client):
        start(client, "short", "sleep 0.1")
        server.restart(down=0.5)
        process = client.get("/process/short").json()
    assert (process["status"], process["exitCode"]) == ("failed", -1)


@pytest.mark.parametrize("kind", ["drop", "reset"])
def test_a_download_breaks_off_where_told(kind: Literal["drop", "reset"]) -> None:
    """Exactly ``after`` bytes of the body come, then FIN or RST; the next request is whole."""
    with served() as (server, client):
        start(client, "raw", "seq 1 1000", waitForCompletion=True)
        server.fail(Fault(kind, path="stdout.log", after=100))
        got, _ = broken_download(client, f"{LOGS}%2Fraw.stdout.log")
        assert len(got) == 100
        assert len(client.get(f"{LOGS}%2Fraw.stdout.log", headers=RAW).content) == 3893


def test_a_stray_keepalive_in_a_download_makes_it_shorter() -> None:
    """The foreign bytes are in, the end is out, and the body is short of its Content-Length (4.4)."""
    with served() as (server, client):
        start(client, "raw", "seq 1 30000", waitForCompletion=True)
        server.fail(Fault("stray", path="stdout.log", after=70000))
        got, length = broken_download(client, f"{LOGS}%2Fraw.stdout.log")
        assert got[70000:70012] == b"[keepalive]\n"
        assert len(got) < length


def test_a_gateway_answers_in_the_servers_place() -> None:
    """HTML for 5xx, ``Retry-After`` for 429, an object-shaped error for an unavailable workload."""
    with served() as (server, client):
        for status in (502, 503, 504):
            server.fail(Fault("status", status=status))
            answer = client.get("/health")
            assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html")
        server.fail(Fault("status", status=429, retry_after="1"))
        assert client.get("/health").headers["retry-after"] == "1"
        server.fail(Fault("unavailable"))
        answer = client.get("/health")
        assert answer.json()["error"]["code"] == "WORKLOAD_UNAVAILABLE"
        assert answer.headers["x-blaxel-source"] == "platform"
        assert client.get("/health").status_code == 200


def test_a_fault_can_be_asked_for_by_a_header_and_skip_requests() -> None:
    """The header hits its own request; ``skip`` and ``times`` choose among those that match."""
    with served() as (server, client):
        header = {"X-Imitation-Fault": Fault("status", status=503).to_json()}
        assert client.get("/health", headers=header).status_code == 503
        server.fail(Fault("status", path="/health", skip=1, times=2))
        assert [client.get("/health").status_code for _ in range(4)] == [200, 502, 502, 200]


def test_files_can_be_missing_and_ranges_ignored() -> None:
    """``raw_files=False`` answers 404 as an unknown route; ``ranges=False`` sends the whole file."""
    with served(Habits(raw_files=False)) as (_, client):
        answer = client.get(f"{LOGS}%2Fx.stdout.log", headers=RAW)
        assert (answer.status_code, answer.text) == (404, "404 page not found")
        assert client.get(f"/watch{LOGS}").status_code == 404
    with served(Habits(ranges=False)) as (_, client):
        start(client, "raw", "echo 12345", waitForCompletion=True)
        answer = client.get(f"{LOGS}%2Fraw.stdout.log", headers=RAW | {"Range": "bytes=3-"})
        assert (answer.status_code, answer.content) == (200, b"12345\n")


def test_counters_say_what_was_asked_and_sent() -> None:
    """Requests by method and raw path, body bytes by raw path; control requests are not counted."""
    with served() as (server, client):
        start(client, "raw", "echo 12345", waitForCompletion=True)
        server.reset()
        client.get(f"{LOGS}%2Fraw.stdout.log", headers=RAW | {"Range": "bytes=3-"})
        assert server.requests == {f"GET {LOGS}%2Fraw.stdout.log": 1}
        assert server.sent == {f"{LOGS}%2Fraw.stdout.log": 3}
        assert server.wire_bytes > 300


def test_a_process_is_in_proc_while_its_shell_lives() -> None:
    """``/proc/{pid}/stat`` as JSON is a liveness probe: 200, then 404 (4.9)."""
    with served() as (_, client):
        pid = start(client, "p", "sleep 0.3; echo").json()["pid"]
        answer = client.get(f"/filesystem/%2Fproc%2F{pid}%2Fstat")
        assert re.match(rf"{pid} \(sh\)", answer.json()["content"])
        client.get("/process/p/logs/stream")
        assert client.get(f"/filesystem/%2Fproc%2F{pid}%2Fstat").status_code == 404
        self_stat = client.get("/filesystem/%2Fproc%2Fself%2Fstat", headers=RAW)
        assert (self_stat.status_code, self_stat.json()) == (500, {"error": "seeker can't seek"})


def test_a_process_that_ignores_sigterm_is_stopped_and_alive() -> None:
    """It shows ``stopped`` while it writes, a second stop is refused, its name is free, kill works (3.6)."""
    with served() as (_, client):
        start(client, "ign", f"trap '' TERM; echo on; {UNTIL_TOLD}; echo more; sleep 20")
        with client.stream("GET", "/process/ign/logs/stream") as answer:
            assert next(answer.iter_lines()) == "stdout:on"
        assert client.delete("/process/ign").json() == {"message": "Process stopped successfully"}
        process = client.get("/process/ign").json()
        assert (process["status"], process["exitCode"], process["completedAt"]) == (
            "stopped",
            0,
            "",
        )
        assert client.delete("/process/ign").json() == {
            "error": "process with Identifier ign is not running"
        }
        second = start(client, "ign", "echo reuse while alive", waitForCompletion=True).json()
        assert second["stdout"] == "reuse while alive\n"
        tell(client)
        assert client.delete(f"/process/{process['pid']}/kill").status_code == 200
        assert client.get(f"/process/{process['pid']}").json()["status"] == "killed"


def test_a_restarted_run_is_told_twice_and_read_from_its_start() -> None:
    """Streams end at the first failure; the combined log has the first run's lines again (4.5, 4.6)."""
    notice = "[Process failed with exit code 3. Attempting restart 1/1...]\n"
    with served(Habits(restart_pause=1.0)) as (_, client):
        fails = "echo run; sleep 1; exit 3"
        start(client, "rst", fails, restartOnFailure=True, maxRestarts=1)
        live = client.get("/process/rst/logs/stream").text
        assert live == f"stdout:run\n\n{notice}stdout:\n{notice}"
        paused = client.get("/process/rst").json()
        assert (paused["status"], paused["restartCount"]) == ("failed", 1)
        again = start(
            client, "rst2", fails, restartOnFailure=True, maxRestarts=1, waitForCompletion=True
        )
        assert again.json()["stdout"] == f"run\n\n{notice}run\n"
        combined = client.get(f"{LOGS}%2Frst2.log", headers=RAW).text
    assert combined.count("stdout:run\n") == 3
    assert combined.count(f"stdout:{notice}") == 2
