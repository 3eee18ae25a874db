"""Routes read what their endpoints declare as FastAPI does, and the body that was checked."""

from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Cookie, FastAPI, Header, Query
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tasks.errors import BadInput
from web.api.options import of_query
from web.api.routing import ParsedRoute
from web.middleware.json_body import PARSED


class Name(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=5)


def client_of(kind: type[APIRoute], checked: object) -> httpx.AsyncClient:
    """A client of a route of this class, whose body was checked to be this; None: it has none."""
    router, app = APIRouter(route_class=kind), FastAPI()

    @router.post("/names/{place}")
    async def greet(
        place: str,
        asked: Name,
        wait: Annotated[float, Query(ge=0, le=60)] = 0,
        key: Annotated[str, Header(alias="Idempotency-Key", max_length=3)] = "",
    ) -> Response:
        return Response(f"{asked.name} {place} {wait} {key}")

    app.include_router(router)

    async def with_value(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope if checked is None else {**scope, PARSED: checked}, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(with_value), base_url="http://test")


async def test_an_endpoint_gets_the_checked_value_of_its_body() -> None:
    async with client_of(ParsedRoute, {"name": "seen"}) as client:
        answer = await client.post("/names/here", json={"name": "again"})

    assert answer.text == "seen here 0 "


@pytest.mark.parametrize(
    ("query", "headers", "body"),
    [
        ("", {}, {"name": "anna"}),
        ("?wait=1.5", {"idempotency-key": "abc"}, {"name": "anna"}),
        ("?wait=1&more=3", {}, {"name": "anna"}),
        ("?wait=", {"idempotency-key": ""}, {"name": "anna"}),
        ("?wait=61", {"idempotency-key": "abcd"}, {"name": "too long", "more": 1}),
        ("?wait=no", {}, {}),
        ("", {}, ["anna"]),
        ("", {}, None),
    ],
)
async def test_a_route_reads_and_refuses_what_fastapi_would(query, headers, body) -> None:
    answers = []
    for kind in (ParsedRoute, APIRoute):
        async with client_of(kind, body) as client:
            answers.append(await client.post(f"/names/here{query}", headers=headers, json=body))

    ours, theirs = answers
    assert (ours.status_code, ours.text) == (theirs.status_code, theirs.text)


def test_a_route_refuses_to_declare_what_it_does_not_read() -> None:
    router = APIRouter(route_class=ParsedRoute)

    async def crumbs(crumb: Annotated[str, Cookie()]) -> Response:
        return Response(crumb)

    with pytest.raises(TypeError, match="/crumbs"):
        router.get("/crumbs")(crumbs)


async def test_a_field_that_is_in_the_query_twice_is_refused() -> None:
    async with client_of(ParsedRoute, {"name": "anna"}) as client:
        with pytest.raises(BadInput, match="'wait' is more than once in the query"):
            await client.post("/names/here?wait=1&wait=2", json={"name": "anna"})


def test_a_parameter_that_is_in_the_query_twice_is_refused() -> None:
    with pytest.raises(BadInput, match="'top' is more than once in the query"):
        of_query(QueryParams("top=1&wait=2&top=4"), "")
