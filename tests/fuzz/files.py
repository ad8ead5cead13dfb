"""Targets of files: ``.env``, the CLI's login, the local service's own, recordings and prompts."""

from __future__ import annotations

import asyncio
import atexit
import json
import re
import shutil
import tempfile
from io import StringIO
from pathlib import Path

import yaml
from dotenv import dotenv_values

from blaxel_jupyter import credentials, local
from blaxel_jupyter.errors import CredentialsError, ProtocolError
from blaxel_jupyter.local import facts, prompt, replay, sandboxes, spawn, task_asked
from blaxel_jupyter.local.routes import Exec
from blaxel_jupyter.wording import read_json
from tests.fuzz.logs import JSON, PROCESS
from tests.fuzz.target import target as fuzzed
from tests.fuzz.target import text_of
from tests.fuzz.tasks import EVENTS

FOLDER = Path(tempfile.mkdtemp(prefix="blaxel-fuzz-"))
"""Where files are written that a decoder reads by itself; small, and overwritten each time."""
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def _written(name: str, data: bytes) -> Path:
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _tells_nothing(error: CredentialsError, data: bytes) -> None:
    """Check that an error shows no piece of the file, and that nothing that quotes it is chained."""
    shown = f"{error} {error.__cause__} {error.__context__}"
    for piece in re.findall(rb"SECRET[0-9a-z]+", data):
        assert piece.decode() not in shown


@fuzzed(
    *rb"""BL_API_KEY= SECRET1 ' " ${ } :- # \n = BL_API_URL=https:// BLACKBOX_API_KEY=""".split(),
    *(b"BL_WORKSPACE=w\n", b"export ", b"\n", b"\xef\xbb\xbf"),
)
def dotenv(data: bytes) -> None:
    """A .env file gives what python-dotenv reads in it, or an error that shows none of it."""
    path = _written("env/.env", data)
    where = path.parent
    for read in (credentials.blaxel, credentials.blackbox):
        try:
            read({}, where) if read is credentials.blackbox else read({}, where, FOLDER / "none")
        except CredentialsError as error:
            _tells_nothing(error, data)
    credentials.sources({}, where, FOLDER / "none")
    try:
        found = credentials.settings.variables({}, where)[1].values
    except CredentialsError as error:
        _tells_nothing(error, data)
        return
    assert sum(map(len, found.values())) <= max(len(data), credentials.settings.LARGEST)
    if b"${" not in data:
        text = data.decode("utf-8-sig")
        known = dotenv_values(stream=StringIO(text, newline=None), interpolate=False)
        assert found == {name: value for name, value in known.items() if value is not None}


YAML = (
    *(
        b"context:\n  workspace: w\n",
        b"workspaces:\n- name: w\n  credentials:\n    ",
        b"%YAML 1.1\n---\n",
    ),
    *(
        b"access_token: SECRET2\n",
        b"refresh_token: SECRET3\n",
        b"device_code: d\n",
        b"apiKey: SECRET4",
    ),
    *(b"&a ", b"*a", b"!!int ", b"|\n", b'"\\U', b"[[", b"? ", b"<<: ", b"\t"),
)


@fuzzed(*YAML, largest=1024)
def cli_config(data: bytes) -> None:
    """The CLI's file gives a login, or an error that shows none of it; new tokens change nothing else."""
    path = _written(".blaxel/config.yaml", data)
    credentials.sources({}, FOLDER / "none", FOLDER)
    try:
        login = credentials.blaxel({}, FOLDER / "none", FOLDER)
    except CredentialsError as error:
        _tells_nothing(error, data)
        return
    assert not any(isinstance(v, str) and len(v) > 7 and v in repr(login)
                   for v in (login.api_key, login.access_token, login.refresh_token))  # fmt: skip
    new = credentials.from_token_answer(
        login, {"access_token": "new", "refresh_token": "newer"}, 0.0
    )
    before = yaml.load(data, Loader=yaml.BaseLoader)
    if credentials.save_login(new, login, FOLDER):
        after = path.read_text("utf-8-sig")
        again = credentials.blaxel({}, FOLDER / "none", FOLDER)
        assert (again.refresh_token, again.workspace) == ("newer", login.workspace)
        assert len(yaml.load(after, Loader=yaml.BaseLoader)) == len(before)
    else:
        assert path.read_bytes() == data


@fuzzed(
    *JSON,
    b'{"access_token":"',
    b'","expires_in":',
    b'"refresh_token":',
    b"eyJhbGciOiJIUzI1NiJ9.",
    b"1e400",
)
def token_answer(data: bytes) -> None:
    """An answer of the token endpoint gives tokens that headers can carry, or breaks the protocol."""
    login = credentials.Blaxel("https://x/v0", "https://x", "w", "login", "test", refresh_token="r")
    try:
        new = credentials.from_token_answer(login, read_json(data), 1.0)
    except ProtocolError:
        return
    assert new.access_token
    assert new.access_token.isascii()
    assert new.expires_at is None or abs(new.expires_at) < float("inf")


@fuzzed(
    *JSON, b'"token":"', b'"url":"http://127.0.0.1:1"', b'"pid":', b'"port":', b"65536", b"Infinity"
)
def runtime_file(data: bytes) -> None:
    """The local service's file names a service and a port, or is refused."""
    try:
        service, port = local.read_runtime(data, Path("file"))
    except ProtocolError:
        return
    assert 0 < port < 65536
    assert service.token.isascii()
    assert isinstance(service.pid, int)


@fuzzed(
    *JSON,
    *PROCESS,
    b'"key":"',
    b'"started":',
    b'"os_pid":',
    b'{"code":',
    b',"ended":',
    largest=1024,
)
def service_state(data: bytes) -> None:
    """Files of the service's state that cannot be read are passed over: it starts all the same."""
    path = _written("state/a.json", data)
    for known in facts.Facts.load_all(path.parent):
        assert isinstance(known.name, str)
        assert isinstance(known.pid, int)
        assert isinstance(known.started, int | float)
    ending = spawn.read_ending(path)
    assert ending is None or (
        isinstance(ending.code, int) and isinstance(ending.ended, int | float)
    )
    record = sandboxes.read_record(_written("sandbox/sandbox.json", data))
    assert record is None or isinstance(record["metadata"]["name"], str)


@fuzzed(*EVENTS, b"data: ", b"\n\n", b'{"events":[', largest=4096)
def replay_prompt(data: bytes) -> None:
    """A recording that is to be replayed gives events that can be sent, or says why not."""
    text = text_of(data)
    if "\n" not in text.strip("\n") and not text.lstrip().startswith(("{", "data:")):
        return  # a file's name
    try:
        recording = asyncio.run(replay.load(text))
    except replay.RecordingError:
        return
    assert len(recording.events) == len(recording.times) > 0
    for event in recording.events:
        json.dumps(event, allow_nan=False).encode()


@fuzzed(
    b"$ ls\n", b"```sh\n", b"```", b"~~~", b"> ", b"# optional", b"\r\n", b"  ", b"\n", largest=4096
)
def agent_prompt(data: bytes) -> None:
    """Of a prompt every word is said, thought or run; what is said comes in pieces that add up."""
    text = text_of(data).replace("\r\n", "\n")
    items = prompt.read_prompt(text)
    said = "".join(item.text if isinstance(item, prompt.Prose) else item.command for item in items)
    assert len(said) <= len(text)
    left = iter(text)
    for item in items:
        for letter in item.text if isinstance(item, prompt.Prose) else item.command:
            assert letter in left
        if isinstance(item, prompt.Prose):
            assert "".join(prompt.pieces(item.text, prompt.pace(items))) == item.text


@fuzzed(
    *JSON,
    *b'"command":" "env":{" "waitForPorts":[ "timeout": "prompt":" "agent":"replay" "model":"replay/'.split(),
    *b'"repoUrl":"https://github.com/a/b" "type":"claude"'.split(),
)
def service_body(data: bytes) -> None:
    """A body that a client sends to the local service is read, or refused with the reason."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(value, dict):
        return
    try:
        asked = Exec.parse(value)
        asked.command.encode()
        assert asked.patience is None or asked.patience > 0
    except ValueError:
        pass
    if "\n" in str(value.get("prompt")) or value.get("agent") != "replay":
        try:
            task, _ = asyncio.run(task_asked.asked_of(value))
            task.prompt.encode()
        except task_asked.BadRequestError:
            pass
