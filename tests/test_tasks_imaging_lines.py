"""A straight line is the ground's where it is long, or goes on in the photo."""

import cv2
import numpy as np
import pytest

from tasks.imaging.lines import straight
from tasks.imaging.types import Alpha

LEAST_PX = 60
SHOWN = slice(120, 165)
"""Columns of the line that the mask shows: fewer than LEAST_PX."""
ROW, SIDE = 150, 400


@pytest.fixture
def mask() -> Alpha:
    """A part of the photo from column 100 on, with a straight line."""
    shown = np.zeros((SIDE, SIDE - 100), np.uint8)
    shown[ROW - 1 : ROW + 2, SHOWN.start - 100 : SHOWN.stop - 100] = 1
    return shown


def ground(first: int, last: int, grey: int = 60) -> Alpha:
    """A photo of a light ground with grain, and a line from one column to another."""
    photo = np.full((SIDE, SIDE), 170, np.uint8)
    cv2.line(photo, (first, ROW), (last, ROW), grey, 3)
    grain = np.random.default_rng(5).integers(-6, 7, photo.shape)
    return np.clip(photo + grain, 0, 255).astype(np.uint8)


def test_a_short_line_counts_where_the_photo_shows_it_to_go_on(mask: Alpha) -> None:
    found = straight(mask, LEAST_PX, ground(SHOWN.start, SIDE), (100, 0))

    assert found[mask == 1].mean() > 0.9


@pytest.mark.parametrize("last", [SHOWN.stop, SHOWN.stop + LEAST_PX])
def test_a_line_that_ends_as_a_hair_does_stays_one(mask: Alpha, last: int) -> None:
    assert not straight(mask, LEAST_PX, ground(SHOWN.start, last), (100, 0)).any()


def test_a_line_as_faint_as_grain_is_left_alone(mask: Alpha) -> None:
    assert not straight(mask, LEAST_PX, ground(0, SIDE, grey=162), (100, 0)).any()


def test_a_short_line_is_left_alone_where_no_photo_is_given(mask: Alpha) -> None:
    assert not straight(mask, LEAST_PX).any()
