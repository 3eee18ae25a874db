"""A JPEG that is decoded straight into shared memory is the one that OpenCV makes of it."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image as Picture

from tasks.errors import BadInput
from tasks.imaging import codec, confinement, guard
from tasks.imaging.sources import libjpeg

HEIGHT, WIDTH = 75, 101
HUFFMAN = b"\xff\xc4"


def saved(**options) -> bytes:
    noise = np.random.default_rng(7).normal(0, 40, (HEIGHT, WIDTH, 3))
    slope = np.linspace(0, 255, WIDTH)[None, :, None]
    file = io.BytesIO()
    pixels = np.clip(slope + noise, 0, 255).astype(np.uint8)
    Picture.fromarray(pixels).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def memory() -> np.ndarray:
    return np.zeros(4 * HEIGHT * WIDTH, np.uint8)


@pytest.fixture
def confined(monkeypatch):
    monkeypatch.setattr(confinement, "is_confined", lambda: True)


def test_pillow_has_the_interface_that_is_known():
    assert libjpeg.is_known


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_the_pixels_are_those_of_opencv(subsampling, progressive, confined):
    data, room = saved(subsampling=subsampling, progressive=progressive), memory()

    pixels = libjpeg.decode(data, room, HEIGHT, WIDTH)

    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert pixels is not None
    assert np.shares_memory(pixels, room)
    assert (pixels == expected).all()


def test_values_that_are_rgb_in_the_file_stay(confined):
    data = saved(subsampling="4:4:4", keep_rgb=True)

    pixels = libjpeg.decode(data, memory(), HEIGHT, WIDTH)

    assert (pixels == cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)).all()


def test_a_damaged_file_is_left_to_another_decoder(confined):
    data = saved()
    hole = data[: len(data) // 2] + data[len(data) // 2 + 300 :]

    assert libjpeg.decode(hole, memory(), HEIGHT, WIDTH) is None


def test_a_file_of_another_size_writes_nothing(confined):
    room = memory()

    assert libjpeg.decode(saved(), room, HEIGHT - 1, WIDTH) is None
    assert not room.any()


def test_grey_is_left_to_another_decoder(confined):
    grey = cv2.imencode(".jpg", np.full((HEIGHT, WIDTH), 90, np.uint8))[1].tobytes()

    assert libjpeg.decode(grey, memory(), HEIGHT, WIDTH) is None


def test_a_process_that_must_survive_does_not_call_the_library():
    assert libjpeg.decode(saved(), memory(), HEIGHT, WIDTH) is None


def test_an_error_that_the_library_cannot_survive_is_bad_input():
    data = bytearray(saved())
    table = data.index(HUFFMAN)
    data[table + 5 : table + 21] = b"\xff" * 16  # more codes than there are

    with pytest.raises(BadInput) as caught:
        codec.decode(bytes(data), guard.check(bytes(data)))

    assert caught.value.code == "decode_failed"
    assert "died" not in str(caught.value.__cause__)
