"""A server on a real socket that says one hostile text wherever an answer of the sandbox API has one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SHAPES = ("message", "error", "gateway", "text", "html", "list")
"""How an error can be told."""


class Hostile(ThreadingHTTPServer):
    """``text`` is what it says; with ``shape`` every answer is an error of that shape."""

    daemon_threads = True
    text = ""
    shape = ""

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self) -> tuple[int, bytes]:
        """Return the status and body of the next answer."""
        text = self.text
        bodies: dict[str, Any] = {
            "message": {"message": text, "code": text},
            "error": {"error": text},
            "gateway": {"error": {"code": text, "message": text}},
            "list": [text],
        }
        if self.shape == "html":
            return 500, f"<html><body>{text}</body></html>".encode("utf-8", "replace")
        if self.shape == "text":
            return 500, text.encode("utf-8", "replace")
        if self.shape:
            return 500, json.dumps(bodies[self.shape]).encode()
        names = ("name", "pid", "command", "status", "startedAt", "completedAt", "workingDir")
        return 200, json.dumps([dict.fromkeys(names, text) | {"exitCode": 1}]).encode()


class _Handler(BaseHTTPRequestHandler):
    server: Hostile

    def do_GET(self) -> None:
        status, body = self.server.answer()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def hostile() -> Iterator[Hostile]:
    """Run one until the block ends."""
    server = Hostile(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
