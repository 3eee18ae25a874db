"""Tests of tasks/imaging/holes.py on drawn wheels, walls and shirts."""

import cv2
import numpy as np
import pytest

from tasks.imaging import holes
from tasks.imaging.types import Alpha, Image

SIDE = 200
DISC = cv2.circle(np.zeros((SIDE, SIDE), np.uint8), (100, 100), 70, 255, -1)
"""What a network sees of a wheel."""


def wall(colour: int = 150, grain: float = 2.0, size: tuple[int, int] = (SIDE, SIDE)) -> Image:
    """A wall that is lit from the left."""
    light = np.linspace(8, -8, size[1])[None, :, None]
    noise = np.random.default_rng(5).normal(0, grain, (*size, 3))
    return np.clip(colour + light + noise, 0, 255).astype(np.uint8)


def wheel() -> Alpha:
    """A ring and eight spokes."""
    drawn = cv2.circle(np.zeros((SIDE, SIDE), np.uint8), (100, 100), 65, 255, 10)
    for turn in np.arange(8) * np.pi / 4:
        end = (round(100 + 65 * np.cos(turn)), round(100 + 65 * np.sin(turn)))
        cv2.line(drawn, (100, 100), end, 255, 4)
    return np.asarray(drawn, np.uint8)


def in_front(shape: Alpha, colour: tuple[int, int, int], ground: Image) -> Image:
    return np.where(shape[..., None] > 0, np.array(colour, np.uint8), ground)


def test_the_ground_between_spokes_is_opened_and_the_spokes_stay() -> None:
    true = wheel()

    opened = holes.opened(DISC, in_front(true, (30, 30, 36), wall()))

    assert opened[cv2.dilate(true, np.ones((5, 5), np.uint8)) == 0].max() < 30
    assert opened[cv2.erode(true, np.ones((3, 3), np.uint8)) > 0].min() > 225


def test_a_subject_without_the_grounds_colour_keeps_its_matte() -> None:
    photo = in_front(DISC, (200, 40, 40), wall())

    assert holes.opened(DISC, photo) is DISC


def test_on_a_ground_with_a_pattern_nothing_is_opened() -> None:
    photo = in_front(wheel(), (30, 30, 36), wall(grain=40))

    assert (holes.opened(DISC, photo) == DISC).all()


@pytest.mark.parametrize("colour", [0, 255])
def test_where_everything_is_white_or_black_nothing_is_opened(colour: int) -> None:
    photo = in_front(wheel(), (120, 30, 36), np.full((SIDE, SIDE, 3), colour, np.uint8))

    assert (holes.opened(DISC, photo) == DISC).all()


@pytest.mark.parametrize(("colour", "is_opened"), [(247, False), (225, True), (9, False)])
def test_a_white_panel_before_a_wall_that_is_nearly_white_is_no_hole(
    colour: int, is_opened: bool
) -> None:
    photo = in_front(wheel(), (120, 30, 36), wall(colour, grain=6))

    assert (holes.opened(DISC, photo) < DISC).any() == is_opened


def test_a_part_that_passes_softly_into_the_grounds_colour_is_no_hole() -> None:
    soft = cv2.GaussianBlur(DISC - wheel(), (0, 0), 12).astype(np.float32)[..., None] / 255
    photo = (wall() * soft + np.array([40, 40, 46]) * (1 - soft)).astype(np.uint8)
    photo = in_front(255 - DISC, (0, 0, 0), photo)
    photo = np.where(DISC[..., None] > 0, photo, wall())

    assert (holes.opened(DISC, photo) == DISC).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3), (37, 64), (1500, 40)])
def test_photos_of_any_size_pass_and_no_value_is_raised(size: tuple[int, int]) -> None:
    alpha = np.zeros(size, np.uint8)
    alpha[size[0] // 3 : size[0] // 2 + 1, size[1] // 3 : size[1] // 2 + 1] = 255

    opened = holes.opened(alpha, wall(size=size))

    assert opened.shape == alpha.shape
    assert (opened <= alpha).all()


RING = cv2.circle(np.zeros((SIDE, SIDE), np.uint8), (100, 100), 65, 255, 10)
"""What is true of a disc that a network sees."""


def shaded_from(column: int) -> Image:
    """A ring before a wall, with a faint shadow inside it to the right of a column."""
    ground = wall(grain=1.0)
    ground[30:170, column:170] = np.rint(ground[30:170, column:170] * 0.96).astype(np.uint8)
    return in_front(RING, (30, 30, 36), ground)


def test_a_faint_shadow_in_a_hole_is_opened_with_it() -> None:
    opened = holes.opened(DISC, shaded_from(120))

    assert opened[60:140, 60:140].max() < 30


def test_what_lies_in_a_shadow_for_the_most_part_is_no_hole() -> None:
    assert (holes.opened(DISC, shaded_from(70))[60:140, 60:140] == 255).all()
