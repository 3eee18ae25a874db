"""Hairs that leave the subject are found; what only looks like them stays away."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.imaging import hair

FRONT, BACK = np.array([60, 40, 30]), np.array([170, 190, 220])
SIDE = 480
MIDDLE, RADIUS = SIDE // 2, 120


def disc() -> np.ndarray:
    matte = np.zeros((SIDE, SIDE), np.uint8)
    return cv2.circle(matte, (MIDDLE, MIDDLE), RADIUS, 255, -1, cv2.LINE_AA)


def rays(start: float, end: float, count: int = 60, width: int = 1) -> np.ndarray:
    """Alpha of lines between two distances from the disc's middle."""
    matte = np.zeros((SIDE, SIDE), np.uint8)
    for angle in np.linspace(0, 2 * np.pi, count, endpoint=False):
        way = np.array([np.cos(angle), np.sin(angle)])
        ends = [tuple(int(v) for v in MIDDLE + r * way) for r in (start, end)]
        cv2.line(matte, *ends, 255, width, cv2.LINE_AA)
    return matte


def photo(*alphas: np.ndarray) -> np.ndarray:
    """Everything that an alpha shows, in the front's colour, over the back's."""
    share = np.maximum.reduce(alphas)[..., None] / 255
    grain = np.random.default_rng(4).normal(0, 2, (SIDE, SIDE, 1))
    return np.clip(FRONT * share + BACK * (1 - share) + grain, 0, 255).astype(np.uint8)


def added(matte: np.ndarray, image: np.ndarray) -> float:
    """Pixels' worth of opacity."""
    return float((hair.add(matte, image).astype(int) - matte).sum()) / 255


def test_hairs_that_the_matte_lacks_are_found():
    hairs = rays(RADIUS - 5, RADIUS + 40)
    truth = np.maximum(disc(), hairs)

    matted = hair.add(disc(), photo(truth))

    before, after = (np.abs(matte.astype(int) - truth).sum() for matte in (disc(), matted))
    assert after <= 0.3 * before


def test_on_a_plain_ground_nothing_is_added():
    assert added(disc(), photo(disc())) < 20  # of 45,000 pixels of the disc


def test_texture_that_touches_the_subject_is_no_hair():
    image = photo(disc()).astype(np.float32)
    noise = np.random.default_rng(5).normal(0, 60, (SIDE, SIDE, 1)).astype(np.float32)
    grain = cv2.GaussianBlur(noise, (0, 0), 1.2)[..., None] * 2
    image = np.where(disc()[..., None] > 0, image, image + grain)
    hairs = added(disc(), photo(disc(), rays(RADIUS - 5, RADIUS + 40)))

    assert added(disc(), np.clip(image, 0, 255).astype(np.uint8)) < 0.05 * hairs


def test_lines_that_do_not_reach_the_subject_stay_away():
    image = photo(disc(), rays(RADIUS + 8, RADIUS + 50))

    assert added(disc(), image) < 20


def test_a_hair_among_lines_that_hang_on_nothing_is_left_alone():
    loose = rays(RADIUS + 8, RADIUS + 50, count=80)
    image = photo(disc(), loose, rays(RADIUS - 5, RADIUS + 50, count=3))

    assert added(disc(), image) < 20


def test_what_is_wider_than_a_hair_is_left_to_the_network():
    arms = rays(RADIUS - 5, RADIUS + 40, count=6, width=21)

    assert added(disc(), photo(disc(), arms)) < 0.1 * arms[disc() == 0].sum() / 255


def test_nothing_is_found_further_than_a_hair_reaches():
    matted = hair.add(disc(), photo(disc(), rays(RADIUS - 5, SIDE)))

    rows, columns = np.mgrid[:SIDE, :SIDE]
    far = np.hypot(rows - MIDDLE, columns - MIDDLE) > RADIUS + 0.12 * SIDE + 2
    assert not matted[far].any()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.integers(1, 200), st.integers(1, 200))
def test_the_matte_is_lowered_nowhere_and_keeps_its_size(seed: int, height: int, width: int):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    matte = cv2.resize(rng.integers(0, 256, (4, 4), np.uint8), (width, height))
    before = matte.copy()

    matted = hair.add(matte, image)

    assert matted.shape == (height, width) and matted.dtype == np.uint8
    assert (matted >= matte).all()
    assert (matte == before).all(), "the argument is not changed"


@pytest.mark.parametrize("value", [0, 255])
def test_without_an_edge_the_matte_is_as_it_was(value: int):
    matte = np.full((64, 64), value, np.uint8)

    assert (hair.add(matte, np.zeros((64, 64, 3), np.uint8)) == matte).all()


def test_large_photos_have_their_hair_as_well():
    size = (2000, 2000)
    truth = cv2.resize(np.maximum(disc(), rays(RADIUS - 5, RADIUS + 40)), size)
    matte = cv2.resize(disc(), size)
    image = cv2.resize(photo(disc(), rays(RADIUS - 5, RADIUS + 40)), size)

    matted = hair.add(matte, image)

    assert np.abs(matted.astype(int) - truth).sum() <= 0.6 * np.abs(matte.astype(int) - truth).sum()
