"""Jobs of a web process on real Redis, S3 and queue: what submitting answers."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest
import redis
from job_service import CARD, RESULT, Toy, finish, nobody, service_on

from storage import catalogue, keys, object_keys, pilot
from storage import results as stored_results
from storage.errors import StorageDown
from storage.redis.calls import SyncRedis
from storage.s3.objects import S3Objects
from tasks.errors import BadInput, Unavailable
from tasks.settings import settings
from web.jobs.service import JobService
from web.jobs.submission import Submission, UploadNeeded

pytest_plugins = ["job_service"]


class Profiled(Toy):
    profile: Literal["fast", "best"] = "best"


async def test_new_work_is_queued_with_its_bytes_kept(
    live: None,
    service: JobService,
    submission: Submission,
    queued: Callable[[], int],
    s3: S3Objects,
) -> None:
    snapshot = await service.submit(submission)

    seen = await service.get("ada", snapshot.fields["id"])
    assert (snapshot.state, seen.state, queued()) == ("queued", "queued", 1)
    assert s3.get(object_keys.upload_object("ada", seen.fields["upload"])) == submission.photo.data


async def test_what_submit_answers_is_what_the_record_says(
    live: None, service: JobService, submission: Submission
) -> None:
    fresh = await service.submit(submission)

    seen = await service.get("ada", fresh.fields["id"])
    assert {name: seen.fields[name] for name in fresh.fields} == dict(fresh.fields)


async def test_defaults_are_filled_in(
    live: None, service: JobService, submission: Submission
) -> None:
    snapshot = await service.submit(submission)

    assert json.loads(snapshot.fields["params"]) == {"gain": 1.5}


async def test_equal_work_is_joined_without_another_message(
    live: None, service: JobService, submission: Submission, queued: Callable[[], int]
) -> None:
    snapshots = [await service.submit(submission) for _ in range(3)]

    assert len({snapshot.fields["id"] for snapshot in snapshots}) == 3
    assert len({snapshot.fields["request_key"] for snapshot in snapshots}) == 1
    assert queued() == 1


async def test_equal_requests_at_once_run_once(
    live: None, service: JobService, submission: Submission, queued: Callable[[], int]
) -> None:
    await asyncio.gather(*(service.submit(submission) for _ in range(40)))

    assert queued() == 1


async def test_what_is_given_as_its_default_is_equal_work(
    live: None, service: JobService, submission: Submission
) -> None:
    snapshots = [
        await service.submit(replace(submission, params=params))
        for params in ({}, {"gain": 1.5}, {"gain": "1.5"})
    ]

    assert len({snapshot.fields["request_key"] for snapshot in snapshots}) == 1


async def test_other_users_work_is_not_joined(
    live: None, service: JobService, submission: Submission, queued: Callable[[], int]
) -> None:
    await service.submit(submission)
    await service.submit(replace(submission, user="bob"))
    await asyncio.sleep(0)

    assert queued() == 2


async def test_a_cached_result_is_a_hit_without_a_message(
    live: None,
    service: JobService,
    submission: Submission,
    queued: Callable[[], int],
    cache: SyncRedis,
) -> None:
    first = await service.submit(submission)
    key = first.fields["request_key"]
    cache.do(stored_results.write(key, RESULT, 60))
    before = queued()

    snapshot = await service.submit(submission)

    assert (snapshot.state, snapshot.fields["cached"], snapshot.fields["result"]) == (
        "done",
        "1",
        RESULT,
    )
    assert queued() == before


async def test_a_cached_result_needs_no_bytes(
    live: None,
    service: JobService,
    submission: Submission,
    queued: Callable[[], int],
    cache: SyncRedis,
) -> None:
    key = (await service.submit(submission)).fields["request_key"]
    cache.do(stored_results.write(key, RESULT, 60))

    snapshot = await service.submit(replace(submission, photo=replace(submission.photo, data=b"")))

    assert snapshot.state == "done"


async def test_unknown_bytes_have_to_be_uploaded_first(
    live: None,
    service: JobService,
    submission: Submission,
    queued: Callable[[], int],
    state: "redis.Redis",
) -> None:
    with pytest.raises(UploadNeeded) as caught:
        await service.submit(replace(submission, photo=replace(submission.photo, data=b"")))

    assert (caught.value.code, caught.value.status) == ("upload_needed", 409)
    assert queued() == 0 and state.keys(f"{keys.JOB_PREFIX}*") == []


async def test_an_upload_that_is_there_needs_no_bytes(
    live: None, service: JobService, submission: Submission, queued: Callable[[], int]
) -> None:
    photo = replace(submission.photo, data=b"", upload="u1")

    snapshot = await service.submit(replace(submission, photo=photo))

    assert (snapshot.state, queued()) == ("queued", 1)


async def test_a_cache_that_does_not_answer_is_as_good_as_empty(
    live: None,
    in_process: None,
    s3: S3Objects,
    state_url: str,
    submission: Submission,
    queued: Callable[[], int],
) -> None:
    async with service_on(s3, state_url, nobody()) as (service, _):
        snapshot = await service.submit(submission)

    assert (snapshot.state, queued()) == ("queued", 1)


async def test_a_lasting_failure_is_answered_again(
    live: None,
    service: JobService,
    submission: Submission,
    queued: Callable[[], int],
    link: SyncRedis,
) -> None:
    first = await service.submit(submission)
    finish(link, first.fields["request_key"], "failed", lasting=True)
    before = queued()

    snapshot = await service.submit(submission)

    assert snapshot.state == "failed" and json.loads(snapshot.fields["error"])["code"] == "no_image"
    assert queued() == before


async def test_bad_parameters_cost_no_job(
    live: None, service: JobService, submission: Submission, state: "redis.Redis"
) -> None:
    with pytest.raises(BadInput, match="unknown parameter 'gian'"):
        await service.submit(replace(submission, params={"gian": 2}))

    assert state.keys(f"{keys.JOB_PREFIX}*") == []


async def test_an_unknown_output_is_named(
    live: None, service: JobService, submission: Submission
) -> None:
    with pytest.raises(
        BadInput, match="no output 'gif'; there are: alpha, mask, preview"
    ) as caught:
        await service.submit(replace(submission, output=["gif"]))

    assert caught.value.code == "bad_output"


async def test_an_accepted_job_is_on_the_disk_first_where_that_is_wished(
    live: None,
    service: JobService,
    submission: Submission,
    state: "redis.Redis",
    cache: SyncRedis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def waits() -> int:
        return int(state.info("commandstats").get("cmdstat_waitaof", {"calls": 0})["calls"])

    counts = [waits()]
    first = await service.submit(submission)
    counts.append(waits())
    monkeypatch.setenv("PIXELMILL_DURABLE", "true")
    settings.cache_clear()

    await service.submit(submission)
    counts.append(waits())
    cache.do(stored_results.write(first.fields["request_key"], RESULT, 60))
    await service.submit(submission)
    counts.append(waits())

    assert [count - counts[0] for count in counts] == [0, 0, 1, 1], "of a known result, nobody asks"


async def test_a_full_priority_is_429(
    live: None, service: JobService, submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.submit(submission)
    monkeypatch.setenv("PIXELMILL_MAX_WAITING", "1")
    settings.cache_clear()

    with pytest.raises(Unavailable, match="1 runs wait already; the limit is 1") as caught:
        await service.submit(replace(submission, user="bob"))

    assert (caught.value.code, caught.value.status) == ("busy", 429)


@pytest.mark.measures_time
async def test_a_state_redis_that_does_not_answer_is_reported_soon(
    in_process: None, s3: S3Objects, cache_url: str, submission: Submission
) -> None:
    async with service_on(s3, nobody(), cache_url) as (service, _):
        began = time.monotonic()

        with pytest.raises(StorageDown, match="the state Redis did not answer"):
            await service.submit(submission)

        assert time.monotonic() - began < 2.5


PROFILES = {
    **CARD,
    "params": Profiled.model_json_schema(),
    "profiles": {name: {"max_batch": 8, "cost_ms": CARD["cost_ms"]} for name in ("fast", "best")},
}


@pytest.fixture
def lighter(live: None, link: SyncRedis) -> None:
    """The pilot has ordered a lighter profile of `toy`."""
    link.do(catalogue.announce("gpu-1@host", {"queues": ["gpu.toy"]}, {"toy": PROFILES}))
    link.do(pilot.order("toy", pilot.Order(profile="fast", reason="Many people wait.")))


async def test_under_load_a_job_that_names_no_profile_gets_the_lighter_one_and_says_why(
    lighter: None, service: JobService, submission: Submission
) -> None:
    job = await service.submit(submission)

    stored = await service.get("ada", job.fields["id"])
    assert json.loads(stored.fields["params"])["profile"] == "fast"
    assert stored.fields["degraded"] == "Many people wait: fast was used instead of best."


async def test_a_profile_that_is_named_is_never_changed_and_equal_work_is_shared(
    lighter: None, service: JobService, submission: Submission
) -> None:
    first = await service.submit(submission)

    named = await service.submit(replace(submission, params={"profile": "best"}))
    same = await service.submit(replace(submission, params={"profile": "fast"}))

    assert json.loads(named.fields["params"])["profile"] == "best"
    assert "degraded" not in named.fields and "degraded" not in same.fields
    assert first.fields["request_key"] == same.fields["request_key"]
    assert first.fields["request_key"] != named.fields["request_key"]


async def test_what_a_pilot_ordered_that_is_off_by_now_does_not_count(
    lighter: None,
    service: JobService,
    submission: Submission,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PIXELMILL_PILOT", "off")
    settings.cache_clear()

    job = await service.submit(submission)

    assert json.loads(job.fields["params"])["profile"] == "best"


async def test_a_profile_that_a_person_has_pinned_is_not_called_degraded(
    lighter: None, service: JobService, submission: Submission, link: SyncRedis
) -> None:
    link.do(pilot.pin("toy", pilot.Pins(profile="fast")))

    job = await service.submit(submission)

    assert json.loads(job.fields["params"])["profile"] == "fast" and "degraded" not in job.fields
