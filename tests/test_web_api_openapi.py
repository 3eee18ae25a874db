"""The OpenAPI document says what the server does, and the server does what it says."""

import re
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import jsonschema
import pytest
from document_requests import MODES, run, works
from stack import API_KEY, Stack, free_port

from web.api.openapi import operations

KEY = {"Authorization": f"Bearer {API_KEY}"}
CLOSED = ("accounts", "proxy")
"""`oidc` differs in how a session begins alone; `make fuzz` tries it too."""
ID = "0123456789abcdef" * 2


@pytest.fixture(scope="module")
def document(stack: Stack) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"{stack.url}/openapi.json").json()
    return answer


def test_the_document_comes_small_and_only_when_it_has_changed(stack: Stack) -> None:
    address, gzip = f"{stack.url}/openapi.json", {"accept-encoding": "gzip"}
    small = httpx.get(address, headers=gzip)
    plain = httpx.get(address, headers={"accept-encoding": "identity"})
    assert small.json() == plain.json()
    assert int(small.headers["content-length"]) < len(plain.content) / 8

    for answer, asked in ((small, gzip), (plain, {"accept-encoding": "identity"})):
        tag = {"if-none-match": answer.headers["etag"]}
        assert httpx.get(address, headers={**asked, **tag}).status_code == 304
    assert small.headers["etag"] != plain.headers["etag"], "they are not the same bytes"


def test_the_icon_comes_only_when_it_has_changed(stack: Stack) -> None:
    icon = httpx.get(f"{stack.url}/favicon.ico")
    tag = {"if-none-match": icon.headers["etag"]}

    assert icon.headers["content-type"] == "image/svg+xml"
    assert httpx.get(f"{stack.url}/favicon.ico", headers=tag).status_code == 304


@pytest.fixture(scope="module")
def closed(stack: Stack) -> Iterator[dict[str, str]]:
    """Addresses of web processes for which everybody has to be known."""
    urls = {}
    for mode in CLOSED:
        port = str(free_port())
        env = {**MODES[mode].settings, "PIXELMILL_PORT": port}
        stack.start(f"web-{mode}", [sys.executable, "-m", "web"], env)
        urls[mode] = f"http://127.0.0.1:{port}"
    for mode, url in urls.items():
        is_there = partial(lambda url: httpx.get(f"{url}/healthz").status_code == 200, url)
        stack.wait_for(f"web-{mode}", is_there)
    yield urls
    for mode in CLOSED:
        stack.kill(f"web-{mode}")


def filled(path: str) -> str:
    return re.sub("{[a-z_]+}", ID, path)


def test_requests_made_from_the_document_are_answered_as_it_says(stack: Stack) -> None:
    options = ["--max-examples", "4", "--generation-deterministic"]

    outcome = run(stack, stack.url, MODES["open"], *options)

    assert not outcome.has_failed, outcome.text
    assert outcome.requests > 500
    assert works(stack)


@pytest.mark.parametrize("mode", CLOSED)
def test_requests_made_from_the_document_are_answered_as_it_says_where_all_sign_in(
    stack: Stack, closed: dict[str, str], mode: str
) -> None:
    options = ["--phases", "fuzzing", "--max-examples", "3", "--generation-deterministic"]

    outcome = run(stack, closed[mode], MODES[mode], *options)

    assert not outcome.has_failed, outcome.text
    assert outcome.requests > 30
    assert works(stack, closed[mode])


@pytest.mark.parametrize("mode", CLOSED)
def test_every_route_is_closed_to_who_has_not_signed_in(
    document: dict[str, Any], closed: dict[str, str], mode: str
) -> None:
    answers = {
        f"{method} {path}": httpx.request(method, closed[mode] + filled(path))
        for method, path, operation in operations(document)
        if operation.get("security") != []
    }

    assert answers
    assert {
        route: answer.status_code
        for route, answer in answers.items()
        if (answer.status_code, answer.json()["error"]["code"]) != (401, "not_signed_in")
    } == {}


def test_every_route_documents_what_is_refused_before_it_is_reached(
    document: dict[str, Any],
) -> None:
    for method, path, operation in operations(document):
        wanted = {"400", "414", "421", "431", "429", "503"}
        wanted |= set() if method == "get" else {"403", "408"}
        wanted |= set() if operation.get("security") == [] else {"401"}
        assert wanted <= set(operation["responses"]), (method, path)


def test_429_and_503_are_documented_with_their_header(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        for status in ("429", "503"):
            headers = operation["responses"][status]["headers"]
            assert headers["Retry-After"]["required"], (method, path, status)


def test_the_document_names_both_ways_to_be_known(document: dict[str, Any]) -> None:
    assert document["security"] == [{"key": []}, {"cookie": []}, {}]
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert document["components"]["securitySchemes"]["cookie"]["name"].startswith("pixelmill_")


def test_nobody_is_known_by_nothing_where_all_sign_in(closed: dict[str, str]) -> None:
    by_account, by_proxy = (httpx.get(f"{closed[mode]}/openapi.json").json() for mode in CLOSED)

    assert by_account["security"] == [{"key": []}, {"cookie": []}]
    assert by_proxy["security"] == [{"key": []}, {"cookie": []}, {"proxy": []}]
    assert by_proxy["components"]["securitySchemes"]["proxy"]["name"] == "X-Forwarded-User"


def test_streams_of_events_are_documented_as_such(document: dict[str, Any]) -> None:
    for path in ("/api/v1/events", "/api/v1/jobs/{job_id}/events"):
        responses = document["paths"][path]["get"]["responses"]
        assert list(responses["200"]["content"]) == ["text/event-stream"]
        assert list(responses["404"]["content"]) == ["application/json"]


def test_the_documents_example_of_a_picture_is_taken(
    stack: Stack, document: dict[str, Any]
) -> None:
    body = document["paths"]["/api/v1/predict/{model}"]["post"]["requestBody"]
    example = body["content"]["application/json"]["example"]

    answer = httpx.post(
        f"{stack.url}/api/v1/predict/toy?wait=60", json=example, headers=KEY, timeout=90
    )

    assert (answer.status_code, answer.json()["state"]) == (200, "done")


def test_the_documents_links_lead_from_a_new_job_to_what_can_be_done_with_it(
    document: dict[str, Any],
) -> None:
    known = {operation["operationId"] for _, _, operation in operations(document)}

    for method, path in (("post", "/api/v1/predict/{model}"), ("post", "/api/v1/jobs")):
        links = document["paths"][path][method]["responses"]["202"]["links"]
        assert {"get_job", "job_events", "cancel_job", "delete_job"} <= set(links)
        assert {link["operationId"] for link in links.values()} <= known


@pytest.mark.parametrize(
    ("images", "is_valid"),
    [
        ({"upload": ID}, True),
        ({"uploads": [ID, ID]}, True),
        ({"sha256": ID * 2}, True),
        ({"upload": None, "sha256": ID * 2}, True),
        ({"upload": ID, "sha256": ID * 2}, False),
        ({"upload": ID, "uploads": [ID]}, False),
        ({}, False),
    ],
    ids=str,
)
def test_the_document_asks_for_one_image_a_job(
    document: dict[str, Any], images: dict[str, Any], is_valid: bool
) -> None:
    schema = {**document, **document["components"]["schemas"]["JobRequest"]}

    validator = jsonschema.Draft202012Validator(schema)

    assert validator.is_valid({"model": "toy", **images}) == is_valid


def test_no_type_with_fields_is_a_choice_of_types_without_them(document: dict[str, Any]) -> None:
    """openapi-python-client and others take such a choice, and leave the fields out."""
    schemas = document["components"]["schemas"].items()

    both = [name for name, schema in schemas if "properties" in schema and "oneOf" in schema]

    assert both == []


def test_an_empty_idempotency_key_is_neither_documented_nor_taken(
    stack: Stack, document: dict[str, Any]
) -> None:
    parameters = document["paths"]["/api/v1/jobs"]["post"]["parameters"]
    header = next(item for item in parameters if item["in"] == "header")

    answer = httpx.post(f"{stack.url}/api/v1/jobs", json={}, headers={**KEY, "Idempotency-Key": ""})

    assert "default" not in header["schema"]
    assert answer.status_code == 400
