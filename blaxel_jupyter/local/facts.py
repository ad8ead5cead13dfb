"""Keep the facts about one process in a small file, so that a replaced service knows them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import msgspec


@dataclass(slots=True)
class Facts:
    """What is kept on disk about one process; times are Unix seconds."""

    key: str
    name: str
    command: str
    pid: int
    started: float
    working_dir: str = ""
    env: dict[str, str] = field(default_factory=dict)
    status: str = "running"
    exit_code: int = 0
    ended: float | None = None
    restart_on_failure: bool = False
    max_restarts: int = 0
    restart_count: int = 0
    keep_alive: bool = False
    deadline: float | None = None
    """When it is to be killed, in seconds since the machine's start: no setting of its clock moves that."""
    restarting: bool = False
    os_pid: int = 0
    keeper: int = 0
    os_identity: str = ""
    keeper_identity: str = ""

    def save(self, folder: Path) -> None:
        """Write the facts to ``<key>.json``, atomically and for the user's eyes only.

        The variables are kept only where they are needed to start it again; they may be secret.
        """
        path = folder / f"{self.key}.json"
        draft = path.with_suffix(".new")
        with open(draft, "w", opener=lambda file, flags: os.open(file, flags, 0o600)) as file:
            kept = self if self.restart_on_failure else replace(self, env={})
            json.dump(asdict(kept), file)
        draft.replace(path)

    @classmethod
    def load_all(cls, folder: Path) -> Iterator[Facts]:
        """Read what an earlier service has saved, oldest first; members unknown here are left out.

        A file that is damaged is passed over: the service has to start.
        """
        for path in sorted(folder.glob("*.json")):
            with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                yield _READER.decode(path.read_bytes())


_READER = msgspec.json.Decoder(Facts)
