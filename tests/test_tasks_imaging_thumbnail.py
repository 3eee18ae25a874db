"""Thumbnails: small, in the shape of the photo, transparent where the cut-out is."""

import io

import numpy as np
import pytest
from PIL import Image as Picture

from tasks.imaging.thumbnail import thumbnail
from tasks.imaging.types import Alpha, Image


def opened(image: Image, matte: Alpha | None = None) -> Picture.Image:
    made = thumbnail(image, matte)
    picture = Picture.open(io.BytesIO(made.data))
    assert (picture.format, made.media_type) == ("WEBP", "image/webp")
    assert picture.size == (made.width, made.height)
    return picture


def even(height: int, width: int, colour: tuple[int, int, int] = (200, 100, 50)) -> Image:
    return np.full((height, width, 3), colour, np.uint8)


@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((2048, 1365), (256, 171)),
        ((1365, 2048), (171, 256)),
        ((300, 300), (256, 256)),
        ((100, 50), (100, 50)),
        ((16_000, 20), (256, 1)),
    ],
)
def test_the_longest_side_is_at_most_256_and_nothing_is_enlarged(
    size: tuple[int, int], small: tuple[int, int]
) -> None:
    assert opened(even(size[1], size[0])).size == small


def test_the_colours_are_those_of_the_photo() -> None:
    pixels = np.asarray(opened(even(900, 700)).convert("RGB")).astype(int)

    assert np.abs(pixels - [200, 100, 50]).max() <= 6


@pytest.mark.parametrize("size", [(600, 800), (300, 400), (60, 80)])
def test_what_is_cut_out_is_transparent(size: tuple[int, int]) -> None:
    matte = np.zeros(size, np.uint8)
    matte[:, : size[1] // 2] = 255

    alpha = np.asarray(opened(even(600, 800), matte))[..., 3]

    assert (alpha[:, :120] == 255).all() and (alpha[:, 136:] == 0).all()
