"""Stages of runs on a real Redis: what workers report, and what becomes of a stale report."""

import json
import time
from functools import partial

import pytest
import redis
import runs
from job_calls import KEY, REPORTS, Calls, Report, expire_lease, published, spec

from storage import keys
from storage.jobs import bounds, stages
from storage.jobs.spec import RunRef, spec_from_json

pytest_plugins = ["inprocess", "job_calls"]

SEVERAL = keys.EVENTS_OF_SEVERAL.removeprefix(keys.RUN_EVENTS_PREFIX)
"""Where `published` finds the events of several runs."""


def test_the_start_of_a_stage_answers_the_spec(calls: Calls) -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)

    [start] = calls.link.do(runs.begin_stage([ref], "preprocess"))

    assert spec_from_json(start.spec) == spec()


def test_every_start_of_a_stage_is_counted(calls: Calls) -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)

    counts = [calls.begin_stage(ref)[0] for _ in range(3)]

    assert counts == [1, 2, 3]
    assert calls.begin_stage(ref, stage="inference") == [1]


def test_the_start_of_a_stage_shows_in_the_run(calls: Calls) -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)

    calls.begin_stage(ref)

    snapshot = calls.snapshot("j1")
    assert (snapshot.state, snapshot.run["stage"]) == ("preprocessing", "preprocess")
    assert float(snapshot.run["progress"]) == 0.05


@pytest.mark.parametrize("report", REPORTS)
def test_every_report_of_a_worker_renews_the_lease(
    calls: Calls, state: "redis.Redis", report: Report
) -> None:
    claim = calls.claim("j1")
    expire_lease(state)

    report(calls, RunRef(KEY, claim.attempt))

    lease = float(state.hget(keys.run(KEY), "lease"))
    assert lease == pytest.approx(claim.at_ms + bounds.LEASE_MS, abs=2000)


def test_a_heartbeat_changes_nothing_but_the_lease(calls: Calls, state: "redis.Redis") -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)
    calls.begin_stage(ref)
    before = state.hgetall(keys.run(KEY))

    with published(state) as events:
        time.sleep(0.005)
        calls.heartbeat(ref)

    after = state.hgetall(keys.run(KEY))
    assert {name for name in after if after[name] != before[name]} == {"lease"}
    assert events == []


def test_starts_and_ends_are_published_with_growing_versions(
    calls: Calls, state: "redis.Redis"
) -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)

    with published(state) as events:
        calls.begin_stage(ref)
        calls.end_stage(ref)
        calls.begin_stage(ref, stage="inference")
        calls.finish(ref)

    assert [event["state"] for event in events] == [
        "preprocessing",
        "preprocessing",
        "inferring",
        "done",
    ]
    assert [event["version"] for event in events] == [1001, 1002, 1003, 1004]


def test_what_several_runs_of_a_message_do_is_published_once(
    calls: Calls, state: "redis.Redis"
) -> None:
    refs = [RunRef(key, calls.claim(f"j{key}", key).attempt) for key in ("1" * 64, "2" * 64)]

    with published(state, SEVERAL) as events:
        calls.begin_stage(*refs)
        calls.end_stage(*refs)

    both = {"state": "preprocessing", "runs": [ref.key for ref in refs]}
    assert events == [both, both]


def test_a_run_that_is_left_alone_is_none_of_several(calls: Calls, state: "redis.Redis") -> None:
    refs = [RunRef(key, calls.claim(f"j{key}", key).attempt) for key in ("1" * 64, "2" * 64)]
    stale = RunRef("3" * 64, 1)

    with published(state, SEVERAL) as events:
        calls.begin_stage(*refs, stale)

    assert [event["runs"] for event in events] == [[ref.key for ref in refs]]


@pytest.mark.parametrize("report", REPORTS)
@pytest.mark.parametrize("attempt", [0, 2])
def test_a_report_on_another_attempt_changes_nothing(
    calls: Calls, state: "redis.Redis", report: Report, attempt: int
) -> None:
    calls.claim("j1")
    before = state.hgetall(keys.run(KEY))

    with published(state) as events:
        answers = report(calls, RunRef(KEY, attempt))

    assert answers == [0]
    assert state.hgetall(keys.run(KEY)) == before
    assert not state.exists(keys.positions("gpu.toy", "batch"))
    assert events == []


@pytest.mark.parametrize("report", REPORTS)
def test_a_report_on_an_ended_run_changes_nothing(
    calls: Calls, state: "redis.Redis", report: Report
) -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)
    calls.finish(ref)
    before = state.hgetall(keys.run(KEY))

    assert report(calls, ref) == [-1]
    assert state.hgetall(keys.run(KEY)) == before


def test_a_report_does_not_make_a_run_that_nobody_claimed(
    calls: Calls, state: "redis.Redis"
) -> None:
    assert calls.begin_stage(RunRef("unknown", 1)) == [0]
    assert not state.exists(keys.run("unknown"))


def test_a_stale_run_of_a_message_does_not_stop_its_neighbours(calls: Calls) -> None:
    good = RunRef("good", calls.claim("j1", "good").attempt)
    calls.claim("j2", "stale")

    assert calls.begin_stage(RunRef("stale", 7), good, RunRef("none", 1)) == [0, 1, 0]


def test_the_end_of_a_stage_puts_a_run_into_the_next_queue(
    calls: Calls, state: "redis.Redis"
) -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)
    calls.begin_stage(ref)

    calls.end_stage(ref)

    assert state.hmget(keys.run(KEY), "broker_queue", "queue", "position") == [
        "gpu.toy",
        "gpu.toy",
        "1",
    ]


def test_a_run_that_starts_late_does_not_move_the_mark_back(
    calls: Calls, state: "redis.Redis"
) -> None:
    early = RunRef("early", calls.claim("j1", "early").attempt)
    late = RunRef("late", calls.claim("j2", "late").attempt)
    calls.begin_stage(early, late)
    calls.end_stage(early, late)
    calls.begin_stage(late, stage="inference")

    calls.begin_stage(early, stage="inference")

    assert state.hget(keys.positions("gpu.toy", "batch"), "started") == "2"


@pytest.mark.measures_time
def test_times_of_waiting_and_of_stages_are_kept(calls: Calls, state: "redis.Redis") -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)
    time.sleep(0.02)
    calls.begin_stage(ref)
    time.sleep(0.03)
    calls.end_stage(ref)
    time.sleep(0.02)
    calls.begin_stage(ref, stage="inference")
    time.sleep(0.04)
    calls.finish(ref)

    spent = json.loads(calls.snapshot("j1").fields["timings"])
    assert set(spent) == {"queued", "preprocess", "inference"}
    assert 40 <= spent["queued"] < 1000
    assert 30 <= spent["preprocess"] < 1000
    assert 40 <= spent["inference"] < 1000


def test_the_start_of_a_stage_says_how_long_the_earlier_ones_took(
    calls: Calls, state: "redis.Redis"
) -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)
    calls.begin_stage(ref)
    calls.end_stage(ref)
    state.hset(keys.run(KEY), "ms:preprocess", "1234.5")

    [start] = calls.link.do(runs.begin_stage([ref], "inference"))

    assert start.worked_ms == 1234


def test_progress_within_a_stage_is_told_with_the_slices(calls: Calls) -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)
    calls.begin_stage(ref, stage="inference")
    before = calls.snapshot("j1").version

    report = partial(
        stages.report_progress, stage="inference", state="inferring", job_ttl_s=60, expired="{}"
    )
    answers = [
        calls.link.do(report(RunRef(KEY, attempt), progress=0.5, slices=(120, 300)))
        for attempt in (ref.attempt, ref.attempt + 1)
    ]

    snapshot = calls.snapshot("j1")
    assert answers == [1, 0], "a stale attempt is told to stop"
    assert (snapshot.run["slices"], snapshot.run["progress"]) == ("120/300", "0.5")
    assert snapshot.version == before + 1
