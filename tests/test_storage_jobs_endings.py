"""Jobs that nobody waits for any more: cancelled, expired, not looked at, deleted, asked twice."""

import json
import time
from collections.abc import Callable

import pytest
import redis
import runs

from storage import keys
from storage.jobs import claims, endings, recovery
from storage.jobs.claims import Claim, Limits
from storage.jobs.endings import ERASE, Deleted, End
from storage.jobs.spec import RunRef, Spec
from storage.redis.calls import SyncRedis

pytest_plugins = ["inprocess"]

KEY = "k" * 64
EXPIRED = '{"code":"expired"}'
RESULT = '{"kind":"labels"}'


class Desk:
    """Calls with this file's usual arguments."""

    def __init__(self, link: SyncRedis) -> None:
        self.link = link

    def claim(self, job: str, key: str = KEY, user: str = "ada", **options: object) -> Claim:
        spec = Spec(key, user, "toy", {}, ["alpha"], f"upload-{key[:4]}", "sha256:w", "c")
        asked = claims.claim(job, spec, priority="batch", job_ttl_s=60, **options)
        return self.link.do(asked)

    def touch(self, event: str, number: int = 1, stage: str = "preprocess") -> int:
        said = runs.report(
            event,
            [RunRef(KEY, number)],
            stage=stage,
            state=f"at {stage}",
            progress=0.1,
            model="toy",
            queue="cpu",
            priority="batch",
            next_queue="gpu.toy",
            next_broker_queue="gpu.toy",
            job_ttl_s=60,
            expired=EXPIRED,
        )
        [touched] = self.link.do(said)
        return touched.starts

    def cancel(self, job: str, user: str = "ada") -> str | None:
        return self.link.do(endings.cancel(job, user, job_ttl_s=60))

    def delete(self, job: str, user: str = "ada") -> Deleted | None:
        return self.link.do(endings.delete(job, user, job_ttl_s=60))

    def expire(self) -> int:
        return self.link.do(endings.expire(EXPIRED, job_ttl_s=60))

    def finish(self, number: int = 1) -> int:
        [done] = self.link.do(
            endings.finish([End(RunRef(KEY, number), "done", RESULT)], job_ttl_s=60)
        )
        return done

    def state(self, job: str) -> str:
        found = runs.snapshot(self.link, job)
        assert found is not None
        return found.state


@pytest.fixture
def desk(link: SyncRedis) -> Desk:
    return Desk(link)


@pytest.fixture
def run_state(state: "redis.Redis") -> Callable[[], str | None]:
    return lambda: state.hget(keys.run(KEY), "state")


# Cancel


def test_a_run_that_waits_is_cancelled_at_once(desk: Desk, run_state: Callable[[], str]) -> None:
    desk.claim("j1")

    assert desk.cancel("j1") == "cancelled"
    assert (desk.state("j1"), run_state()) == ("cancelled", "cancelled")


def test_a_cancelled_run_is_left_alone_by_its_message(desk: Desk) -> None:
    desk.claim("j1")
    desk.cancel("j1")

    assert desk.touch("start") == -1


def test_a_run_between_two_stages_is_cancelled_at_once(desk: Desk) -> None:
    desk.claim("j1")
    desk.touch("start")
    desk.touch("end")

    assert desk.cancel("j1") == "cancelled"
    assert desk.touch("start", stage="inference") == -1


def test_a_stage_that_is_at_it_confirms(desk: Desk) -> None:
    desk.claim("j1")
    desk.touch("start")

    before = desk.cancel("j1"), desk.state("j1")
    answer = desk.touch("end")

    assert before == ("cancelling", "cancelling")
    assert (answer, desk.state("j1")) == (-1, "cancelled")


def test_a_renewal_confirms_as_well(desk: Desk) -> None:
    desk.claim("j1")
    desk.touch("start")
    desk.cancel("j1")

    assert desk.touch("renew") == -1
    assert desk.state("j1") == "cancelled"


def test_the_next_stage_is_not_queued_when_the_last_one_was_cancelled(
    desk: Desk, state: "redis.Redis", run_state: Callable[[], str]
) -> None:
    desk.claim("j1")
    desk.touch("start")
    desk.cancel("j1")
    desk.touch("end")

    assert run_state() == "cancelled"
    assert state.hget(keys.run(KEY), "queue") == "cpu"
    assert state.zcard(keys.ACTIVE) == state.zcard(keys.user_runs("ada")) == 0


def test_a_result_that_comes_too_late_is_cancelled(desk: Desk) -> None:
    desk.claim("j1")
    desk.touch("start")
    desk.cancel("j1")

    assert desk.finish()
    assert desk.state("j1") == "cancelled"


def test_one_of_two_leaves_and_the_run_goes_on(desk: Desk) -> None:
    desk.claim("j1")
    desk.claim("j2")
    desk.touch("start")

    assert desk.cancel("j1") == "cancelled"
    assert desk.finish()
    assert (desk.state("j1"), desk.state("j2")) == ("cancelled", "done")


def test_the_last_of_two_cancels_the_run(desk: Desk, run_state: Callable[[], str]) -> None:
    desk.claim("j1")
    desk.claim("j2")

    desk.cancel("j1")
    between = run_state()
    desk.cancel("j2")

    assert (between, run_state()) == ("queued", "cancelled")


def test_cancelling_twice_changes_nothing(desk: Desk, state: "redis.Redis") -> None:
    desk.claim("j1")
    desk.touch("start")
    desk.cancel("j1")
    before = state.hgetall(keys.run(KEY))

    assert desk.cancel("j1") == "cancelling"
    assert state.hgetall(keys.run(KEY)) == before


def test_what_has_ended_stays_as_it_is(desk: Desk) -> None:
    desk.claim("j1")
    desk.finish()

    assert desk.cancel("j1") == "done"


@pytest.mark.parametrize("user", ["bob", ""])
def test_nobody_cancels_what_is_anothers(desk: Desk, user: str) -> None:
    desk.claim("j1")

    assert desk.cancel("j1", user) is None
    assert desk.state("j1") == "queued"


def test_whoever_asks_again_does_not_join_a_run_that_is_being_cancelled(desk: Desk) -> None:
    desk.claim("j1")
    desk.touch("start")
    desk.cancel("j1")

    again = desk.claim("j2")

    assert (again.verdict, again.attempt) == ("start", 2)
    assert desk.state("j1") == "cancelled", "its number is stale: nobody need confirm"
    assert desk.touch("end") == 0
    assert desk.state("j2") == "queued"


def test_a_lost_run_that_nobody_wants_is_not_led_again(desk: Desk, link: SyncRedis) -> None:
    desk.claim("j1")
    desk.touch("start")
    desk.cancel("j1")  # and the worker dies

    assert link.do(recovery.requeue([RunRef(KEY, 1)], job_ttl_s=60)) == [0]
    assert desk.state("j1") == "cancelled"


def test_workers_hear_that_nobody_wants_a_run(desk: Desk, state: "redis.Redis") -> None:
    desk.claim("j1")
    desk.touch("start")
    with state.pubsub(ignore_subscribe_messages=True) as stream:
        stream.subscribe(keys.CANCELLED)
        stream.get_message(timeout=1)

        desk.cancel("j1")

        assert stream.get_message(timeout=1)["data"] == f"{KEY}:1"


# Deadline and interest


def test_a_job_expires_while_it_waits(desk: Desk, run_state: Callable[[], str]) -> None:
    desk.claim("j1", deadline_s=0.01)
    time.sleep(0.02)

    assert desk.expire() == 1
    assert (desk.state("j1"), run_state()) == ("failed", "failed")


def test_an_expired_job_says_so(desk: Desk, state: "redis.Redis") -> None:
    desk.claim("j1", deadline_s=0.01)
    time.sleep(0.02)
    desk.expire()

    assert json.loads(state.hget(keys.job("j1"), "error"))["code"] == "expired"


def test_no_stage_starts_after_the_deadline(desk: Desk, state: "redis.Redis") -> None:
    desk.claim("j1", deadline_s=0.01)
    time.sleep(0.02)

    assert desk.touch("start") == -1
    assert json.loads(state.hget(keys.job("j1"), "error"))["code"] == "expired"


def test_a_jobs_deadline_is_its_own(desk: Desk) -> None:
    desk.claim("hasty", deadline_s=0.01)
    desk.claim("patient", deadline_s=60)
    time.sleep(0.02)

    desk.expire()
    started = desk.touch("start")
    desk.finish()

    assert started == 1
    assert (desk.state("hasty"), desk.state("patient")) == ("failed", "done")


def test_a_run_whose_last_job_expired_stops_at_the_next_word(desk: Desk) -> None:
    desk.claim("j1", deadline_s=0.01)
    desk.touch("start")
    time.sleep(0.02)

    desk.expire()

    assert desk.state("j1") == "failed", "nobody need wait for the worker"
    assert desk.touch("end") == -1


def test_an_ended_job_does_not_expire(desk: Desk) -> None:
    desk.claim("j1", deadline_s=0.01)
    desk.finish()
    time.sleep(0.02)

    desk.expire()

    assert desk.state("j1") == "done"


def test_time_that_is_left_is_left(desk: Desk) -> None:
    desk.claim("j1", deadline_s=60)

    assert desk.expire() == 0
    assert desk.state("j1") == "queued"


def test_a_job_that_nobody_looks_at_is_cancelled(desk: Desk, state: "redis.Redis") -> None:
    desk.claim("j1", keep=False)
    state.zadd(keys.KEEP_ALIVES, {"j1": 1})

    desk.expire()

    assert desk.state("j1") == "cancelled"


def test_a_look_renews_the_interest(desk: Desk, state: "redis.Redis") -> None:
    desk.claim("j1", keep=False)
    state.zadd(keys.KEEP_ALIVES, {"j1": 1})

    desk.state("j1")
    desk.expire()

    assert desk.state("j1") == "queued"


def test_a_job_that_is_kept_needs_no_interest(desk: Desk, state: "redis.Redis") -> None:
    desk.claim("j1")
    desk.state("j1")

    assert not state.exists(keys.KEEP_ALIVES)


# Delete


def test_a_deleted_job_is_gone(desk: Desk, state: "redis.Redis", link: SyncRedis) -> None:
    desk.claim("j1")
    desk.finish()

    deleted = desk.delete("j1")

    assert deleted == Deleted(KEY, True, ["upload-kkkk"])
    assert runs.snapshot(link, "j1") is None
    assert not state.exists(keys.run(KEY)), "or the same request would be a hit on nothing"
    assert state.zrange(keys.user_jobs("ada"), 0, -1) == []


def test_what_another_job_shares_is_kept(desk: Desk) -> None:
    desk.claim("j1")
    desk.claim("j2")
    desk.finish()

    first, last = desk.delete("j1"), desk.delete("j2")

    assert first == Deleted(KEY, False, [])
    assert last == Deleted(KEY, True, ["upload-kkkk"])


def test_an_upload_is_kept_while_another_request_is_of_it(desk: Desk, state: "redis.Redis") -> None:
    desk.claim("j1")
    desk.claim("j2", key="kkkk" + "x" * 60)

    deleted = desk.delete("j1")

    assert deleted == Deleted(KEY, True, [])


def test_deleting_what_is_under_way_cancels_it(desk: Desk, run_state: Callable[[], str]) -> None:
    desk.claim("j1")
    desk.touch("start")

    desk.delete("j1")

    assert desk.touch("end") == -1
    assert run_state() == "cancelled"


def test_a_result_that_comes_after_its_job_was_deleted_has_to_go(desk: Desk) -> None:
    desk.claim("j1")
    desk.touch("start", stage="postprocess")
    desk.delete("j1")

    assert desk.finish() == ERASE


def test_a_result_is_kept_for_who_asked_again_after_the_delete(desk: Desk) -> None:
    desk.claim("j1")
    desk.touch("start", stage="postprocess")
    desk.delete("j1")

    again = desk.claim("j2")

    assert (again.verdict, again.attempt) == ("start", 2)
    assert desk.finish(1) == 0
    assert desk.finish(2) == 1


def test_nobody_deletes_what_is_anothers(desk: Desk) -> None:
    desk.claim("j1")

    assert desk.delete("j1", "bob") is None
    assert desk.state("j1") == "queued"


# Idempotency-Key


def test_the_same_request_again_is_the_same_job(desk: Desk) -> None:
    desk.claim("j1", idempotency=("once", "this"))

    again = desk.claim("j2", idempotency=("once", "this"))

    assert (again.verdict, again.payload) == ("again", "j1")


def test_it_stays_the_same_job_after_its_end(desk: Desk) -> None:
    desk.claim("j1", idempotency=("once", "this"))
    desk.finish()

    assert desk.claim("j2", idempotency=("once", "this")).payload == "j1"


def test_another_request_with_the_same_key_is_a_mismatch(desk: Desk) -> None:
    desk.claim("j1", idempotency=("once", "this"))

    assert desk.claim("j2", idempotency=("once", "that")).verdict == "mismatch"


def test_another_users_key_is_another_key(desk: Desk) -> None:
    desk.claim("j1", idempotency=("once", "this"))

    other = desk.claim("j2", "o" * 64, user="bob", idempotency=("once", "this"))

    assert other.verdict == "start"


def test_a_refused_request_may_be_sent_again(desk: Desk) -> None:
    none = Limits(in_flight=9, waiting=0, wait_ms=0, costs={})
    refused = desk.claim("j1", limits=none, idempotency=("once", "this"))

    again = desk.claim("j2", idempotency=("once", "this"))

    assert (refused.verdict, again.verdict) == ("busy", "start")


def test_a_key_is_forgotten_with_its_job(desk: Desk) -> None:
    desk.claim("j1", idempotency=("once", "this"))
    desk.delete("j1")

    assert desk.claim("j2", idempotency=("once", "that")).verdict == "start"
