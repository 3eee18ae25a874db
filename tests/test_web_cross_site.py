"""No page of another site writes anything, on any route that there is: the routes are read from the
OpenAPI document and from the app, so that none can be forgotten."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from stack import API_KEY, Stack

from web.api.openapi import operations
from web.app import ROUTED
from web.middleware.hosts import SAFE_METHODS

ID = "0123456789abcdef" * 2
FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "none", "Origin": "https://evil.example"},
]
OTHER_FORMS = {
    "a form": {"Content-Type": "application/x-www-form-urlencoded"},
    "plain text": {"Content-Type": "text/plain"},
    "no type": {},
}
"""Bodies that a page can send anywhere without asking by a preflight."""
Route = tuple[str, str]


@pytest.fixture(scope="module")
def documented(stack: Stack) -> set[Route]:
    """Method and path of each route of the document, with an id in each place for one."""
    document: dict[str, Any] = httpx.get(f"{stack.url}/openapi.json").json()
    return {(method.upper(), filled(path)) for method, path, _ in operations(document)}


@pytest.fixture(scope="module")
def writing(stack: Stack, documented: set[Route]) -> list[Route]:
    """All routes that may change something, those of the page and of programs included."""
    routed = {
        (method, filled(route.path))
        for module in ROUTED
        for route in module.router.routes
        for method in route.methods
    }
    routed |= documented | {("PUT", f"/pixelmill/in/ada/{ID}?X-Amz-Signature=0")}
    return sorted(route for route in routed if route[0] not in SAFE_METHODS)


@pytest.fixture(scope="module")
def visitor(stack: Stack) -> Iterator[httpx.Client]:
    """A browser with a cookie."""
    with httpx.Client(base_url=stack.url, timeout=60) as visitor:
        visitor.get("/api/v1/models").raise_for_status()
        assert visitor.cookies
        yield visitor


def filled(path: str) -> str:
    return re.sub("{[a-z_:]+}", ID, path)


def refusals(
    client: httpx.Client, routes: list[Route], headers: dict[str, str]
) -> dict[Route, Any]:
    """Route -> status and code, of those that are not answered 403 `cross_site`."""
    answers = {
        route: client.request(*route, content=b"{}", headers=headers, follow_redirects=False)
        for route in routes
    }
    return {
        route: (answer.status_code, answer.text[:100])
        for route, answer in answers.items()
        if answer.status_code != 403
        or answer.json()["error"]["code"] != "cross_site"
        or "set-cookie" in answer.headers
    }


def test_the_routes_that_write_are_known(writing: list[Route]) -> None:
    assert ("POST", "/api/v1/jobs") in writing and ("POST", "/login") in writing
    assert ("DELETE", f"/api/v1/jobs/{ID}") in writing and ("POST", "/logout") in writing
    assert len(writing) >= 15


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_no_route_writes_for_a_page_of_another_site(
    visitor: httpx.Client, writing: list[Route], headers: dict[str, str]
) -> None:
    assert refusals(visitor, writing, headers) == {}


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_no_route_writes_for_a_request_that_needs_no_preflight(
    visitor: httpx.Client, writing: list[Route], form: str
) -> None:
    headers = {**OTHER_FORMS[form], "Origin": "https://evil.example"}

    assert refusals(visitor, writing, headers) == {}


def test_a_key_of_another_scheme_does_not_make_a_page_of_another_site_welcome(
    visitor: httpx.Client, writing: list[Route]
) -> None:
    headers = {"Authorization": "Basic YTpi", "Origin": "https://evil.example"}

    assert refusals(visitor, writing, headers) == {}


def test_no_route_lets_another_site_read_its_answer(
    stack: Stack, documented: set[Route], writing: list[Route]
) -> None:
    key = {"Authorization": f"Bearer {API_KEY}", "Origin": "https://evil.example"}
    routes = [route for route in {*documented, *writing} if not route[1].endswith("/events")]

    with httpx.Client(base_url=stack.url, timeout=60) as program:
        told = [
            (route, name)
            for route in routes
            if route[0] != "DELETE"
            for name in program.request(*route, content=b"{}", headers=key).headers
            if name.startswith("access-control-")
        ]

    assert told == []


def test_reading_for_another_site_sets_no_cookie(stack: Stack, documented: set[Route]) -> None:
    for method, path in documented:
        if method == "GET" and not path.endswith("/events"):
            answer = httpx.get(stack.url + path, headers={"Sec-Fetch-Site": "cross-site"})
            assert "set-cookie" not in answer.headers, path
