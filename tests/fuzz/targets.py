"""All targets: importing this module fills ``TARGETS``."""

from __future__ import annotations

from tests.fuzz import agree, files, logs, shown, tasks
from tests.fuzz.target import TARGETS, Target

__all__ = ["TARGETS", "Target", "agree", "files", "logs", "shown", "tasks"]
