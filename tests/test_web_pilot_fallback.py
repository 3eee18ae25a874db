"""A lighter model in place of another, while many people wait and no lighter profile is left."""

from dataclasses import replace

import pytest
from pilot_watch import FAST, QUIET, SLOW, Watch, done

from storage.pilot import Order, Pins

HELPED = replace(SLOW, fallback="small")
QUICK = replace(FAST, fallback="small")
LIGHTEST = replace(HELPED, default_profile="fast")


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_a_lighter_profile_comes_first_and_a_lighter_model_a_minute_later(watch: Watch) -> None:
    assert done(watch.see(HELPED, 40)) == [("degrade", "fast instead of best")]
    assert not watch.see(HELPED, 50), "what the profile has brought must be seen first"

    assert done(watch.see(HELPED, 15)) == [("degrade", "small instead of toy")]
    assert (watch.order.profile, watch.order.model) == ("fast", "small")
    assert watch.order.reason == "Many people wait: small was used instead of toy."


def test_a_model_without_a_lighter_profile_gets_a_lighter_model_at_once(watch: Watch) -> None:
    assert done(watch.see(LIGHTEST, 40)) == [("degrade", "small instead of toy")]
    assert (watch.order.profile, watch.order.model) == ("", "small")


def test_the_model_comes_back_before_its_own_profile_each_after_five_quick_minutes(
    watch: Watch,
) -> None:
    watch.see(HELPED, 110)

    assert done(watch.see(QUICK, 310)) == [("recover", "toy again")]
    assert (watch.order.profile, watch.order.model) == ("fast", "")
    assert "fast was used instead of best" in watch.order.reason
    assert not watch.see(QUICK, 260)
    assert done(watch.see(QUICK, 50)) == [("recover", "best again")]
    assert watch.order == Order(version="old", workers=1)


def test_where_the_lighter_model_is_slow_too_that_is_said_once(watch: Watch) -> None:
    watch.see(LIGHTEST, 40)

    made = watch.see(LIGHTEST, 300)

    assert [(of.rule, of.outcome) for of in made] == [("degrade", "impossible")]
    assert "computed by small already" in watch.reasons["degrade"]


def test_a_pinned_profile_keeps_the_model_too(watch: Watch) -> None:
    watch.order = replace(watch.order, pins=Pins(profile="fast"))

    assert {of.outcome for of in watch.see(LIGHTEST, 100)} == {"pinned"}
    assert not watch.order.model


def test_nothing_is_lighter_than_a_model_that_names_no_other(watch: Watch) -> None:
    watch.see(replace(SLOW, default_profile="fast"), 60)

    assert "no lighter profile than fast, and no lighter model" in watch.reasons["degrade"]
    assert watch.order == Order(version="old", workers=1)


def test_an_idle_model_takes_its_own_work_again(watch: Watch) -> None:
    watch.see(LIGHTEST, 40)

    assert done(watch.see(replace(QUIET, fallback="small"), 310)) == [("recover", "toy again")]
