"""A real IPython shell with the extension loaded, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config


class Shell:
    """A shell with the extension loaded; what a cell printed is read after it."""

    def __init__(self, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
        self.shell = shell
        self._capsys = capsys
        self.out = self.err = ""

    def run(self, code: str) -> Any:
        """Run a cell that must succeed; return its value."""
        result = self._run(code)
        assert result.success, (self.out, self.err, result.error_in_exec)
        assert "UsageError" not in self.err
        return result.result

    def fail(self, code: str) -> BaseException:
        """Run a cell that must raise; return the error."""
        error: BaseException | None = self._run(code).error_in_exec
        assert error is not None, (self.out, self.err)
        return error

    def misuse(self, code: str) -> str:
        """Run a cell that is used wrongly; return the one line that it shows."""
        self._run(code)
        line = self.err.removesuffix("\n")
        assert line.startswith("UsageError: "), (self.out, self.err)
        assert "\n" not in line
        assert self.out == ""
        return line

    def _run(self, code: str) -> Any:
        self._capsys.readouterr()
        result = self.shell.run_cell(code)
        self.out, self.err = self._capsys.readouterr()
        return result

    def __getitem__(self, name: str) -> Any:
        return self.shell.user_ns[name]


@contextmanager
def extended() -> Iterator[InteractiveShell]:
    """Give a shell with the extension, without history; unload it afterwards."""
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(config=config)
    shell.run_line_magic("load_ext", "blaxel_jupyter")
    try:
        yield shell
    finally:
        shell.run_line_magic("unload_ext", "blaxel_jupyter")
        InteractiveShell.clear_instance()
