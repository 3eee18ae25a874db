"""Slots of the S3 proxy come back, however an answer of S3 ends."""

import asyncio
from typing import Any

import httpx
import pytest

from storage.s3.asynchronous import Watch
from web import s3_proxy


async def test_an_answer_that_cannot_be_closed_gives_its_slot_back() -> None:
    class Answer:
        async def aclose(self) -> None:
            raise httpx.ReadError("S3 broke off")

    answer: Any = Answer()
    released = []

    with pytest.raises(httpx.ReadError):
        await s3_proxy._without_body(answer, lambda: released.append(1), is_head=True)

    assert released


async def test_an_answer_that_comes_as_its_request_is_given_up_is_closed() -> None:
    class Body(httpx.AsyncByteStream):
        is_closed = False

        async def aclose(self) -> None:
            self.is_closed = True

    class Transport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            asyncio.get_running_loop().call_soon(sending.cancel)
            return httpx.Response(200, stream=body)

    async def ask() -> None:
        """S3 answers."""

    body, proxy = Body(), s3_proxy.S3Proxy(Watch(ask))
    proxy._client = httpx.AsyncClient(transport=Transport())
    request = proxy._client.build_request("GET", "http://s3/photo")
    sending = asyncio.create_task(proxy._send_watched(lambda _: request, None))

    await asyncio.wait({sending})

    assert sending.cancelled() and body.is_closed
