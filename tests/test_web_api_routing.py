"""Routes take the value that the middleware has parsed and checked, and no other."""

import httpx
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from web.api.routing import ParsedRoute
from web.middleware.json_body import PARSED


class Name(BaseModel):
    name: str


async def test_an_endpoint_gets_the_checked_value_of_its_body() -> None:
    router, app = APIRouter(route_class=ParsedRoute), FastAPI()

    @router.post("/names")
    async def greet(asked: Name) -> str:
        return asked.name

    app.include_router(router)

    async def with_value(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, PARSED: {"name": "checked"}}, receive, send)

    transport = httpx.ASGITransport(with_value)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.post("/names", json={"name": "parsed again"})

    assert answer.json() == "checked"
