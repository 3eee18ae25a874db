"""A job that another model computes than the one asked for, through the whole installation."""

import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from stack import REPOSITORY, Stack

from storage import pilot
from storage.redis.calls import SyncRedis

PHOTO = (REPOSITORY / "examples" / "chelsea.jpg").read_bytes()
TOLD = "Many people wait: toy was used instead of slow."


@pytest.fixture
def lighter(stack: Stack) -> Iterator[None]:
    """The pilot has ordered `toy` in place of `slow`, and orders nothing else."""
    link = SyncRedis(stack.state)
    link.do(pilot.pause(pilot.FOREVER_MS))
    salts = itertools.count()  # what `slow` has answered once it will answer again

    def is_seen() -> bool:  # set each time: the pilot may have looked just before the pause
        link.do(pilot.order("slow", pilot.Order(model="toy", reason=TOLD)))
        return bool(ask(stack, "slow", b"%d" % next(salts))["model"] == "toy")

    stack.wait_for("web", is_seen)
    yield
    link.do(pilot.order("slow", pilot.Order()))
    link.do(pilot.pause(0))


def ask(stack: Stack, model: str, salt: bytes, **params: Any) -> dict[str, Any]:
    """The job of a photo that only this salt tells from others, once it has ended."""
    answer = httpx.post(
        f"{stack.url}/api/v1/predict/{model}",
        params={"wait": 60, **params},
        content=PHOTO + salt,
        headers={"Authorization": f"Bearer {stack.api_key}"},
        timeout=90,
    )
    job: dict[str, Any] = answer.raise_for_status().json()
    return job


def test_the_answer_is_the_lighter_models_and_says_so_and_is_kept_as_that(
    lighter: None, stack: Stack
) -> None:
    job = ask(stack, "slow", b"lighter")
    own = ask(stack, "toy", b"lighter")

    assert (job["model"], job["asked_model"], job["degraded"]) == ("toy", "slow", True)
    assert job["degraded_reason"] == TOLD and job["result"]["data"] == {"gain": 1.5}
    assert [note["code"] for note in job["result"]["notes"]] == ["lighter_model"]
    assert own["cached"] and not own["degraded"] and own["asked_model"] is None


def test_a_request_may_refuse_what_is_lighter(lighter: None, stack: Stack) -> None:
    job = ask(stack, "slow", b"refused", lighter="false")

    assert (job["model"], job["asked_model"], job["degraded"]) == ("slow", None, False)
