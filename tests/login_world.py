"""Homes, folders and environments with credentials in them, for the tests of what is found there."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from blaxel_jupyter.credentials import Blaxel, blaxel
from blaxel_jupyter.errors import CredentialsError

SECRET = "CANARY-zJq8"
CONFIG = "~/.blaxel/config.yaml"
ENV_KEY = {"BL_API_KEY": SECRET, "BL_WORKSPACE": "team"}
HOSTILE = "https://host.example/v0"

LOGIN = """\
# written by hand
context:
  workspace: team-b
workspaces:
- name: team-a
  credentials:
    apiKey: "CANARY-zJq8-a"
- name: team-b
  credentials:
    access_token: CANARY-zJq8-access   # short
    refresh_token: CANARY-zJq8-refresh
    expires_in: 7200
    device_code: CANARY-zJq8-device
- name: ci
  credentials:
    client_credentials: "CANARY-zJq8-ci"
  env: "dev"
- name: "42"
  credentials: {clientCredentials: CANARY-zJq8-42}
- name: short
  credentials:
    access_token: CANARY-zJq8-short
- name: nothing
  credentials:
    expires_in: 7200
tracking: false
"""


class World:
    """A home, a project folder below it with a notebook folder inside, and an environment."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.project = self.home / "project"
        self.notebooks = self.project / "notebooks"
        self.notebooks.mkdir(parents=True)
        self.config = self.home / ".blaxel" / "config.yaml"
        self.environ: dict[str, str] = {}

    def dotenv(self, text: str | bytes, folder: Path | None = None) -> None:
        """Write a ``.env``, in the notebooks' folder unless another is given."""
        data = text.encode() if isinstance(text, str) else text
        ((folder or self.notebooks) / ".env").write_bytes(data)

    def login(self, text: str | bytes = LOGIN) -> None:
        """Write the CLI's config file."""
        self.config.parent.mkdir(exist_ok=True)
        self.config.write_bytes(text.encode() if isinstance(text, str) else text)

    def blaxel(self) -> Blaxel:
        """Look as a kernel in the notebooks' folder would."""
        return blaxel(self.environ, self.notebooks, self.home)

    def refused(self, call: Callable[[], object] | None = None) -> str:
        """Return the message of the error that ``call`` raises, having searched it for secrets."""
        with pytest.raises(CredentialsError) as caught:
            (call or self.blaxel)()
        check_no_secret(caught.value)
        message = str(caught.value)
        assert len(message.splitlines()) == 2, "the problem and the next step"
        return message


def check_no_secret(error: BaseException) -> None:
    """Fail if a secret is in the error, its traceback or any error that it is chained to."""
    chain: BaseException | None = error
    while chain is not None:
        shown = f"{chain!r} {chain} {chain.args} {vars(chain)}"
        shown += "".join(traceback.format_exception(chain))
        assert "CANARY" not in shown
        chain = chain.__context__ or chain.__cause__
