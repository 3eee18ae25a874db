"""Limits and estimates: plain arithmetic on what workers have announced and runs have shown."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.catalogue import Catalogue
from storage.jobs.claims import Refusal
from storage.jobs.snapshots import Snapshot
from tasks.settings import settings
from web.jobs import admission


def card(name: str, a: float = 40, b: float = 5, most: int = 8, pace: float = 0) -> dict[str, Any]:
    return {
        "name": name,
        "cost_ms": {"a": a, "b": b},
        "max_batch": most,
        "mean_stage_ms": {"preprocess": pace, "postprocess": pace},
    }


def catalogue(*workers: dict[str, Any], cards: list[dict[str, Any]]) -> Catalogue:
    return Catalogue(0, workers, {card["name"]: card for card in cards}, {})


def gpu(*models: str) -> dict[str, Any]:
    return {"queues": [f"gpu.{model}" for model in models]}


def cpu(processes: int) -> dict[str, Any]:
    return {"queues": ["cpu"], "processes": processes}


# Loads


def test_one_device_costs_what_was_measured() -> None:
    costs = admission.costs(catalogue(gpu("a"), cards=[card("a")]))

    cost = costs["a"]["a"]
    assert (cost.a_ms, cost.b_ms, cost.max_batch) == (40, 5, 8)


def test_two_devices_halve_the_cost() -> None:
    costs = admission.costs(catalogue(gpu("a"), gpu("a"), cards=[card("a")]))

    assert (costs["a"]["a"].a_ms, costs["a"]["a"].b_ms) == (20, 2.5)


def test_models_on_one_device_cost_each_other() -> None:
    costs = admission.costs(catalogue(gpu("a", "b"), cards=[card("a"), card("b", b=100)]))

    assert costs["a"]["b"].b_ms == 100 and costs["b"]["a"].b_ms == 5


def test_models_on_devices_of_their_own_cost_each_other_only_cpu() -> None:
    current = catalogue(gpu("a"), gpu("b"), cpu(2), cards=[card("a"), card("b", pace=10)])

    cost = admission.costs(current)["a"]["b"]

    assert (cost.a_ms, cost.b_ms, cost.cpu_ms) == (0, 0, 10)


def test_a_device_in_common_is_shared_by_its_part_of_the_work() -> None:
    """b is served by two workers, of which one serves a as well: half of b's runs pass there."""
    current = catalogue(gpu("a", "b"), gpu("b"), cards=[card("a"), card("b", b=100)])

    costs = admission.costs(current)

    assert costs["a"]["b"].b_ms == 50
    assert costs["b"]["a"].b_ms == 2.5, "a keeps one of b's two workers busy"


def test_cpu_time_is_shared_by_all_processes() -> None:
    current = catalogue(gpu("a"), cpu(4), cpu(2), cards=[card("a", pace=30)])

    assert admission.costs(current)["a"]["a"].cpu_ms == 10


def test_a_model_whose_worker_restarts_is_estimated_as_if_it_were_there() -> None:
    assert admission.costs(catalogue(cards=[card("a")]))["a"]["a"].b_ms == 5


QUALITY = {
    **card("a"),
    "profiles": {
        "fast": {"cost_ms": {"a": 40, "b": 5}, "max_batch": 8},
        "quality": {"cost_ms": {"a": 300, "b": 900}, "max_batch": 2},
    },
}


def test_each_profile_is_reckoned_at_its_own_cost() -> None:
    costs = admission.costs(catalogue(gpu("a"), gpu("a"), cards=[QUALITY]))

    for variant in ("a", "a:quality"):
        fast, quality = costs[variant]["a"], costs[variant]["a:quality"]
        assert (fast.a_ms, fast.b_ms, fast.max_batch) == (20, 2.5, 8)
        assert (quality.a_ms, quality.b_ms, quality.max_batch) == (150, 450, 2)


@pytest.mark.parametrize(
    ("params", "variant"),
    [({"profile": "quality"}, "a:quality"), ({"profile": "fast"}, "a"), ({}, "a")],
)
def test_the_parameter_says_which_profile_a_run_costs(params: Any, variant: str) -> None:
    assert admission.variant(QUALITY, params) == variant


def test_a_parameter_of_that_name_without_profiles_changes_nothing() -> None:
    assert admission.variant(card("a"), {"profile": "mine"}) == "a"


def test_a_profile_whose_last_worker_has_left_counts_as_the_model() -> None:
    costs = admission.costs(catalogue(gpu("a"), cards=[card("a")]))

    assert admission.limits(costs, "a:quality", "batch").costs == costs["a"]


# Limits and refusals


@pytest.mark.parametrize(("priority", "wait_s"), [("interactive", 90), ("batch", 3000)])
def test_each_priority_has_its_bound(priority: Any, wait_s: float) -> None:
    costs = admission.costs(catalogue(cards=[card("a")]))

    assert admission.limits(costs, "a", priority).wait_ms == wait_s * 1000


@pytest.mark.parametrize(
    ("refusal", "limit", "value", "says"),
    [
        (Refusal("in_flight", 64, 2100), "max_in_flight", 64,
         "64 of your runs are under way; the limit is 64"),
        (Refusal("waiting", 1000, 2100), "max_waiting", 1000,
         "1000 runs wait already; the limit is 1000"),
        (Refusal("wait_ms", 92_100, 2100), "max_wait_batch_s", 3000,
         "the wait would be 92.1 s; the limit is 3000 s"),
    ],
)  # fmt: skip
def test_a_refusal_names_its_limit_and_when_to_come_back(
    refusal: Refusal, limit: str, value: float, says: str
) -> None:
    busy = admission.busy(refusal, "batch")

    assert (busy.code, busy.status, str(busy)) == ("busy", 429, says)
    assert (busy.limit, busy.value, busy.retry_after_s) == (limit, value, 3)
    assert getattr(settings(), limit) == value, "a setting of that name"


def test_full_scratch_is_refused_by_its_size() -> None:
    busy = admission.busy(Refusal("scratch", 70 * 2**20, 5000, most=64 * 2**20), "batch")

    assert (busy.limit, busy.value, busy.retry_after_s) == ("scratch_mib", 64, 5)
    assert str(busy) == "70 MiB of memory for arrays are in use or needed; the limit is 64 MiB"


def test_the_fullest_scratch_counts() -> None:
    usages = [{"used": 10, "most": 100}, {"used": 9, "most": 10}, {"used": 5, "most": 0}]
    current = catalogue(*({"queues": ["cpu"], "scratch": usage} for usage in usages), cards=[])

    assert admission.scratch(current) == (9, 10)


def test_workers_that_say_nothing_of_scratch_limit_nothing() -> None:
    assert admission.scratch(catalogue(cpu(1), cards=[])) == admission.NO_SCRATCH_LIMIT


def test_nobody_is_asked_to_come_back_at_once() -> None:
    assert admission.busy(Refusal("waiting", 1000, 0), "batch").retry_after_s == 1


# Estimates

CARD = card("a", a=900, b=100, pace=200)


def view(
    stage: str = "",
    *,
    ahead: int = 0,
    wait_ms: float = 0,
    busy_ms: float = 0,
    stage_ms: float = -1,
) -> Snapshot:
    run = {"stage": stage} if stage else {}
    return Snapshot({"state": "queued"}, run, ahead, wait_ms, busy_ms, stage_ms)


@pytest.mark.parametrize(
    ("seen", "seconds"),
    [
        (view(), 0.2 + 1 + 0.2),
        (view(wait_ms=3000), 3 + 0.2 + 1 + 0.2),
        (view(wait_ms=3000, busy_ms=600), 2.4 + 0.2 + 1 + 0.2),
        (view("preprocess", stage_ms=50), 0.15 + 1 + 0.2),
        (view("preprocess", stage_ms=900), 1 + 0.2),
        (view("preprocess"), 1 + 0.2),
        (view("inference", stage_ms=10), 1 + 0.2),
        (view("inference", stage_ms=400, busy_ms=400), 0.6 + 0.2),
        (view("inference", stage_ms=9000, busy_ms=9000), 0.2),
        (view("inference", stage_ms=400, wait_ms=2000, busy_ms=400), 1.6 + 1 + 0.2),
        (view("inference", ahead=-1), 0.2),
        (view("postprocess", ahead=-1, stage_ms=150), 0.05),
    ],
)
def test_what_is_left_is_what_is_not_done_yet(seen: Snapshot, seconds: float) -> None:
    assert admission.eta_s(seen, CARD) == pytest.approx(seconds)


def test_what_is_left_of_a_profile_is_reckoned_at_its_own_cost() -> None:
    waiting = Snapshot({"state": "queued"}, {"stage": "", "variant": "a:quality"})

    assert admission.eta_s(waiting, QUALITY) == pytest.approx(1.2)


@given(
    stage=st.sampled_from(["", "preprocess", "inference", "postprocess"]),
    wait_ms=st.floats(0, 1e6),
    busy_ms=st.floats(0, 1e6),
    stage_ms=st.floats(-1, 1e6),
)
def test_an_estimate_is_never_negative(
    stage: str, wait_ms: float, busy_ms: float, stage_ms: float
) -> None:
    seen = view(stage, wait_ms=wait_ms, busy_ms=busy_ms, stage_ms=stage_ms if stage else -1)

    assert admission.eta_s(seen, CARD) >= 0
