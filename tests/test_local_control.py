"""The local control plane (protocol 2): names, paging, error shapes."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.local_service import LocalService


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """One service for this file."""
    service = LocalService(tmp_path_factory.mktemp("control")).start()
    yield service
    service.end()


@pytest.fixture
def client(service: LocalService) -> Iterator[httpx.Client]:
    """A client of the control plane."""
    with service.client("/v0") as client:
        yield client


def create(client: httpx.Client, name: str | None, query: str = "") -> httpx.Response:
    """Ask for a sandbox."""
    metadata = {} if name is None else {"name": name}
    return client.post(f"/sandboxes{query}", json={"metadata": metadata, "spec": {}})


def test_create_get_delete(client: httpx.Client, service: LocalService) -> None:
    """A sandbox is DEPLOYED at once, at its own URL; deleted, it is not found."""
    made = create(client, "one").json()
    assert made["status"] == "DEPLOYED"
    assert made["metadata"]["url"] == f"{service.url}/sandboxes/one"
    assert client.get("/sandboxes/one").json() == made
    assert client.delete("/sandboxes/one").json()["status"] == "DELETING"
    for answer in (client.get("/sandboxes/one"), client.delete("/sandboxes/one")):
        assert answer.status_code == 404
        assert answer.json() == {
            "error": "Resource not found",
            "code": 404,
            "message": "sandbox 'one' not found",
        }


def test_create_twice(client: httpx.Client) -> None:
    """The second is a 409, unless it says createIfNotExist."""
    made = create(client, "twice").json()
    refused = create(client, "twice")
    assert refused.status_code == 409
    facts = refused.json()
    assert (facts["code"], facts["status_code"], facts["sandbox_name"]) == (
        "SANDBOX_ALREADY_EXISTS",
        409,
        "twice",
    )
    assert create(client, "twice", "?createIfNotExist=true").json() == made


@pytest.mark.parametrize("name", ["Upper", "a_b", "-a", "a-", "a" * 50, "../x", "ä"])
def test_bad_names(client: httpx.Client, name: str) -> None:
    """Lower-case letters, digits and dashes, at most 49."""
    answer = create(client, name)
    assert (answer.status_code, answer.json()["step"]) == (400, "validate")


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b'{"metadata":3}', b'{"spec":{"runtime":{"envs":1}}}']
)
def test_bad_bodies(client: httpx.Client, body: bytes) -> None:
    """Another shape is a 400, not a crash."""
    assert client.post("/sandboxes", content=body).status_code == 400


def test_name_is_chosen_and_envs_are_set(client: httpx.Client, service: LocalService) -> None:
    """Without a name there is one; the sandbox's own variables reach its commands."""
    spec = {"runtime": {"envs": [{"name": "A", "value": "from spec"}]}}
    name = client.post("/sandboxes", json={"spec": spec}).json()["metadata"]["name"]
    with service.client(f"/sandboxes/{name}") as sandbox:
        body = {"command": "echo $A", "waitForCompletion": True}
        assert sandbox.post("/process", json=body).json()["stdout"] == "from spec\n"
    client.delete(f"/sandboxes/{name}")


def test_local_is_always_there(client: httpx.Client) -> None:
    """It is made on demand, also after it was deleted."""
    assert client.get("/sandboxes/local").json()["status"] == "DEPLOYED"
    client.delete("/sandboxes/local")
    assert client.get("/sandboxes/local").status_code == 200


def test_pages(client: httpx.Client) -> None:
    """The list comes in pages of the size asked for; without the version header, whole."""
    for number in range(5):
        create(client, f"page-{number}")
    seen: list[str] = []
    cursor = ""
    while True:
        params = {"limit": "2", "cursor": cursor, "q": "page-"}
        page = client.get("/sandboxes", params=params).json()
        assert page["meta"]["total"] == 5
        seen += [each["metadata"]["name"] for each in page["data"]]
        cursor = page["meta"]["nextCursor"]
        if not page["meta"]["hasMore"]:
            break
    assert seen == [f"page-{number}" for number in range(5)]
    assert client.get("/sandboxes?cursor=%ff").status_code == 400
    del client.headers["blaxel-version"]
    assert isinstance(client.get("/sandboxes").json(), list)
