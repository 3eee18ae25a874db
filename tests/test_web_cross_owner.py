"""Nobody reaches what is another's: every route of the OpenAPI document is tried with their ids.

The routes are read from the document, so that none can be forgotten: a route with a new kind of id
fails here until it is said whose it is.
"""

import itertools
import random
import secrets
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import numpy as np
import pytest
from stack import REPOSITORY, Stack

from storage import api_keys, keys, sessions, users
from storage.redis.calls import SyncRedis

sys.path.insert(0, str(REPOSITORY / "tests" / "bench"))
from load import closed_loop, request

ADA, BOB = "key-of-ada-who-owns-it", "key-of-bob-who-tries"
METHODS = ("get", "put", "post", "delete", "patch")
NO_IDS = {"model", "filename"}
"""Parameters of paths that name nothing of anybody's."""
FOR_EVERYBODY = {"/s/{token}"}
"""A link shows its picture to whoever has it."""
BODIES: Mapping[str, Mapping[str, Any]] = {
    "/api/v1/jobs/{job_id}/shares": {"object": "preview"},
    "/api/v1/jobs": {"model": "toy"},
}
"""What else a request of a route must have to be taken."""
RANDOM_REQUESTS = 10_000


@pytest.fixture(scope="module")
def document(stack: Stack) -> dict[str, Any]:
    document: dict[str, Any] = httpx.get(f"{stack.url}/openapi.json").json()
    return document


@pytest.fixture(scope="module")
def ada(stack: Stack) -> Iterator[httpx.Client]:
    yield from _client(stack, ADA, "ada-who-owns-it")


@pytest.fixture(scope="module")
def bob(stack: Stack) -> Iterator[httpx.Client]:
    yield from _client(stack, BOB, "bob-who-tries")


@pytest.fixture(scope="module")
def owned(stack: Stack, ada: httpx.Client) -> dict[str, str]:
    """Name of an id in the document -> one of Ada's."""
    photo = (REPOSITORY / "examples" / "chelsea.jpg").read_bytes()
    gain = float(np.random.default_rng().uniform(0.1, 3))  # a result that nobody has
    job = ada.post("/api/v1/predict/toy", params={"wait": 60, "gain": gain}, content=photo).json()
    assert job["state"] == "done", job
    share = ada.post(f"/api/v1/jobs/{job['id']}/shares", json={"object": "preview"}).json()
    upload = stack.state.hget(keys.job(job["id"]), "upload")
    assert isinstance(upload, bytes)
    key = ada.post("/api/v1/me/keys", json={}).json()
    return {
        "session_id": session_of(stack, "ada-who-owns-it"),
        "job_id": job["id"],
        "share_id": share["id"],
        "key_id": key["id"],
        "upload": upload.decode(),
    }


def session_of(stack: Stack, user: str) -> str:
    """The id of a session of this user, who has an account too."""
    link, token = SyncRedis(stack.state), sessions.new_token()
    link.do(users.add(user, "a photo of nine herons"))
    origin = sessions.Origin("account", "open", "127.0.0.0/24", "a browser")
    epoch = link.do(users.credentials(user)).epoch
    assert link.do(sessions.begin(user, token, epoch, origin, sessions.Life(600, 600)))
    return sessions.id_of(token)


def _client(stack: Stack, key: str, user: str) -> Iterator[httpx.Client]:
    SyncRedis(stack.state).do(api_keys.add(key, user))
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=90) as client:
        yield client


def with_ids(document: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """Method, path and names of the ids in the path, of every route that has some."""
    for path, operations in document["paths"].items():
        for method in METHODS:
            for_all = operations.get(method, {}).get("parameters", [])
            names = [item["name"] for item in for_all if item["in"] == "path"]
            ids = [name for name in names if name not in NO_IDS]
            if method in operations and ids and path not in FOR_EVERYBODY:
                yield method, path, ids


def with_ids_in_body(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str, bool]]:
    """Method, path, name of a field that holds an upload's id, and whether it holds several."""
    schemas = document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method in METHODS:
            body = operations.get(method, {}).get("requestBody", {}).get("content", {})
            schema = body.get("application/json", {}).get("schema", {})
            fields = schemas.get(schema.get("$ref", "").rpartition("/")[2], {}).get(
                "properties", {}
            )
            for name in fields:
                if name in ("upload", "uploads"):
                    yield method, path, name, name == "uploads"


def still_there(ada: httpx.Client, owned: Mapping[str, str]) -> bool:
    job = ada.get(f"/api/v1/jobs/{owned['job_id']}").json()
    shares = [share["id"] for share in ada.get("/api/v1/shares").json()["shares"]]
    own_keys = [key["id"] for key in ada.get("/api/v1/me/keys").json()["keys"]]
    signed_in = [item["id"] for item in ada.get("/api/v1/me/sessions").json()["sessions"]]
    assert owned["share_id"] in shares and owned["key_id"] in own_keys
    return job["state"] == "done" and owned["session_id"] in signed_in


def test_every_id_in_a_path_of_the_document_is_one_that_is_tried_here(
    document: dict[str, Any], owned: dict[str, str]
) -> None:
    unknown = {name for _, _, ids in with_ids(document) for name in ids} - owned.keys()

    assert not unknown, "say in `owned` whose these are, or in NO_IDS that they are nobody's"


def test_every_route_answers_404_to_anothers_id(
    document: dict[str, Any], owned: dict[str, str], ada: httpx.Client, bob: httpx.Client
) -> None:
    routes = list(with_ids(document))
    answers = {}
    for method, path, ids in routes:
        address = path
        for name in ids:
            address = address.replace(f"{{{name}}}", owned[name])
        body = BODIES.get(path, {}) if method in ("post", "put", "patch") else None
        answers[method, path] = bob.request(method, address, json=body).status_code

    assert len(routes) >= 7
    assert set(answers.values()) == {404}, answers
    assert still_there(ada, owned)


def test_every_body_that_names_anothers_upload_is_answered_404(
    document: dict[str, Any], owned: dict[str, str], bob: httpx.Client
) -> None:
    routes = list(with_ids_in_body(document))
    answers = {}
    for method, path, name, are_many in routes:
        upload: Any = [owned["upload"]] if are_many else owned["upload"]
        body = {**BODIES[path], name: upload}
        answers[path, name] = bob.request(method, path, json=body).status_code

    assert len(routes) == 2
    assert set(answers.values()) == {404}, answers


def test_a_stream_says_of_anothers_job_that_there_is_none(
    owned: dict[str, str], bob: httpx.Client
) -> None:
    asked = {"jobs": owned["job_id"]}
    with bob.stream("GET", "/api/v1/events", params=asked) as stream:
        first = next(text for text in stream.iter_text() if "event:" in text)

    assert "event: gone" in first and '"state"' not in first


def test_lists_have_nothing_of_anothers(
    document: dict[str, Any], owned: dict[str, str], bob: httpx.Client
) -> None:
    lists = [
        path
        for path, operations in document["paths"].items()
        if "get" in operations and "{" not in path and not path.endswith("/events")
    ]
    texts = {path: bob.get(path).text for path in lists}

    assert {"/api/v1/jobs", "/api/v1/shares", "/api/v1/me/keys", "/api/v1/me"} <= texts.keys()
    assert not [path for path, text in texts.items() if any(i in text for i in owned.values())]


def test_ten_thousand_random_requests_for_what_is_anothers_are_answered_404(
    stack: Stack, document: dict[str, Any], owned: dict[str, str], ada: httpx.Client
) -> None:
    routes, chance = list(with_ids(document)), random.Random(17)
    headers = {"Authorization": f"Bearer {BOB}", "Content-Type": "application/json"}

    def requests() -> Iterator[bytes]:
        for _ in itertools.count():
            method, path, ids = chance.choice(routes)
            address = path
            for name in ids:
                own = owned[name]
                near = own[:-1] + chance.choice("0123456789abcdef")
                anything = secrets.token_hex(len(own) // 2)
                tried = chance.choice((own, own, near, anything))
                address = address.replace(f"{{{name}}}", tried)
            body = b'{"object": "preview"}' if path in BODIES and method == "post" else b""
            yield request(f"{stack.url}{address}", headers, body, method.upper())

    answers = closed_loop(stack.url, requests(), clients=8, most=RANDOM_REQUESTS, seconds=600)

    assert answers.statuses == {404: RANDOM_REQUESTS}
    assert still_there(ada, owned)
