"""Read the config file that Blaxel's ``bl`` CLI keeps its logins in, and write renewed tokens back.

It knows the file's shape and touches nothing in it but tokens; which login counts is not its
matter. Only credentials may import it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from blaxel_jupyter.hidden import hide
from blaxel_jupyter.settings import Found, read, unreadable

CONFIG = "~/.blaxel/config.yaml"

MOST_ALIASES = 8
"""References in a file that tokens are written to: with many, one in another, comparing never ends."""


def config_path(home: Path | None) -> Path:
    """Return where the ``bl`` CLI keeps its login."""
    return (home or Path(os.path.expanduser("~"))) / ".blaxel" / "config.yaml"


def read_config(home: Path | None) -> dict[str, Any]:
    """Return the CLI's config file, every scalar a string; {} if there is none.

    Raises:
        CredentialsError: It cannot be read or parsed.
    """
    line = None
    try:
        config = hide(yaml.load(read(config_path(home), CONFIG), Loader=yaml.BaseLoader))
        return config if isinstance(config, dict) else {}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
    except (
        yaml.YAMLError,
        RecursionError,
        ValueError,
        OverflowError,
    ):  # a character beyond Unicode
        pass
    raise unreadable(CONFIG, line)


def text(mapping: Mapping[str, Any], *names: str) -> str:
    """Return the first of the entries that is text and not empty, else ``""``."""
    values = (mapping.get(name) for name in names)
    return next((value for value in values if isinstance(value, str) and value.strip()), "")


def section(mapping: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the mapping below ``name``, {} if there is none."""
    value = mapping.get(name)
    return value if isinstance(value, dict) else {}


def chosen(config: dict[str, Any]) -> Found | None:
    """Return the workspace that the CLI has selected."""
    name = text(section(config, "context"), "workspace")
    return Found(name, "context.workspace", CONFIG) if name else None


def entries(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the logins, one a workspace."""
    found = config.get("workspaces")
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def entry(config: dict[str, Any], workspace: str) -> dict[str, Any]:
    """Return a workspace's login, {} if there is none."""
    return next((e for e in entries(config) if text(e, "name") == workspace), {})


def write_tokens(home: Path | None, workspace: str, old_refresh: str, new: dict[str, str]) -> bool:
    """Write a login's new tokens over the old ones; every other byte of the file stays.

    The file is replaced at once, with mode 0600. Nothing is written if it no longer holds the refresh
    token ``old_refresh``, or cannot be edited safely.

    Returns:
        Whether it was written.
    """
    path = config_path(home).resolve()
    try:
        edited = _with_tokens(path.read_bytes().decode(), workspace, old_refresh, new)
        if edited is None:
            return False
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".config-")  # mode 0600
        try:
            with open(handle, "wb") as file:
                file.write(edited.encode())
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    except (OSError, ValueError, OverflowError, RecursionError, yaml.YAMLError):
        return False
    return True


def _with_tokens(text: str, workspace: str, old_refresh: str, new: dict[str, str]) -> str | None:
    """Put the new tokens in the place of the old ones' characters; None if that is not safe."""
    wanted = yaml.load(text, Loader=yaml.BaseLoader)
    aliases = sum(isinstance(one, yaml.AliasEvent) for one in yaml.parse(text))
    if not isinstance(wanted, dict) or aliases > MOST_ALIASES:
        return None
    stored = section(entry(wanted, workspace), "credentials")
    if stored.get("refresh_token") != old_refresh:
        return None
    logins = map(_nodes, _nodes(yaml.compose(text, Loader=yaml.SafeLoader))["workspaces"].value)
    login = next(item for item in logins if "name" in item and item["name"].value == workspace)
    for name, node in reversed(_nodes(login["credentials"]).items()):
        if name in new:
            start, end = node.start_mark.index, node.end_mark.index
            text = f"{text[:start]}{json.dumps(new[name])}{text[end:]}"
            stored[name] = new[name]
    return text if yaml.load(text, Loader=yaml.BaseLoader) == wanted else None


def _nodes(node: Any) -> dict[str, Any]:
    """Return the children of a YAML mapping by key; of anything else, none."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return {key.value: value for key, value in pairs if isinstance(key, yaml.ScalarNode)}
