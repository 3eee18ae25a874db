"""Claims on a real Redis: which job starts a run, joins one, or gets an answer that is known."""

import json
from dataclasses import replace

import pytest
import redis
from job_calls import KEY, Calls, expire_lease, published, spec

from storage import backlog_keys, keys
from storage.jobs import bounds, claims, history, recovery
from storage.jobs.backlog import enqueue_claimed
from storage.jobs.claims import NO_LIMITS, Claim
from storage.jobs.spec import VERSION, NewerVersion, RunRef, spec_from_json
from storage.quotas import NO_QUOTAS, Use

pytest_plugins = ["inprocess", "job_calls"]


def test_the_first_claim_starts_a_run(calls: Calls) -> None:
    claim = calls.claim("j1")

    assert (claim.verdict, claim.attempt) == ("start", 1)


def test_a_claim_answers_the_time_of_redis(calls: Calls, state: "redis.Redis") -> None:
    seconds, micros = state.time()

    assert calls.claim("j1").at_ms == pytest.approx(seconds * 1000 + micros / 1000, abs=1000)


def test_equal_work_is_joined(calls: Calls) -> None:
    calls.claim("j1")

    assert [calls.claim(job).verdict for job in ("j2", "j3")] == ["join", "join"]


def test_a_job_that_joins_is_told_the_upload_until_the_run_is_queued(calls: Calls) -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)
    before = calls.claim("j2").payload
    calls.link.do(enqueue_claimed(ref))

    after = calls.claim("j3").payload

    assert (before, after) == ("upload-kkkk", "")


def test_a_job_that_joins_has_as_long_as_a_starter_to_bring_the_bytes(
    calls: Calls, state: "redis.Redis"
) -> None:
    calls.claim("j1")
    whole = float(state.hget(keys.run(KEY), "lease") or 0)
    state.hset(keys.run(KEY), "lease", whole - bounds.LEASE_MS + 500)

    calls.claim("j2")

    assert float(state.hget(keys.run(KEY), "lease") or 0) >= whole


def test_a_run_goes_into_the_backlog_once(calls: Calls, state: "redis.Redis") -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)

    added = [calls.link.do(enqueue_claimed(ref)) for _ in range(2)]

    assert (added, state.zcard(backlog_keys.backlog("toy", "batch"))) == ([True, False], 1)


def test_a_stale_run_does_not_go_into_the_backlog(calls: Calls) -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)
    calls.link.do(recovery.requeue([ref], job_ttl_s=60))

    assert not calls.link.do(enqueue_claimed(ref))


def test_new_work_is_refused_while_scratch_is_full_and_known_work_is_not(calls: Calls) -> None:
    calls.claim("j1")
    full = replace(NO_LIMITS, scratch=(10, 10))

    def asked(job: str, key: str) -> Claim:
        call = claims.claim(job, spec(key), priority="batch", job_ttl_s=60, limits=full)
        return calls.link.do(call)

    refused, joined = asked("j2", "other"), asked("j3", KEY)

    refusal = claims.refusal(refused)
    assert (refused.verdict, refusal.limit, refusal.value, refusal.most) == (
        "busy",
        "scratch",
        10,
        10,
    )
    assert joined.verdict == "join"


def test_other_work_starts_a_run_of_its_own(calls: Calls) -> None:
    calls.claim("j1")

    assert calls.claim("j2", "other").verdict == "start"


def test_a_claim_for_a_finished_run_is_a_hit(calls: Calls) -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)
    calls.finish(ref)

    claim = calls.claim("j2")

    assert (claim.verdict, claim.payload) == ("hit", '{"kind":"labels"}')
    assert calls.snapshot("j2").state == "done"
    assert calls.snapshot("j2").fields["cached"] == "1"


def test_a_degraded_result_answers_nobody_else(calls: Calls, state: "redis.Redis") -> None:
    calls.finish(RunRef(KEY, calls.claim("j1").attempt))
    state.hset(keys.run(KEY), "degraded", 1)

    claim = calls.claim("j2")

    assert (claim.verdict, claim.attempt) == ("start", 2)
    assert calls.snapshot("j1").state == "done"


def test_a_known_result_is_a_hit_without_any_run(calls: Calls, state: "redis.Redis") -> None:
    claim = calls.claim("j1", known='{"kind":"known"}')

    assert (claim.verdict, claim.payload) == ("hit", '{"kind":"known"}')
    assert calls.snapshot("j1").fields["result"] == '{"kind":"known"}'
    assert not state.exists(keys.run(KEY))


def test_a_lasting_failure_is_remembered(calls: Calls) -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)
    calls.finish(ref, state="failed", lasting=True)

    claim = calls.claim("j2")

    assert (claim.verdict, claim.payload) == ("failed", '{"code":"bad_input"}')
    assert calls.snapshot("j2").state == "failed"
    assert calls.snapshot("j2").fields["error"] == '{"code":"bad_input"}'


def test_a_lasting_failure_is_forgotten_after_ten_minutes(
    calls: Calls, state: "redis.Redis"
) -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)
    calls.finish(ref, state="failed", lasting=True)
    ended = float(state.hget(keys.run(KEY), "ended"))

    state.hset(keys.run(KEY), "ended", ended - bounds.NEGATIVE_TTL_MS - 1)

    assert calls.claim("j2").verdict == "start"


def test_a_passing_failure_is_tried_again(calls: Calls) -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)
    calls.finish(ref, state="failed")

    claim = calls.claim("j2")

    assert (claim.verdict, claim.attempt) == ("start", 2)


def test_the_same_claim_sent_twice_starts_one_run(calls: Calls, state: "redis.Redis") -> None:
    first = calls.claim("j1")
    again = calls.claim("j1")

    assert (again.verdict, again.attempt) == ("start", first.attempt)
    assert state.zcard(keys.waiting("toy", "batch")) == 1
    assert state.smembers(keys.run_jobs(KEY)) == {"j1"}


def test_a_waiting_run_is_joined_although_its_lease_is_over(
    calls: Calls, state: "redis.Redis"
) -> None:
    first = calls.claim("j1")
    calls.link.do(enqueue_claimed(RunRef(KEY, first.attempt)))
    expire_lease(state)

    claim = calls.claim("j2")

    assert (claim.verdict, claim.attempt) == ("join", first.attempt)


def test_a_run_that_nobody_brought_is_started_again_once_its_lease_is_over(
    calls: Calls, state: "redis.Redis"
) -> None:
    first = calls.claim("j1")
    joins = calls.claim("j2").verdict
    expire_lease(state)

    claim = calls.claim("j3")

    assert joins == "join"
    assert (claim.verdict, claim.attempt) == ("start", first.attempt + 1)


def overtake_in_its_second_queue(calls: Calls) -> int:
    """Its attempt; a later run has begun the stage that it waits for."""
    first, later = calls.claim("j1"), calls.claim("j2", "later")
    refs = RunRef(KEY, first.attempt), RunRef("later", later.attempt)
    for ref in refs:
        calls.begin_stage(ref)
        calls.end_stage(ref)
    calls.begin_stage(refs[1], stage="inference")
    return first.attempt


def test_an_overtaken_run_is_started_again_once_its_lease_is_over(
    calls: Calls, state: "redis.Redis"
) -> None:
    attempt = overtake_in_its_second_queue(calls)
    expire_lease(state)

    claim = calls.claim("j3")

    assert (claim.verdict, claim.attempt) == ("start", attempt + 1)


def test_an_overtaken_run_with_a_lease_is_joined(calls: Calls) -> None:
    overtake_in_its_second_queue(calls)

    assert calls.claim("j3").verdict == "join"


def test_a_run_in_a_stage_is_started_again_once_its_lease_is_over(
    calls: Calls, state: "redis.Redis"
) -> None:
    first = calls.claim("j1")
    calls.begin_stage(RunRef(KEY, first.attempt))
    assert calls.claim("j2").verdict == "join"
    expire_lease(state)

    assert calls.claim("j3").verdict == "start"


def test_jobs_that_joined_get_the_result_of_a_later_attempt(
    calls: Calls, state: "redis.Redis"
) -> None:
    first = RunRef(KEY, calls.claim("j1").attempt)
    calls.claim("j2")
    calls.begin_stage(first)
    expire_lease(state)

    second = RunRef(KEY, calls.claim("j3").attempt)
    calls.finish(second)

    assert [calls.snapshot(job).state for job in ("j1", "j2", "j3")] == ["done", "done", "done"]


def test_whoever_waits_is_told_of_a_new_attempt(calls: Calls, state: "redis.Redis") -> None:
    first = RunRef(KEY, calls.claim("j1").attempt)
    calls.begin_stage(first)
    expire_lease(state)

    with published(state) as events:
        calls.claim("j2")

    assert [event["state"] for event in events] == ["queued"]


def test_the_end_is_the_newest_version_for_jobs_of_an_earlier_attempt(
    calls: Calls, state: "redis.Redis"
) -> None:
    calls.begin_stage(RunRef(KEY, calls.claim("j1").attempt))
    expire_lease(state)
    second = RunRef(KEY, calls.claim("j2").attempt)
    calls.begin_stage(second)
    seen = calls.snapshot("j1").version

    calls.finish(second)

    assert calls.snapshot("j1").version > seen


def test_a_request_key_whose_record_has_expired_starts_with_attempt_one(
    calls: Calls, state: "redis.Redis"
) -> None:
    calls.finish(RunRef(KEY, calls.claim("j1").attempt))
    state.delete(keys.run(KEY))

    claim = calls.claim("j2")

    assert (claim.verdict, claim.attempt) == ("start", 1)


def test_jobs_are_kept_with_their_user_by_time(calls: Calls, state: "redis.Redis") -> None:
    calls.claim("j1")
    calls.claim("j2", "other")
    calls.claim("not-hers", "third", user="bob")

    assert state.zrange(keys.user_jobs("ada"), 0, -1) == ["j1", "j2"]


def test_jobs_and_runs_expire(calls: Calls, state: "redis.Redis") -> None:
    calls.claim("j1")

    assert 0 < state.ttl(keys.job("j1")) <= 60
    assert 0 < state.ttl(keys.run(KEY)) <= bounds.RUN_TTL_MS / 1000
    assert 0 < state.ttl(keys.run_jobs(KEY)) <= bounds.RUN_TTL_MS / 1000


@pytest.mark.parametrize("change", [{"v": VERSION + 1}, {"unheard_of": 1}])
def test_a_spec_of_a_newer_version_is_refused(change: dict[str, int]) -> None:
    text = json.dumps({**json.loads(spec().to_json()), **change})

    with pytest.raises(NewerVersion):
        spec_from_json(text)


def test_a_users_new_jobs_are_listed_by_time(calls: Calls) -> None:
    first, second = calls.claim("j1"), calls.claim("j2", key="b" * 64)
    calls.claim("other", key="c" * 64, user="eve")

    def since(at_ms: float, most: int = 10) -> list[str]:
        return list(calls.link.do(history.jobs_since("ada", at_ms, most)).job_ids)

    assert (since(0), since(second.at_ms), since(first.at_ms, 1)) == (["j2", "j1"], ["j2"], ["j2"])
    assert since(calls.link.do(history.jobs_since("ada", 0, 1)).at_ms) == []


@pytest.mark.parametrize("already", [False, True])
def test_each_job_that_waits_is_published_on_its_users_channel(
    calls: Calls, state: "redis.Redis", already: bool
) -> None:
    if already:
        calls.claim("first")
    with state.pubsub(ignore_subscribe_messages=True) as stream:
        stream.subscribe(keys.user_jobs("ada"))
        stream.get_message(timeout=1)

        calls.claim("j1")
        calls.claim("hit", key="d" * 64, known='{"kind":"labels"}')

        messages = [stream.get_message(timeout=0.2) for _ in range(4)]
    assert [message["data"] for message in messages if message] == ["j1"]


def test_a_new_run_uses_quotas_and_says_what_is_left(calls: Calls) -> None:
    use = Use("payer", {**NO_QUOTAS, "images_per_hour": 2}, images=1, bytes=7, stored_ttl_s=60)

    def asked(job: str, key: str) -> Claim:
        call = claims.claim(job, spec(key), priority="batch", job_ttl_s=60, use=use)
        return calls.link.do(call)

    first, joined, second, refused = (
        asked("j1", "one"), asked("j2", "one"), asked("j3", "two"), asked("j4", "three")
    )  # fmt: skip

    left = {item.name: item for item in second.allowances}
    assert [item.verdict for item in (first, joined, second)] == ["start", "join", "start"]
    assert (left["images_per_hour"].used, left["images_per_hour"].left) == (2, 0)
    assert (left["stored_bytes"].used, left["jobs_in_flight"].used) == (14, 2)
    refusal = claims.refusal(refused)
    assert (refusal.limit, refusal.value, refusal.most) == ("images_per_hour", 2, 2)
    assert refusal.room_in_ms == pytest.approx(3_600_000, abs=2000)
