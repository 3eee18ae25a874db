"""What computes a job while the pilot has ordered a lighter model in place of the one asked for."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import pytest
from job_service import CARD, RESULT, Toy

from storage import catalogue, pilot
from storage import results as stored_results
from storage.redis.calls import SyncRedis
from tasks.settings import settings
from web.jobs.lighter import default_profile
from web.jobs.service import JobService
from web.jobs.submission import Submission

pytest_plugins = ["job_service"]
TOLD = "Many people wait: small was used instead of toy."


class Profiled(Toy):
    profile: Literal["fast", "best"] = "best"
    edge: int = 0


OWN = {
    **CARD,
    "kind": "labels",
    "params": Profiled.model_json_schema(),
    "profiles": {name: {"max_batch": 8, "cost_ms": CARD["cost_ms"]} for name in ("fast", "best")},
}
SMALL = {**CARD, "name": "small", "kind": "labels"}


def serve(link: SyncRedis, small: Mapping[str, Any]) -> None:
    """A worker serves `toy` and `small`; the pilot wants `small` in place of `toy`."""
    link.do(catalogue.announce("cpu-1@host", {"queues": ["cpu"]}, {}))
    worker = {"queues": ["gpu.toy", "gpu.small"]}
    link.do(catalogue.announce("gpu-1@host", worker, {"toy": OWN, "small": small}))
    link.do(pilot.order("toy", pilot.Order(profile="fast", model="small", reason=TOLD)))


@pytest.fixture
def both(in_process: None, link: SyncRedis) -> None:
    serve(link, SMALL)


async def test_a_lighter_model_computes_and_the_job_says_which_for_which_and_why(
    both: None, service: JobService, submission: Submission
) -> None:
    fresh = await service.submit(submission)

    stored = (await service.get("ada", fresh.fields["id"])).fields
    assert (stored["model"], stored["asked_model"]) == ("small", "toy")
    assert stored["degraded"] == TOLD
    assert fresh.fields == {name: stored[name] for name in fresh.fields}


async def test_its_result_is_that_of_whoever_asks_for_the_lighter_model(
    both: None, service: JobService, submission: Submission
) -> None:
    light = await service.submit(submission)

    own = await service.submit(replace(submission, model="small"))

    assert own.fields["request_key"] == light.fields["request_key"]
    assert "degraded" not in own.fields and "asked_model" not in own.fields


async def test_who_refuses_what_is_lighter_gets_what_was_asked_for(
    both: None, service: JobService, submission: Submission
) -> None:
    refused = await service.submit(replace(submission, may_be_lighter=False))

    assert refused.fields["model"] == "toy" and "degraded" not in refused.fields
    assert json.loads(refused.fields["params"])["profile"] == "best"


async def test_who_names_a_profile_gets_it_of_the_model_itself(
    both: None, service: JobService, submission: Submission
) -> None:
    named = await service.submit(replace(submission, params={"profile": "best"}))

    assert named.fields["model"] == "toy" and "degraded" not in named.fields


async def test_a_parameter_that_the_lighter_model_lacks_leaves_a_lighter_profile(
    both: None, service: JobService, submission: Submission
) -> None:
    job = await service.submit(replace(submission, params={"edge": 3}))

    assert job.fields["model"] == "toy" and "asked_model" not in job.fields
    assert json.loads(job.fields["params"])["profile"] == "fast"
    assert job.fields["degraded"] == "Many people wait: fast was used instead of best."


async def test_a_parameter_that_the_lighter_model_lacks_may_be_named_with_its_default(
    both: None, service: JobService, submission: Submission
) -> None:
    job = await service.submit(replace(submission, params={"edge": 0, "gain": 1.5}))

    assert (job.fields["model"], json.loads(job.fields["params"])) == ("small", {"gain": 1.5})


async def test_parameters_that_both_have_are_passed_on(
    both: None, service: JobService, submission: Submission
) -> None:
    job = await service.submit(replace(submission, params={"gain": 3}))

    assert (job.fields["model"], json.loads(job.fields["params"])) == ("small", {"gain": 3.0})


@pytest.mark.parametrize("other", [{"kind": "boxes"}, {"input": "volume"}])
async def test_a_model_of_another_kind_takes_nobodys_place(
    other: dict[str, str],
    in_process: None,
    link: SyncRedis,
    service: JobService,
    submission: Submission,
) -> None:
    serve(link, {**SMALL, **other})

    job = await service.submit(submission)

    assert job.fields["model"] == "toy"


async def test_a_lighter_model_that_no_worker_serves_any_more_takes_nobodys_place(
    both: None, service: JobService, submission: Submission, link: SyncRedis
) -> None:
    link.do(catalogue.announce("gpu-1@host", {"queues": ["gpu.toy"]}, {"toy": OWN}))

    assert (await service.submit(submission)).fields["model"] == "toy"


async def test_what_is_known_already_is_answered_as_it_was_asked_for(
    both: None,
    service: JobService,
    submission: Submission,
    cache: SyncRedis,
) -> None:
    own = await service.submit(replace(submission, may_be_lighter=False))
    key = own.fields["request_key"]
    cache.do(stored_results.write(key, RESULT, 60))

    again = await service.submit(submission)

    assert (again.state, again.fields["model"]) == ("done", "toy")
    assert "degraded" not in again.fields


async def test_a_request_that_is_sent_again_with_its_key_gets_its_job_whatever_is_ordered_since(
    both: None, service: JobService, submission: Submission, link: SyncRedis
) -> None:
    keyed = replace(submission, idempotency_key="same")
    first = await service.submit(keyed)
    link.do(pilot.order("toy", pilot.Order()))
    service.catalogue._read_s = float("-inf")

    assert (await service.submit(keyed)).fields["id"] == first.fields["id"]


async def test_what_a_pilot_ordered_that_only_says_what_it_would_do_does_not_count(
    both: None, service: JobService, submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELMILL_PILOT", "dry")
    settings.cache_clear()

    assert (await service.submit(submission)).fields["model"] == "toy"


def test_a_model_without_profiles_has_no_default_one() -> None:
    assert default_profile(OWN) == "best" and default_profile(SMALL) == ""  # type: ignore[arg-type]  # a part of a card
