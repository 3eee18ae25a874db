"""How many workers a model needs, how long jobs take, and how versions fare: by numbers alone."""

import pytest

from storage.catalogue import Catalogue
from storage.jobs.load import Load
from web.pilot import demand, signals
from web.pilot.demand import Work
from web.pilot.signals import Latency, Tally

CARD = {
    "name": "toy",
    "max_batch": 4,
    "cost_ms": {"a": 40.0, "b": 10.0},
    "profiles": {
        "fast": {"max_batch": 4, "cost_ms": {"a": 40.0, "b": 10.0}},
        "best": {"max_batch": 1, "cost_ms": {"a": 0.0, "b": 500.0}},
    },
}


def catalogue(*workers: list[str]) -> Catalogue:
    return Catalogue(0, tuple({"queues": queues} for queues in workers), {}, {})


def load(at_s: float, runs: int = 0, **totals: int) -> Load:
    counters = {name: str(count) for name, count in totals.items()}
    return Load(int(at_s * 1000), {"toy": runs, "toy:best": 0}, {"toy": counters})


def test_outstanding_work_counts_batches_and_each_profiles_own_cost() -> None:
    assert demand.outstanding_s(CARD, {"toy": 5, "toy:best": 3}) == pytest.approx(
        (2 * 40 + 5 * 10 + 3 * 500) / 1000
    )


def test_workers_wanted_is_the_work_over_the_target_wait() -> None:
    found = demand.scaling(catalogue(["gpu.toy"]), {"toy": Work(11.0)}, 5, room=2)

    assert (found["toy"].wanted, found["toy"].wait_s) == (3, 11.0)


def test_what_arrives_is_enough_reason_for_workers_while_nothing_waits() -> None:
    def wanted(arriving: float, room: float) -> int:
        work = {"toy": Work(0.0, arriving)}
        return demand.scaling(catalogue(["gpu.toy"]), work, 5, room)["toy"].wanted

    assert wanted(4.0, room=2) == 8, "four are busy, and two standard deviations of four are free"
    assert wanted(100.0, room=2) == 120, "chance matters less where there are many"
    assert wanted(4.0, room=0) == 4


def test_more_workers_are_asked_for_once_three_tenths_of_the_room_are_used_up() -> None:
    need = demand.scaling(catalogue(["gpu.toy"]), {"toy": Work(0.0, 25.0)}, 5, room=2)["toy"]

    assert (need.least, need.wanted) == (32, 35)


def test_a_run_is_to_be_alone_on_a_device_unless_that_costs_half_more_than_in_full_batches() -> (
    None
):
    assert demand.soon_s(0.1, 0.2, 4) == pytest.approx(0.3), "0.225 in full batches"
    assert demand.soon_s(0.1, 0.005, 16) == pytest.approx(0.1 / 9 + 0.005)
    assert demand.soon_s(0.0, 0.2, 1) == pytest.approx(0.2)


def rate(steady: int, recent: int, latest: int) -> float:
    """Runs a second, of so many in the last five minutes, half a minute and ten seconds."""
    counts = ((steady, 300), (recent, 30), (latest, 10))
    return demand.per_s(*(demand.Arrived(runs, seconds) for runs, seconds in counts))


def test_a_sudden_rise_counts_at_once_but_not_what_chance_explains() -> None:
    assert rate(1200, 120, 40) == 4.0, "as before"
    assert rate(1200, 120, 55) == 4.0, "that may be chance"
    assert rate(1200, 160, 90) == pytest.approx(9 - 3 * 90**0.5 / 10)


def test_arrivals_are_those_of_a_long_time_unless_the_last_half_minute_is_another() -> None:
    assert rate(1200, 150, 40) == 4.0, "that may be chance"
    assert rate(1200, 160, 40) == pytest.approx(160 / 30)
    assert rate(1200, 80, 27) == pytest.approx(80 / 30), "fewer are seen as well"


def test_no_arrivals_at_all_are_none() -> None:
    assert rate(0, 0, 0) == 0.0


def test_an_idle_model_wants_one_worker() -> None:
    assert demand.scaling(catalogue(), {"toy": Work(0.0)}, 5, 2)["toy"].wanted == 1


def test_models_that_share_workers_need_them_together() -> None:
    shared = catalogue(["gpu.toy", "gpu.noop"], ["gpu.toy", "gpu.noop"])
    apart = catalogue(["gpu.toy"], ["gpu.noop"])
    works = {"toy": Work(10.0), "noop": Work(5.0)}

    together, alone = (demand.scaling(of, works, 5, 2) for of in (shared, apart))

    assert [together[name].wanted for name in works] == [3, 3]
    assert [alone[name].wanted for name in works] == [2, 1]
    assert together["noop"].wait_s == 7.5 and alone["noop"].wait_s == 5.0


def test_models_that_share_workers_share_what_is_kept_free() -> None:
    works = {"toy": Work(0.0, 2.0), "noop": Work(0.0, 2.0)}
    shared, apart = catalogue(["gpu.toy", "gpu.noop"]), catalogue(["gpu.toy"], ["gpu.noop"])

    together, alone = (demand.scaling(of, works, 5, 2)["toy"] for of in (shared, apart))

    assert (together.wanted, alone.wanted) == (8, 5)


def test_arrivals_are_what_ended_and_by_how_much_more_waits() -> None:
    old = load(0, runs=0, done=10)

    work = signals.work(load(10, runs=8, done=22), [old], CARD)

    assert work.arriving == pytest.approx(20 / 10 * 0.030), "two in a batch are cheap enough"
    assert work.outstanding_s == pytest.approx(0.160)


def test_the_95th_percentile_is_interpolated_in_its_bucket() -> None:
    new = load(30, **{"job:interactive::le:1000": 100, "job:interactive:best:le:2000": 100})
    old = load(0, **{"job:interactive::le:1000": 10})

    assert signals.latency(new, old, "toy") == Latency(pytest.approx(1.905), 190)


def test_jobs_that_a_lighter_model_computes_are_jobs_of_the_model_that_was_asked_for() -> None:
    of_both = {
        "toy": {"job:interactive::le:1000": "10"},
        "small": {"job:interactive::le:2000": "9"},
    }
    new, old = (Load(at, {}, totals) for at, totals in ((30_000, of_both), (0, {})))

    assert signals.latency(new, old, "toy", "small").samples == 19
    assert signals.latency(new, old, "toy").samples == 10


def test_batches_do_not_count_as_people_who_wait() -> None:
    new = load(30, **{"job:batch::le:60000": 100})

    assert signals.latency(new, load(0), "toy") == Latency(None, 0)


def test_a_versions_own_failures_are_those_that_no_picture_is_to_blame_for() -> None:
    totals = {"done@a": "90", "failed@a": "20", "failed:poison@a": "10", "failed:bad_image@a": "10"}

    assert signals.tallies(totals | {"done": "5"}) == {"a": Tally(100, 10)}


def test_a_window_begins_at_the_newest_reading_that_is_old_enough() -> None:
    history = [load(0), load(5), load(10)]

    assert signals.reading_before(history, 7000) == history[1]
    assert signals.reading_before(history, -1) == history[0]
