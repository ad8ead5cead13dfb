"""Make and open files and folders that are this user's alone, whatever the umask, whatever was planted.

A link is never followed and another user's file never trusted, so that a shared folder (``/tmp``) does no
harm. Knows nothing of what the files hold.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

MOST = 64 * 1024
"""Bytes that are read of a private file: those of the service hold a few hundred."""


def make_folder(path: Path) -> None:
    """Make a folder, and its missing parents, with mode 0700; one that is there stays as it is.

    Raises:
        OSError: it cannot be made.
    """
    missing = []
    while not path.is_dir() and path != path.parent:
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        with suppress(FileExistsError):
            folder.mkdir(0o700)
            folder.chmod(0o700)  # also under a umask that leaves nothing


def own_folder(path: Path) -> None:
    """Make a folder of ours, or take the one that is there, and close it to everybody else.

    Raises:
        PermissionError: it is a link, no folder, or another user's.
        OSError: it cannot be made.
    """
    make_folder(path)
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
        raise PermissionError(f"{path} is not a folder of yours")
    if stat.S_IMODE(facts.st_mode) != 0o700:
        path.chmod(0o700)


def open_own(path: Path, flags: int) -> int:
    """Open a file of ours, made with mode 0600 where ``flags`` say so; return its descriptor.

    Raises:
        PermissionError: it is another user's, others can write to it, or it is no regular file.
        OSError: it cannot be opened; ``ELOOP`` says that it is a link.
    """
    safe = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(path, flags & ~os.O_TRUNC | safe, 0o600)
    facts = os.fstat(file)
    ours = stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid()
    if not ours or facts.st_mode & 0o022:
        os.close(file)
        raise PermissionError(f"{path} is not a file that only you can write")
    if flags & os.O_TRUNC:
        os.ftruncate(file, 0)
    return file


def read_own(path: Path) -> str:
    """Read a small file that only this user can have written.

    Raises:
        OSError: as :func:`open_own`.
        UnicodeDecodeError: it is no text.
    """
    with os.fdopen(open_own(path, os.O_RDONLY), "rb") as file:
        return file.read(MOST).decode()


def write_own(path: Path, text: str) -> None:
    """Write a file with mode 0600, in place of what is there, at once or not at all.

    Raises:
        OSError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(draft, flags, 0o600), "w") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
    draft.replace(path)
