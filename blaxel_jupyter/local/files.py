"""Answer the file routes of the sandbox API: raw logs by Range, small uploads, the watch (protocol 4.9).

Clients name log files as in a real sandbox (``/var/log/sandbox-api/...``); everything else stays inside
the sandbox's scratch folder, except files ``/tmp/blaxel-jupyter-*``.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
from datetime import UTC, datetime
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from blaxel_jupyter.local import private
from blaxel_jupyter.local.answers import (
    MAX_BODY,
    NO_CACHE,
    STREAM,
    Stream,
    answer,
    error,
    read_body,
    read_json,
)
from blaxel_jupyter.local.processes import Processes
from blaxel_jupyter.local.routes import head, processes_of
from blaxel_jupyter.process import KEEPALIVE, LOG_DIR
from blaxel_jupyter.wire import decode_like_go

BLOCK = 1024 * 1024
"""Bytes read and sent at a time."""
WATCH_KEEPALIVE = 30.0
"""Seconds between keepalives of a quiet watch (protocol 4.9)."""
MAX_RANGES = 16
MAX_PARTS = 4 * BLOCK
"""Bytes of several ranges that are gathered in memory; for more the whole file is sent."""

_SHARED = re.compile(r"/tmp/blaxel-jupyter-[A-Za-z0-9._-]+")
_STAT = re.compile(r"/proc/(\d+)/stat")


class _AnyPath(PathConvertor):
    """A path in a route that may hold any character: Starlette's own ends at a line's end."""

    regex = "(?s:.*)"


register_url_convertor("any_path", _AnyPath())


class RefusedError(Exception):
    """A path that this service does not open."""


def locate(path: str, table: Processes) -> Path:
    """Map a path as clients name it to a file of this machine.

    Raises:
        RefusedError: it leads anywhere but to a log, the scratch folder, or ``/tmp/blaxel-jupyter-*``.
    """
    if "\0" in path or ".." in path.split("/"):
        raise RefusedError(f"{path}: '..' is not allowed")
    work = str(table.work)
    if path == LOG_DIR:
        return table.logs
    if _SHARED.fullmatch(path):
        return Path(path)
    if path.startswith(LOG_DIR + "/"):
        base, inner = table.logs, path[len(LOG_DIR) + 1 :]
    elif not path.startswith("/"):
        base, inner = table.work, path
    elif path == work or path.startswith(work + "/"):
        base, inner = table.work, path[len(work) + 1 :]
    else:
        raise RefusedError(
            f"{path}: the local service opens files in the sandbox's folder ({work}), logs, "
            "and /tmp/blaxel-jupyter-* only"
        )
    found = base / inner
    try:
        inside = found.resolve().is_relative_to(base.resolve())
    except RuntimeError:
        raise RefusedError(f"{path}: links lead in a circle") from None
    if not inside:
        raise RefusedError(f"{path}: a link leads out of the sandbox's folder")
    return found


def _asked(request: Request) -> str:
    """Return the path that the URL names, without doubled slashes; absolute ones begin with ``/``."""
    path: str = re.sub("/+", "/", request.path_params["path"])
    return path if path == "/" else path.rstrip("/")


async def get_file(request: Request) -> Response:
    """``GET /filesystem/{path}``: a download by ``Accept`` or ``?download=true``, else JSON."""
    name, table = _asked(request), processes_of(request)
    if found := _STAT.fullmatch(name):
        return _process_stat(int(found[1]), name, table)
    try:
        path = locate(name, table)
        if path.is_dir():
            return answer(_listing(path, name))
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except RefusedError as problem:
        return error(403, str(problem))
    except FileNotFoundError:
        shown = name if name.startswith("/") else f"{table.work}/{name}"
        return error(404, f"stat {shown}: no such file or directory")
    except OSError as problem:
        return error(500, f"open {name}: {(problem.strerror or '').lower()}")
    facts = os.fstat(file)
    if not stat.S_ISREG(facts.st_mode):
        os.close(file)
        return error(403, f"{name}: not a regular file")
    accept = request.headers.get("accept", "")
    wanted = "application/octet-stream" in accept or "text/plain" in accept
    if wanted or request.query_params.get("download") == "true":
        return _download(request, file, facts, path.name)
    with os.fdopen(file, "rb") as opened:
        if facts.st_size > MAX_BODY:
            return error(413, f"{name} is too large for JSON: ask for application/octet-stream")
        return answer(_described(name, facts, decode_like_go(opened.read())))


def _described(name: str, facts: os.stat_result, content: str) -> dict[str, Any]:
    return {
        "path": name,
        "name": "",
        "permissions": f"{stat.S_IMODE(facts.st_mode):o}",
        "size": facts.st_size,
        "lastModified": _date(facts),
        "owner": str(facts.st_uid),
        "group": str(facts.st_gid),
        "content": content,
    }


def _date(facts: os.stat_result) -> str:
    seconds, rest = divmod(facts.st_mtime_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def _listing(folder: Path, name: str) -> dict[str, Any]:
    files, folders = [], []
    for path in sorted(folder.iterdir()):
        shown = f"{name.rstrip('/')}/{path.name}"
        try:
            facts = path.lstat()
        except FileNotFoundError:
            continue  # gone since it was listed
        if stat.S_ISDIR(facts.st_mode):
            folders.append({"path": shown, "name": path.name})
        else:
            described = _described(shown, facts, "") | {"name": path.name}
            del described["content"]
            files.append(described)
    return {"path": name, "name": folder.name, "files": files, "subdirectories": folders}


def _process_stat(pid: int, name: str, table: Processes) -> Response:
    """Say whether one of the sandbox's processes lives (also between two runs of a restarting one)."""
    process = next(
        (each for each in table if each.facts.pid == pid and not each.final.is_set()), None
    )
    if process is None:
        return error(404, f"stat {name}: no such file or directory")
    try:
        content = Path(f"/proc/{process.facts.os_pid}/stat").read_text()
    except OSError:
        content = f"{pid} (sh) S\n"
    facts = {"path": name, "name": "", "permissions": "444", "size": 0, "owner": "", "group": ""}
    return answer({**facts, "lastModified": "", "content": content})


def _download(request: Request, file: int, facts: os.stat_result, name: str) -> Response:
    """Answer as protocol 4.9's table says; owns the open file."""
    size, modified = facts.st_size, formatdate(int(facts.st_mtime), usegmt=True)
    quoted = re.sub(r'[^ -~]|["\\]', "_", name)  # what ends a header, or its quotes, is no name
    headers = {"Content-Disposition": f'attachment; filename="{quoted}"'}
    wanted = request.headers.get("range")
    if request.headers.get("if-range", modified) != modified:
        wanted = None
    status, parts = HTTPStatus.OK, [(0, size)]
    if wanted is None and request.headers.get("if-modified-since") == modified:
        os.close(file)
        return Response(status_code=304, headers=headers | {"Last-Modified": modified})
    if wanted is not None and size:
        try:
            parts = parse_ranges(wanted, size)
            status = HTTPStatus.PARTIAL_CONTENT
        except ValueError as problem:
            os.close(file)
            if problem.args == (NO_OVERLAP,):
                headers["Content-Range"] = f"bytes */{size}"
            return Response(f"{problem}\n", 416, headers, "text/plain; charset=utf-8")
    headers |= {**NO_CACHE, "Accept-Ranges": "bytes", "Last-Modified": modified}
    if len(parts) > 1:
        with os.fdopen(file, "rb") as opened:
            return _several(opened.fileno(), parts, size, headers)
    start, length = parts[0]
    if status == HTTPStatus.PARTIAL_CONTENT:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    headers["Content-Length"] = str(length)
    if length > BLOCK:
        return Stream(_Blocks(file, start, length), "text/plain", headers, status)
    with os.fdopen(file, "rb") as opened:
        return Response(os.pread(opened.fileno(), length, start), status, headers, "text/plain")


NO_OVERLAP = "invalid range: failed to overlap"


def parse_ranges(text: str, size: int) -> list[tuple[int, int]]:
    """Read a Range header for a file of ``size`` > 0 bytes: ``(start, length)`` of each part.

    Raises:
        ValueError: the text that the real server answers with.
    """
    unit, equals, listed = text.partition("=")
    if unit != "bytes" or not equals:
        raise ValueError("invalid range")
    parts = []
    for each in listed.split(","):
        found = re.fullmatch(r"\s*(\d*)-(\d*)\s*", each)
        if not found or found.groups() == ("", ""):
            raise ValueError("invalid range")
        first, last = found.groups()
        if not first:
            start, end = max(0, size - int(last)), size
        else:
            start, end = int(first), min(int(last) + 1 if last else size, size)
            if last and int(last) < start:
                raise ValueError("invalid range")
        if start < end:
            parts.append((start, end - start))
    if not parts:
        raise ValueError(NO_OVERLAP)
    together = sum(length for _, length in parts)
    if len(parts) > MAX_RANGES or (len(parts) > 1 and together > min(size, MAX_PARTS)):
        return [(0, size)]
    return parts


def _several(
    file: int, parts: list[tuple[int, int]], size: int, headers: dict[str, str]
) -> Response:
    boundary = os.urandom(15).hex()
    body = b"".join(
        f"--{boundary}\r\nContent-Range: bytes {start}-{start + length - 1}/{size}\r\n"
        "Content-Type: text/plain\r\n\r\n".encode()
        + os.pread(file, length, start)
        + b"\r\n"
        for start, length in parts
    )
    body += f"--{boundary}--\r\n".encode()
    return Response(body, 206, headers, f"multipart/byteranges; boundary={boundary}")


class _Blocks:
    """Read a snapshot of a file in blocks; what is written meanwhile is for the next request.

    Owns the open file. Close it with ``aclose``.
    """

    def __init__(self, file: int, start: int, length: int) -> None:
        self._file = file
        self._start, self._end = start, start + length

    def __aiter__(self) -> _Blocks:
        return self

    async def __anext__(self) -> bytes:
        """Return the next block; none where the program truncated the file: then the answer is short."""
        block = os.pread(self._file, min(BLOCK, self._end - self._start), self._start)
        if not block:
            raise StopAsyncIteration
        self._start += len(block)
        return block

    async def aclose(self) -> None:
        """Close the file."""
        os.close(self._file)


async def put_file(request: Request) -> Response:
    """``PUT /filesystem/{path}``: JSON ``{"content", "permissions", "isDirectory"}``, or a form."""
    name, table = _asked(request), processes_of(request)
    try:
        members = await _upload(request)
        mode = int(str(members.get("permissions") or "600"), 8) & 0o777
        path = locate(name, table)
        if path.is_relative_to(table.logs):
            raise RefusedError(f"{name}: logs are written by their processes only")
        if members.get("isDirectory"):
            path.mkdir(mode=mode | 0o700, parents=True, exist_ok=True)
        else:
            _write(path, members["content"], mode)
    except RefusedError as problem:
        return error(403, str(problem))
    except (ValueError, AttributeError) as problem:
        return error(400, f"invalid request body: {problem}")
    except OSError as problem:
        return error(422, f"open {name}: {(problem.strerror or '').lower()}")
    return answer({"path": name, "message": "File created/updated successfully"})


async def _upload(request: Request) -> dict[str, Any]:
    """Read an upload: ``content`` is bytes, whichever way it came (the SDK sends bytes as a form)."""
    found = re.fullmatch(
        r'multipart/form-data; *boundary="?([^";]+)"?', request.headers.get("content-type", "")
    )
    if not found:
        members = await read_json(request)
        return members | {"content": (members.get("content") or "").encode("utf-8", "replace")}
    fields: dict[str, bytes] = {}
    body = b"\r\n" + await read_body(request)
    for part in body.split(f"\r\n--{found[1]}".encode())[1:-1]:
        head, _, data = part.partition(b"\r\n\r\n")
        field = re.search(rb'[ ;]name="([^"]*)"', head)
        fields[field[1].decode() if field else ""] = data
    if "file" not in fields:
        raise ValueError("the form has no part named file")
    return {"content": fields["file"], "permissions": fields.get("permissions", b"").decode()}


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a file whole; one in /tmp must be new and is private, whatever was asked."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe must not stop us
    if _SHARED.fullmatch(str(path)):
        flags, mode = flags | os.O_EXCL, 0o600
    else:
        flags |= os.O_TRUNC
        private.make_folder(path.parent)
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise RefusedError(f"{path.name}: not a regular file")
        os.fchmod(file.fileno(), mode)
        file.write(data)


async def delete_file(request: Request) -> Response:
    """``DELETE /filesystem/{path}``: one file, or an empty folder."""
    name, table = _asked(request), processes_of(request)
    try:
        path = locate(name, table)
        if path == table.work or path.is_relative_to(table.logs):
            raise RefusedError(f"{name}: may not be deleted")
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
    except RefusedError as problem:
        return error(403, str(problem))
    except FileNotFoundError:
        return error(404, f"stat {name}: no such file or directory")
    except OSError as problem:
        return error(422, f"remove {name}: {(problem.strerror or '').lower()}")
    return answer({"path": name, "message": "File deleted successfully"})


async def watch(request: Request) -> Response:
    """``GET /watch/filesystem/{log folder}?ignore=a,b``: one JSON line for each file that changes."""
    table = processes_of(request)
    if _asked(request) != LOG_DIR:
        return error(400, "path is not a directory")
    ignored = [each for each in request.query_params.get("ignore", "").split(",") if each]
    return Stream(Watch(table, ignored), "text/plain; charset=utf-8", STREAM)


class Watch:
    """Iterate over the changes in a log folder from now on, as the lines of a watch.

    Changes of one file that wait for a slow client are told once. Close it with ``aclose``.
    """

    def __init__(self, table: Processes, ignored: list[str]) -> None:
        self._ignored = ignored
        self._waiting: dict[tuple[str, str], None] = {}
        self._changed = asyncio.Event()
        self._stop = table.watch(self._note)  # before the head is sent: what comes after it is told

    def _note(self, op: str, name: str) -> None:
        if not any(each in f"{LOG_DIR}/{name}" for each in self._ignored):
            self._waiting[op, name] = None
            self._changed.set()

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> bytes:
        """Return the lines of what has changed, or a keepalive after 30 s."""
        try:
            async with asyncio.timeout(WATCH_KEEPALIVE):
                await self._changed.wait()
        except TimeoutError:
            return KEEPALIVE
        self._changed.clear()
        events = [
            {"op": op, "name": name, "path": LOG_DIR, "error": None} for op, name in self._waiting
        ]
        self._waiting.clear()
        return "".join(json.dumps(e, separators=(",", ":")) + "\n" for e in events).encode()

    async def aclose(self) -> None:
        """Stop being told."""
        self._stop()


def file_routes(prefix: str) -> list[Route]:
    """Return the routes of this module under a URL prefix."""
    file = prefix + "/filesystem/{path:any_path}"
    return [
        Route(file, head, methods=["HEAD"]),
        Route(file, get_file, methods=["GET"]),
        Route(file, put_file, methods=["PUT"]),
        Route(file, delete_file, methods=["DELETE"]),
        Route(prefix + "/watch/filesystem/{path:any_path}", watch, methods=["GET"]),
    ]
