"""Promises of ``blaxel_jupyter.cli_login``: renewed tokens are written back, and nothing else."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from blaxel_jupyter import credentials
from tests.login_world import LOGIN, World


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> World:
    """An empty world: no variable, no file."""
    return World(tmp_path)


def renewed(world: World, access: str = "new-access", refresh: str = "new-refresh") -> Any:
    """The credential found and its renewal."""
    old = world.blaxel()
    answer = {"access_token": access, "refresh_token": refresh}
    return credentials.from_token_answer(old, answer, now=0.0), old


FLOW = (
    "context: {workspace: b}\r\nworkspaces: [{name: a, credentials: {access_token: x, "
    "refresh_token: y}}, {name: b, credentials: {\"refresh_token\": 'y', device_code: y, "
    "access_token: x}}] # é y\r\n"
)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            LOGIN,
            LOGIN.replace("CANARY-zJq8-access", '"new-access"').replace(
                "CANARY-zJq8-refresh", '"new-refresh"'
            ),
        ),
        (
            FLOW,
            FLOW.replace("'y'", '"new-refresh"').replace("token: x}}]", 'token: "new-access"}}]'),
        ),
    ],
)  # fmt: skip
def test_save_login_changes_only_the_tokens(world: World, before: str, after: str) -> None:
    """Comments, order, quotes, line ends and other logins stay; the mode is 0600."""
    world.login(before)
    world.config.chmod(0o644)
    new, old = renewed(world)
    assert credentials.save_login(new, previous=old, home=world.home)
    assert world.config.read_bytes().decode() == after
    assert stat.S_IMODE(world.config.stat().st_mode) == 0o600
    assert os.listdir(world.config.parent) == ["config.yaml"]
    found = world.blaxel()
    assert (found.access_token, found.refresh_token) == ("new-access", "new-refresh")


def test_save_login_of_tokens_with_special_characters(world: World) -> None:
    """Whatever a token holds, it is read back as it was."""
    world.login()
    new, old = renewed(world, access="a\"b\\c'd#{e", refresh="- &x: *y %é")
    assert credentials.save_login(new, previous=old, home=world.home)
    found = world.blaxel()
    assert (found.access_token, found.refresh_token) == (new.access_token, new.refresh_token)


def test_save_login_leaves_a_file_that_others_changed(world: World) -> None:
    """If the CLI has logged in anew, or the file is gone, nothing is written."""
    world.login()
    new, old = renewed(world)
    changed = LOGIN.replace("CANARY-zJq8-refresh", "of-another-login")
    for text in (changed, "", "{", LOGIN.replace("name: team-b", "name: team-c"), b"\xff"):
        world.login(text)
        assert not credentials.save_login(new, previous=old, home=world.home)
        assert world.config.read_bytes() == (text if isinstance(text, bytes) else text.encode())
    world.config.unlink()
    assert not credentials.save_login(new, previous=old, home=world.home)
    assert os.listdir(world.config.parent) == []


def test_save_login_of_tokens_shared_by_reference(world: World) -> None:
    """Two entries that share their tokens by a YAML alias share the new ones."""
    world.login(
        "context: {workspace: b}\nworkspaces:\n- name: a\n  credentials: &c\n"
        "    access_token: x\n    refresh_token: y\n- name: b\n  credentials: *c\n"
    )
    new, old = renewed(world)
    assert credentials.save_login(new, previous=old, home=world.home)
    entries = yaml.safe_load(world.config.read_text())["workspaces"]
    assert [entry["credentials"]["refresh_token"] for entry in entries] == ["new-refresh"] * 2


def test_save_login_gives_up_where_an_edit_is_not_safe(world: World) -> None:
    """A token written in a way that cannot be replaced in its place is left alone."""
    text = LOGIN.replace("CANARY-zJq8-refresh", "|-\n      CANARY-zJq8-refresh")
    world.login(text)
    new, old = renewed(world)
    assert old.refresh_token == "CANARY-zJq8-refresh"
    assert not credentials.save_login(new, previous=old, home=world.home)
    assert world.config.read_text() == text


def test_save_login_writes_through_a_link(world: World) -> None:
    """A config file that is a symbolic link stays one."""
    world.login()
    real = world.home / "dotfiles.yaml"
    world.config.rename(real)
    world.config.symlink_to(real)
    new, old = renewed(world)
    assert credentials.save_login(new, previous=old, home=world.home)
    assert world.config.is_symlink()
    assert "new-refresh" in real.read_text()


def test_save_login_is_for_logins_only(world: World) -> None:
    """A service account's token is not written anywhere."""
    world.login()
    new, old = renewed(world)
    account = replace(new, kind="client_credentials", client_credentials="c")
    assert not credentials.save_login(account, previous=old, home=world.home)
    assert world.config.read_text() == LOGIN
