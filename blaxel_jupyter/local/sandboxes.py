"""Keep the named local sandboxes: a record, a scratch folder and a table of processes each.

They are on disk, so they are still there after a restart of the service. Knows no HTTP.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import string
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blaxel_jupyter.local import private
from blaxel_jupyter.local.capture import Wakeups
from blaxel_jupyter.local.processes import Processes

DEFAULT = "local"
"""The sandbox that always exists: made when it is first asked for."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,47}[a-z0-9])?")

Record = dict[str, Any]
"""A sandbox object of the control plane (protocol 2), without its URL."""


class Sandboxes:
    """All sandboxes of one state folder."""

    def __init__(self, folder: Path, wakeups: Wakeups) -> None:
        self._folder = folder / "sandboxes"
        private.own_folder(self._folder)
        self._wakeups = wakeups
        self._processes: dict[str, Processes] = {}
        for name in self.names():
            self.processes(name)

    def names(self) -> list[str]:
        """Return the names in alphabetical order."""
        paths = self._folder.glob("*/sandbox.json")
        return sorted(path.parent.name for path in paths if read_record(path) is not None)

    def __contains__(self, name: str) -> bool:
        return bool(_NAME.fullmatch(name)) and read_record(self._record(name)) is not None

    def __iter__(self) -> Iterator[Processes]:
        return iter(self._processes.values())

    def get(self, name: str) -> Record:
        """Return the record of a sandbox.

        Raises:
            KeyError: there is no such sandbox.
        """
        record = read_record(self._record(name)) if _NAME.fullmatch(name) else None
        if record is None:
            if name != DEFAULT:
                raise KeyError(name)
            return self.create({"metadata": {"name": name}})
        return record

    def create(self, body: Record) -> Record:
        """Make a sandbox of what a client asked for; without a name it gets one.

        Raises:
            ValueError: the name is not lower-case letters, digits and ``-``, 1 to 49 of them, or
                the body has another shape than protocol 2.
            FileExistsError: the name is taken.
        """
        asked = body.get("metadata") or {}
        if not isinstance(asked, dict):
            raise ValueError("metadata must be an object")
        _environment(body)
        name = asked.get("name") or "sandbox-" + _letters()
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"invalid sandbox name {name!r}: use at most 49 lower-case letters, digits and '-'"
            )
        if name in self:
            raise FileExistsError(f"sandbox '{name}' already exists")
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        record: Record = {
            "metadata": {
                "displayName": name,
                "labels": {},
                **asked,
                "name": name,
                "workspace": "local",
                "createdAt": now,
                "updatedAt": now,
            },
            "spec": body.get("spec") or {},
            "status": "DEPLOYED",
            "state": "RUNNING",
            "lastUsedAt": now,
            "events": [],
        }
        path = self._record(name)
        private.own_folder(path.parent)
        private.write_own(path, json.dumps(record))
        return record

    def delete(self, name: str) -> Record:
        """Kill what runs in a sandbox and remove its files; return its last record.

        Raises:
            KeyError: there is no such sandbox.
        """
        record = self.get(name)
        self.processes(name).discard()
        del self._processes[name]
        self._record(name).unlink()
        shutil.rmtree(self._folder / name, ignore_errors=True)
        return record | {"status": "DELETING"}

    def processes(self, name: str) -> Processes:
        """Return the processes of a sandbox.

        Raises:
            KeyError: there is no such sandbox.
        """
        if name not in self._processes:
            env = _environment(self.get(name))
            self._processes[name] = Processes(self._folder / name, self._wakeups, env)
        return self._processes[name]

    def _record(self, name: str) -> Path:
        return self._folder / name / "sandbox.json"


def read_record(path: Path) -> Record | None:
    """Read a sandbox's record; None if there is none, or it is damaged."""
    try:
        record = json.loads(path.read_text())
        if not isinstance(record["metadata"]["name"], str):
            return None
        _environment(record)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return dict(record)


def _environment(body: Record) -> dict[str, str]:
    """Read ``spec.runtime.envs``; a ValueError says that it has another shape."""
    try:
        runtime = (body.get("spec") or {}).get("runtime") or {}
        return {str(each["name"]): str(each["value"]) for each in runtime.get("envs") or ()}
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("spec.runtime.envs must be a list of {name, value}") from error


def _letters() -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))
