"""Name every error that leaves the package, split by what the user does next.

Errors carry facts (URL, status, exit code), never credentials; what a message quotes from a server or a log
is only text, with visible marks for what a terminal would obey or nobody would see. It does no IO.
Every module may import it.

    BlaxelError
    ├─ TransportError      could not reach it           .url (httpx error as __cause__)
    ├─ StatusError         it answered 4xx/5xx          .status_code .method .url .body
    │  ├─ AuthError        401, 403
    │  └─ NotFoundError    404
    ├─ ProtocolError       it broke the protocol        .data (first 200 bytes)
    ├─ FollowError         follow gave up               .seq to resume at
    ├─ ProcessError        non-zero exit or killed      .process .exit_code .tail
    ├─ TaskError           run failed or cancelled      .task .message
    └─ CredentialsError    a credential is missing or cannot be read
"""

from __future__ import annotations

from collections.abc import Callable

from blaxel_jupyter.panel.escapes import visible_text


class BlaxelError(Exception):
    """Base of every error that this package raises on purpose; its message ends with the next step.

    ``partial`` is the run, or runs, with what had arrived before it happened; None where nothing had.
    """

    partial: object = None

    def __init__(self, message: str = "") -> None:
        super().__init__("\n".join(map(visible_text, message.split("\n"))))

    def _render_traceback_(self) -> list[str]:
        """Show one short line per message line in a notebook cell (IPython's hook for custom tracebacks)."""
        return [f"{type(self).__name__}: {self}"]


class TransportError(BlaxelError):
    """The server could not be reached; ``url`` says where, ``__cause__`` holds the HTTP library's error.

    ``sent`` is False where the request certainly never left, so that repeating it is safe.
    """

    def __init__(self, message: str, *, url: str, sent: bool = True) -> None:
        super().__init__(message)
        self.url = url
        self.sent = sent


class StatusError(BlaxelError):
    """The server answered with an HTTP status of 400 or more.

    ``body`` is the text of the answer, at most 2,000 characters. ``from_gateway`` tells whether the
    platform in front answered, not the sandbox itself (protocol 2); ``retryable`` and ``retry_after``
    (seconds) are what the answer says about trying again.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        method: str,
        url: str,
        body: str = "",
        from_gateway: bool = False,
        retryable: bool = False,
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.method = method
        self.url = url
        self.body = body
        self.from_gateway = from_gateway
        self.retryable = retryable
        self.retry_after = retry_after


class AuthError(StatusError):
    """401 or 403: the credential was refused."""


class NotFoundError(StatusError):
    """404: the sandbox, process or task does not exist."""


class ProtocolError(BlaxelError):
    """The server's bytes break the protocol; ``data`` keeps the first 200 of them."""

    def __init__(self, message: str, *, data: bytes = b"") -> None:
        super().__init__(message)
        self.data = data[:200]


class FollowError(BlaxelError):
    """A follow gave up; every entry before ``seq`` was delivered."""

    def __init__(self, message: str, *, seq: int) -> None:
        super().__init__(message)
        self.seq = seq


class ProcessError(BlaxelError):
    """A process ended with a non-zero exit code or by a signal.

    ``exit_code`` is None where the server does not know it; ``tail`` is the end of stderr, else of
    stdout, sanitised and at most ten lines.
    """

    def __init__(
        self, message: str, *, process: str, exit_code: int | None, tail: str = ""
    ) -> None:
        super().__init__(message)
        self.process = process
        self.exit_code = exit_code
        self.tail = tail


class TaskError(BlaxelError):
    """An agent task failed or was cancelled; ``message`` is the service's own text."""

    def __init__(self, message: str, *, task: str) -> None:
        super().__init__(message)
        self.task = task
        self.message = str(self)


class CredentialsError(BlaxelError):
    """A credential is missing or unreadable; the message names the variable and where it was looked for."""


def reword(error: BaseException | None, change: Callable[[str], str]) -> None:
    """Change the texts of an error, and of those of ours that it is chained to, where they stand."""
    while isinstance(error, BlaxelError):
        error.args = tuple(change(arg) if isinstance(arg, str) else arg for arg in error.args)
        for name in ("body", "tail", "message"):
            if isinstance(text := getattr(error, name, None), str):
                setattr(error, name, change(text))
        if isinstance(error, ProtocolError):
            error.data = change(error.data.decode("utf-8", "replace")).encode()
        error = error.__cause__ or error.__context__


PASSING = {429, 502, 503, 504}
"""Statuses after which the same read may succeed (protocol 7.5)."""


def is_passing(error: BlaxelError) -> bool:
    """Tell whether the same read may succeed later (protocol 2 and 7.5)."""
    if isinstance(error, StatusError):
        return error.status_code in PASSING or error.retryable
    return isinstance(error, TransportError)


def is_passing_there(error: BlaxelError) -> bool:
    """Tell the same of a server that has told about this before: no 500 and no page is its own."""
    if isinstance(error, StatusError) and error.status_code == 500:
        return True
    return isinstance(error, ProtocolError) or is_passing(error)
