"""Stand before a sandbox as Blaxel's edge does: tokens that end, and a control plane that renews them.

A proxy that lets through what carries a valid token and answers 401 otherwise. Tokens are revoked and
logins refused as a test says; what was asked is counted.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.faults.proxy import ENDS_HEAD, LENGTH, Proxy, closing

_TOKEN = re.compile(rb"(?i)\r\nx-blaxel-authorization: bearer (\S+)")


def token(name: str, life: float = 7200.0) -> str:
    """Return a JWT that ends after ``life`` seconds."""
    claims = json.dumps({"exp": time.time() + life, "n": name}).encode()
    return f"h.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.s"


class Gate(Proxy):
    """A proxy with a lock; ``valid`` are the access tokens and ``refresh`` the refresh tokens that serve."""

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream, ())
        self.valid: set[str] = set()
        self.refresh: set[str] = set()
        self.renewals = self.refused = 0
        self.token_answers: list[bytes] = []
        """What the token endpoint says next instead of renewing."""

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(ENDS_HEAD)
        length = LENGTH.search(head)
        body = await reader.readexactly(int(length[1])) if length else b""
        path = head.split(b" ", 2)[1]
        found = _TOKEN.search(head)
        if path == b"/v0/oauth/token":
            await self.say(writer, self._renewed(body))
        elif found is None or found[1].decode() not in self.valid:
            self.refused += 1
            await self.say(writer, _json(401, {"error": "unauthorized"}))
        elif path.startswith(b"/v0/sandboxes/"):
            facts = {"metadata": {"name": "box", "url": self.url}, "status": "DEPLOYED"}
            await self.say(writer, _json(200, facts))
        else:
            await self.forward(closing(head) + body, writer, None)

    def _renewed(self, body: bytes) -> bytes:
        if self.token_answers:
            return self.token_answers.pop(0)
        used = json.loads(body).get("refresh_token")
        if used not in self.refresh:
            return _json(400, {"error": f"invalid_grant {used}"})
        self.renewals += 1
        self.refresh.remove(used)  # a refresh token serves once
        new, again = token(f"renewed-{self.renewals}"), f"refresh-{self.renewals}-CANARY"
        self.valid, self.refresh = {new}, {again}
        answer = {"access_token": new, "refresh_token": again, "expires_in": 7200}
        return _json(200, answer | {"token_type": "Bearer"})


def _json(status: int, members: object) -> bytes:
    body = json.dumps(members).encode()
    head = f"HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def gate(upstream: str) -> AsyncIterator[Gate]:
    """Run a gate until the block ends."""
    running = Gate(upstream)
    await running.start()
    await running.start_elsewhere()
    try:
        yield running
    finally:
        await running.close()
        running.give_up_port()
