"""The end of runs on a real Redis: once, for every job that waits, and by the current attempt."""

import redis
from job_calls import KEY, Calls

from storage import keys
from storage.jobs.spec import RunRef

pytest_plugins = ["inprocess", "job_calls"]


def test_finish_ends_every_waiting_job(calls: Calls) -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)
    calls.claim("j2")

    assert calls.finish(ref) == [True]

    for job in ("j1", "j2"):
        snapshot = calls.snapshot(job)
        assert (snapshot.state, snapshot.fields["result"]) == ("done", '{"kind":"labels"}')


def test_a_run_is_finished_only_once(calls: Calls) -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)

    assert calls.finish(ref) == [True]
    assert calls.finish(ref, state="failed") == [False]

    assert calls.snapshot("j1").state == "done"


def test_a_stale_attempt_finishes_nothing(calls: Calls, state: "redis.Redis") -> None:
    calls.claim("j1")
    before = state.hgetall(keys.run(KEY))

    assert calls.finish(RunRef(KEY, 7)) == [False]

    assert state.hgetall(keys.run(KEY)) == before
    assert calls.snapshot("j1").state == "queued"


def test_one_stale_run_of_several_does_not_keep_the_others_from_ending(calls: Calls) -> None:
    refs = [RunRef(key, calls.claim(f"j-{key}", key).attempt) for key in ("one", "two", "three")]

    assert calls.finish(refs[0], RunRef("two", 9), refs[2]) == [True, False, True]


def test_a_failure_reaches_every_job_with_its_reason(calls: Calls) -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)
    calls.claim("j2")

    calls.finish(ref, state="failed")

    for job in ("j1", "j2"):
        snapshot = calls.snapshot(job)
        assert (snapshot.state, snapshot.fields["error"]) == ("failed", '{"code":"bad_input"}')


def test_a_job_that_was_deleted_meanwhile_is_not_made_again(
    calls: Calls, state: "redis.Redis"
) -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)
    state.delete(keys.job("j1"))

    calls.finish(ref)

    assert not state.exists(keys.job("j1"))


def test_an_ended_run_is_active_no_more(calls: Calls, state: "redis.Redis") -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)
    assert state.zrange(keys.ACTIVE, 0, -1) == [KEY]

    calls.finish(ref)

    assert state.zrange(keys.ACTIVE, 0, -1) == []
    assert not state.exists(keys.run_jobs(KEY))
