"""The pilot at work on a real Redis: who leads, and what it shows of each model."""

import pytest
import redis

from storage import pilot
from storage.redis.calls import AsyncRedis, SyncRedis
from web.jobs.service import JobService
from web.jobs.submission import Submission
from web.pilot.loop import Pilot

pytest_plugins = ["job_service"]


@pytest.fixture
def own(service: JobService) -> Pilot:
    return Pilot(service._state, service.catalogue)


async def test_the_leader_shows_what_each_model_has_to_do(
    live: None, service: JobService, own: Pilot, link: SyncRedis, submission: Submission
) -> None:
    await service.submit(submission)

    await own.turn()

    view = link.do(pilot.views())["toy"]
    assert view.numbers["runs"] == 1 and view.numbers["workers"] == 1
    assert view.scaling == pilot.Scaling(1, 0.045)
    assert view.numbers["p95_s"] is None


async def test_one_process_at_a_time_leads(
    live: None, own: Pilot, service: JobService, link: SyncRedis, state: "redis.Redis"
) -> None:
    await own.turn()

    assert not link.do(pilot.lead("another"))
    state.flushdb()  # as the lease runs out
    assert link.do(pilot.lead("another"))
    assert not link.do(pilot.lead(own._name))


async def test_a_redis_that_does_not_answer_is_no_reason_to_do_anything(own: Pilot) -> None:
    from job_service import nobody

    blind = Pilot(AsyncRedis(nobody(), "the state Redis", 1.0), own._catalogue)

    await blind.turn()

    assert not blind._history
