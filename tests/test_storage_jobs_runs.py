"""Claims, stages and ends of runs on a real Redis: who computes, who waits, who is too late."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import redis
import runs

from storage import keys
from storage import results as stored_results
from storage import uploads as stored_uploads
from storage.jobs import bounds, claims, endings, history, recovery, snapshots
from storage.jobs import stats as job_stats
from storage.jobs.claims import NO_LIMITS, Claim
from storage.jobs.endings import End
from storage.jobs.queueing import EncodedMessage, enqueue_claimed
from storage.jobs.snapshots import Snapshot
from storage.jobs.spec import VERSION, NewerVersion, RunRef, Spec, spec_from_json
from storage.redis.calls import SyncRedis

pytest_plugins = ["inprocess"]

KEY = "k" * 64


def spec(key: str = KEY, user: str = "ada") -> Spec:
    return Spec(key, user, "toy", {"gain": 2}, ["alpha"], f"upload-{key[:4]}", "sha256:w", "c")


class Desk:
    """Calls with this file's usual arguments."""

    def __init__(self, link: SyncRedis) -> None:
        self.link = link

    def claim(
        self,
        job: str,
        key: str = KEY,
        *,
        user: str = "ada",
        priority: str = "batch",
        known: str = "",
    ) -> Claim:
        asked = claims.claim(
            job,
            spec(key, user),
            priority=priority,
            job_ttl_s=60,
            known_result=known,
        )
        return self.link.do(asked)

    def touch(
        self,
        event: str,
        *refs: RunRef,
        stage: str = "preprocess",
        next_queue: str = "",
        priority: str = "batch",
    ) -> list[int]:
        states = {
            "preprocess": ("preprocessing", 0.05, "cpu"),
            "inference": ("inferring", 0.3, "gpu.toy"),
            "postprocess": ("postprocessing", 0.85, "post"),
        }
        state, progress, line = states[stage]
        said = runs.report(
            event,
            refs,
            stage=stage,
            state=state,
            progress=progress,
            model="toy",
            queue=line,
            priority=priority,
            next_queue="post" if next_queue == "cpu" else next_queue,
            next_broker_queue=next_queue,
        )
        return [touched.starts for touched in self.link.do(said)]

    def finish(self, *refs: RunRef, state: str = "done", lasting: bool = False) -> list[int]:
        payload = '{"kind":"labels"}' if state == "done" else '{"code":"bad_input"}'
        ends = [End(ref, state, payload, lasting) for ref in refs]
        return self.link.do(endings.finish(ends, job_ttl_s=60))

    def view(self, job: str) -> Snapshot:
        found = runs.snapshot(self.link, job)
        assert found is not None
        return found


@pytest.fixture
def desk(link: SyncRedis) -> Desk:
    return Desk(link)


def expire_lease(state: "redis.Redis", key: str = KEY) -> None:
    state.hset(keys.run(key), "lease", "1")


@contextmanager
def listening(state: "redis.Redis", key: str = KEY) -> Iterator[list[dict[str, object]]]:
    """Collects what is published of a run; complete when the context ends."""
    heard: list[dict[str, object]] = []
    with state.pubsub(ignore_subscribe_messages=True) as stream:
        stream.subscribe(keys.run_events(key))
        stream.get_message(timeout=1)
        yield heard
        while found := stream.get_message(timeout=0.1):
            heard.append(json.loads(found["data"]))


# The claim


def test_the_first_claim_leads(desk: Desk) -> None:
    claim = desk.claim("j1")

    assert (claim.verdict, claim.attempt) == ("start", 1)


def test_a_claim_tells_redis_time(desk: Desk, state: "redis.Redis") -> None:
    seconds, micros = state.time()

    assert desk.claim("j1").at_ms == pytest.approx(seconds * 1000 + micros / 1000, abs=1000)


def test_equal_work_is_joined(desk: Desk) -> None:
    desk.claim("j1")

    assert [desk.claim(job).verdict for job in ("j2", "j3")] == ["join", "join"]


def test_who_joins_is_told_where_the_bytes_belong_until_the_run_is_queued(desk: Desk) -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)
    before = desk.claim("j2").payload
    desk.link.do(enqueue_claimed(EncodedMessage("q", b"text"), [ref]))

    after = desk.claim("j3").payload

    assert (before, after) == ("upload-kkkk", "")


def test_a_message_is_sent_once(desk: Desk, state: "redis.Redis") -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)

    sent = [desk.link.do(enqueue_claimed(EncodedMessage("q", b"text"), [ref])) for _ in range(2)]

    assert (sent, state.llen("q")) == ([True, False], 1)


def test_the_message_of_a_stale_run_is_not_sent(desk: Desk, state: "redis.Redis") -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)
    desk.link.do(recovery.requeue([ref], job_ttl_s=60))

    assert not desk.link.do(enqueue_claimed(EncodedMessage("q", b"text"), [ref]))


def test_new_work_is_refused_while_scratch_is_full_and_known_work_is_not(desk: Desk) -> None:
    desk.claim("j1")
    full = replace(NO_LIMITS, scratch=(10, 10))

    def asked(job: str, key: str) -> Claim:
        call = claims.claim(job, spec(key), priority="batch", job_ttl_s=60, limits=full)
        return desk.link.do(call)

    refused, joined = asked("j2", "other"), asked("j3", KEY)

    found = claims.refusal(refused)
    assert (refused.verdict, found.limit, found.value, found.most) == ("busy", "scratch", 10, 10)
    assert joined.verdict == "join"


def test_other_work_leads_its_own_run(desk: Desk) -> None:
    desk.claim("j1")

    assert desk.claim("j2", "other").verdict == "start"


def test_a_claim_for_a_finished_run_is_a_hit(desk: Desk) -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)
    desk.finish(ref)

    claim = desk.claim("j2")

    assert (claim.verdict, claim.payload) == ("hit", '{"kind":"labels"}')
    assert desk.view("j2").state == "done"
    assert desk.view("j2").fields["cached"] == "1"


def test_what_a_lighter_model_made_answers_nobody_else(desk: Desk, state: "redis.Redis") -> None:
    desk.finish(RunRef(KEY, desk.claim("j1").attempt))
    state.hset(keys.run(KEY), "degraded", 1)

    claim = desk.claim("j2")

    assert (claim.verdict, claim.attempt) == ("start", 2)
    assert desk.view("j1").state == "done"


def test_a_known_result_is_a_hit_without_any_run(desk: Desk, state: "redis.Redis") -> None:
    claim = desk.claim("j1", known='{"kind":"known"}')

    assert (claim.verdict, claim.payload) == ("hit", '{"kind":"known"}')
    assert desk.view("j1").fields["result"] == '{"kind":"known"}'
    assert not state.exists(keys.run(KEY))


def test_a_lasting_failure_is_remembered(desk: Desk) -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)
    desk.finish(ref, state="failed", lasting=True)

    claim = desk.claim("j2")

    assert (claim.verdict, claim.payload) == ("failed", '{"code":"bad_input"}')
    assert desk.view("j2").state == "failed"
    assert desk.view("j2").fields["error"] == '{"code":"bad_input"}'


def test_a_lasting_failure_is_forgotten_after_ten_minutes(desk: Desk, state: "redis.Redis") -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)
    desk.finish(ref, state="failed", lasting=True)
    ended = float(state.hget(keys.run(KEY), "ended"))

    state.hset(keys.run(KEY), "ended", ended - bounds.NEGATIVE_TTL_MS - 1)

    assert desk.claim("j2").verdict == "start"


def test_a_passing_failure_is_tried_again(desk: Desk) -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)
    desk.finish(ref, state="failed")

    claim = desk.claim("j2")

    assert (claim.verdict, claim.attempt) == ("start", 2)


def test_the_same_claim_sent_twice_leads_once(desk: Desk, state: "redis.Redis") -> None:
    first = desk.claim("j1")
    again = desk.claim("j1")

    assert (again.verdict, again.attempt) == ("start", first.attempt)
    assert state.hget(keys.positions("cpu", "batch"), "next") == "1"
    assert state.smembers(keys.run_jobs(KEY)) == {"j1"}


def test_a_waiting_run_is_not_led_again_when_its_lease_is_over(
    desk: Desk, state: "redis.Redis"
) -> None:
    first = desk.claim("j1")
    expire_lease(state)

    claim = desk.claim("j2")

    assert (claim.verdict, claim.attempt) == ("join", first.attempt)


def test_an_overtaken_run_is_led_again_when_its_lease_is_over(
    desk: Desk, state: "redis.Redis"
) -> None:
    first = desk.claim("j1")
    later = RunRef("later", desk.claim("j2", "later").attempt)
    desk.touch("start", later)
    expire_lease(state)

    claim = desk.claim("j3")

    assert (claim.verdict, claim.attempt) == ("start", first.attempt + 1)


def test_an_overtaken_run_with_a_lease_is_joined(desk: Desk) -> None:
    desk.claim("j1")
    later = RunRef("later", desk.claim("j2", "later").attempt)
    desk.touch("start", later)

    assert desk.claim("j3").verdict == "join"


def test_a_running_run_is_led_again_when_its_lease_is_over(
    desk: Desk, state: "redis.Redis"
) -> None:
    first = desk.claim("j1")
    desk.touch("start", RunRef(KEY, first.attempt))
    assert desk.claim("j2").verdict == "join"
    expire_lease(state)

    assert desk.claim("j3").verdict == "start"


def test_joiners_survive_a_new_lead(desk: Desk, state: "redis.Redis") -> None:
    first = RunRef(KEY, desk.claim("j1").attempt)
    desk.claim("j2")
    desk.touch("start", first)
    expire_lease(state)

    second = RunRef(KEY, desk.claim("j3").attempt)
    desk.finish(second)

    assert [desk.view(job).state for job in ("j1", "j2", "j3")] == ["done", "done", "done"]


def test_whoever_waits_hears_of_a_new_lead(desk: Desk, state: "redis.Redis") -> None:
    first = RunRef(KEY, desk.claim("j1").attempt)
    desk.touch("start", first)
    expire_lease(state)

    with listening(state) as heard:
        desk.claim("j2")

    assert [change["state"] for change in heard] == ["queued"]


def test_the_end_is_the_newest_version_to_those_who_joined_before_a_new_lead(
    desk: Desk, state: "redis.Redis"
) -> None:
    desk.touch("start", RunRef(KEY, desk.claim("j1").attempt))
    expire_lease(state)
    second = RunRef(KEY, desk.claim("j2").attempt)
    desk.touch("start", second)
    seen = desk.view("j1").version

    desk.finish(second)

    assert desk.view("j1").version > seen


def test_an_equal_key_after_its_record_has_expired_is_led_from_the_start(
    desk: Desk, state: "redis.Redis"
) -> None:
    desk.finish(RunRef(KEY, desk.claim("j1").attempt))
    state.delete(keys.run(KEY))

    claim = desk.claim("j2")

    assert (claim.verdict, claim.attempt) == ("start", 1)


def test_jobs_are_kept_with_their_user_by_time(desk: Desk, state: "redis.Redis") -> None:
    desk.claim("j1")
    desk.claim("j2", "other")
    desk.claim("not-hers", "third", user="bob")

    assert state.zrange(keys.user_jobs("ada"), 0, -1) == ["j1", "j2"]


def test_jobs_and_runs_expire(desk: Desk, state: "redis.Redis") -> None:
    desk.claim("j1")

    assert 0 < state.ttl(keys.job("j1")) <= 60
    assert 0 < state.ttl(keys.run(KEY)) <= bounds.RUN_TTL_MS / 1000
    assert 0 < state.ttl(keys.run_jobs(KEY)) <= bounds.RUN_TTL_MS / 1000


@pytest.mark.parametrize("change", [{"v": VERSION + 1}, {"unheard_of": 1}])
def test_a_spec_of_a_newer_version_is_refused(change: dict[str, int]) -> None:
    text = json.dumps({**json.loads(spec().to_json()), **change})

    with pytest.raises(NewerVersion):
        spec_from_json(text)


# The stages


def test_a_start_hands_out_the_spec(desk: Desk) -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)

    [touched] = desk.link.do(
        runs.report(
            "start",
            [ref],
            stage="preprocess",
            state="x",
            progress=0,
            model="toy",
            queue="cpu",
            priority="batch",
        )
    )

    assert spec_from_json(touched.spec) == spec()


def test_every_start_of_a_stage_is_counted(desk: Desk) -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)

    counts = [desk.touch("start", ref)[0] for _ in range(3)]

    assert counts == [1, 2, 3]
    assert desk.touch("start", ref, stage="inference") == [1]


def test_a_start_shows_in_the_run(desk: Desk) -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)

    desk.touch("start", ref)

    view = desk.view("j1")
    assert (view.state, view.run["stage"]) == ("preprocessing", "preprocess")
    assert float(view.run["progress"]) == 0.05


@pytest.mark.parametrize("event", ["start", "renew", "end"])
def test_every_touch_renews_the_lease(desk: Desk, state: "redis.Redis", event: str) -> None:
    claim = desk.claim("j1")
    expire_lease(state)

    desk.touch(event, RunRef(KEY, claim.attempt))

    lease = float(state.hget(keys.run(KEY), "lease"))
    assert lease == pytest.approx(claim.at_ms + bounds.LEASE_MS, abs=2000)


def test_a_renewal_changes_nothing_but_the_lease(desk: Desk, state: "redis.Redis") -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)
    desk.touch("start", ref)
    before = state.hgetall(keys.run(KEY))

    with listening(state) as heard:
        time.sleep(0.005)
        desk.touch("renew", ref)

    after = state.hgetall(keys.run(KEY))
    assert {name for name in after if after[name] != before[name]} == {"lease"}
    assert heard == []


def test_starts_and_ends_are_published_with_growing_versions(
    desk: Desk, state: "redis.Redis"
) -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)

    with listening(state) as heard:
        desk.touch("start", ref)
        desk.touch("end", ref, next_queue="gpu.toy")
        desk.touch("start", ref, stage="inference")
        desk.finish(ref)

    assert [change["state"] for change in heard] == [
        "preprocessing",
        "preprocessing",
        "inferring",
        "done",
    ]
    assert [change["version"] for change in heard] == [1001, 1002, 1003, 1004]


@pytest.mark.parametrize("event", ["start", "renew", "end"])
@pytest.mark.parametrize("number", [0, 2])
def test_another_number_gets_nothing_and_changes_nothing(
    desk: Desk, state: "redis.Redis", event: str, number: int
) -> None:
    desk.claim("j1")
    before = state.hgetall(keys.run(KEY))

    with listening(state) as heard:
        answers = desk.touch(event, RunRef(KEY, number), next_queue="gpu.toy")

    assert answers == [0]
    assert state.hgetall(keys.run(KEY)) == before
    assert not state.exists(keys.positions("gpu.toy", "batch"))
    assert heard == []


@pytest.mark.parametrize("event", ["start", "renew", "end"])
def test_an_ended_run_is_touched_no_more(desk: Desk, state: "redis.Redis", event: str) -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)
    desk.finish(ref)
    before = state.hgetall(keys.run(KEY))

    assert desk.touch(event, ref) == [-1]
    assert state.hgetall(keys.run(KEY)) == before


def test_a_run_that_nobody_claimed_is_not_made_by_a_touch(desk: Desk, state: "redis.Redis") -> None:
    assert desk.touch("start", RunRef("unknown", 1)) == [0]
    assert not state.exists(keys.run("unknown"))


def test_a_stale_run_of_a_message_does_not_stop_its_neighbours(desk: Desk) -> None:
    good = RunRef("good", desk.claim("j1", "good").attempt)
    desk.claim("j2", "stale")

    assert desk.touch("start", RunRef("stale", 7), good, RunRef("none", 1)) == [0, 1, 0]


def test_the_end_of_a_stage_puts_a_run_in_the_next_line(desk: Desk, state: "redis.Redis") -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)
    desk.touch("start", ref)

    desk.touch("end", ref, next_queue="gpu.toy")

    assert state.hmget(keys.run(KEY), "broker_queue", "queue", "position") == [
        "gpu.toy",
        "gpu.toy",
        "1",
    ]


def test_a_run_that_starts_late_does_not_move_the_mark_back(
    desk: Desk, state: "redis.Redis"
) -> None:
    early = RunRef("early", desk.claim("j1", "early").attempt)
    late = RunRef("late", desk.claim("j2", "late").attempt)
    desk.touch("start", late)

    desk.touch("start", early)

    assert state.hget(keys.positions("cpu", "batch"), "started") == "2"


def test_times_of_waiting_and_of_stages_are_kept(desk: Desk, state: "redis.Redis") -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)
    time.sleep(0.02)
    desk.touch("start", ref)
    time.sleep(0.03)
    desk.touch("end", ref, next_queue="gpu.toy")
    time.sleep(0.02)
    desk.touch("start", ref, stage="inference")
    time.sleep(0.04)
    desk.finish(ref)

    spent = json.loads(desk.view("j1").fields["timings"])
    assert set(spent) == {"queued", "preprocess", "inference"}
    assert 40 <= spent["queued"] < 1000
    assert 30 <= spent["preprocess"] < 1000
    assert 40 <= spent["inference"] < 1000


# The end


def test_finish_ends_every_waiting_job(desk: Desk) -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)
    desk.claim("j2")

    assert desk.finish(ref) == [True]

    for job in ("j1", "j2"):
        view = desk.view(job)
        assert (view.state, view.fields["result"]) == ("done", '{"kind":"labels"}')


def test_a_run_is_finished_only_once(desk: Desk) -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)

    assert desk.finish(ref) == [True]
    assert desk.finish(ref, state="failed") == [False]

    assert desk.view("j1").state == "done"


def test_a_stale_number_finishes_nothing(desk: Desk, state: "redis.Redis") -> None:
    desk.claim("j1")
    before = state.hgetall(keys.run(KEY))

    assert desk.finish(RunRef(KEY, 7)) == [False]

    assert state.hgetall(keys.run(KEY)) == before
    assert desk.view("j1").state == "queued"


def test_one_stale_run_of_several_does_not_keep_the_others_from_ending(desk: Desk) -> None:
    refs = [RunRef(key, desk.claim(f"j-{key}", key).attempt) for key in ("one", "two", "three")]

    assert desk.finish(refs[0], RunRef("two", 9), refs[2]) == [True, False, True]


def test_a_failure_reaches_every_job_with_its_reason(desk: Desk) -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)
    desk.claim("j2")

    desk.finish(ref, state="failed")

    for job in ("j1", "j2"):
        view = desk.view(job)
        assert (view.state, view.fields["error"]) == ("failed", '{"code":"bad_input"}')


def test_a_job_that_was_deleted_meanwhile_is_not_made_again(
    desk: Desk, state: "redis.Redis"
) -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)
    state.delete(keys.job("j1"))

    desk.finish(ref)

    assert not state.exists(keys.job("j1"))


def test_an_ended_run_is_active_no_more(desk: Desk, state: "redis.Redis") -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)
    assert state.zrange(keys.ACTIVE, 0, -1) == [KEY]

    desk.finish(ref)

    assert state.zrange(keys.ACTIVE, 0, -1) == []
    assert not state.exists(keys.run_jobs(KEY))


def test_ends_are_counted_by_model_and_minute(desk: Desk, state: "redis.Redis") -> None:
    refs = [RunRef(key, desk.claim(f"j-{key}", key).attempt) for key in ("one", "two", "three")]
    desk.touch("start", *refs)

    desk.finish(*refs[:2])
    desk.finish(refs[2], state="failed")

    minutes = {
        int(name.rsplit(":", 1)[1]) for name in state.keys(keys.METRICS_PREFIX + "toy:[0-9]*")
    }
    counted = [state.hgetall(f"{keys.METRICS_PREFIX}toy:{minute}") for minute in minutes]
    assert sum(int(found.get("done", 0)) for found in counted) == 2
    assert sum(int(found.get("failed", 0)) for found in counted) == 1
    assert all(float(found["ms:preprocess"]) > 0 for found in counted)
    assert all(
        0 < state.ttl(f"{keys.METRICS_PREFIX}toy:{minute}") <= 2 * 86_400 for minute in minutes
    )


# The view


def test_an_unknown_job_has_no_view(desk: Desk) -> None:
    assert runs.snapshot(desk.link, "unknown") is None


def test_a_view_has_what_was_asked_for(desk: Desk) -> None:
    desk.claim("j1")

    fields = desk.view("j1").fields
    assert (fields["id"], fields["user"], fields["model"]) == ("j1", "ada", "toy")
    assert (fields["priority"], fields["weights"], fields["cached"]) == ("batch", "sha256:w", "0")
    assert json.loads(fields["params"]) == {"gain": 2}


def test_a_job_under_way_shows_its_run_whoever_leads_it(desk: Desk) -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)
    desk.claim("j2")
    desk.touch("start", ref)

    assert desk.view("j2").state == "preprocessing"


def test_versions_grow_from_claim_to_end(desk: Desk) -> None:
    ref = RunRef(KEY, desk.claim("j1").attempt)
    versions = [desk.view("j1").version]
    for event in ("start", "end"):
        desk.touch(event, ref)
        versions.append(desk.view("j1").version)
    desk.finish(ref)
    versions.append(desk.view("j1").version)

    assert versions == sorted(set(versions))


def test_an_ended_job_is_readable_without_its_run(desk: Desk, state: "redis.Redis") -> None:
    desk.finish(RunRef(KEY, desk.claim("j1").attempt))

    state.delete(keys.run(KEY))

    view = desk.view("j1")
    assert (view.state, dict(view.run)) == ("done", {})


def test_a_job_whose_run_is_gone_shows_its_own_state(desk: Desk, state: "redis.Redis") -> None:
    desk.claim("j1")

    state.delete(keys.run(KEY))

    view = desk.view("j1")
    assert (view.state, view.ahead) == ("queued", -1)


def test_an_ended_job_stays_ended_when_its_key_is_led_again(desk: Desk) -> None:
    desk.finish(RunRef(KEY, desk.claim("j1").attempt), state="failed")

    desk.claim("j2")

    assert desk.view("j1").state == "failed"


# Results and uploads


def test_a_remembered_result_is_found_until_it_expires(desk: Desk, state: "redis.Redis") -> None:
    desk.link.do(stored_results.write(KEY, '{"é": 1}', 60))

    assert desk.link.do(stored_results.read(KEY)) == '{"é": 1}'
    assert 0 < state.ttl(keys.result(KEY)) <= 60


def test_an_unknown_result_is_none(desk: Desk) -> None:
    assert desk.link.do(stored_results.read("unknown")) is None


def test_an_upload_is_found_by_its_user_only(desk: Desk) -> None:
    desk.link.do(stored_uploads.write("ada", "u1", {"size": 5, "etag": '"x"'}, ttl_s=60))

    assert desk.link.do(stored_uploads.read("ada", "u1")) == {"size": "5", "etag": '"x"'}
    assert desk.link.do(stored_uploads.read("bob", "u1")) == {}


def test_an_original_is_found_once_its_bytes_are_there(desk: Desk) -> None:
    desk.link.do(stored_uploads.write("ada", "u1", {"state": "promised"}, ttl_s=60))
    before = desk.link.do(stored_uploads.find("ada", "hash", "v1"))

    there = stored_uploads.write("ada", "u1", {"state": "there"}, ttl_s=60, original=("hash", "v1"))
    desk.link.do(there)

    assert (before, desk.link.do(stored_uploads.find("ada", "hash", "v1"))) == (None, "u1")
    assert desk.link.do(stored_uploads.find("ada", "hash", "v2")) is None
    assert desk.link.do(stored_uploads.find("bob", "hash", "v1")) is None
    assert desk.link.do(stored_uploads.read("ada", "u1"))["state"] == "there"


def test_several_jobs_are_seen_at_one_moment(desk: Desk) -> None:
    desk.claim("j1")
    desk.claim("j2", key="b" * 64)

    look = desk.link.do(snapshots.read(["j1", "none", "j2"]))

    assert {job: view.state for job, view in look.jobs.items()} == {"j1": "queued", "j2": "queued"}
    assert look.at_ms > 1e12


def test_a_users_new_jobs_are_listed_by_time(desk: Desk) -> None:
    first, second = desk.claim("j1"), desk.claim("j2", key="b" * 64)
    desk.claim("other", key="c" * 64, user="eve")

    def since(at_ms: float, most: int = 10) -> list[str]:
        return list(desk.link.do(history.jobs_since("ada", at_ms, most)).job_ids)

    assert (since(0), since(second.at_ms), since(first.at_ms, 1)) == (["j2", "j1"], ["j2"], ["j2"])
    assert since(desk.link.do(history.jobs_since("ada", 0, 1)).at_ms) == []


@pytest.mark.parametrize("already", [False, True])
def test_a_users_channel_tells_of_each_job_that_waits(
    desk: Desk, state: "redis.Redis", already: bool
) -> None:
    if already:
        desk.claim("leader")
    with state.pubsub(ignore_subscribe_messages=True) as stream:
        stream.subscribe(keys.user_jobs("ada"))
        stream.get_message(timeout=1)

        desk.claim("j1")
        desk.claim("hit", key="d" * 64, known='{"kind":"labels"}')

        told = [found["data"] for _ in range(4) if (found := stream.get_message(timeout=0.2))]
    assert told == ["j1"]


def test_an_end_is_counted_in_its_minute_and_for_ever(desk: Desk, state: "redis.Redis") -> None:
    for number, end in enumerate(["done", "failed"]):
        desk.claim(f"j{number}", key=str(number) * 64)
        desk.touch("start", RunRef(str(number) * 64, 1))
        desk.finish(RunRef(str(number) * 64, 1), state=end)

    [minute] = [key for key in state.scan_iter(keys.METRICS_PREFIX + "toy:[0-9]*")]
    for key in (minute, keys.METRICS_PREFIX + "toy:all"):
        counts = state.hgetall(key)
        assert (counts["done"], counts["failed"], counts["failed:bad_input"]) == ("1", "1", "1")
        buckets = [int(n) for name, n in counts.items() if name.startswith("le:preprocess:")]
        assert sum(buckets) == 2
        assert float(counts["ms:preprocess"]) > 0
    assert state.ttl(minute) > 86_400 and state.ttl(keys.METRICS_PREFIX + "toy:all") == -1


def test_a_hit_is_counted_in_its_minute_and_for_ever(desk: Desk, state: "redis.Redis") -> None:
    desk.claim("j1")
    desk.finish(RunRef(KEY, 1))

    desk.claim("known to the cache", key="d" * 64, known='{"kind":"labels"}')
    desk.claim("known to its run")
    desk.claim("new", key="e" * 64)

    [minute] = [key for key in state.scan_iter(keys.METRICS_PREFIX + "toy:[0-9]*")]
    for key in (minute, keys.METRICS_PREFIX + "toy:all"):
        assert state.hget(key, "hit") == "2"


def test_a_census_tells_what_waits_and_what_runs(desk: Desk, state: "redis.Redis") -> None:
    state.sadd(keys.MODELS, "toy")
    for number in range(3):
        desk.claim(f"j{number}", key=str(number) * 64)
    desk.touch("start", RunRef("0" * 64, 1))

    stats = desk.link.do(job_stats.read())

    found = {(group.state, group.queue, group.count) for group in stats.groups}
    assert found == {("waiting", "cpu", 2), ("preprocessing", "cpu", 1)}
    assert max(group.oldest_ms for group in stats.groups if group.state == "waiting") > 0
    assert stats.totals == {"toy": {}}
