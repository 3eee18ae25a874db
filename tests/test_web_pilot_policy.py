"""What the pilot does, on a simulated clock: one look every five seconds."""

from dataclasses import replace

import pytest
from pilot_watch import FAST, QUIET, SLOW, Watch, done

from storage.pilot import Order, Pins
from web.pilot.demand import Work
from web.pilot.signals import Latency, Signals, Tally


def need(workers: int) -> dict[str, int]:
    """So many workers, of which one is room for chance where there are more than two."""
    return {"wanted": workers, "least": workers - (workers > 2)}


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_people_who_wait_for_half_a_minute_get_a_lighter_profile(watch: Watch) -> None:
    assert not watch.see(SLOW, 30)

    [decision] = watch.see(SLOW, 10)

    assert (decision.rule, decision.action, decision.outcome) == (
        "degrade", "fast instead of best", "done",
    )  # fmt: skip
    assert decision.values["p95_s"] == 3.0 and decision.thresholds["p95_s"] == 2.0
    assert decision.samples == 40 and "workers are wanted" in decision.alternatives[0]
    assert watch.order.profile == "fast" and "best" in watch.order.reason


def test_a_short_wait_changes_nothing(watch: Watch) -> None:
    for _ in range(10):
        watch.see(SLOW, 25)
        watch.see(FAST, 5)

    assert not watch.decisions


def test_few_samples_change_nothing(watch: Watch) -> None:
    assert not watch.see(replace(SLOW, latest=Latency(30.0, 19)), 300)
    assert "19 jobs" in watch.reasons["degrade"]


def test_the_own_profile_comes_back_after_five_quick_minutes(watch: Watch) -> None:
    watch.see(SLOW, 40)

    assert not watch.see(FAST, 290)
    assert done(watch.see(FAST, 20)) == [("recover", "best again")]
    assert watch.order.profile == ""


def test_it_does_not_come_back_while_jobs_take_more_than_half_the_target(watch: Watch) -> None:
    watch.see(SLOW, 40)

    assert not watch.see(replace(FAST, lasting=Latency(1.2, 400)), 900)


def test_it_comes_back_where_nobody_has_come_for_five_minutes(watch: Watch) -> None:
    watch.see(SLOW, 40)

    assert done(watch.see(QUIET, 310)) == [("recover", "best again")]


def test_a_model_without_a_lighter_profile_is_left_alone_and_that_is_said_once(
    watch: Watch,
) -> None:
    made = watch.see(replace(SLOW, default_profile="fast"), 300)

    assert [(of.rule, of.outcome) for of in made] == [("degrade", "impossible")]
    assert watch.order.profile == ""


def test_more_workers_come_at_once_and_go_after_a_long_time(watch: Watch) -> None:
    busy = replace(QUIET, **need(3), work=Work(12.0, 2.0))

    assert done(watch.see(busy)) == [("scale", "1 -> 3 workers")]
    assert not watch.see(replace(QUIET, **need(2)), 590)
    assert done(watch.see(replace(QUIET, **need(2)), 25)) == [("scale", "3 -> 2 workers")]


def test_far_too_many_workers_go_after_half_of_that_time(watch: Watch) -> None:
    watch.see(replace(QUIET, **need(10), work=Work(50.0, 8.0)))

    assert not watch.see(replace(QUIET, **need(7)), 295)
    assert done(watch.see(replace(QUIET, **need(7)), 10)) == [("scale", "10 -> 7 workers")]


def test_no_worker_goes_while_new_runs_are_lighter(watch: Watch) -> None:
    watch.order = replace(watch.order, workers=10, profile="fast")

    assert not watch.see(replace(FAST, lasting=Latency(1.2, 400), **need(2)), 900)
    assert done(watch.see(replace(FAST, **need(2)), 10)) == [
        ("recover", "best again"),
        ("scale", "10 -> 2 workers"),
    ]


def test_one_of_few_workers_is_not_far_too_many(watch: Watch) -> None:
    watch.see(replace(QUIET, **need(3)))

    assert not watch.see(replace(QUIET, **need(2)), 500)


def test_workers_that_were_needed_lately_stay(watch: Watch) -> None:
    for wanted in (4, 3, 2, 3, 2, 2, 2, 2, 2):
        watch.see(replace(QUIET, **need(wanted)), 200)

    assert [action for _, action in done(watch.decisions)] == [
        "1 -> 4 workers",
        "4 -> 3 workers",
        "3 -> 2 workers",  # three were needed ten minutes before
    ]


def test_while_most_of_the_room_is_free_nothing_changes_and_then_all_of_it_is_made(
    watch: Watch,
) -> None:
    watch.order = replace(watch.order, workers=5)

    assert not watch.see(replace(QUIET, least=5, wanted=7), 700)
    assert done(watch.see(replace(QUIET, least=6, wanted=8))) == [("scale", "5 -> 8 workers")]


def test_fewer_workers_are_kept_only_where_that_saves_as_many_as_may_be_used_up_of_the_room(
    watch: Watch,
) -> None:
    watch.order = replace(watch.order, workers=10)

    assert not watch.see(replace(QUIET, least=7, wanted=9), 900)
    assert done(watch.see(replace(QUIET, least=6, wanted=8), 610)) == [("scale", "10 -> 8 workers")]


def test_an_input_that_flaps_causes_one_action_per_cooldown(watch: Watch) -> None:
    for turn in range(120):
        wanted = 2 + turn if turn % 2 else 1
        watch.see(replace(SLOW if turn % 2 else FAST, **need(wanted)))

    acted = [at for at, of in zip(watch.times_s, watch.decisions, strict=True)
             if of.rule == "scale" and of.outcome == "done"]  # fmt: skip
    assert len(acted) > 5
    assert min(b - a for a, b in zip(acted, acted[1:], strict=False)) >= 30


def test_nothing_goes_up_and_down_and_up_within_five_minutes(watch: Watch) -> None:
    for turn in range(2000):
        watch.see(replace(QUIET, **need(1 + (turn // 170) % 4 + (turn // 7) % 2)))

    moves = [
        (at, of.action)
        for at, of in zip(watch.times_s, watch.decisions, strict=True)
        if of.outcome == "done"
    ]
    steps = []
    for at, action in moves:
        before, _, after = action.partition(" -> ")
        steps.append((at, int(after.split()[0]) > int(before)))
    ups = [at for at, is_up in steps if is_up]
    downs = [at for at, is_up in steps if not is_up]
    assert downs, "the input asks for fewer as well"
    assert not [
        (up, down, again)
        for up in ups
        for down in downs
        for again in ups
        if up < down < again and again - up < 300
    ]


def test_a_pause_and_a_dry_run_change_nothing_and_say_so(watch: Watch) -> None:
    before = watch.order

    paused = watch.see(replace(SLOW, **need(3)), 100, is_paused=True)
    dry = watch.see(replace(SLOW, **need(3)), 100, is_dry=True)

    assert {of.outcome for of in paused} == {"paused"} and {of.outcome for of in dry} == {"dry run"}
    assert {of.rule for of in dry} == {"scale", "degrade"}
    assert watch.order == before


def test_what_is_pinned_is_left_alone(watch: Watch) -> None:
    watch.order = replace(watch.order, pins=Pins(profile="best", workers=1))

    made = watch.see(replace(SLOW, **need(3)), 100)

    assert {(of.rule, of.outcome) for of in made} == {("scale", "pinned"), ("degrade", "pinned")}
    assert (watch.order.profile, watch.order.workers) == ("", 1)


BOTH = replace(QUIET, versions=("old", "new"))


def tallied(ended: int, failed: int, of: Signals = BOTH) -> Signals:
    return replace(of, tallies={"old": Tally(900, 3), "new": Tally(ended, failed)})


def test_a_new_version_gets_a_tenth_of_the_runs_first_and_then_all(watch: Watch) -> None:
    assert done(watch.see(BOTH)) == [("canary", "version new gets 10 % of new runs")]
    assert (watch.order.version, watch.order.canary) == ("old", "new")

    assert not watch.see(tallied(49, 0), 60)
    assert done(watch.see(tallied(50, 1))) == [("canary", "version new gets all runs")]
    assert (watch.order.version, watch.order.served_well) == ("new", "old")


def test_a_version_that_fails_is_rolled_back_at_the_fiftieth_run_and_never_tried_again(
    watch: Watch,
) -> None:
    watch.see(BOTH, 60)

    assert not watch.see(tallied(49, 20), 60)
    [decision] = watch.see(tallied(50, 10))

    assert (decision.rule, decision.action) == ("roll back", "version old instead of new")
    assert decision.values == {"failures": 0.2} and decision.samples == 50
    assert watch.order == Order(version="old", workers=1, refused=("new",))
    assert not watch.see(tallied(500, 10), 900), "it is never tried again"


def test_the_wanted_version_goes_back_to_the_one_that_served_well(watch: Watch) -> None:
    watch.order = Order(version="new", served_well="old", workers=1)

    assert done(watch.see(tallied(50, 10))) == [("roll back", "version old instead of new")]
    assert (watch.order.version, watch.order.served_well) == ("old", "")


def test_without_another_version_that_served_well_it_stays_and_that_is_said(watch: Watch) -> None:
    watch.order = Order(version="new", workers=1)

    [decision] = watch.see(tallied(50, 10, replace(QUIET, versions=("new",))), 300)

    assert (decision.rule, decision.outcome) == ("roll back", "impossible")
    assert watch.order.version == "new"


def test_a_version_is_judged_by_its_last_runs(watch: Watch) -> None:
    watch.order = Order(version="new", served_well="old", workers=1)
    watch.see(tallied(5000, 10), 30)

    assert not watch.see(tallied(5049, 59), 30)
    assert done(watch.see(tallied(5050, 60))) == [("roll back", "version old instead of new")]


def test_after_an_upgrade_the_version_that_is_left_is_wanted(watch: Watch) -> None:
    assert done(watch.see(replace(QUIET, versions=("new",)))) == [("canary", "version new")]
    assert watch.order.version == "new"
