"""A page of a stranger in a real Chromium asks the local service in every way a page can: it gets nothing."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Response

from tests.local_service import LocalService, run

pytestmark = pytest.mark.e2e

COMMAND = '{"command":"touch pwned","name":"pwned"}'
ASKING = {
    # what a page's script can do: an expression that becomes what it could read
    "simple GET": "fetch(U + '/health', {mode: 'no-cors'}).then(r => r.text())",
    "GET": "fetch(U + '/health').then(r => r.text())",
    "GET with the token": "fetch(U + '/health', {headers: {Authorization: 'Bearer ' + T}})"
    ".then(r => r.text())",
    "GET with credentials": "fetch(U + '/health', {credentials: 'include'}).then(r => r.text())",
    "token in the URL": "fetch(U + '/health?token=' + T, {mode: 'no-cors'}).then(r => r.text())",
    "simple POST": "fetch(U + P, {method: 'POST', mode: 'no-cors', body: C}).then(r => r.text())",
    "POST of JSON": "fetch(U + P, {method: 'POST', body: C, headers: {'Content-Type': 'application/json',"
    " Authorization: 'Bearer ' + T}}).then(r => r.text())",
    "PUT": "fetch(U + '/sandboxes/local/filesystem/x', {method: 'PUT', body: '{}'}).then(r => r.text())",
    "DELETE": "fetch(U + '/v0/sandboxes/local', {method: 'DELETE'}).then(r => r.text())",
    "XMLHttpRequest": "new Promise(done => { const x = new XMLHttpRequest(); x.open('GET', U + '/health');"
    " x.onloadend = () => done(x.responseText); x.send(); })",
    "beacon": "Promise.resolve(navigator.sendBeacon(U + P, C) ? '' : '')",
    "EventSource": "new Promise(done => { const s = new EventSource(U + '/api/v1/agent/stream?runId=x');"
    " s.onmessage = e => done(e.data); s.onerror = () => done(''); })",
    "WebSocket": "new Promise(done => { const s = new WebSocket(U.replace('http', 'ws') + '/health');"
    " s.onopen = () => done('open'); s.onmessage = e => done(e.data); s.onerror = () => done(''); })",
    "image": "new Promise(done => { const i = new Image(); i.onload = () => done('loaded');"
    " i.onerror = () => done(''); i.src = U + '/health'; })",
    "script": "new Promise(done => { const s = document.createElement('script'); s.src = U + '/health';"
    " s.onload = () => done('loaded'); s.onerror = () => done(''); document.body.append(s); })",
    "frame": "new Promise(done => { const f = document.createElement('iframe'); f.src = U + '/health';"
    " f.onload = () => { let t = ''; try { t = f.contentDocument.body.innerText } catch {} done(t) };"
    " document.body.append(f); })",
    "form": "new Promise(done => { const f = document.createElement('form'); f.method = 'POST';"
    " f.enctype = 'text/plain'; f.action = U + P; f.target = 'hidden';"
    " const i = document.createElement('input'); i.name = C.slice(0, -1) + ',\"x\":\"'; i.value = '\"}';"
    " const w = document.createElement('iframe');"
    " w.name = 'hidden'; w.onload = () => done(''); f.append(i); document.body.append(w, f); f.submit(); })",
    "no origin": "new Promise(done => { const f = document.createElement('iframe');"
    " f.sandbox = 'allow-scripts';"
    " addEventListener('message', e => done(e.data)); f.srcdoc = `<script>fetch('${U}/v0/sandboxes',"
    "{method:'POST',mode:'no-cors',body:'{}'}).then(r=>r.text()).catch(()=>'')"
    ".then(t=>parent.postMessage(t,'*'))<\\/script>`; document.body.append(f); })",
}


class Empty(http.server.BaseHTTPRequestHandler):
    """Answers every request with an empty page."""

    def do_GET(self) -> None:
        """Send the page."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>a stranger</title><body>")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def stranger() -> Iterator[str]:
    """The address of a page on another port of this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LocalService]:
    """A service in whose sandbox something has run."""
    service = LocalService(tmp_path).start()
    with service.client() as client:
        run(client, "echo mine", name="mine")
    yield service
    service.end()


def test_a_page_gets_nothing(service: LocalService, stranger: str, page: Page) -> None:
    """Every request is refused with 403, nothing can be read, nothing is run; even with the token."""
    answers: list[tuple[str, int]] = []

    def note(response: Response) -> None:
        if response.url.startswith(service.url):
            answers.append((response.url, response.status))

    page.on("response", note)
    page.goto(stranger)
    constants = (
        f"const U = {service.url!r}, T = {service.facts['token']!r}, C = {COMMAND!r},"
        " P = '/sandboxes/local/process';"
    )
    for how, script in ASKING.items():
        read = page.evaluate(f"() => {{ {constants} return {script}.catch(() => '') }}")
        assert read == "", how
    assert len(answers) >= 5  # of the others Chromium tells nobody
    assert {status for _, status in answers} == {403}, answers
    with service.client() as client:
        assert [each["name"] for each in client.get("/process").json()] == ["mine"]
        assert "pwned" not in run(client, "ls -A")["stdout"]
    with service.client("") as control:
        assert control.get("/v0/sandboxes").json()["meta"]["total"] == 1


def test_a_page_under_another_name_gets_nothing(service: LocalService, page: Page) -> None:
    """DNS rebinding: Chromium takes this name to the service's own port, and the service refuses it."""
    port = service.facts["port"]
    for name in (f"http://rebound.localhost:{port}", f"http://127.0.0.1:{port}"):
        for path in ("/health", "/api/v1/tasks", "/sandboxes/local/process", "/"):
            answer = page.goto(name + path)
            assert answer is not None
            assert answer.status == 403, name + path
            read = page.evaluate("() => fetch('/health').then(r => r.status)")
            assert read == 403
