"""How parts that a saliency map lacks are found: tasks/models/nets/{gaps,plain,cleaning}.py."""

import cv2
import numpy as np
import pytest

from tasks.imaging.types import Image, Tensor
from tasks.models.nets import cleaning, gaps, plain

SIDE = 320
BODY = (slice(140, 220), slice(100, 220))
"""What the network sees."""
HEAD = (slice(60, 140), slice(130, 190))
"""What it misses."""
RED, BLUE, WHITE, GREY = (200, 40, 40), (40, 60, 190), (240, 240, 240), (150, 148, 145)


def seen(*areas: tuple[slice, slice]) -> Tensor:
    matte = np.zeros((SIDE, SIDE), np.float32)
    for area in areas:
        matte[area] = 1
    return matte


def studio(head: tuple[int, int, int], grain: float = 2.0) -> Image:
    """A body and a head before a wall."""
    photo = np.full((SIDE, SIDE, 3), GREY, np.float64)
    photo[BODY], photo[HEAD] = RED, head
    noise = np.random.default_rng(3).normal(0, grain, photo.shape)
    return np.clip(photo + noise, 0, 255).astype(np.uint8)


def test_a_part_with_another_colour_than_a_plain_ground_is_added() -> None:
    whole = plain.completed(seen(BODY), seen(BODY), studio(BLUE))

    assert whole[65:215, 135:185].min() > 0.9
    assert not whole[:50].any() and not whole[230:].any()


def test_a_photo_larger_than_the_map_is_completed_too() -> None:
    large = cv2.resize(studio(BLUE), (640, 500))

    whole = plain.completed(seen(BODY), seen(BODY), np.asarray(large, np.uint8))

    assert whole[70:130, 140:180].min() > 0.9


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_shadow_on_a_plain_ground_is_not_added(share: float) -> None:
    dark = (round(GREY[0] * share), round(GREY[1] * share), round(GREY[2] * share))
    matte = seen(BODY)

    assert plain.completed(matte, matte, studio(dark)) is matte


def test_a_thing_that_does_not_touch_the_subject_is_not_added() -> None:
    photo, matte = studio(GREY), seen(BODY)
    photo[20:80, 20:80] = BLUE

    assert plain.completed(matte, matte, photo) is matte


def test_before_a_ground_with_a_pattern_nothing_is_added() -> None:
    matte = seen(BODY)

    assert plain.completed(matte, matte, studio(BLUE, grain=40)) is matte


def test_without_a_subject_nothing_is_added() -> None:
    matte = seen()

    assert plain.completed(matte, matte, studio(BLUE)) is matte


@pytest.mark.parametrize(("believed", "value"), [(0.3, 1), (0.0, 0)])
def test_what_a_part_encloses_with_the_grounds_colour_is_the_subjects_if_the_network_says_so(
    believed: float, value: float
) -> None:
    photo, chances = studio(BLUE), seen(BODY)
    photo[85:115, 145:175] = GREY
    chances[HEAD] = believed

    assert plain.completed(seen(BODY), chances, photo)[100, 160] == value


FRONT, BACK = (slice(120, 200), slice(60, 140)), (slice(120, 200), slice(158, 240))
STRIPE = (slice(130, 190), slice(145, 153))


def fish(stripe: tuple[int, int, int]) -> Image:
    """A red thing with white spots, and with a stripe that the network does not see."""
    photo = np.full((SIDE, SIDE, 3), (30, 120, 130), np.uint8)
    photo[120:200, 60:240] = RED
    photo[150:170, 80:120] = WHITE
    photo[120:200, 140:158] = stripe
    return photo


def test_a_gap_between_two_parts_is_closed_if_it_has_the_subjects_colours() -> None:
    assert gaps.closed(seen(FRONT, BACK), fish(WHITE))[STRIPE].min() > 0.9


def test_a_gap_with_the_grounds_colours_stays() -> None:
    matte = seen(FRONT, BACK)

    assert gaps.closed(matte, fish((30, 120, 130))) is matte


def test_a_dent_in_one_part_stays() -> None:
    matte = seen(FRONT, BACK)
    matte[120:130, 140:158] = 1  # both hang together

    assert gaps.closed(matte, fish(WHITE)) is matte


def test_holes_are_looked_for_only_where_no_part_was_added() -> None:
    assert not cleaning.cleaned(seen(BODY), studio(BLUE)).may_have_holes
    assert cleaning.cleaned(seen(BODY, HEAD), studio(BLUE)).may_have_holes
