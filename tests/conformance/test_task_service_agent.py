"""The local agent at work: what it says, runs and leaves out, how it fails, how it is stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blaxel_jupyter.local.prompt import Prose, Step, pace, pieces, read_prompt
from tests.local_service import LocalService, until
from tests.local_tasks import calls, create, details, ended, live, log, tasks, text, types

SECRETS = ("BL_API_KEY", "BLACKBOX_API_KEY", "GITHUB_TOKEN")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """One service for this file, started by a user who has keys in the environment."""
    folder = tmp_path_factory.mktemp("agent")
    service = LocalService(folder).start(**dict.fromkeys(SECRETS, "CANARY-5up3r"))
    yield service
    service.end()


@pytest.fixture
def client(service: LocalService) -> Iterator[httpx.Client]:
    """A client of the task API."""
    with tasks(service) as client:
        yield client


def run(client: httpx.Client, prompt: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run a prompt; return its live events and its details."""
    run_id, events = live(client, prompt)
    return events, ended(client, run_id)


def test_events_of_a_run(client: httpx.Client) -> None:
    """The documented order: start, init, what the prompt says, files, result, finish."""
    prompt = "I look first.\n$ sleep 0.2; echo hi > a.txt\n> Now what?\nDone,\nall of it."
    events, shown = run(client, prompt)
    assert types(events) == [
        *("start", "session-init", "text-start", "text-delta"),
        *("tool-call-start", "tool-input-available", "tool-output-available"),
        *("reasoning-start", "reasoning-delta", "reasoning-end", "text-delta"),
        *("files", "result", "finish"),
    ]
    name = shown["assistantMessageId"]
    assert events[0] == {"type": "start", "runId": shown["runId"], "startedAt": shown["startedAt"]}
    assert {e["id"] for e in events if e["type"].startswith("text-")} == {name}
    assert text(events) == "I look first.\nDone,\nall of it."
    files = next(e["files"] for e in events if e["type"] == "files")
    path = f"tasks/{shown['chatId']}/a.txt"
    assert files == [{"name": "a.txt", "path": path, "type": "file", "size": 3}]
    result = events[-2]
    assert set(result) == {"type", "subtype", "is_error", "duration_ms", "num_turns", "result"}
    assert (result["subtype"], result["is_error"], result["num_turns"]) == ("success", False, 1)
    assert result["result"] == "Done,\nall of it."
    assert 200 <= result["duration_ms"] < 20_000
    assert events[-1] == {"type": "finish", "runId": shown["runId"], "status": "completed"}


def test_prose_streams_in_pieces(client: httpx.Client) -> None:
    """A prompt without steps is said back, a few words at a time, exactly."""
    prompt = "  Some prose, 漢字 🧪,\n\n\twith\xa0odd space and no step at all. " * 3
    events, shown = run(client, prompt)
    assert text(events) == prompt
    assert len([e for e in events if e["type"] == "text-delta"]) > 8
    assert shown["status"] == "completed"


def test_failing_step_ends_the_run(client: httpx.Client) -> None:
    """The call has its output; nothing more runs; the last event is the error, there is no finish."""
    events, shown = run(client, "$ echo out; echo err >&2; exit 3\n$ touch never\nNever said")
    assert calls(events)["call_001"]["output"] == {
        "stdout": "out\n",
        "stderr": "err\n",
        "exitCode": 3,
    }
    assert (len(calls(events)), text(events)) == (1, "")
    assert types(events)[-1] == "error"
    assert "exit code 3" in events[-1]["errorText"]
    assert not {"finish", "result", "files"} & set(types(events))
    assert (shown["status"], shown["error"]) == ("failed", events[-1]["errorText"])
    stored = log(client, shown["runId"])
    assert (stored["error"], stored["status"]) == (shown["error"], "failed")
    assert stored["events"][-1] == {"type": "finish", "runId": shown["runId"], "status": "failed"}


def test_optional_steps_may_fail(client: httpx.Client) -> None:
    """Marked in the info string or at the line's end, a failure is told and the run goes on."""
    events, shown = run(client, "```sh optional\nexit 4\n```\n$ exit 5 # optional\n$ true")
    assert shown["status"] == "completed"
    assert [call["output"]["exitCode"] for call in calls(events).values()] == [4, 5, 0]
    assert calls(events)["call_002"]["input"] == {"command": "exit 5"}


def test_step_that_cannot_start(client: httpx.Client) -> None:
    """A command that no shell can be given is a tool error, and the run fails."""
    events, shown = run(client, "$ echo " + "x" * 300_000)
    call = calls(events)["call_001"]
    assert "argument list too long" in call["errorText"]
    assert "output" not in call
    assert shown["status"] == "failed"
    assert len(shown["error"]) < 200


def test_slow_step_tells_its_output_so_far(client: httpx.Client) -> None:
    """About once a second, while it changes, marked preliminary; the last output is whole."""
    events, _ = run(client, "$ echo one; sleep 1.4; echo two; sleep 1.6; echo three")
    outputs = [e for e in events if e["type"] == "tool-output-available"]
    partial = [e["output"]["stdout"] for e in outputs if e.get("preliminary")]
    assert 1 <= len(partial) <= 4
    assert partial == sorted(set(partial), key=len)
    assert partial[0] in ("one\n", "one\ntwo\n")
    assert "preliminary" not in outputs[-1]
    assert outputs[-1]["output"]["stdout"] == "one\ntwo\nthree\n"
    assert [e["type"] for e in events].count("tool-call-start") == 1


def test_long_output_loses_its_middle(service: LocalService, client: httpx.Client) -> None:
    """Above 1 MB a stream's beginning and end are kept; how much is missing, and where it is, is said."""
    events, shown = run(client, "$ seq 1 400000; echo short >&2")
    output = calls(events)["call_001"]["output"]
    whole = "".join(f"{i}\n" for i in range(1, 400_001))
    head, marker, tail = output["stdout"].partition("\n[… ")
    count, _, tail = tail.partition(" bytes left out; the sandbox's process ")
    name, _, tail = tail.partition(" has them in its log …]\n")
    with httpx.Client(headers=client.headers, base_url=service.url) as all_:
        logs = all_.get(f"/sandboxes/local/process/{name}/logs").json()
    assert marker
    assert whole.startswith(head)
    assert whole.endswith(tail)
    assert len(head) + int(count) + len(tail) == len(whole)
    assert len(head) + len(tail) <= 1024 * 1024
    assert output["stderr"] == "short\n"
    assert logs["stdout"] == whole
    assert shown["status"] == "completed"
    stored = calls(log(client, shown["runId"])["events"])
    assert stored["call_001"]["output"] == output


def test_steps_see_no_credentials(client: httpx.Client) -> None:
    """The environment is clean, and the folder is the chat's own."""
    events, shown = run(client, "$ env; pwd")
    assert "CANARY" not in json.dumps(events)
    lines = calls(events)["call_001"]["output"]["stdout"].splitlines()
    folder = ("sandboxes", "local", "work", "tasks", shown["chatId"])
    assert Path(lines[-1]).parts[-len(folder) :] == folder


def test_files_persist_between_steps_and_not_between_chats(client: httpx.Client) -> None:
    """One folder for all steps of a chat; another chat begins with an empty one."""
    events, _ = run(client, "$ mkdir d; echo x > d/f\n$ cat d/f")
    assert calls(events)["call_002"]["output"]["stdout"] == "x\n"
    events, _ = run(client, "$ ls -A")
    assert calls(events)["call_001"]["output"]["stdout"] == ""


def test_bash_blocks_run_in_bash(client: httpx.Client) -> None:
    """A ``bash`` fence may use what ``sh`` has not; the call shows the command as written."""
    events, shown = run(client, "```bash\na=(1 '2 3'); echo \"${a[1]}\"\n```")
    call = calls(events)["call_001"]
    assert call["output"]["stdout"] == "2 3\n"
    assert call["input"]["command"].startswith("a=(1 ")
    assert shown["status"] == "completed"


def test_cancel_stops_the_running_step(service: LocalService, client: httpx.Client) -> None:
    """SIGTERM reaches the group, the call stays open, nothing more runs, finish says cancelled."""
    prompt = "Wait.\n$ trap 'echo bye > bye; exit 9' TERM; echo $$ > pid; while :; do sleep .1; done\nNo."
    run_id = create(client, prompt)
    until(lambda: calls(log(client, run_id)["events"]))
    folder = _folder(service, client, run_id)
    _pid(folder)
    answer = client.patch(f"/tasks/{run_id}", json={"action": "cancel"}).json()
    assert (answer["success"], answer["status"]) == (True, "cancelled")
    assert (folder / "bye").exists()
    facts = log(client, run_id)
    assert facts["events"][-1] == {"type": "finish", "runId": run_id, "status": "cancelled"}
    assert "output" not in calls(facts["events"])["call_001"]
    assert (text(facts["events"]), facts["status"], facts["error"]) == (
        "Wait.\n",
        "cancelled",
        None,
    )
    assert details(client, run_id)["completedAt"] is not None


def test_cancel_kills_what_does_not_stop(service: LocalService, client: httpx.Client) -> None:
    """What ignores SIGTERM, also a child of the step's shell, is killed two seconds later."""
    run_id = create(client, "$ (trap '' TERM; sleep 1000 & echo $! > pid; wait; wait); sleep 1000")
    pid = _pid(_folder(service, client, run_id))
    began = time.monotonic()
    answer = client.patch(f"/tasks/{run_id}", json={"action": "cancel"}).json()
    assert answer["status"] == "cancelled"
    assert 1.9 < time.monotonic() - began < 6
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


def _folder(service: LocalService, client: httpx.Client, run_id: str) -> Path:
    """Return the folder in which a run's steps work."""
    chat = details(client, run_id)["chatId"]
    return Path(service.facts["dir"], "sandboxes", "local", "work", "tasks", chat)


def _pid(folder: Path) -> int:
    """Wait for a step's file ``pid``; return the number in it."""
    return int(until(lambda: (folder / "pid").exists() and (folder / "pid").read_text()))


def test_deleted_sandbox_fails_the_step(service: LocalService, client: httpx.Client) -> None:
    """Somebody deletes the sandbox under a run: the run fails, the next one has a new sandbox."""
    run_id = create(client, "$ sleep 60")
    until(lambda: calls(log(client, run_id)["events"]))
    assert (
        httpx.delete(f"{service.url}/v0/sandboxes/local", headers=service.headers).status_code
        == 200
    )
    shown = ended(client, run_id)
    assert shown["status"] == "failed"
    assert "deleted" in calls(log(client, run_id)["events"])["call_001"]["errorText"]
    assert ended(client, create(client, "$ true"))["status"] == "completed"


@pytest.mark.parametrize(
    ("prompt", "items"),
    [
        ("a\nb", [Prose("text", "a\nb")]),
        ("$ a\n$  b # optional \n$ \n$c", [Step("a"), Step("b", True), Prose("text", "$c")]),
        ("> a\n> b\n\n> c", [Prose("reasoning", "a\nb\n"), Prose("reasoning", "c")]),
        ("```sh\na\n\nb\n```\nx", [Step("a\n\nb"), Prose("text", "x")]),
        ("```shell optional\na", [Step("a", True)]),
        ("~~~ Bash\na\n```\n~~~", [Step("a\n```", bash=True)]),
        ("````sh\n```\n````", [Step("```")]),
        ("```python\n$ a\n> b\n```\n", [Prose("text", "```python\n$ a\n> b\n```\n")]),
        ("```\n$ a\n```", [Prose("text", "```\n$ a\n```")]),
        ("a\r\n$ b\r\n", [Prose("text", "a\n"), Step("b")]),
        ("$ echo '# optional'", [Step("echo '# optional'")]),
        ("$ echo a#optional", [Step("echo a#optional")]),
        ("```sh\n\n```\n \n", []),
        ("a\u2028$ b\x0c$ c", [Prose("text", "a\u2028$ b\x0c$ c")]),
    ],
)
def test_what_a_prompt_says(prompt: str, items: list[object]) -> None:
    """The rules by which a prompt is read."""
    assert read_prompt(prompt) == items


@given(st.text(alphabet="a \n\t漢", min_size=1, max_size=200), st.integers(1, 9))
def test_pieces_join_to_the_prose(prose: str, words: int) -> None:
    """No character of what is said is lost."""
    assert "".join(pieces(prose, words)) == (prose if prose.strip() else "")


def test_long_prose_has_longer_pieces() -> None:
    """However long the prose, it is said within seconds."""
    prose = Prose("text", "word " * 100_000)
    assert len(pieces(prose.text, pace([prose]))) <= 400
