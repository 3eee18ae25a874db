"""Mattes follow edges, flat parts stay flat, colours lose the background."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.imaging import alpha, edge_colours, geometry
from tasks.imaging.parts import busy, busy_below

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


@pytest.mark.parametrize("pixels", [320, 1024])
def test_an_outline_out_of_focus_is_as_soft_however_finely_a_network_sees(pixels: int) -> None:
    hard = cv2.circle(np.zeros((640, 640), np.float32), (320, 320), 185, 1, -1)
    truth = cv2.GaussianBlur(hard, (0, 0), 3)
    front, ground = np.array([200, 60, 40]), np.array([60, 120, 90])
    photo = (ground + (front - ground) * truth[..., None]).astype(np.uint8)

    refined = alpha.refine(cv2.resize(hard, (pixels, pixels)), photo) / 255

    assert ((refined - truth) ** 2).mean() < 5e-4


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

    front = edge_colours.foreground(photo, matte)

    before = np.abs(photo[soft] - FRONT).mean()
    assert np.abs(front[soft] - FRONT).mean() <= 0.35 * before


def test_the_front_changes_only_soft_pixels():
    photo, truth = scene(256)
    matte = (truth * 255).round().astype(np.uint8)
    kept = photo.copy()

    front = edge_colours.foreground(photo, matte)

    sure = (matte == 0) | (matte == 255)
    assert (front[sure] == photo[sure]).all()
    assert (photo == kept).all(), "the argument is not changed"


@pytest.mark.parametrize("value", [0, 255])
def test_without_soft_pixels_the_image_is_as_it_was(value):
    photo, _ = scene(64)

    assert (edge_colours.foreground(photo, np.full((64, 64), value, np.uint8)) == photo).all()


def test_a_matte_that_is_soft_everywhere_is_no_trouble():
    photo, _ = scene(64)

    front = edge_colours.foreground(photo, np.full((64, 64), 128, np.uint8))

    assert front.shape == photo.shape


def test_a_cutout_has_no_colour_where_it_is_transparent():
    photo, truth = scene(256)
    matte = (truth * 255).round().astype(np.uint8)

    rgba = edge_colours.cutout(photo, matte)

    assert (rgba[..., 3] == matte).all()
    assert (rgba[matte == 0] == 0).all()
    assert (rgba[matte == 255, :3] == photo[matte == 255]).all()


def test_tiny_images_work():
    for height, width in ((1, 1), (1, 40), (16, 640)):
        photo = np.full((height, width, 3), 90, np.uint8)
        refined = alpha.refine(np.full((320, 320), 0.5, np.float32), photo)
        assert edge_colours.cutout(photo, refined).shape == (height, width, 4)


# What is computed part by part has the values of the whole


def plainly_refined(matte: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """`refine` for a matte of 256 px and more, all pixels at once."""
    height, width = photo.shape[:2]
    small = geometry.fit(height, width, max(matte.shape))
    coarse = geometry.resize(matte, *small)
    guide = geometry.resize(photo, *small).astype(np.float32) / 255
    scale = small[0] / matte.shape[0], small[1] / matte.shape[1]
    wide, narrow = ([max(2, round(pixels * by)) for by in scale] for pixels in (4, 2))
    slopes, offset = alpha.guided(guide, coarse, tuple(wide), 3e-4)
    slopes, offset = (cv2.resize(part, (width, height)) for part in (np.dstack(slopes), offset))
    fine = ((slopes * (photo / 255)).sum(-1) + offset - 0.02) / 0.96
    far, near = (np.ones((2 * down + 1, 2 * across + 1)) for down, across in (wide, narrow))
    background = (cv2.dilate(coarse, far) < 0.03).astype(np.float32)
    front = (cv2.erode(coarse, near) > 0.97).astype(np.float32)
    background, front = (cv2.resize(part, (width, height)) for part in (background, front))
    return np.clip((fine + front * (1 - fine)) * (1 - background) * 255 + 0.5, 0, 255).astype(int)


def blob(height: int, width: int, kind: str) -> np.ndarray:
    """A matte, float32 0..1."""
    if kind in ("nothing", "everything"):
        return np.full((height, width), float(kind == "everything"), np.float32)
    grain = np.random.default_rng(1).normal(0, 1, (height, width)).astype(np.float32)
    waves = cv2.GaussianBlur(grain, (0, 0), max(height, width) / 12)
    softness = {"sharp": 40, "soft": 2}[kind]
    return np.clip(0.5 + softness * waves / max(float(np.abs(waves).max()), 1e-6), 0, 1)


parts = pytest.mark.parametrize(
    ("height", "width"),
    [(333, 517), (517, 333), (70, 65), (33, 65), (64, 32), (1, 1), (1, 90), (90, 1), (3, 2)],
)
kinds = pytest.mark.parametrize("kind", ["nothing", "everything", "sharp", "soft"])


@kinds
@parts
def test_refining_part_by_part_gives_the_values_of_the_whole(height, width, kind):
    photo = np.random.default_rng(2).integers(0, 256, (height, width, 3), np.uint8)
    matte = blob(256, 240, kind)

    refined = alpha.refine(matte, photo)

    wrong = np.abs(refined - plainly_refined(matte, photo))
    assert wrong.max() <= 1 and (wrong > 0).mean() < 0.01


@kinds
@parts
def test_colours_that_are_cleaned_part_by_part_are_those_of_the_whole(height, width, kind):
    photo = np.random.default_rng(2).integers(0, 256, (height, width, 3), np.uint8)
    matte = np.rint(blob(height, width, kind) * 255).astype(np.uint8)

    front = edge_colours.foreground(photo, matte)

    ahead, behind = (
        np.rint(cv2.resize(near.astype(np.float32), (width, height))).reshape(photo.shape)
        for near in edge_colours.near_colours(photo, matte)
    )
    a = matte[..., None] / 255
    plain = np.clip(ahead + a * (photo - a * ahead - (1 - a) * behind), 0, 255)
    plain = np.where((a > 0) & (a < 1), plain, photo)
    wrong = np.abs(front - plain)  # by rounding, and where a near colour is rounded otherwise
    assert wrong.max() <= 1.51 and (wrong > 0.51).mean() < 0.01


@given(st.integers(0, 2**31), st.integers(1, 200), st.integers(1, 200), st.integers(0, 20))
def test_the_busy_parts_have_every_pixel_that_is_set_once(seed, height, width, pixels):
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    mask[rng.integers(0, height, pixels), rng.integers(0, width, pixels)] = 1

    seen = np.zeros_like(mask)
    for part in busy(mask):
        seen[part] += 1

    assert seen.max() <= 1 and (seen[mask > 0] == 1).all()


def test_a_thin_leg_before_a_restless_ground_is_kept_as_the_map_shows_it():
    rng = np.random.default_rng(3)
    photo = np.repeat(rng.integers(90, 160, (320, 320, 1), np.uint8), 3, 2)
    photo[20:300, 158:160], photo[20:300, 160:162] = 220, 30
    matte = np.zeros((320, 320), np.float32)
    matte[20:300, 158:162] = 1

    fine = alpha.refine(matte, photo)

    assert fine[60:260, 158:162].mean() > 200
    assert fine[60:260, 165:170].mean() < 10


def test_an_edge_that_the_photo_does_not_show_is_kept_as_the_map_shows_it():
    photo = np.full((320, 320, 3), 40, np.uint8)
    matte = np.zeros((320, 320), np.float32)
    matte[:, 160:] = 1

    fine = alpha.refine(matte, photo)

    assert fine[:, 158].max() < 10
    assert fine[:, 161].min() > 245


def test_a_linear_matte_of_many_rows_is_that_of_each_row() -> None:
    rng = np.random.default_rng(3)
    photo = rng.integers(0, 256, (150, 20, 3), np.uint8)
    planes = rng.random((150, 20, 4)).astype(np.float32)

    matte = alpha.linear(photo, planes)

    expected = (photo * planes[..., :3]).sum(-1) + 255 * planes[..., 3]
    np.testing.assert_allclose(matte, expected, rtol=1e-5)


@given(
    seed=st.integers(0, 99),
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    small=st.tuples(st.integers(1, 70), st.integers(1, 70)),
)
@settings(deadline=None)
def test_the_busy_parts_below_a_small_mask_have_all_pixels_that_it_sets(seed, height, width, small):
    rng = np.random.default_rng(seed)
    mask = (rng.random((min(small[0], height), min(small[1], width))) > 0.97).astype(np.uint8)
    rows, columns = (np.arange(side) for side in (height, width))
    large = mask[rows[:, None] * len(mask) // height, columns * mask.shape[1] // width]

    assert list(busy_below(mask, (height, width))) == list(busy(large))


@pytest.mark.parametrize("columns", [slice(0, 0), slice(3, 7), slice(0, 20), slice(19, 20)])
def test_columns_without_anything_to_see_are_empty_in_a_cutout(columns: slice) -> None:
    rng = np.random.default_rng(1)
    photo, matte = rng.integers(1, 256, (9, 20, 3), np.uint8), np.zeros((9, 20), np.uint8)
    matte[2:5, columns] = rng.integers(0, 256, matte[2:5, columns].shape, np.uint8)

    cutout = alpha.with_alpha(photo, matte)

    assert (cutout[..., 3] == matte).all()
    assert (cutout[..., :3] == np.where(matte[..., None] > 0, photo, 0)).all()
