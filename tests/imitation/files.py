"""The filesystem routes: raw files by ``Range``, JSON answers, listings and uploads (protocol 4.9).

The log folder has its name on the wire (``Habits.log_dir``) and lives elsewhere; all other paths are real.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import BytesParser
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO

from tests.imitation.gojson import dumps, http_date, nano_date, text
from tests.imitation.habits import Habits
from tests.imitation.http import Request, Response
from tests.imitation.routes import error

_PIECE = 64 * 1024
_SUFFIXES = {".log": "text/plain", ".txt": "text/plain; charset=utf-8", ".json": "application/json"}


@dataclass(frozen=True, slots=True)
class Places:
    """Translate between paths on the wire and paths on this machine."""

    log_dir: str
    folder: Path
    work_dir: Path

    def real(self, shown: str) -> Path:
        """Return where a path of the wire really is."""
        if shown == self.log_dir or shown.startswith(self.log_dir + "/"):
            return self.folder / shown[len(self.log_dir) :].lstrip("/")
        return Path(shown)

    def absolute(self, wildcard: str) -> str:
        """Resolve what follows ``/filesystem/``: absolute if it starts with a slash (4.9)."""
        return wildcard if wildcard.startswith("/") else str(self.work_dir / wildcard)


async def get(
    request: Request, response: Response, places: Places, wildcard: str, habits: Habits
) -> None:
    """Answer ``GET /filesystem/*path``."""
    shown = places.absolute(wildcard)
    path = places.real(shown)
    try:
        status = path.stat()
    except FileNotFoundError:
        await response.json(404, error(f"stat {shown}: no such file or directory"))
        return
    except OSError as failure:
        reason = os.strerror(failure.errno or 0).lower()
        await response.json(500, error(f"stat {shown}: {reason}"))
        return
    if path.is_dir():
        await response.json(200, dumps(_listing(shown, path)))
    elif _wants_download(request):
        await _download(request, response, path, status, habits)
    else:
        await _as_json(response, shown, path, status)


def _wants_download(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    asked = request.query.get("download", [""])[-1] == "true"
    return asked or accept.startswith(("application/octet-stream", "text/plain"))


async def _as_json(response: Response, shown: str, path: Path, status: os.stat_result) -> None:
    try:
        content = _read(path)
    except (FileNotFoundError, ProcessLookupError):
        await response.json(404, error(f"stat {shown}: no such file or directory"))
        return
    members = _facts(shown, "", status) | {"content": text(content)}
    await response.json(200, dumps(members))


def _read(path: Path) -> bytes:
    return path.read_bytes()


def _facts(shown: str, name: str, status: os.stat_result) -> dict[str, Any]:
    return {
        "path": shown,
        "name": name,
        "permissions": f"{stat.S_IMODE(status.st_mode):o}",
        "size": status.st_size,
        "lastModified": nano_date(status.st_mtime_ns),
        "owner": "root",
        "group": "root",
    }


def _listing(shown: str, path: Path) -> dict[str, Any]:
    files: list[dict[str, Any]] = []
    folders: list[dict[str, str]] = []
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        where = f"{shown.rstrip('/')}/{entry.name}"
        if entry.is_dir():
            folders.append({"path": where, "name": entry.name})
        else:
            files.append(_facts(where, entry.name, entry.stat()))
    return {"path": shown, "name": path.name, "files": files, "subdirectories": folders}


async def _download(
    request: Request, response: Response, path: Path, status: os.stat_result, habits: Habits
) -> None:
    if str(path).startswith("/proc/"):
        await response.json(500, error("seeker can't seek"))
        return
    size = status.st_size
    modified = http_date(status.st_mtime)
    disposition: dict[str, str | None] = {
        "Content-Disposition": f'attachment; filename="{path.name}"'
    }
    facts: dict[str, str | None] = {"Last-Modified": modified, **disposition}
    if request.headers.get("if-modified-since") == modified and "range" not in request.headers:
        await response.start(304, facts)
        return
    content_type = _SUFFIXES.get(path.suffix, "application/octet-stream")
    headers = {**facts, "Accept-Ranges": "bytes", "Content-Type": content_type}
    asked = request.headers.get("range") if habits.ranges else None
    if asked is None or _outdated(request.headers.get("if-range"), modified):
        await _send_file(response, 200, headers, path, 0, size)
        return
    try:
        spans = parse_range(asked, size)
    except ValueError as refused:
        await _refuse_range(response, disposition, str(refused), size)
        return
    if not spans:
        await _send_file(response, 200, headers, path, 0, size)
    elif len(spans) == 1:
        begin, end = spans[0]
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        await _send_file(response, 206, headers, path, begin, end)
    else:
        await _send_parts(response, headers, path, spans, size)


def _outdated(if_range: str | None, modified: str) -> bool:
    if if_range is None:
        return False
    try:
        return parsedate_to_datetime(if_range) != parsedate_to_datetime(modified)
    except ValueError:
        return True


def parse_range(value: str, size: int) -> list[tuple[int, int]]:
    """Return half-open spans as Go's ``parseRange`` does; none for an empty file.

    Raises:
        ValueError: the text of the 416 answer.
    """
    if not value.startswith("bytes="):
        raise ValueError("invalid range")
    spans: list[tuple[int, int]] = []
    for part in value.removeprefix("bytes=").split(","):
        begin, dash, end = part.strip().partition("-")
        if (
            not dash
            or (begin and not begin.isdigit())
            or (end and not end.isdigit())
            or not begin + end
        ):
            raise ValueError("invalid range")
        if not begin:
            spans.append((max(0, size - int(end)), size))
        elif int(begin) < size:
            if end and int(end) < int(begin):
                raise ValueError("invalid range")
            spans.append((int(begin), min(size, int(end) + 1) if end else size))
    if not spans and size:
        raise ValueError("invalid range: failed to overlap")
    return [span for span in spans if size]


async def _refuse_range(
    response: Response, disposition: dict[str, str | None], message: str, size: int
) -> None:
    headers = {**disposition, "Cache-Control": None, "Content-Type": "text/plain; charset=utf-8"}
    if "overlap" in message:
        headers["Content-Range"] = f"bytes */{size}"
    await response.whole(416, f"{message}\n".encode(), headers)


async def _send_file(
    response: Response,
    status: int,
    headers: dict[str, str | None],
    path: Path,
    begin: int,
    end: int,
) -> None:
    await response.start(status, headers, length=end - begin)
    with path.open("rb") as file:
        for piece in _pieces(file, begin, end):
            await response.write(piece)
    await response.end()


def _pieces(file: BinaryIO, begin: int, end: int) -> Iterator[bytes]:
    file.seek(begin)
    while begin < end and (piece := file.read(min(_PIECE, end - begin))):
        begin += len(piece)
        yield piece


async def _send_parts(
    response: Response,
    headers: dict[str, str | None],
    path: Path,
    spans: list[tuple[int, int]],
    size: int,
) -> None:
    boundary = secrets.token_hex(30)
    body = bytearray()
    with path.open("rb") as file:
        for number, (begin, end) in enumerate(spans):
            start = "\r\n" if number else ""
            head = f"Content-Range: bytes {begin}-{end - 1}/{size}\r\nContent-Type: {headers['Content-Type']}"
            body += f"{start}--{boundary}\r\n{head}\r\n\r\n".encode() + b"".join(
                _pieces(file, begin, end)
            )
    body += f"\r\n--{boundary}--\r\n".encode()
    headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
    await response.start(206, headers, length=len(body))
    await response.write(bytes(body))
    await response.end()


async def put(request: Request, response: Response, places: Places, wildcard: str) -> None:
    """Answer ``PUT /filesystem/*path``: a JSON body with text, or a multipart form with a file."""
    shown = places.absolute(wildcard)
    path = places.real(shown)
    content_type = request.headers.get("content-type", "")
    mode = 0o644
    if content_type.startswith("multipart/form-data"):
        content = _form_file(content_type, request.body)
    else:
        members = json.loads(request.body or b"{}")
        mode = int(members.get("permissions") or "644", 8)
        if members.get("isDirectory"):
            path.mkdir(parents=True, exist_ok=True)
            await response.json(
                200, dumps({"path": shown, "message": "Directory created successfully"})
            )
            return
        content = str(members.get("content") or "").encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    await response.json(200, dumps({"path": shown, "message": "File created/updated successfully"}))


def _form_file(content_type: str, body: bytes) -> bytes:
    message = BytesParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    for part in message.walk():
        if part.get_param("name", header="content-disposition") == "file":
            payload = part.get_payload(decode=True)
            return payload if isinstance(payload, bytes) else b""
    return b""
