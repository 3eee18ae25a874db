"""Geometry is exact: what is mapped there and back is where it was."""

import corpus
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.imaging import geometry

SIDE = st.integers(1, 300)
CHANNELS = st.sampled_from([(), (1,), (3,), (4,)])


def picture(height: int, width: int, *channels: int) -> np.ndarray:
    rng = np.random.default_rng(height * 1000 + width)
    return rng.integers(0, 256, (height, width, *channels), np.uint8)


@given(SIDE, SIDE, st.integers(1, 400))
def test_fit_keeps_the_aspect_and_never_enlarges(height, width, max_side):
    new_height, new_width = geometry.fit(height, width, max_side)

    assert 1 <= new_height <= height and 1 <= new_width <= width
    assert max(new_height, new_width) == min(max_side, max(height, width))
    scale = max(new_height, new_width) / max(height, width)
    assert abs(new_height - height * scale) <= 1 and abs(new_width - width * scale) <= 1


def test_fit_is_what_one_expects():
    assert geometry.fit(4000, 6000, 2048) == (1365, 2048)
    assert geometry.fit(100, 50, 2048) == (100, 50)


def test_shrinking_averages_areas():
    image = np.array([[0, 100, 10, 30], [100, 200, 10, 30]], np.uint8)

    assert geometry.resize(image, 1, 2).tolist() == [[100, 20]]


@pytest.mark.parametrize("width", [100, 110, 128, 160, 64, 60, 45])
def test_shrinking_by_a_box_is_nearly_area_averaging(width):
    image = np.asarray(corpus.photo(320, 320))
    image = cv2.GaussianBlur(image, (0, 0), 1)

    ours = geometry.resize(image, width, width)

    area = cv2.resize(image, (width, width), interpolation=cv2.INTER_AREA)
    assert cv2.PSNR(ours, area) >= 38


def test_shrinking_does_not_shift():
    image = np.tile(np.arange(300, dtype=np.float32), (30, 1))

    assert np.abs(geometry.resize(image, 10, 100)[5, 5:-5] - np.arange(16, 286, 3)).max() <= 0.01


@given(SIDE, SIDE)
@settings(deadline=None, max_examples=30)
def test_enlarging_a_matte_stays_in_its_range(height, width):
    matte = np.random.default_rng(1).random((20, 20), np.float32)

    grown = geometry.resize(matte, height + 20, width + 20)

    assert matte.min() <= grown.min() and grown.max() <= matte.max()


@given(SIDE, SIDE, SIDE, SIDE)
@settings(deadline=None)
def test_boxes_come_back_from_the_letterbox_within_half_a_pixel(height, width, to_h, to_w):
    _, mapping = geometry.letterbox(picture(height, width, 3), to_h, to_w)
    boxes = np.array([[0, 0, width, height], [0, 0, width / 3, height / 2]], np.float32)

    there = mapping.boxes(boxes)

    assert there.min() >= 0 and (there[:, 2] <= to_w + 1e-3).all()
    assert np.abs(mapping.boxes_back(there) - boxes).max() <= 0.5


@given(SIDE, SIDE, SIDE, SIDE, st.integers(0, 255))
@settings(deadline=None)
def test_a_letterbox_is_the_resized_image_on_grey(height, width, to_h, to_w, grey):
    image = picture(height, width, 3)

    boxed, mapping = geometry.letterbox(image, to_h, to_w, grey)

    inner = mapping.crop(boxed)
    assert boxed.shape == (to_h, to_w, 3)
    assert (inner == geometry.resize(image, *inner.shape[:2])).all()
    outside = np.ones((to_h, to_w), bool)
    mapping.crop(outside)[:] = False
    assert (boxed[outside] == grey).all()


def test_a_letterbox_keeps_the_aspect():
    boxed, mapping = geometry.letterbox(picture(100, 200, 3), 64, 64)

    assert (mapping.top, mapping.left, mapping.inner_height, mapping.inner_width) == (16, 0, 32, 64)
    assert (boxed[:16] == 114).all() and (boxed[48:] == 114).all()


def test_boxes_beyond_the_letterboxed_image_are_clipped_to_it():
    _, mapping = geometry.letterbox(picture(100, 200, 3), 64, 64)

    back = mapping.boxes_back(np.array([[-5, 0, 70, 64]], np.float32))

    assert back.tolist() == [[0, 0, 200, 100]]


@pytest.mark.parametrize(("height", "width"), [(90, 160), (160, 90), (64, 64), (333, 100)])
def test_a_matte_comes_back_where_it_was(height, width):
    matte = np.zeros((height, width), np.float32)
    matte[height // 4 : height // 2, width // 3 : width // 2] = 1
    small, mapping = geometry.letterbox(np.repeat(matte[..., None], 3, 2), 256, 256)

    back = geometry.resize(mapping.crop(small[..., 0]), height, width)

    assert back.shape == matte.shape
    rows, columns = np.nonzero(back > 0.5)
    edges = (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)
    expected = (height // 4, height // 2, width // 3, width // 2)
    assert np.abs(np.subtract(edges, expected)).max() <= 1


@pytest.mark.parametrize(
    ("side", "max_side", "expected"),
    [(6000, 1024, 2), (4095, 2048, 1), (4096, 2048, 1), (4096, 1024, 2), (8192, 1024, 4)]
    + [(16384, 512, 8), (100, 2048, 1), (60000, 100, 8)],
)
def test_a_decoder_leaves_twice_the_target(side, max_side, expected):
    assert geometry.scale_of(side, side // 2, max_side) == expected


def test_upright_turns_as_exif_says():
    stored = np.array([[1, 2], [3, 4], [5, 6]], np.uint8)

    assert geometry.upright(stored, 1) is stored
    assert geometry.upright(stored, 6).tolist() == [[5, 3, 1], [6, 4, 2]]
    assert geometry.upright(stored, 5).tolist() == [[1, 3, 5], [2, 4, 6]]
    assert geometry.upright(stored, 99) is stored


@given(height=st.integers(40, 400), width=st.integers(40, 400), share=st.floats(0.1, 0.9))
def test_a_spare_image_shrinks_to_the_same_pixels(height: int, width: int, share: float) -> None:
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    size = max(1, round(height * share)), max(1, round(width * share))

    kept = geometry.resize(image, *size)
    spared = geometry.resize(image.copy(), *size, spare=True)

    np.testing.assert_array_equal(kept, spared)


@pytest.mark.parametrize("size", [(320, 320), (251, 187), (250, 83), (120, 320)])
@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)])
def test_areas_are_averaged_as_opencv_does(size: tuple[int, int], channels: tuple[int]) -> None:
    large = picture(1001, 749, *channels)

    ours = geometry.resize(large, *size)

    theirs = cv2.resize(large, size[::-1], interpolation=cv2.INTER_AREA)
    differences = cv2.absdiff(ours.reshape(theirs.shape), theirs)
    assert differences.max() <= 1 and np.count_nonzero(differences) <= differences.size / 1000
