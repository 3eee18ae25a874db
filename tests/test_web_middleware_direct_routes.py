"""Routes that are called directly answer as they would behind the framework's layers."""

from collections.abc import Iterator

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from tasks.errors import BadInput
from web.api.routing import ParsedRoute
from web.errors import add_handlers
from web.middleware.direct_routes import DirectRoutes

router = APIRouter(route_class=ParsedRoute)


@router.get("/names/{name}")
async def greet(request: Request, name: str) -> Response:
    if name == "nobody":
        raise BadInput("nobody has no name", code="no_name", status=404)
    if name == "broken":
        raise RuntimeError("broken")
    return Response(f"{name} of {request.app.title} at {request.scope['route'].path}")


@pytest.fixture
def asked() -> Iterator[list[str]]:
    """What the framework was asked."""
    yield []


@pytest.fixture
def client(asked: list[str]) -> httpx.AsyncClient:
    app = FastAPI(title="names")
    app.router.routes.extend(router.routes)
    add_handlers(app)

    async def behind(scope, receive, send) -> None:
        asked.append(scope["path"])
        await app(scope, receive, send)

    transport = httpx.ASGITransport(
        DirectRoutes(behind, app, router.routes), raise_app_exceptions=False
    )
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def test_a_direct_route_is_answered_without_the_framework(client, asked) -> None:
    answer = await client.get("/names/anna%20b")

    assert (answer.text, asked) == ("anna b of names at /names/{name}", [])


async def test_an_error_of_a_direct_route_is_answered_in_the_form_of_all_errors(
    client, asked
) -> None:
    answer = await client.get("/names/nobody")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_name")
    assert asked == []


async def test_an_unexpected_error_of_a_direct_route_is_answered_with_a_reference(client) -> None:
    answer = await client.get("/names/broken")

    assert answer.status_code == 500
    assert answer.json()["error"]["reference"]


async def test_what_no_direct_route_takes_reaches_the_framework(client, asked) -> None:
    other_path = await client.get("/names/anna/b")
    other_method = await client.post("/names/anna")

    assert (other_path.status_code, other_method.status_code) == (404, 405)
    assert asked == ["/names/anna/b", "/names/anna"]
