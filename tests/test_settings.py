"""Promises of ``blaxel_jupyter.settings``: what is missing or broken is named, and never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from blaxel_jupyter.credentials import blaxel
from tests.login_world import CONFIG, ENV_KEY, HOSTILE, LOGIN, SECRET, World


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> World:
    """An empty world: no variable, no file."""
    return World(tmp_path)


@pytest.mark.parametrize(
    ("environ", "login", "words"),
    [
        ({}, "", ["BL_API_KEY and BL_WORKSPACE missing", "environment", ".env", CONFIG, "bl login"]),
        ({"BL_WORKSPACE": SECRET}, "", ["BL_API_KEY missing", CONFIG]),
        ({"BL_API_KEY": SECRET}, "", ["BL_WORKSPACE missing", CONFIG]),
        ({"BL_WORKSPACE": "nothing"}, LOGIN, ["BL_API_KEY missing"]),
        ({"BL_WORKSPACE": "team-z"}, LOGIN, ["BL_API_KEY missing"]),
        ({}, f"- {SECRET}", ["BL_API_KEY and BL_WORKSPACE missing"]),
        ({}, f"workspaces: {SECRET}\ncontext: {SECRET}", ["BL_API_KEY and BL_WORKSPACE missing"]),
        ({**ENV_KEY, "BL_API_KEY": f"{SECRET}\n"}, "", ["BL_API_KEY in the environment", "line break"]),
        ({**ENV_KEY, "BL_API_KEY": f"{SECRET} x"}, "", ["BL_API_KEY in the environment"]),
        ({**ENV_KEY, "BL_API_KEY": f"{SECRET}\udcff"}, "", ["BL_API_KEY in the environment"]),
        ({**ENV_KEY, "BL_API_KEY": f"{SECRET}é"}, "", ["BL_API_KEY in the environment"]),
        ({**ENV_KEY, "BL_WORKSPACE": f"{SECRET}\r\nX: y"}, "", ["BL_WORKSPACE in the environment"]),
        (
            {"BL_WORKSPACE": "w", "BL_CLIENT_CREDENTIALS": f"{SECRET}\t"}, "",
            ["BL_CLIENT_CREDENTIALS in the environment"],
        ),
        ({}, LOGIN.replace("8-access ", "8 access"), ["access_token in", CONFIG]),
        ({**ENV_KEY, "BL_API_URL": f"ftp://{SECRET}"}, "", ["BL_API_URL in the environment"]),
        ({**ENV_KEY, "BL_API_URL": f"https://me:{SECRET}@h/"}, "", ["BL_API_URL in the environment"]),
        ({**ENV_KEY, "BL_API_URL": f"https://[{SECRET}"}, "", ["BL_API_URL in the environment"]),
        ({**ENV_KEY, "BL_API_URL": f"https://h/\n{SECRET}"}, "", ["BL_API_URL in the environment"]),
        ({}, f"a: 1\nb: '{SECRET}\n", [CONFIG, "line 3", "cannot be read"]),
        ({}, f"a: 1\n{SECRET}: {{\n", [CONFIG, "line 3", "cannot be read"]),
        ({}, f"a: 1\n? {{x: {SECRET}}}\n: 2\n", [CONFIG, "line 2", "cannot be read"]),
        ({}, f"a: *{SECRET}", [CONFIG, "line 1", "cannot be read"]),
        ({}, f"a: {SECRET}\x07", [CONFIG, "cannot be read"]),
        ({}, "[" * 100_000 + SECRET, [CONFIG, "cannot be read"]),
        ({}, f"a: 1\nb: {SECRET}\xff".encode("latin-1"), [CONFIG, "line 2", "cannot be read"]),
    ],
)  # fmt: skip
def test_an_error_says_what_and_where_but_never_the_value(
    world: World, environ: dict[str, str], login: str | bytes, words: list[str]
) -> None:
    """Missing, empty and broken settings are named with their place, in two lines."""
    world.environ = environ
    if login:
        world.login(login)
    message = world.refused()
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"A=1\n\n\nBL_API_KEY='{SECRET}\n", 4),
        (f"=={SECRET}\n", 1),
        (f"A=1\nB=2\n= {SECRET}\nC=3\n", 3),
        (f"A=1\nBL_API_KEY={SECRET}\xff".encode("latin-1"), 2),
    ],
)
def test_a_broken_dotenv_is_named_with_its_line(world: World, text: str | bytes, line: int) -> None:
    """A line that is not ``NAME=value`` is refused instead of skipped."""
    world.dotenv(text)
    assert f".env in the current folder, line {line}, cannot be read" in world.refused()
    world.dotenv(text, world.project)
    (world.notebooks / ".env").unlink()
    assert f"{world.project}/.env, line {line}, cannot be read" in world.refused()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file_is_named(world: World) -> None:
    """A file without read permission is an error, not a missing credential."""
    world.login()
    world.config.chmod(0)
    assert f"{CONFIG} cannot be read" in world.refused()


def test_a_config_that_is_a_folder_is_named(world: World) -> None:
    """What is not a file is an error; a ``.env`` folder, as a virtual environment has, is not."""
    world.config.mkdir(parents=True)
    assert f"{CONFIG} cannot be read" in world.refused()
    world.config.rmdir()
    (world.notebooks / ".env").mkdir()
    world.dotenv("BL_API_KEY=k\nBL_WORKSPACE=w", world.project)
    assert world.blaxel().api_key == "k"


def test_a_dotenv_in_a_folder_for_everyone_is_passed_over(world: World) -> None:
    """Nobody can leave a ``.env`` in a folder like ``/tmp`` for the folders below it."""
    world.dotenv("BL_API_KEY=k\nBL_WORKSPACE=w", world.project)
    assert world.blaxel().api_key == "k"
    world.project.chmod(0o1777)
    assert "BL_API_KEY" in world.refused()
    assert blaxel({}, world.project, world.home).api_key == "k", "unless one works there"


@pytest.mark.parametrize(
    ("environ", "dotenv", "login", "api_url"),
    [
        (ENV_KEY, f"BL_API_URL={HOSTILE}", "", None),
        (ENV_KEY, "BL_API_URL=https://127.evil.example", "", None),
        (ENV_KEY, "BL_API_URL=https://notblaxel.ai/v0", "", None),
        (ENV_KEY, "BL_API_URL=http://api.blaxel.ai/v0", "", None),
        (ENV_KEY, f"BL_RUN_URL={HOSTILE}", "", None),
        ({}, f"BL_API_URL={HOSTILE}", LOGIN, None),
        ({**ENV_KEY, "BL_API_URL": HOSTILE}, "BL_API_URL=other", "", HOSTILE),
        ({"BL_API_URL": HOSTILE}, "", LOGIN, HOSTILE),
        ({}, f"BL_API_KEY=k\nBL_WORKSPACE=w\nBL_API_URL={HOSTILE}", "", HOSTILE),
        (ENV_KEY, "BL_API_URL=http://127.0.0.1:80/v0", "", "http://127.0.0.1:80/v0"),
        (ENV_KEY, "BL_API_URL=https://api.eu.blaxel.ai/v0", "", "https://api.eu.blaxel.ai/v0"),
    ],
)
def test_a_dotenv_cannot_send_a_key_elsewhere(
    world: World, environ: dict[str, str], dotenv: str, login: str, api_url: str | None
) -> None:
    """An address in ``.env`` is refused if the key is kept elsewhere and the host is a stranger."""
    world.environ = environ
    world.dotenv(dotenv)
    if login:
        world.login(login)
    if api_url is None:
        assert "would send the key" in world.refused()
    else:
        assert world.blaxel().api_url == api_url
