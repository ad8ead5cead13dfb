"""Spell the routes of one sandbox's API (protocol 3 and 4.9), each as one call.

Finds the sandbox's address at the first call, repeats reads, and replaces a local service that is gone;
what the answers mean for a follow is follow's business, HTTP is transport's. The client uses it.
"""

from __future__ import annotations

import asyncio
import re
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial, reduce
from operator import or_
from typing import Any
from urllib.parse import quote

from blaxel_jupyter import credentials
from blaxel_jupyter.errors import (
    BlaxelError,
    NotFoundError,
    ProtocolError,
    StatusError,
    TransportError,
    is_passing,
    is_passing_there,
)
from blaxel_jupyter.folder import Folder
from blaxel_jupyter.follow import FILES
from blaxel_jupyter.masks import NONE, Masks
from blaxel_jupyter.process import LOG_DIR, Process
from blaxel_jupyter.reads import Block, Reads
from blaxel_jupyter.retries import retried
from blaxel_jupyter.target import Target, resolve, target_name
from blaxel_jupyter.transport import Answer, HeaderAuth, Http
from blaxel_jupyter.wording import read_json

READ_PATIENCE = 5.0
"""Seconds for which one read is repeated while the server cannot be reached."""

NOT_HERE = {400, 403, 404, 405, 500, 501}
"""Statuses with which a sandbox says that it has no such file, or no files at all to give."""

_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)
_SIZE = re.compile(r"bytes \*/(\d{1,18})", re.ASCII)

Report = Callable[[str | None], None]


def _may_pass(error: BlaxelError) -> bool:
    """Tell whether the same read may succeed later: pages that say 500 are a gateway's, and JSON may be cut.

    The sandbox itself says 500 without a body (protocol 3).
    """
    if isinstance(error, StatusError) and error.status_code == 500:
        return error.body.lstrip().startswith("<")
    if isinstance(error, ProtocolError):
        return error.data.lstrip()[:1] in {b"", b"{", b"["}
    return is_passing(error)


class SandboxApi:
    """One sandbox's API.

    Args:
        sandbox: name, or official instance; None if ``url`` is given.
        url: base URL.
        http: what sends the requests.
    """

    def __init__(self, sandbox: object, url: str | None, http: Http) -> None:
        self._sandbox = sandbox
        self._url = url
        self._http = http
        self._target: Target | None = None
        self._folders: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Folder] = (
            weakref.WeakKeyDictionary()
        )
        self._passed: dict[str, Masks] = {}

    @property
    def name(self) -> str:
        """The sandbox's name, or the URL's host."""
        return target_name(self._sandbox, self._url)

    @property
    def is_local(self) -> bool:
        """Whether it is the embedded local service's."""
        return isinstance(self._sandbox, str) and self._sandbox.split("/")[0] == "local"

    async def target(self) -> Target:
        """Find the address, at the first call."""
        if self._target is None:
            self._target = await resolve(self._sandbox, self._url, self._http)
        return self._target

    async def masks(self, name: str | None = None, env: Mapping[str, str] | None = None) -> Masks:
        """Return what displays do not show: credentials, and variables that were passed to processes.

        Args:
            name: the process whose variables are meant; those of all that were started here if None.
            env: the variables that it is about to be given; they are remembered.
        """
        auth = (await self.target()).auth
        used = auth.secrets() if isinstance(auth, HeaderAuth) else []
        known = Masks([*credentials.secrets(), *used])
        if name is not None and env is not None:
            self._passed[name] = Masks(env.items())
        passed = self._passed.values() if name is None else [self._passed.get(name, NONE)]
        return reduce(or_, passed, NONE) | known

    def open(self) -> None:
        """Keep connections again after ``aclose``."""
        self._http.open()

    async def aclose(self) -> None:
        """Close the running loop's connections."""
        await self._http.aclose()

    async def processes(self) -> list[Process]:
        """List every process, in the server's order."""
        answer = await self._read("/process")
        if not isinstance(answer, list):
            raise ProtocolError("The server's answer is not a list of processes.")
        return [Process.parse(item) for item in answer]

    async def process(self, identifier: str) -> Process:
        """Read one process's facts, by name or pid."""
        process = await self.known(identifier)
        if process is None:
            raise NotFoundError(
                f"There is no process {identifier!r} in {self.name}. `%sandbox ps` lists them.",
                status_code=404,
                method="GET",
                url=(await self.target()).url,
            )
        return process

    async def known(self, identifier: str) -> Process | None:
        """Read one process's facts; None if the sandbox itself says that there is none."""
        try:
            process: Process = await self._read(
                f"/process/{quote(identifier, safe='')}", parse=Process.parse
            )
        except NotFoundError as error:
            if error.from_gateway:
                raise
            return None
        return process

    def reads(
        self, process: Process, *, patience: float = READ_PATIENCE, report: Report | None = None
    ) -> Reads:
        """Bind the reads of one process, each repeated for ``patience`` seconds.

        ``report`` is told what is wrong while a read is being repeated, and None when it went well.
        """
        name = quote(process.name, safe="")

        async def read(path: str, **options: Any) -> Any:
            options = {"may_pass": is_passing_there, **options}
            return await self._read(path, patience=patience, report=report, **options)

        async def facts() -> Process:
            process: Process = await read(f"/process/{name}", parse=Process.parse)
            return process

        async def alive(pid: str) -> bool:
            headers = {"Accept": "application/json"}
            try:
                path = f"/filesystem/%2Fproc%2F{quote(pid, safe='')}%2Fstat"
                await read(path, headers=headers, may_pass=_may_pass)
            except StatusError as error:
                if error.from_gateway or error.status_code not in NOT_HERE:
                    raise
                return False
            return True

        async def raw(stream: str, offset: int, limit: int) -> Block | None:
            attempt = partial(self._raw, process.name, stream, offset, limit, report)
            block: Block | None = await retried(attempt, patience=patience, may_pass=_may_pass)
            return block

        async def logs() -> dict[str, str]:
            texts: dict[str, str] = await read(f"/process/{name}/logs", parse=_texts)
            return texts

        def text() -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
            return self._stream(f"/process/{name}/logs/stream")

        return Reads(facts, raw, alive, self._folder(), text, logs)

    def _folder(self) -> Folder:
        """Return the log folder's watch, one for each event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._folders:
            path = f"/watch/filesystem/{quote(LOG_DIR, safe='')}"
            self._folders[loop] = Folder(partial(self._stream, path))
        return self._folders[loop]

    async def ask(
        self, method: str, path: str, *, report: Report | None = None, **options: Any
    ) -> Answer:
        """Send one request once; a local service that is gone is replaced for the next one.

        Before anything is run there, it has to prove anew that it is no stranger on the same port.
        """
        if self.is_local and method == "POST":
            self._target = None
        target = await self.target()
        try:
            answer = await self._http.request(
                method, target.url + path, auth=target.auth, **options
            )
        except (TransportError, StatusError) as error:
            if self.is_local and (isinstance(error, TransportError) or error.status_code == 401):
                self._target = None
            if report is not None and not isinstance(error, NotFoundError):
                report("connection lost; trying again")
            raise
        if report is not None:
            report(None)
        return answer

    async def _read(
        self,
        path: str,
        *,
        patience: float = READ_PATIENCE,
        parse: Callable[[Any], Any] = lambda answer: answer,
        may_pass: Callable[[BlaxelError], bool] = _may_pass,
        **options: Any,
    ) -> Any:
        """Read JSON, again where it does not come, comes cut or is something else."""

        async def attempt() -> Any:
            return parse(read_json((await self.ask("GET", path, **options)).body))

        return await retried(attempt, patience=patience, may_pass=may_pass)

    async def _raw(
        self, name: str, stream: str, offset: int, limit: int, report: Report | None
    ) -> Block | None:
        """Read one block of a raw log file; None where the server has no such file to give."""
        path = f"/filesystem/{quote(f'{LOG_DIR}/{name}.{stream}.log', safe='')}"
        headers = {
            "Accept": "application/octet-stream",
            "Accept-Encoding": "identity",
            "Range": f"bytes={offset}-{offset + limit - 1}",
        }
        try:
            answer = await self.ask("GET", path, headers=headers, accept=(416,), report=report)
        except StatusError as error:
            if error.from_gateway or error.status_code not in NOT_HERE:
                raise
            return None
        return _block(answer, offset)

    @asynccontextmanager
    async def _stream(self, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        target = await self.target()
        async with self._http.stream(target.url + path, auth=target.auth) as chunks:
            yield chunks


def _texts(answer: Any) -> dict[str, str]:
    """Read the server's log of both streams; what names none of its members is somebody else's answer."""
    if not isinstance(answer, dict) or not answer.keys() & {*FILES, "logs"}:
        raise ProtocolError(
            "The server's answer is not a log. Check that the URL is a sandbox's.",
            data=repr(answer).encode(),
        )
    return {stream: str(answer.get(stream) or "") for stream in FILES}


def _block(answer: Answer, offset: int) -> Block | None:
    """Read the answer to a range request (the table of protocol 4.9); only a complete block counts.

    What a download does not look like is nobody's log: a page that a gateway put in its place, or an answer
    that a stray keepalive has come before (protocol 4.4).
    """
    kind = answer.headers.get("content-type", "")
    where = answer.headers.get("content-range", "")
    size = _SIZE.fullmatch(where)
    found = _RANGE.fullmatch(where)
    if answer.status == 416 and size and int(size[1]) <= offset:
        return Block(offset, b"", int(size[1]))
    if answer.status == 206 and found:
        start, end, total = map(int, found.groups())
        if start == offset and start <= end < total and end - start + 1 == len(answer.body):
            return Block(offset, answer.body, total)
    if answer.status == 200 and "content-disposition" in answer.headers:
        return Block(0, answer.body, len(answer.body), whole=True)
    if answer.status == 200 and kind.startswith("application/json"):
        return None
    raise TransportError("A block of a log file came damaged. Try again.", url="")
