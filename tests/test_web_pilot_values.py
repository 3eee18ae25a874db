"""Lighter values of a model's parameters, the first that is done while many people wait."""

from dataclasses import replace

import pytest
from pilot_watch import FAST, SLOW, Watch, done

from storage.pilot import Order, Pins
from web.pilot import by_hand

LIGHTER = {"effort": ("good", "fast")}
BUSY = replace(SLOW, lighter=LIGHTER, fallback="small")
CALM = replace(FAST, lighter=LIGHTER, fallback="small")


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_values_come_before_the_profile_and_the_profile_before_another_model(watch: Watch) -> None:
    assert done(watch.see(BUSY, 240)) == [
        ("degrade", "effort fast instead of effort good"),
        ("degrade", "fast instead of best"),
        ("degrade", "small instead of toy"),
    ]
    assert (watch.order.params, watch.order.profile) == ({"effort": "fast"}, "fast")
    assert by_hand.computed_by(watch.order) == "small / fast / effort fast"


def test_what_was_done_last_is_undone_first_and_the_reason_follows(watch: Watch) -> None:
    watch.see(BUSY, 240)

    watch.see(CALM, 310)
    assert "fast was used instead of best" in watch.order.reason
    watch.see(CALM, 310)
    assert "effort fast was used instead of effort good" in watch.order.reason
    watch.see(CALM, 310)

    assert [action for _, action in done(watch.decisions)][3:] == [
        "toy again",
        "best again",
        "effort good again",
    ]
    assert watch.order == Order(version="old", workers=1)


def test_a_model_whose_default_is_the_lightest_profile_still_gets_lighter_values(
    watch: Watch,
) -> None:
    watch.see(replace(BUSY, default_profile="fast", fallback=""), 40)

    assert watch.order.params == {"effort": "fast"} and not watch.order.profile


def test_a_pinned_profile_keeps_the_values_too(watch: Watch) -> None:
    watch.order = replace(watch.order, pins=Pins(profile="best"))

    assert {of.outcome for of in watch.see(BUSY, 100)} == {"pinned"}
    assert not watch.order.params
