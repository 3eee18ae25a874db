"""Who lives, what they serve, and for how long that is believed."""

import time

import pytest
import redis

from storage import catalogue, keys, pilot
from storage.pilot import Order, Pins
from storage.redis.calls import SyncRedis

pytest_plugins = ["inprocess"]

WORKER = {"queues": ["gpu.toy", "gpu.noop"], "device": "cpu"}
CARDS = {"toy": {"name": "toy", "title": "Toy"}, "noop": {"name": "noop", "title": "No-op"}}


def test_an_empty_catalogue_has_nobody_and_nothing(link: SyncRedis) -> None:
    announced = link.do(catalogue.read())

    assert (announced.workers, dict(announced.models)) == ((), {})
    assert announced.is_gone("cpu")


def test_an_announced_worker_is_live_with_all_it_serves(link: SyncRedis) -> None:
    link.do(catalogue.announce("gpu-1@host", WORKER, CARDS))

    announced = link.do(catalogue.read())
    assert announced.workers == (WORKER,)
    assert announced.is_live("gpu.toy") and announced.is_live("gpu.noop")
    assert not announced.is_live("cpu")


def test_models_are_read_by_name_and_in_order(link: SyncRedis) -> None:
    link.do(catalogue.announce("gpu-1@host", WORKER, CARDS))

    models = link.do(catalogue.read()).models
    assert list(models) == ["noop", "toy"]
    assert models["toy"] == {**CARDS["toy"], "mean_stage_ms": {"preprocess": 0, "postprocess": 0}}


def test_a_card_has_the_models_mean_stage_times(link: SyncRedis, state: "redis.Redis") -> None:
    link.do(catalogue.announce("gpu-1@host", WORKER, CARDS))

    state.hset(keys.mean_stage_ms("toy"), mapping={"preprocess": 12.5, "inferred": 1})

    mean_stage_ms = link.do(catalogue.read()).models["toy"]["mean_stage_ms"]
    assert mean_stage_ms == {"preprocess": 12.5, "postprocess": 0}


def test_a_worker_without_models_can_be_announced(link: SyncRedis) -> None:
    link.do(catalogue.announce("cpu-1@host", {"queues": ["cpu"]}, {}))

    announced = link.do(catalogue.read())
    assert announced.is_live("cpu") and dict(announced.models) == {}


def test_announcing_answers_redis_time(link: SyncRedis) -> None:
    before_ms = time.time() * 1000

    said_ms = link.do(catalogue.announce("cpu-1@host", {"queues": ["cpu"]}, {}))

    assert said_ms == pytest.approx(before_ms, abs=2000)


def test_a_newer_card_replaces_the_older(link: SyncRedis) -> None:
    link.do(catalogue.announce("gpu-1@host", WORKER, CARDS))
    link.do(catalogue.announce("gpu-2@host", WORKER, {"toy": {"name": "toy", "title": "Newer"}}))

    models = link.do(catalogue.read()).models
    assert models["toy"]["title"] == "Newer"
    assert models["noop"]["title"] == "No-op"


def test_a_silent_worker_expires(
    link: SyncRedis, state: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "WORKER_TTL_MS", 50)
    link.do(catalogue.announce("gpu-1@host", WORKER, CARDS))

    time.sleep(0.06)

    announced = link.do(catalogue.read())
    assert announced.workers == () and not announced.is_live("gpu.toy")
    assert state.get(keys.worker("gpu-1@host")) is None


def test_a_model_outlives_its_workers(link: SyncRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "WORKER_TTL_MS", 50)
    link.do(catalogue.announce("gpu-1@host", WORKER, CARDS))

    time.sleep(0.06)

    announced = link.do(catalogue.read())
    assert set(announced.models) == {"toy", "noop"}
    assert not announced.is_gone("gpu.toy"), "a restart of the worker is no reason to refuse work"


def test_the_next_announcement_sweeps_the_expired(
    link: SyncRedis, state: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "WORKER_TTL_MS", 50)
    link.do(catalogue.announce("gpu-1@host", WORKER, CARDS))
    time.sleep(0.06)

    link.do(catalogue.announce("cpu-1@host", {"queues": ["cpu"]}, {}))

    assert state.zrange(keys.WORKERS, 0, -1) == ["cpu-1@host"]


def silent_for(seconds: int, link: SyncRedis, state: "redis.Redis") -> catalogue.Catalogue:
    """What is known so long after the last worker of `gpu.toy` was heard of."""
    now_ms = link.do(catalogue.announce("gpu-1@host", WORKER, CARDS))
    state.delete(keys.worker("gpu-1@host"))
    state.hset(keys.SEEN, "gpu.toy", now_ms - seconds * 1000)
    return link.do(catalogue.read())


@pytest.mark.parametrize(("silent_s", "gone"), [(29, False), (31, True)])
def test_a_queue_is_gone_after_half_a_minute_without_worker(
    link: SyncRedis, state: "redis.Redis", silent_s: int, gone: bool
) -> None:
    announced = silent_for(silent_s, link, state)

    assert not announced.is_live("gpu.toy")
    assert announced.is_gone("gpu.toy") is gone


@pytest.mark.parametrize(("silent_s", "forgotten"), [(599, False), (601, True)])
def test_a_queue_is_forgotten_after_ten_minutes_without_worker(
    link: SyncRedis, state: "redis.Redis", silent_s: int, forgotten: bool
) -> None:
    announced = silent_for(silent_s, link, state)

    assert announced.is_forgotten("gpu.toy") is forgotten


def test_queues_of_versions_that_are_gone_do_not_pile_up(
    link: SyncRedis, state: "redis.Redis"
) -> None:
    now_ms = int(time.time() * 1000)
    ages_s = {"gpu.toy@1": catalogue.FORGOTTEN_S + 5, "gpu.toy@2": catalogue.FORGOTTEN_S - 60}
    state.hset(keys.SEEN, mapping={name: now_ms - 1000 * age for name, age in ages_s.items()})

    link.do(catalogue.announce("gpu-1@host", {"queues": ["gpu.toy@3"]}, {}))

    assert set(link.do(catalogue.read()).seen_ms) == {"gpu.toy@2", "gpu.toy@3"}


def test_counts_of_versions_that_are_gone_do_not_pile_up(
    link: SyncRedis, state: "redis.Redis"
) -> None:
    now_ms, totals = int(time.time() * 1000), f"{keys.METRICS_PREFIX}toy:all"
    for number in range(40):
        state.hset(keys.model_versions("toy"), mapping={OLD: "{}", f"seen:{OLD}": now_ms})
        state.hincrby(totals, "done")
        state.hincrby(totals, f"done@{number:08}-cccccccc")
        link.do(catalogue.announce("gpu-1@host", WORKER, {"toy": version(number)}))
        state.hset(keys.model_versions("toy"), f"seen:{number:08}-cccccccc", 1)

    counts = {name: int(count) for name, count in state.hgetall(totals).items()}
    assert len(counts) < 15 and counts["done@"] > 25
    assert counts[f"done@{OLD}"] == 1, "of a version that is still announced"
    assert counts.pop("done") == sum(counts.values()) == 40


def test_a_live_worker_is_never_gone(link: SyncRedis, state: "redis.Redis") -> None:
    link.do(catalogue.announce("gpu-1@host", WORKER, CARDS))

    state.hset(keys.SEEN, "gpu.toy", 0)

    assert not link.do(catalogue.read()).is_gone("gpu.toy")


def test_one_of_two_workers_is_enough(link: SyncRedis, state: "redis.Redis") -> None:
    link.do(catalogue.announce("gpu-1@host", WORKER, CARDS))
    link.do(catalogue.announce("gpu-2@host", WORKER, CARDS))

    state.delete(keys.worker("gpu-1@host"))

    announced = link.do(catalogue.read())
    assert len(announced.workers) == 1 and announced.is_live("gpu.toy")


def version(number: int) -> dict[str, str]:
    """The card of a version of `toy`; its name is `000000NN-cccccccc`."""
    return {"name": "toy", "weights": f"sha256:{number:08}", "code": "sha256:" + "c" * 64}


OLD, NEW = "00000001-cccccccc", "00000002-cccccccc"


@pytest.fixture
def both(link: SyncRedis) -> None:
    """Two workers, each with a version of `toy`; the older one announces itself last."""
    for number in (1, 2, 1):
        versions = {"toy": f"{number:08}-cccccccc"}
        worker = {"queues": ["gpu.toy"], "device": "cpu", "model_versions": versions}
        link.do(catalogue.announce(f"gpu-{number}@host", worker, {"toy": version(number)}))
        time.sleep(0.002)


def test_two_versions_of_a_model_live_side_by_side_and_the_newest_is_chosen(
    both: None, link: SyncRedis
) -> None:
    found = link.do(catalogue.read())

    assert list(found.live["toy"]) == [OLD, NEW]
    assert found.versions == {"toy": NEW}, "whoever announces last does not decide"


@pytest.mark.parametrize(
    "order", [Order(version=OLD), Order(refused=(NEW,)), Order(version=NEW, pins=Pins(version=OLD))]
)
def test_the_version_that_is_ordered_is_chosen(both: None, link: SyncRedis, order: Order) -> None:
    link.do(pilot.order("toy", order))
    link.do(pilot.pin("toy", order.pins))

    assert link.do(catalogue.read()).versions == {"toy": OLD}


def test_a_version_without_workers_is_not_chosen_and_later_counts_as_gone(
    both: None, link: SyncRedis, state: "redis.Redis"
) -> None:
    link.do(pilot.order("toy", Order(version=OLD)))
    state.delete(keys.worker("gpu-1@host"))

    found = link.do(catalogue.read())
    assert (found.versions, found.gone["toy"]) == ({"toy": NEW}, [])

    state.hset(keys.model_versions("toy"), f"seen:{OLD}", found.now_ms - 31_000)
    assert link.do(catalogue.read()).gone["toy"] == [OLD]
