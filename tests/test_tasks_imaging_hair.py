"""Hairs that leave the subject are found; what only looks like them stays away."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.imaging import hair, surroundings

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


def test_most_of_what_is_straight_for_longer_than_hair_is_no_hair(monkeypatch):
    joints = np.zeros((SIDE, SIDE), np.uint8)
    for top in range(MIDDLE - 100, MIDDLE + 101, 40):  # of planks behind the disc
        joints[top : top + 3] = 255
    image = photo(disc(), joints)
    left = added(disc(), image)

    monkeypatch.setattr(hair, "_STRAIGHT", 2)  # no line is so long

    assert left < 0.3 * added(disc(), image)


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


def test_an_odd_row_and_column_change_no_hair(monkeypatch):
    monkeypatch.setattr(hair, "_WORK_SIDE", SIDE // 2)
    matte, image = disc(), photo(disc(), rays(RADIUS - 5, RADIUS + 40, width=2))
    odd = np.pad(matte, ((0, 1), (0, 1))), np.pad(image, ((0, 1), (0, 1), (0, 0)), mode="edge")

    matted = hair.add(*odd)

    assert matted.shape == odd[0].shape
    assert (matted[:-1, :-1] == hair.add(matte, image)).all()
    assert (matted > odd[0]).any()


@pytest.mark.parametrize("size", [(1, 2048), (2048, 1), (2, 2049)])
def test_the_narrowest_photos_pass(size):
    matte = np.zeros(size, np.uint8)
    matte[: size[0] // 2 + 1, : size[1] // 2] = 255

    assert hair.add(matte, np.full((*size, 3), 90, np.uint8)).shape == size


# What is computed only where hairs are possible has the values of the whole


def plainly_added(matte: np.ndarray, image: np.ndarray) -> np.ndarray:
    """`add` for photos of up to 1024 px, with everything computed everywhere."""
    inside = (matte > 127).astype(np.uint8)
    side, whole = max(matte.shape), (slice(0, matte.shape[0]), slice(0, matte.shape[1]))
    scene = hair._scene(image, matte, whole)
    thin, level = hair._thin(scene), surroundings._level(scene)
    outside = (thin > 0.1).astype(np.uint8) & scene.outside
    thin = thin * (1 - hair.straight(outside, int(0.1 * side)))
    near, wide = (int(part * side) for part in (0.025, 0.06))
    likely = thin * surroundings._skewed(scene, level, (near, near))
    likely = likely * surroundings._smooth(scene, level, (near, near))
    _, labels = cv2.connectedComponents(((likely > 0.1) | (inside > 0)).astype(np.uint8))
    connected = np.isin(labels, np.unique(labels[inside > 0]))
    distance = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5) / (0.12 * side)
    rooted = likely * connected * np.clip((1 - distance) / 0.25, 0, 1)
    any_thin = ((thin > 0.1) & (scene.outside > 0)).astype(np.float32)
    box = {"ksize": (2 * wide + 1, 2 * wide + 1), "borderType": cv2.BORDER_REFLECT}
    share = cv2.blur(any_thin * (rooted > 0.05), **box) / (cv2.blur(any_thin, **box) + 1e-3)
    hairs = rooted * np.clip((share - 0.5) / 0.3, 0, 1)
    return np.maximum(matte, np.rint(hairs * 255)).astype(int)


@pytest.mark.parametrize("size", [(480, 480), (333, 517), (150, 640)])
@pytest.mark.parametrize("end", [15, 40, 45])
def test_hairs_that_are_sought_part_by_part_are_those_of_the_whole(size, end):
    rows, columns = (slice(max(0, (SIDE - length) // 2), SIDE) for length in size)
    matte, image = disc()[rows, columns], photo(disc(), rays(RADIUS - 5, RADIUS + end))
    image = image[rows, columns]
    room = ((0, max(0, size[0] - len(matte))), (0, max(0, size[1] - matte.shape[1])))
    matte = np.pad(matte, room)[: size[0], : size[1]]
    image = np.pad(image, (*room, (0, 0)), mode="edge")[: size[0], : size[1]]

    wrong = np.abs(hair.add(matte, image) - plainly_added(matte, image))

    assert (wrong > 1).mean() < 1e-4
    assert (hair.add(matte, image) != matte).any()
