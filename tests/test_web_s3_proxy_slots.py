"""Slots of the S3 proxy come back, however an answer of S3 ends."""

from typing import Any

import httpx
import pytest

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
