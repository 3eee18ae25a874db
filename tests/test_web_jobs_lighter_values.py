"""What computes a job while the pilot has ordered lighter values of the model's own parameters."""

import json
from dataclasses import replace
from typing import Any, Literal

import pytest
from job_service import CARD, Toy
from pydantic import Field

from storage import catalogue, pilot
from storage.catalogue import ModelCard
from storage.jobs.snapshots import Snapshot
from storage.redis.calls import SyncRedis
from web.api.responses import notes_of
from web.jobs.lighter import lighter_values
from web.jobs.service import JobService
from web.jobs.submission import Submission

pytest_plugins = ["job_service"]
ASKED = pilot.Order(params={"effort": "fast"})


class Laborious(Toy):
    profile: Literal["fast", "best"] = "best"
    effort: Literal["fast", "good", "high"] = Field(
        default="good", json_schema_extra={"x-lighter": "fast"}
    )


OWN = {
    **CARD,
    "kind": "labels",
    "params": Laborious.model_json_schema(),
    "profiles": {name: {"max_batch": 8, "cost_ms": CARD["cost_ms"]} for name in ("fast", "best")},
}


def order(link: SyncRedis, ordered: pilot.Order) -> None:
    """A worker serves `toy`, and the pilot has ordered this."""
    link.do(catalogue.announce("cpu-1@host", {"queues": ["cpu"]}, {}))
    link.do(catalogue.announce("gpu-1@host", {"queues": ["gpu.toy"]}, {"toy": OWN}))
    link.do(pilot.order("toy", ordered))


def params(job: Snapshot) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(job.fields["params"])
    return found


@pytest.fixture
def busy(in_process: None, link: SyncRedis) -> None:
    order(link, ASKED)


async def test_a_lighter_value_computes_and_the_job_says_why(
    busy: None, service: JobService, submission: Submission
) -> None:
    fresh = await service.submit(submission)

    stored = await service.get("ada", fresh.fields["id"])
    assert params(stored) == {"gain": 1.5, "profile": "best", "effort": "fast"}
    assert stored.fields["degraded"] == (
        "Many people wait: effort fast was used instead of effort good."
    )
    assert notes_of({}, stored.fields) == ["lighter_settings"]  # type: ignore[typeddict-item]  # no result yet


async def test_its_result_is_that_of_whoever_asks_for_the_lighter_value(
    busy: None, service: JobService, submission: Submission
) -> None:
    light = await service.submit(submission)

    own = await service.submit(replace(submission, params={"effort": "fast"}))

    assert own.fields["request_key"] == light.fields["request_key"]
    assert "degraded" not in own.fields


@pytest.mark.parametrize("named", ["good", "high"])
async def test_a_value_that_a_request_names_is_never_changed(
    named: str, busy: None, service: JobService, submission: Submission
) -> None:
    job = await service.submit(replace(submission, params={"effort": named}))

    assert params(job)["effort"] == named and "degraded" not in job.fields


async def test_who_refuses_what_is_lighter_gets_the_default_value(
    busy: None, service: JobService, submission: Submission
) -> None:
    job = await service.submit(replace(submission, may_be_lighter=False))

    assert params(job)["effort"] == "good" and "degraded" not in job.fields


async def test_who_names_a_profile_gets_the_default_value_with_it(
    busy: None, service: JobService, submission: Submission
) -> None:
    job = await service.submit(replace(submission, params={"profile": "best"}))

    assert params(job)["effort"] == "good" and "degraded" not in job.fields


async def test_a_value_and_a_profile_that_are_both_lighter_are_both_said(
    in_process: None, link: SyncRedis, service: JobService, submission: Submission
) -> None:
    order(link, replace(ASKED, profile="fast"))

    job = await service.submit(submission)

    assert (params(job)["profile"], params(job)["effort"]) == ("fast", "fast")
    assert job.fields["degraded"] == (
        "Many people wait: effort fast, profile fast was used instead of effort good, profile best."
    )


async def test_a_named_value_leaves_a_lighter_profile(
    in_process: None, link: SyncRedis, service: JobService, submission: Submission
) -> None:
    order(link, replace(ASKED, profile="fast"))

    job = await service.submit(replace(submission, params={"effort": "high"}))

    assert (params(job)["profile"], params(job)["effort"]) == ("fast", "high")
    assert job.fields["degraded"] == "Many people wait: fast was used instead of best."


async def test_a_parameter_that_the_model_no_longer_has_is_not_asked_for(
    in_process: None, link: SyncRedis, service: JobService, submission: Submission
) -> None:
    order(link, pilot.Order(params={"gone": 1}))

    job = await service.submit(submission)

    assert job.state == "queued" and "degraded" not in job.fields


def test_a_lighter_value_is_another_than_the_default_and_one_that_the_parameter_may_have() -> None:
    def card(default: str, lighter: str) -> ModelCard:
        values = {"enum": ["fast", "good"], "default": default, "x-lighter": lighter}
        return {"params": {"properties": {"effort": values}}}  # type: ignore[typeddict-item]  # a part of a card

    assert lighter_values(card("good", "fast")) == {"effort": ("good", "fast")}
    assert lighter_values(card("fast", "fast")) == {}
    assert lighter_values(card("good", "none")) == {}
