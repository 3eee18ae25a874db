"""Errors that nobody expected: what is told of them, and what the log has."""

import httpx
from fastapi import FastAPI
from structlog.testing import capture_logs

from web.errors import add_handlers


async def test_a_failure_of_the_server_has_a_reference_that_its_log_has_too():
    app = FastAPI()
    add_handlers(app)

    @app.get("/")
    def broken() -> None:
        raise ArithmeticError("a secret")

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://web") as client:
        with capture_logs() as logged:
            answer = await client.get("/")

    error = answer.json()["error"]
    assert answer.status_code == 500 and "secret" not in answer.text
    assert error["reference"] in error["hint"]
    assert [line["reference"] for line in logged] == [error["reference"]]
