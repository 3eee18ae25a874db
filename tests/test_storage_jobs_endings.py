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


class Calls:
    """Calls with this file's usual arguments."""

    def __init__(self, link: SyncRedis) -> None:
        self.link = link

    def claim(self, job: str, key: str = KEY, user: str = "ada", **options: object) -> Claim:
        spec = Spec(key, user, "toy", {}, ["alpha"], f"upload-{key[:4]}", "sha256:w", "c")
        asked = claims.claim(job, spec, priority="batch", job_ttl_s=60, **options)
        return self.link.do(asked)

    def begin_stage(self, attempt: int = 1, stage: str = "preprocess") -> int:
        call = runs.begin_stage([RunRef(KEY, attempt)], stage, expired=EXPIRED)
        [start] = self.link.do(call)
        return start.starts

    def heartbeat(self) -> int:
        [answer] = self.link.do(runs.heartbeat([RunRef(KEY, 1)], "preprocess", expired=EXPIRED))
        return answer

    def end_stage(self) -> int:
        call = runs.end_stage(
            [RunRef(KEY, 1)],
            "preprocess",
            next_queue="gpu.toy",
            next_broker_queue="gpu.toy",
            expired=EXPIRED,
        )
        [answer] = self.link.do(call)
        return answer

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
        snapshot = runs.snapshot(self.link, job)
        assert snapshot is not None
        return snapshot.state


@pytest.fixture
def calls(link: SyncRedis) -> Calls:
    return Calls(link)


@pytest.fixture
def run_state(state: "redis.Redis") -> Callable[[], str | None]:
    return lambda: state.hget(keys.run(KEY), "state")


# Cancel


def test_a_run_that_waits_is_cancelled_at_once(calls: Calls, run_state: Callable[[], str]) -> None:
    calls.claim("j1")

    assert calls.cancel("j1") == "cancelled"
    assert (calls.state("j1"), run_state()) == ("cancelled", "cancelled")


def test_a_cancelled_run_is_left_alone_by_its_message(calls: Calls) -> None:
    calls.claim("j1")
    calls.cancel("j1")

    assert calls.begin_stage() == -1


def test_a_run_between_two_stages_is_cancelled_at_once(calls: Calls) -> None:
    calls.claim("j1")
    calls.begin_stage()
    calls.end_stage()

    assert calls.cancel("j1") == "cancelled"
    assert calls.begin_stage(stage="inference") == -1


def test_a_stage_confirms_the_cancellation_when_it_ends(calls: Calls) -> None:
    calls.claim("j1")
    calls.begin_stage()

    before = calls.cancel("j1"), calls.state("j1")
    answer = calls.end_stage()

    assert before == ("cancelling", "cancelling")
    assert (answer, calls.state("j1")) == (-1, "cancelled")


def test_a_heartbeat_confirms_the_cancellation_as_well(calls: Calls) -> None:
    calls.claim("j1")
    calls.begin_stage()
    calls.cancel("j1")

    assert calls.heartbeat() == -1
    assert calls.state("j1") == "cancelled"


def test_the_next_stage_is_not_queued_when_the_last_one_was_cancelled(
    calls: Calls, state: "redis.Redis", run_state: Callable[[], str]
) -> None:
    calls.claim("j1")
    calls.begin_stage()
    calls.cancel("j1")
    calls.end_stage()

    assert run_state() == "cancelled"
    assert state.hget(keys.run(KEY), "queue") == "cpu"
    assert state.zcard(keys.ACTIVE) == state.zcard(keys.user_runs("ada")) == 0


def test_a_result_that_comes_too_late_is_cancelled(calls: Calls) -> None:
    calls.claim("j1")
    calls.begin_stage()
    calls.cancel("j1")

    assert calls.finish()
    assert calls.state("j1") == "cancelled"


def test_one_of_two_leaves_and_the_run_goes_on(calls: Calls) -> None:
    calls.claim("j1")
    calls.claim("j2")
    calls.begin_stage()

    assert calls.cancel("j1") == "cancelled"
    assert calls.finish()
    assert (calls.state("j1"), calls.state("j2")) == ("cancelled", "done")


def test_the_last_of_two_cancels_the_run(calls: Calls, run_state: Callable[[], str]) -> None:
    calls.claim("j1")
    calls.claim("j2")

    calls.cancel("j1")
    between = run_state()
    calls.cancel("j2")

    assert (between, run_state()) == ("queued", "cancelled")


def test_cancelling_twice_changes_nothing(calls: Calls, state: "redis.Redis") -> None:
    calls.claim("j1")
    calls.begin_stage()
    calls.cancel("j1")
    before = state.hgetall(keys.run(KEY))

    assert calls.cancel("j1") == "cancelling"
    assert state.hgetall(keys.run(KEY)) == before


def test_what_has_ended_stays_as_it_is(calls: Calls) -> None:
    calls.claim("j1")
    calls.finish()

    assert calls.cancel("j1") == "done"


@pytest.mark.parametrize("user", ["bob", ""])
def test_nobody_cancels_what_is_anothers(calls: Calls, user: str) -> None:
    calls.claim("j1")

    assert calls.cancel("j1", user) is None
    assert calls.state("j1") == "queued"


def test_a_new_job_does_not_join_a_run_that_is_being_cancelled(calls: Calls) -> None:
    calls.claim("j1")
    calls.begin_stage()
    calls.cancel("j1")

    again = calls.claim("j2")

    assert (again.verdict, again.attempt) == ("start", 2)
    assert calls.state("j1") == "cancelled", "its number is stale: nobody need confirm"
    assert calls.end_stage() == 0
    assert calls.state("j2") == "queued"


def test_a_lost_run_that_was_cancelled_is_not_requeued(calls: Calls, link: SyncRedis) -> None:
    calls.claim("j1")
    calls.begin_stage()
    calls.cancel("j1")  # and the worker dies

    assert link.do(recovery.requeue([RunRef(KEY, 1)], job_ttl_s=60)) == [0]
    assert calls.state("j1") == "cancelled"


def test_workers_are_told_that_a_run_was_cancelled(calls: Calls, state: "redis.Redis") -> None:
    calls.claim("j1")
    calls.begin_stage()
    with state.pubsub(ignore_subscribe_messages=True) as stream:
        stream.subscribe(keys.CANCELLED)
        stream.get_message(timeout=1)

        calls.cancel("j1")

        assert stream.get_message(timeout=1)["data"] == f"{KEY}:1"


# Deadline and interest


def test_a_job_expires_while_it_waits(calls: Calls, run_state: Callable[[], str]) -> None:
    calls.claim("j1", deadline_s=0.01)
    time.sleep(0.02)

    assert calls.expire() == 1
    assert (calls.state("j1"), run_state()) == ("failed", "failed")


def test_an_expired_job_says_so(calls: Calls, state: "redis.Redis") -> None:
    calls.claim("j1", deadline_s=0.01)
    time.sleep(0.02)
    calls.expire()

    assert json.loads(state.hget(keys.job("j1"), "error"))["code"] == "expired"


def test_no_stage_starts_after_the_deadline(calls: Calls, state: "redis.Redis") -> None:
    calls.claim("j1", deadline_s=0.01)
    time.sleep(0.02)

    assert calls.begin_stage() == -1
    assert json.loads(state.hget(keys.job("j1"), "error"))["code"] == "expired"


def test_a_jobs_deadline_is_its_own(calls: Calls) -> None:
    calls.claim("hasty", deadline_s=0.01)
    calls.claim("patient", deadline_s=60)
    time.sleep(0.02)

    calls.expire()
    started = calls.begin_stage()
    calls.finish()

    assert started == 1
    assert (calls.state("hasty"), calls.state("patient")) == ("failed", "done")


def test_a_run_whose_last_job_expired_stops_at_its_next_report(calls: Calls) -> None:
    calls.claim("j1", deadline_s=0.01)
    calls.begin_stage()
    time.sleep(0.02)

    calls.expire()

    assert calls.state("j1") == "failed", "nobody need wait for the worker"
    assert calls.end_stage() == -1


def test_an_ended_job_does_not_expire(calls: Calls) -> None:
    calls.claim("j1", deadline_s=0.01)
    calls.finish()
    time.sleep(0.02)

    calls.expire()

    assert calls.state("j1") == "done"


def test_time_that_is_left_is_left(calls: Calls) -> None:
    calls.claim("j1", deadline_s=60)

    assert calls.expire() == 0
    assert calls.state("j1") == "queued"


def test_a_job_that_nobody_reads_is_cancelled(calls: Calls, state: "redis.Redis") -> None:
    calls.claim("j1", keep=False)
    state.zadd(keys.KEEP_ALIVES, {"j1": 1})

    calls.expire()

    assert calls.state("j1") == "cancelled"


def test_reading_a_job_renews_its_keep_alive(calls: Calls, state: "redis.Redis") -> None:
    calls.claim("j1", keep=False)
    state.zadd(keys.KEEP_ALIVES, {"j1": 1})

    calls.state("j1")
    calls.expire()

    assert calls.state("j1") == "queued"


def test_a_job_with_keep_has_no_keep_alive(calls: Calls, state: "redis.Redis") -> None:
    calls.claim("j1")
    calls.state("j1")

    assert not state.exists(keys.KEEP_ALIVES)


# Delete


def test_a_deleted_job_is_gone(calls: Calls, state: "redis.Redis", link: SyncRedis) -> None:
    calls.claim("j1")
    calls.finish()

    deleted = calls.delete("j1")

    assert deleted == Deleted(KEY, True, ["upload-kkkk"])
    assert runs.snapshot(link, "j1") is None
    assert not state.exists(keys.run(KEY)), "or the same request would be a hit on nothing"
    assert state.zrange(keys.user_jobs("ada"), 0, -1) == []


def test_what_another_job_shares_is_kept(calls: Calls) -> None:
    calls.claim("j1")
    calls.claim("j2")
    calls.finish()

    first, last = calls.delete("j1"), calls.delete("j2")

    assert first == Deleted(KEY, False, [])
    assert last == Deleted(KEY, True, ["upload-kkkk"])


def test_an_upload_is_kept_while_another_request_is_of_it(
    calls: Calls, state: "redis.Redis"
) -> None:
    calls.claim("j1")
    calls.claim("j2", key="kkkk" + "x" * 60)

    deleted = calls.delete("j1")

    assert deleted == Deleted(KEY, True, [])


def test_deleting_what_is_under_way_cancels_it(calls: Calls, run_state: Callable[[], str]) -> None:
    calls.claim("j1")
    calls.begin_stage()

    calls.delete("j1")

    assert calls.end_stage() == -1
    assert run_state() == "cancelled"


def test_a_result_that_comes_after_its_job_was_deleted_has_to_go(calls: Calls) -> None:
    calls.claim("j1")
    calls.begin_stage(stage="postprocess")
    calls.delete("j1")

    assert calls.finish() == ERASE


def test_a_result_is_kept_for_who_asked_again_after_the_delete(calls: Calls) -> None:
    calls.claim("j1")
    calls.begin_stage(stage="postprocess")
    calls.delete("j1")

    again = calls.claim("j2")

    assert (again.verdict, again.attempt) == ("start", 2)
    assert calls.finish(1) == 0
    assert calls.finish(2) == 1


def test_nobody_deletes_what_is_anothers(calls: Calls) -> None:
    calls.claim("j1")

    assert calls.delete("j1", "bob") is None
    assert calls.state("j1") == "queued"


# Idempotency-Key


def test_the_same_request_again_is_the_same_job(calls: Calls) -> None:
    calls.claim("j1", idempotency=("once", "this"))

    again = calls.claim("j2", idempotency=("once", "this"))

    assert (again.verdict, again.payload) == ("again", "j1")


def test_it_stays_the_same_job_after_its_end(calls: Calls) -> None:
    calls.claim("j1", idempotency=("once", "this"))
    calls.finish()

    assert calls.claim("j2", idempotency=("once", "this")).payload == "j1"


def test_another_request_with_the_same_key_is_a_mismatch(calls: Calls) -> None:
    calls.claim("j1", idempotency=("once", "this"))

    assert calls.claim("j2", idempotency=("once", "that")).verdict == "mismatch"


def test_another_users_key_is_another_key(calls: Calls) -> None:
    calls.claim("j1", idempotency=("once", "this"))

    other = calls.claim("j2", "o" * 64, user="bob", idempotency=("once", "this"))

    assert other.verdict == "start"


def test_a_refused_request_may_be_sent_again(calls: Calls) -> None:
    none = Limits(in_flight=9, waiting=0, wait_ms=0, costs={})
    refused = calls.claim("j1", limits=none, idempotency=("once", "this"))

    again = calls.claim("j2", idempotency=("once", "this"))

    assert (refused.verdict, again.verdict) == ("busy", "start")


def test_a_key_is_forgotten_with_its_job(calls: Calls) -> None:
    calls.claim("j1", idempotency=("once", "this"))
    calls.delete("j1")

    assert calls.claim("j2", idempotency=("once", "that")).verdict == "start"
