"""Who waits before whom, for how long, and who is refused, on a real Redis."""

import json
import time
from dataclasses import replace

import pytest
import redis
import runs

from storage import keys
from storage.jobs import bounds, claims, endings, recovery, snapshots
from storage.jobs.claims import NO_LIMITS, Claim, Limits, Refusal, RunCost
from storage.jobs.endings import End
from storage.jobs.snapshots import Snapshot
from storage.jobs.spec import RunRef, Spec
from storage.redis.calls import SyncRedis

pytest_plugins = ["inprocess"]

TOY = RunCost(a_ms=40, b_ms=5, max_batch=8, cpu_ms=2)
SLOW = RunCost(a_ms=0, b_ms=1000, max_batch=1, cpu_ms=2)
COSTS = {"toy": TOY, "slow": SLOW}
"""Both on one device."""


class Calls:
    """Claims and stages with this file's usual arguments. A job is called as its run is."""

    def __init__(self, link: SyncRedis) -> None:
        self.link = link

    def claim(
        self,
        key: str,
        *,
        job: str = "",
        user: str = "ada",
        model: str = "toy",
        variant: str = "",
        priority: str = "interactive",
        limits: Limits = NO_LIMITS,
        known: str = "",
    ) -> Claim:
        spec = Spec(key, user, model, {}, ["alpha"], "upload", "w", "c")
        job = job or key
        asked = claims.claim(
            job,
            spec,
            priority=priority,
            job_ttl_s=60,
            variant=variant,
            limits=limits,
            known_result=known,
        )
        return self.link.do(asked)

    def refusal(self, key: str, **asked: object) -> Refusal:
        claim = self.claim(key, **asked)  # type: ignore[arg-type]  # passed on as they are
        assert claim.verdict == "busy"
        return claims.refusal(claim)

    def begin_stage(self, *names: str, stage: str, priority: str = "interactive") -> None:
        refs = [RunRef(name, 1) for name in names]
        call = runs.begin_stage(refs, stage, priority=priority)
        assert all(start.is_live for start in self.link.do(call))

    def end_stage(
        self, *names: str, stage: str, model: str = "toy", priority: str = "interactive"
    ) -> None:
        next_broker_queue = {"preprocess": f"gpu.{model}", "inference": "cpu"}.get(stage, "")
        call = runs.end_stage(
            [RunRef(name, 1) for name in names],
            stage,
            model=model,
            priority=priority,
            next_queue={"cpu": "post"}.get(next_broker_queue, next_broker_queue),
            next_broker_queue=next_broker_queue,
        )
        assert self.link.do(call) == [1] * len(names)

    def through(self, *names: str) -> None:
        """Take these through their model."""
        for stage in ("preprocess", "inference"):
            self.begin_stage(*names, stage=stage)
            self.end_stage(*names, stage=stage)

    def finish(self, *names: str, state: str = "done", n: int = 1) -> None:
        ends = [End(RunRef(name, n), state, "{}") for name in names]  # type: ignore[arg-type]  # one of two words
        assert all(self.link.do(endings.finish(ends, job_ttl_s=60)))

    def view(self, job: str, costs: dict[str, dict[str, RunCost]] | None = None) -> Snapshot:
        text = snapshots.costs_json(costs or {"toy": COSTS, "slow": COSTS})
        snapshot = runs.snapshot(self.link, job, text)
        assert snapshot is not None
        return snapshot

    def ahead(self, *names: str) -> list[int]:
        return [self.view(name).ahead for name in names]


@pytest.fixture
def calls(link: SyncRedis) -> Calls:
    return Calls(link)


def limits(**changes: object) -> Limits:
    return replace(NO_LIMITS, costs=COSTS, **changes)  # type: ignore[arg-type]  # fields of Limits


# Positions


def test_who_comes_later_is_behind(calls: Calls) -> None:
    for name in ("one", "two", "three"):
        calls.claim(name)

    assert calls.ahead("one", "two", "three") == [0, 1, 2]


def test_a_place_is_kept_from_claim_to_model(calls: Calls) -> None:
    """Through the cpu queue and the gpu queue it only falls."""
    for name in ("one", "two", "three"):
        calls.claim(name)
    seen = [calls.ahead("three")]

    calls.begin_stage("one", "two", stage="preprocess")
    seen.append(calls.ahead("three"))
    calls.end_stage("one", "two", stage="preprocess")
    calls.begin_stage("one", stage="inference")
    seen.append(calls.ahead("three"))
    calls.end_stage("one", stage="inference")
    seen.append(calls.ahead("three"))

    assert seen == [[2], [2], [2], [1]]


def test_who_is_through_its_model_has_no_place(calls: Calls) -> None:
    calls.claim("one")

    calls.through("one")

    assert calls.ahead("one") == [-1]


def test_a_job_that_joins_stands_where_its_run_stands(calls: Calls) -> None:
    calls.claim("one")
    calls.claim("two")

    calls.claim("two", job="joined")

    assert calls.ahead("joined") == [1]


def test_people_are_before_batches(calls: Calls) -> None:
    calls.claim("batch-1", priority="batch")
    calls.claim("batch-2", priority="batch")
    calls.claim("person", priority="interactive")

    assert calls.ahead("person", "batch-1", "batch-2") == [0, 1, 2]


def test_other_models_have_lines_of_their_own(calls: Calls) -> None:
    calls.claim("slow", model="slow")
    calls.claim("one")

    assert calls.ahead("one") == [0]


def test_a_requeued_run_waits_behind_those_that_wait(calls: Calls) -> None:
    for name in ("one", "two"):
        calls.claim(name)
    calls.through("one")

    calls.link.do(recovery.requeue([RunRef("one", 1)], job_ttl_s=60))

    assert calls.ahead("two", "one") == [0, 1]


@pytest.mark.parametrize("state", ["done", "failed"])
def test_a_run_that_ends_early_leaves_the_queue(calls: Calls, state: str) -> None:
    calls.claim("one")
    calls.claim("two")

    calls.finish("one", state=state)

    assert calls.ahead("two") == [0]


def test_a_run_that_vanished_is_waited_for_by_nobody(calls: Calls, state: "redis.Redis") -> None:
    """A record that expired or was deleted without an end."""
    calls.claim("gone")
    calls.claim("one")
    state.delete(keys.run("gone"))

    calls.view("one")

    assert calls.ahead("one") == [0]


# Waiting times


def test_the_wait_is_that_of_the_batches_before(calls: Calls) -> None:
    for number in range(11):
        calls.claim(f"run-{number:02}")

    waits = [calls.view(f"run-{number:02}").wait_ms for number in (0, 1, 8, 9, 10)]

    assert waits == [0, 5, 40 + 8 * 5, 40 + 9 * 5, 40 + 10 * 5]


def test_models_that_share_a_device_are_served_in_turns(calls: Calls) -> None:
    for number in range(5):
        calls.claim(f"slow-{number}", model="slow")
    calls.claim("one")
    calls.claim("two")

    assert calls.view("one").wait_ms == 0, "its turn is next"
    assert calls.view("two").wait_ms == 5 + 1000, "one of each before it, one of them beside it"


HEAVY = RunCost(a_ms=300, b_ms=900, max_batch=2, cpu_ms=2)
PROFILES = {"toy": TOY, "toy:heavy": HEAVY, "slow": SLOW}
SEEN = dict.fromkeys(PROFILES, PROFILES)


def test_runs_of_a_profile_keep_others_waiting_for_its_own_cost(calls: Calls) -> None:
    for number in range(4):
        calls.claim(f"heavy-{number}", variant="toy:heavy")
    calls.claim("one")

    heavy, light = calls.view("heavy-3", SEEN), calls.view("one", SEEN)

    assert (heavy.ahead, heavy.wait_ms) == (3, 300 + 3 * 900), "the third shares its batch"
    assert (light.ahead, light.wait_ms) == (4, 2 * 300 + 4 * 900), "one queue: not in turns"


def test_a_queue_of_a_profile_is_refused_by_its_own_cost(calls: Calls) -> None:
    bound = replace(NO_LIMITS, costs=PROFILES, wait_ms=1000)
    for number in range(4):
        calls.claim(f"fast-{number}", limits=bound)
    for number in range(2):
        calls.claim(f"heavy-{number}", variant="toy:heavy", limits=bound)

    refused = calls.refusal("late", limits=bound)

    assert (refused.limit, refused.value) == ("wait_ms", 4 * 5 + 300 + 2 * 900)


def test_another_models_profiles_take_no_more_turns_than_it_has(calls: Calls) -> None:
    for number in range(4):
        calls.claim(f"fast-{number}")
        calls.claim(f"heavy-{number}", variant="toy:heavy")
    calls.claim("first", model="slow")
    calls.claim("second", model="slow")

    wait_ms = calls.view("second", SEEN).wait_ms

    assert wait_ms == 1000 + (40 + 0.5 * 5) + (300 + 0.5 * 900), "one turn: half of each profile"


def test_a_profile_leaves_its_line_as_any_run_does(calls: Calls, state: "redis.Redis") -> None:
    for name in ("through", "ended", "again"):
        calls.claim(name, variant="toy:heavy")
    calls.through("through", "again")
    calls.finish("ended")
    left = state.zcard(keys.waiting("toy:heavy", "interactive"))

    calls.link.do(recovery.requeue([RunRef("again", 1)], job_ttl_s=60))

    assert left == 0
    assert calls.view("again", SEEN).run["variant"] == "toy:heavy"
    assert calls.ahead("again") == [0]


def test_a_slow_cpu_decides_where_the_device_is_fast(calls: Calls) -> None:
    for number in range(10):
        calls.claim(f"run-{number}")
    dear = replace(TOY, cpu_ms=100)

    view = calls.view("run-9", {"toy": {"toy": dear}})

    assert view.wait_ms == 9 * 100


@pytest.mark.measures_time
def test_a_snapshot_has_the_time_of_the_present_batch(calls: Calls) -> None:
    calls.claim("one")
    calls.claim("two")
    calls.begin_stage("one", stage="preprocess")
    calls.end_stage("one", stage="preprocess")
    before = calls.view("two").busy_ms

    calls.begin_stage("one", stage="inference")
    time.sleep(0.05)

    assert before == 0
    assert 50 <= calls.view("two").busy_ms < 1000


@pytest.mark.measures_time
def test_a_new_batch_begins_when_one_has_left(calls: Calls) -> None:
    for name in ("one", "two"):
        calls.claim(name)
        calls.begin_stage(name, stage="preprocess")
        calls.end_stage(name, stage="preprocess")
        calls.begin_stage(name, stage="inference")
    time.sleep(0.05)

    calls.end_stage("one", stage="inference")

    assert calls.view("two").busy_ms < 50


def test_a_snapshot_has_the_time_in_the_stage(calls: Calls) -> None:
    calls.claim("one")
    waiting = calls.view("one").stage_ms
    calls.begin_stage("one", stage="preprocess")
    time.sleep(0.05)
    running = calls.view("one").stage_ms
    calls.end_stage("one", stage="preprocess")

    assert (waiting, calls.view("one").stage_ms) == (-1, -1)
    assert 50 <= running < 1000


def test_means_of_the_cpu_stages_are_learnt(calls: Calls, state: "redis.Redis") -> None:
    calls.claim("one")
    calls.begin_stage("one", stage="preprocess")
    time.sleep(0.04)
    calls.end_stage("one", stage="preprocess")
    calls.begin_stage("one", stage="inference")
    calls.end_stage("one", stage="inference")
    calls.begin_stage("one", stage="postprocess")
    time.sleep(0.02)

    calls.finish("one")

    pace = state.hgetall(keys.mean_stage_ms("toy"))
    assert 4 <= float(pace["preprocess"]) < 50, "a tenth of the way from zero"
    assert 2 <= float(pace["postprocess"]) < float(pace["preprocess"])


def test_a_mean_moves_a_tenth_of_the_way(calls: Calls, state: "redis.Redis") -> None:
    state.hset(keys.mean_stage_ms("toy"), mapping={"preprocess": 1000, "postprocess": 1000})
    calls.claim("one")
    calls.through("one")

    calls.finish("one")

    assert 900 <= float(state.hget(keys.mean_stage_ms("toy"), "preprocess")) < 910


def test_runs_of_one_message_cost_their_share_each(calls: Calls, state: "redis.Redis") -> None:
    names = [f"run-{number}" for number in range(8)]
    for name in names:
        calls.claim(name)
    calls.begin_stage(*names, stage="preprocess")
    time.sleep(0.08)
    calls.end_stage(*names, stage="preprocess")
    calls.begin_stage(*names, stage="inference")
    calls.end_stage(*names, stage="inference")

    calls.finish(*names)

    eighth = 0.9**7 * 0.1 * 10  # at least: what the first of them adds
    assert eighth < float(state.hget(keys.mean_stage_ms("toy"), "preprocess")) < 60


def test_what_never_reached_the_model_teaches_nothing(calls: Calls, state: "redis.Redis") -> None:
    calls.claim("one")
    calls.begin_stage("one", stage="preprocess")

    calls.finish("one")

    assert not state.exists(keys.mean_stage_ms("toy"))


# A full queue


def test_a_full_priority_refuses_and_says_how_full(calls: Calls) -> None:
    for number in range(2):
        calls.claim(f"run-{number}")
    calls.claim("slow", model="slow")

    refused = calls.refusal("late", limits=limits(waiting=3))

    assert (refused.limit, refused.value) == ("waiting", 3)
    assert refused.room_in_ms == pytest.approx((2 * 5 + 1000) / 3)


def test_a_long_wait_refuses_and_says_how_long(calls: Calls) -> None:
    for number in range(8):
        calls.claim(f"run-{number}")

    refused = calls.refusal("late", limits=limits(wait_ms=70))

    assert (refused.limit, refused.value, refused.room_in_ms) == ("wait_ms", 80, 10)


def test_a_wait_that_is_just_bearable_is_admitted(calls: Calls) -> None:
    for number in range(8):
        calls.claim(f"run-{number}")

    assert calls.claim("late", limits=limits(wait_ms=80)).verdict == "start"


def test_one_models_flood_refuses_no_other(calls: Calls) -> None:
    for number in range(50):
        calls.claim(f"slow-{number}", model="slow")

    assert calls.claim("more", model="slow", limits=limits(wait_ms=10_000)).verdict == "busy"
    assert calls.claim("toy", limits=limits(wait_ms=10_000)).verdict == "start"


def test_a_full_batch_priority_refuses_no_person(calls: Calls) -> None:
    for number in range(8):
        calls.claim(f"run-{number}", priority="batch")
    tight = limits(wait_ms=70, waiting=8)

    assert calls.claim("late", priority="batch", limits=tight).verdict == "busy"
    assert calls.claim("person", priority="interactive", limits=tight).verdict == "start"


def test_a_full_priority_has_room_once_its_runs_are_through_the_model(calls: Calls) -> None:
    calls.claim("one")
    assert calls.claim("late", limits=limits(waiting=1)).verdict == "busy"

    calls.through("one")

    assert calls.claim("late", limits=limits(waiting=1)).verdict == "start"


def test_a_refusal_leaves_nothing_behind(calls: Calls, state: "redis.Redis") -> None:
    calls.claim("one")
    before = set(state.keys("*"))

    calls.refusal("late", limits=limits(waiting=1))

    assert set(state.keys("*")) == before


def test_joins_and_hits_are_never_refused(calls: Calls) -> None:
    calls.claim("ended")
    calls.finish("ended")
    calls.claim("one")
    nothing = limits(waiting=0, wait_ms=0, in_flight=0)

    assert calls.claim("one", job="joins", limits=nothing).verdict == "join"
    assert calls.claim("ended", job="hits", limits=nothing).verdict == "hit"
    assert calls.claim("new", known="{}", limits=nothing).verdict == "hit"
    assert calls.claim("new", limits=nothing).verdict == "busy"


def test_a_run_that_lost_its_worker_is_admitted_already(calls: Calls, state: "redis.Redis") -> None:
    calls.claim("one")
    calls.begin_stage("one", stage="preprocess")
    state.hset(keys.run("one"), "lease", "1")

    claim = calls.claim("one", job="again", limits=limits(waiting=0, in_flight=0))

    assert (claim.verdict, claim.attempt) == ("start", 2)


# One user's share


def test_a_user_has_so_many_runs_at_a_time(calls: Calls) -> None:
    for number in range(3):
        assert calls.claim(f"run-{number}", limits=limits(in_flight=3)).verdict == "start"

    refused = calls.refusal("late", limits=limits(in_flight=3))

    assert (refused.limit, refused.value) == ("in_flight", 3)
    assert calls.claim("his", user="bob", limits=limits(in_flight=3)).verdict == "start"


def test_all_models_and_priorities_count_for_a_user(calls: Calls) -> None:
    calls.claim("one", priority="batch")
    calls.claim("two", model="slow")

    assert calls.refusal("late", limits=limits(in_flight=2)).limit == "in_flight"


def test_equal_requests_count_as_one(calls: Calls) -> None:
    calls.claim("one")
    for number in range(5):
        calls.claim("one", job=f"job-{number}")

    assert calls.claim("two", limits=limits(in_flight=2)).verdict == "start"


def test_room_comes_with_the_users_oldest_run(calls: Calls) -> None:
    for number in range(4):
        calls.claim(f"his-{number}", user="bob")
    calls.claim("hers")

    refused = calls.refusal("late", limits=limits(in_flight=1))

    assert refused.room_in_ms == 5, "one of the other user's is before it, three are behind"


@pytest.mark.parametrize("state_", ["done", "failed"])
def test_an_end_gives_its_user_room(calls: Calls, state_: str) -> None:
    calls.claim("one")

    calls.finish("one", state=state_)

    assert calls.claim("two", limits=limits(in_flight=1)).verdict == "start"


def test_a_run_counts_once_however_often_it_is_led(calls: Calls, state: "redis.Redis") -> None:
    calls.claim("one")
    calls.link.do(recovery.requeue([RunRef("one", 1)], job_ttl_s=60))
    calls.link.do(recovery.requeue([RunRef("one", 2)], job_ttl_s=60))
    assert state.zcard(keys.user_runs("ada")) == 1

    calls.finish("one", n=3)

    assert calls.claim("two", limits=limits(in_flight=1)).verdict == "start"


@pytest.mark.parametrize("how", ["vanished", "cancelled"])
def test_a_run_that_went_without_a_word_gives_room_all_the_same(
    calls: Calls, state: "redis.Redis", how: str
) -> None:
    calls.claim("one")
    if how == "vanished":
        state.delete(keys.run("one"))
    else:
        state.hset(keys.run("one"), "state", "cancelled")

    assert calls.claim("two", limits=limits(in_flight=1, waiting=1)).verdict == "start"
    assert state.zrange(keys.user_runs("ada"), 0, -1) == [keys.run("two")]


def test_what_is_kept_of_a_user_expires(calls: Calls, state: "redis.Redis") -> None:
    calls.claim("one")

    assert 0 < state.ttl(keys.user_runs("ada")) <= bounds.RUN_TTL_MS / 1000


# Overtaking


def test_a_postprocess_overtakes_no_preprocess(calls: Calls, state: "redis.Redis") -> None:
    """Both wait in the queue `cpu`; that the former goes first is no sign of a loss."""
    for name in ("first", "second"):
        calls.claim(name)
    calls.through("first")
    calls.begin_stage("first", stage="postprocess")
    state.lpush(keys.queue("cpu", 3), json.dumps("second's message"))

    lost = []
    for _ in range(2):
        state.delete(keys.REAPER_LOCK)
        lost += calls.link.do(recovery.find_lost(every_ms=900, grace_ms=0)).items
        time.sleep(0.01)

    assert lost == []
