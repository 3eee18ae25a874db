"""Mattes follow edges, flat parts stay flat, colours lose the background."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.imaging import alpha

FRONT, BACK = np.array([150, 90, 40]), np.array([180, 190, 230])


def scene(side: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """(photo, its true alpha 0..1): a disc with hairs before a light wall, a little noise."""
    rng = np.random.default_rng(4)
    matte = np.zeros((side, side), np.uint8)
    middle, radius = side // 2, side // 3
    cv2.circle(matte, (middle, middle), radius, 255, -1, cv2.LINE_AA)
    for angle in rng.uniform(0, 2 * np.pi, 60):
        ends = [
            middle + r * np.array([np.cos(angle), np.sin(angle)]) for r in (radius, radius * 1.2)
        ]
        start, end = (tuple(int(v) for v in point) for point in ends)
        cv2.line(matte, start, end, 255, 2, cv2.LINE_AA)
    truth = cv2.GaussianBlur(matte, (0, 0), 0.7).astype(np.float32) / 255
    share = truth[..., None]
    photo = FRONT * share + BACK * (1 - share) + rng.normal(0, 2, (side, side, 1))
    return np.clip(photo, 0, 255).astype(np.uint8), truth


def coarse(truth: np.ndarray, side: int = 128) -> np.ndarray:
    """What a network gives: small and soft."""
    small = cv2.resize(truth, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small, (0, 0), 1)


def test_refining_leaves_two_thirds_of_the_error_of_plain_enlarging():
    photo, truth = scene()
    matte = coarse(truth)

    refined = alpha.refine(matte, photo) / 255

    plain = cv2.resize(matte, truth.shape[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.abs(refined - truth).mean() <= 0.7 * np.abs(plain - truth).mean()


def test_bytes_and_floats_give_the_same():
    photo, truth = scene(256)
    matte = (coarse(truth) * 255).round().astype(np.uint8)

    ours = alpha.refine(matte, photo).astype(int)

    assert np.abs(ours - alpha.refine(matte.astype(np.float32) / 255, photo)).max() <= 1


@settings(deadline=None, max_examples=20)
@given(
    st.integers(0, 2**31),
    st.integers(20, 300),
    st.integers(20, 300),
    st.sampled_from([16, 64, 320]),
)
def test_where_the_matte_is_sure_all_around_it_stays(seed, height, width, side):
    photo = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    matte = np.zeros((side, side), np.float32)
    matte[:, side // 2 :] = 1

    refined = alpha.refine(matte, photo)

    assert refined.shape == (height, width) and refined.dtype == np.uint8
    assert (refined[:, : width // 8] == 0).all()
    assert (refined[:, -(width // 8) :] == 255).all()


@pytest.mark.parametrize("value", [0, 255])
def test_a_flat_matte_stays_flat(value):
    photo, _ = scene(128)

    assert (alpha.refine(np.full((32, 32), value, np.uint8), photo) == value).all()


def test_the_front_loses_the_colour_behind_it():
    photo, truth = scene()
    matte = (truth * 255).round().astype(np.uint8)
    soft = (matte > 25) & (matte < 230)

    front = alpha.foreground(photo, matte)

    before = np.abs(photo[soft] - FRONT).mean()
    assert np.abs(front[soft] - FRONT).mean() <= 0.35 * before


def test_the_front_changes_only_soft_pixels():
    photo, truth = scene(256)
    matte = (truth * 255).round().astype(np.uint8)
    kept = photo.copy()

    front = alpha.foreground(photo, matte)

    sure = (matte == 0) | (matte == 255)
    assert (front[sure] == photo[sure]).all()
    assert (photo == kept).all(), "the argument is not changed"


@pytest.mark.parametrize("value", [0, 255])
def test_without_soft_pixels_the_image_is_as_it_was(value):
    photo, _ = scene(64)

    assert (alpha.foreground(photo, np.full((64, 64), value, np.uint8)) == photo).all()


def test_a_matte_that_is_soft_everywhere_is_no_trouble():
    photo, _ = scene(64)

    front = alpha.foreground(photo, np.full((64, 64), 128, np.uint8))

    assert front.shape == photo.shape


def test_a_cutout_has_no_colour_where_it_is_transparent():
    photo, truth = scene(256)
    matte = (truth * 255).round().astype(np.uint8)

    rgba = alpha.cutout(photo, matte)

    assert (rgba[..., 3] == matte).all()
    assert (rgba[matte == 0] == 0).all()
    assert (rgba[matte == 255, :3] == photo[matte == 255]).all()


def test_tiny_images_work():
    for height, width in ((1, 1), (1, 40), (16, 640)):
        photo = np.full((height, width, 3), 90, np.uint8)
        refined = alpha.refine(np.full((320, 320), 0.5, np.float32), photo)
        assert alpha.cutout(photo, refined).shape == (height, width, 4)
