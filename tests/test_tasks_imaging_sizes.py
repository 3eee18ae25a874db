"""Tests of tasks/imaging/sizes.py."""

import cv2
import numpy as np
import pytest

from tasks.imaging import geometry, holes
from tasks.imaging.sizes import Sizes
from tasks.imaging.types import Image


def scene(height: int, width: int) -> Image:
    """Soft shapes with the grain of a camera."""
    rng = np.random.default_rng(height)
    coarse = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    soft = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(soft + rng.normal(0, 4, soft.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(1024, 768), (1023, 767), (801, 1024)])
@pytest.mark.parametrize("side", [96, 320, 500])
def test_what_is_made_of_halves_is_nearly_the_means_of_the_wholes_areas(
    size: tuple[int, int], side: int
) -> None:
    whole = scene(*size)
    wanted = geometry.fit(*size, side)

    made = Sizes(whole).at(*wanted).astype(int)

    averaged = cv2.resize(whole, wanted[::-1], interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(made - averaged).mean() <= 2


def test_the_last_column_is_not_moved_by_the_one_that_halves_leave_out() -> None:
    ramp = np.tile(np.linspace(0, 255, 999).round().astype(np.uint8), (600, 1))

    made = Sizes(ramp).at(60, 100)

    averaged = cv2.resize(ramp, (100, 60), interpolation=cv2.INTER_AREA)
    assert cv2.absdiff(made, averaged).max() <= 1


def test_a_picture_at_its_own_size_is_itself() -> None:
    whole = scene(64, 48)

    assert Sizes(whole).at(64, 48) is whole


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((1024, 1001), (256, 250)), ((960, 480), (240, 120)), ((200, 256), (200, 256))],
)
def test_a_half_of_about_the_size_is_taken_as_it_is(
    size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    assert Sizes(scene(*size)).about(256).shape == (*wanted, 3)


def test_a_size_that_no_half_is_near_is_made_exactly() -> None:
    whole = scene(700, 350)

    assert (Sizes(whole).about(256) == Sizes(whole).at(256, 128)).all()


def test_a_line_of_one_pixel_is_made_smaller_too() -> None:
    assert Sizes(scene(16, 1024)[:1]).about(256).shape == (1, 256, 3)


def test_a_half_is_made_once() -> None:
    sizes = Sizes(scene(64, 48))

    assert sizes.half() is sizes.half()
    assert sizes.half().shape == (32, 24, 3)


def test_holes_are_the_same_with_sizes_that_were_used_before() -> None:
    wall = np.clip(150 + np.random.default_rng(5).normal(0, 2, (512, 512, 3)), 0, 255)
    matte = cv2.circle(np.zeros((512, 512), np.uint8), (256, 256), 180, 255, -1)
    ring = cv2.circle(np.zeros((512, 512), np.uint8), (256, 256), 165, 255, 30)
    photo = np.where(ring[..., None] > 0, 30, wall).astype(np.uint8)
    sizes = Sizes(photo)
    sizes.half()

    opened = holes.opened(matte, photo, sizes)

    assert opened[256, 256] == 0
    assert (opened == holes.opened(matte, photo)).all()
