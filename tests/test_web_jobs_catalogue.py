"""The cached catalogue on real Redis: which models can be used, and what their runs cost."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

import pytest
import redis
from job_service import CARD

from storage import catalogue, keys
from storage.catalogue import Catalogue
from storage.errors import StorageDown
from storage.redis.calls import Call, SyncRedis
from tasks.errors import BadInput, Unavailable
from tasks.models.base import Params
from tasks.settings import settings
from web.jobs import admission
from web.jobs.service import JobService
from web.jobs.submission import Submission

pytest_plugins = ["job_service"]


async def test_an_unknown_model_is_404_and_names_those_there_are(
    live: None, service: JobService, submission: Submission
) -> None:
    with pytest.raises(BadInput, match="no model 'tyo'; there are: toy") as caught:
        await service.submit(replace(submission, model="tyo"))

    assert (caught.value.code, caught.value.status) == ("no_model", 404)


async def test_requests_of_the_same_moment_share_one_read(
    live: None, service: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    do = service._state.do

    def noted(call: Call[Catalogue]) -> Awaitable[Catalogue]:
        calls.append(call)
        return do(call)

    monkeypatch.setattr(service._state, "do", noted)
    catalogues = await asyncio.gather(*(service.catalogue.get() for _ in range(20)))

    assert len(calls) == 1
    assert [list(item.models) for item in catalogues] == [["toy"]] * 20


async def test_a_read_that_fails_is_told_to_all_who_wait_and_tried_again_by_the_next(
    live: None, service: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(call: object) -> None:
        raise StorageDown("silent")

    with monkeypatch.context() as patched:
        patched.setattr(service._state, "do", silent)
        waiting = (service.catalogue.get() for _ in range(3))
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [StorageDown] * 3
    assert "toy" in (await service.catalogue.get()).models


async def test_who_goes_away_takes_the_read_from_nobody(live: None, service: JobService) -> None:
    first = asyncio.create_task(service.catalogue.get())
    second = asyncio.create_task(service.catalogue.get())
    await asyncio.sleep(0)

    first.cancel()

    assert "toy" in (await second).models


async def test_before_any_worker_came_the_answer_says_so(
    service: JobService, submission: Submission
) -> None:
    with pytest.raises(Unavailable, match="no worker serves 'toy' at present"):
        await service.submit(submission)


async def test_a_model_that_no_worker_has_announced_again_to_the_emptied_catalogue_is_503(
    live: None, service: JobService, submission: Submission, state: "redis.Redis", link: SyncRedis
) -> None:
    await service.submit(submission)
    state.flushdb()
    service.catalogue._catalogue = None
    link.do(
        catalogue.announce(
            "gpu-2@host", {"queues": ["gpu.other"]}, {"other": {**CARD, "name": "other"}}
        )
    )

    with pytest.raises(Unavailable, match="no worker serves 'toy' at present"):
        await service.submit(submission)


@pytest.mark.parametrize(("node", "queue"), [("gpu-1@host", "gpu.toy"), ("cpu-1@host", "cpu")])
async def test_a_model_without_worker_for_half_a_minute_is_503(
    live: None,
    service: JobService,
    submission: Submission,
    state: "redis.Redis",
    node: str,
    queue: str,
) -> None:
    state.delete(keys.worker(node))
    state.hincrby(keys.SEEN, queue, -31_000)

    with pytest.raises(Unavailable) as caught:
        await service.submit(submission)

    assert (caught.value.code, caught.value.status) == ("no_worker", 503)


async def test_a_worker_that_restarts_is_waited_for(
    live: None, service: JobService, submission: Submission, state: "redis.Redis"
) -> None:
    state.delete(keys.worker("gpu-1@host"))

    assert (await service.submit(submission)).state == "queued"


async def test_the_catalogue_is_read_once_a_second(
    live: None, service: JobService, state: "redis.Redis"
) -> None:
    before = await service.catalogue.get()

    assert await service.catalogue.get() is before


async def test_a_queue_of_slow_profiles_is_estimated_by_their_own_cost(
    link: SyncRedis,
    service: JobService,
    submission: Submission,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Drawn(Params):
        profile: str = "fast"

    fast, slow = ({"cost_ms": {"a": 0, "b": ms}, "max_batch": 1} for ms in (10, 4000))
    profiles = {"fast": fast, "slow": slow}
    card = {**CARD, **fast, "params": Drawn.model_json_schema(), "profiles": profiles}
    link.do(catalogue.announce("cpu-1@host", {"queues": ["cpu"]}, {}))
    link.do(catalogue.announce("gpu-1@host", {"queues": ["gpu.toy"]}, {"toy": card}))
    monkeypatch.setenv("PIXELMILL_MAX_WAIT_INTERACTIVE_S", "10")
    settings.cache_clear()

    snapshots = [
        await service.submit(replace(submission, user=user, params={"profile": "slow"}))
        for user in ("ada", "bob", "cy")
    ]
    seen = await service.get("cy", snapshots[2].fields["id"])
    with pytest.raises(Unavailable, match=r"the wait would be 12\.0 s; the limit is 10 s"):
        await service.submit(replace(submission, user="dee"))

    assert (seen.ahead, seen.wait_ms) == (2, 8000)
    assert (
        admission.eta_s(seen, card | {"mean_stage_ms": {"preprocess": 0, "postprocess": 0}}) == 12
    )
