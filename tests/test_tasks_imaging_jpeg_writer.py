"""A JPEG that is written strip by strip is the one that would be written at once."""

import io
import tracemalloc

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from tasks.imaging import encode
from tasks.imaging.sinks import MEDIA_TYPES, sink_of

SIZES = [
    (300, 400, 3), (128, 401, 3), (129, 400, 3), (1, 1, 3), (1100, 33, 1), (16, 16, 1),
    (257, 300, 4),
]  # fmt: skip


def picture(height: int, width: int, channels: int) -> np.ndarray:
    noise = np.random.default_rng(1).integers(0, 256, (height, width, channels), np.uint8)
    return cv2.GaussianBlur(noise, (7, 7), 2).reshape(height, width, channels)


def written(pixels: np.ndarray, step: int, profile: bytes = b"") -> bytes:
    sink = sink_of("jpeg", *pixels.shape, profile)
    for top in range(0, len(pixels), step):
        sink.write(pixels[top : top + step])
    encoded = sink.close()
    assert encoded.media_type == MEDIA_TYPES["jpeg"]
    return encoded.data


@pytest.mark.parametrize(("height", "width", "channels"), SIZES)
@pytest.mark.parametrize("step", [7, 50, 4000])
def test_its_pixels_are_those_of_a_jpeg_written_at_once(height, width, channels, step):
    pixels = picture(height, width, channels)

    strips, whole = (
        np.asarray(Image.open(io.BytesIO(data)))
        for data in (written(pixels, step), encode.jpeg(pixels))
    )

    assert strips.shape[:2] == (height, width) and (strips == whole).all()


def test_other_decoders_read_it_without_complaint(capfd):
    pixels = picture(700, 500, 3)

    decoded = cv2.imdecode(np.frombuffer(written(pixels, 64), np.uint8), cv2.IMREAD_COLOR_RGB)

    assert np.abs(decoded.astype(int) - pixels).mean() < 4
    assert capfd.readouterr().err == ""


def test_its_profile_is_in_it_once():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    data = written(picture(300, 40, 3), 100, profile)

    assert Image.open(io.BytesIO(data)).info["icc_profile"] == profile
    assert data.count(b"ICC_PROFILE") == 1


def test_one_of_50_megapixels_takes_no_more_memory_than_its_file_and_a_few_strips():
    strip = np.full((128, 8160, 3), 128, np.uint8)
    tracemalloc.start()
    sink = sink_of("jpeg", 6144, 8160, 3)

    for _ in range(48):
        sink.write(strip)
    encoded = sink.close()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert (encoded.height, encoded.width) == (6144, 8160)
    assert peak < 2 * len(encoded.data) + 4 * strip.nbytes
