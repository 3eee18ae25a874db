"""Jobs as they are at one moment, read from a real Redis."""

import json

import redis
import runs
from job_calls import KEY, Calls, published

from storage import keys
from storage.jobs import snapshots
from storage.jobs.spec import RunRef

pytest_plugins = ["inprocess", "job_calls"]


def test_an_unknown_job_has_no_snapshot(calls: Calls) -> None:
    assert runs.snapshot(calls.link, "unknown") is None


def test_a_snapshot_has_what_was_asked_for(calls: Calls) -> None:
    calls.claim("j1")

    fields = calls.snapshot("j1").fields
    assert (fields["id"], fields["user"], fields["model"]) == ("j1", "ada", "toy")
    assert (fields["priority"], fields["weights"], fields["cached"]) == ("batch", "sha256:w", "0")
    assert json.loads(fields["params"]) == {"gain": 2}


def test_a_job_under_way_shows_its_run_whichever_job_started_it(calls: Calls) -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)
    calls.claim("j2")
    calls.begin_stage(ref)

    assert calls.snapshot("j2").state == "preprocessing"


def test_versions_grow_from_claim_to_end(calls: Calls) -> None:
    ref = RunRef(KEY, calls.claim("j1").attempt)
    versions = [calls.snapshot("j1").version]
    for report in (calls.begin_stage, calls.end_stage):
        report(ref)
        versions.append(calls.snapshot("j1").version)
    calls.finish(ref)
    versions.append(calls.snapshot("j1").version)

    assert versions == sorted(set(versions))


def test_an_ended_job_is_readable_without_its_run(calls: Calls, state: "redis.Redis") -> None:
    calls.finish(RunRef(KEY, calls.claim("j1").attempt))

    state.delete(keys.run(KEY))

    snapshot = calls.snapshot("j1")
    assert (snapshot.state, dict(snapshot.run)) == ("done", {})


def test_a_job_whose_run_is_gone_shows_its_own_state(calls: Calls, state: "redis.Redis") -> None:
    calls.claim("j1")

    state.delete(keys.run(KEY))

    snapshot = calls.snapshot("j1")
    assert (snapshot.state, snapshot.ahead) == ("queued", -1)


def test_an_ended_job_stays_ended_when_its_request_key_is_started_again(calls: Calls) -> None:
    calls.finish(RunRef(KEY, calls.claim("j1").attempt), state="failed")

    calls.claim("j2")

    assert calls.snapshot("j1").state == "failed"


def test_several_jobs_are_seen_at_one_moment(calls: Calls) -> None:
    calls.claim("j1")
    calls.claim("j2", key="b" * 64)

    seen = calls.link.do(snapshots.read(["j1", "none", "j2"]))

    assert {job: item.state for job, item in seen.jobs.items()} == {
        "j1": "queued",
        "j2": "queued",
    }
    assert seen.at_ms > 1e12


def test_the_end_of_a_run_tells_nothing_of_jobs_that_are_not_among_its_own(
    calls: Calls, state: "redis.Redis"
) -> None:
    attempt = calls.claim("j1").attempt
    other = calls.snapshot("j1")
    other.fields = {**other.fields, "id": "j2"}
    with published(state) as events:
        calls.finish(RunRef(KEY, attempt))

    event = json.dumps(events[-1]).encode()
    assert snapshots.ended(other, event) is None
    assert snapshots.ended(calls.snapshot("j1"), event) is not None


def test_an_end_that_an_earlier_version_has_published_tells_nothing(calls: Calls) -> None:
    calls.claim("j1")

    assert snapshots.ended(calls.snapshot("j1"), b'{"state":"done","version":1007}') is None


def test_the_end_of_a_run_of_many_jobs_does_not_name_them(
    calls: Calls, state: "redis.Redis"
) -> None:
    attempts = {calls.claim(f"j{number}").attempt for number in range(17)}
    with published(state) as events:
        calls.finish(RunRef(KEY, *attempts))

    assert "jobs" not in events[-1]
