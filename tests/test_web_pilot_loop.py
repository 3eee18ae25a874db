"""The pilot at work on a real Redis: who leads, and what it shows of each model."""

import asyncio

import pytest
import redis

from storage import pilot, pilot_log
from storage.redis.calls import AsyncRedis, SyncRedis
from tasks.settings import settings
from web.jobs.service import JobService
from web.jobs.submission import Submission
from web.pilot import effects
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


async def test_a_decision_is_logged_with_its_numbers_and_later_with_its_effect(
    live: None, own: Pilot, link: SyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "AFTER_S", 0.0)
    link.do(pilot.order("toy", pilot.Order(workers=5)))
    monkeypatch.setenv("PIXELMILL_PILOT_SETTLE_S", "0.05")
    settings.cache_clear()
    for _ in range(6):
        await own.turn()
        await asyncio.sleep(0.03)

    [decision] = link.do(pilot_log.read())
    assert (decision.action, decision.outcome) == ("5 -> 1 workers", "done")
    assert decision.values["workers_wanted"] == 1
    assert decision.effect is not None and decision.effect["workers_after"] == 1
    assert link.do(pilot.orders()).of("toy").workers == 1


async def test_a_pause_lets_nothing_change_and_is_logged(
    live: None, own: Pilot, link: SyncRedis
) -> None:
    link.do(pilot.pause(pilot.FOREVER_MS))
    link.do(pilot.order("toy", pilot.Order(version="v", workers=0)))

    await own.turn()

    assert link.do(pilot.orders()).of("toy") == pilot.Order(version="v")
