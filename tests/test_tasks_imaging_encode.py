"""What is written shows what was meant to be shown, and nothing else."""

import io
import struct

import corpus
import numpy as np
import pytest
from PIL import Image

from tasks.imaging import encode, guard


def cutout() -> np.ndarray:
    """RGBA with colour under alpha 0, as it must not leave the house."""
    pixels = np.asarray(corpus.photo(96, 64, "RGBA")).copy()
    pixels[:, :48, 3] = 0
    pixels[..., :3] |= 64
    return pixels


@pytest.mark.parametrize("form", [encode.png, encode.webp, encode.avif])
def test_what_is_transparent_has_no_colour(form):
    before = cutout()

    data = form(before)

    opened = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    assert (before == cutout()).all(), "the argument is not changed"
    if form is encode.png:
        assert (opened[opened[..., 3] == 0] == 0).all()
        assert (opened[..., 3] == before[..., 3]).all()
    else:  # lossy: what was there must not be guessed from what is left
        assert opened[:, :32, :3].max() <= 8
    assert np.abs(opened[..., 3].astype(int) - before[..., 3]).max() <= 12


@pytest.mark.parametrize("form", [encode.png, encode.webp, encode.avif])
def test_no_metadata_is_written(form):
    data = form(cutout())

    opened = Image.open(io.BytesIO(data))
    assert not opened.getexif()
    assert not {"exif", "xmp", "icc_profile"} & set(opened.info)
    assert not any(name in data for name in (b"Exif", b"EXIF", b"XMP ", b"eXIf", b"tEXt"))


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 3), (40, 50, 4)])
def test_png_is_lossless(shape):
    array = np.random.default_rng(2).integers(1, 256, shape, np.uint8)

    assert (np.asarray(Image.open(io.BytesIO(encode.png(array)))) == array).all()


def test_our_files_pass_our_guard():
    for form in (encode.png, encode.webp, encode.avif):
        header = guard.check(form(cutout()))
        assert (header.width, header.height, header.channels) == (96, 64, 4)


def test_png_keeps_its_size_in_the_header():
    assert struct.unpack(">II", encode.png(cutout())[16:24]) == (96, 64)
