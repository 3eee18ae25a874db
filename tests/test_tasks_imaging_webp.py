"""A WebP that is written strip by strip shows what it was given."""

import io

import numpy as np
import pytest
from PIL import Image

from tasks.imaging import guard, webp_writer
from tasks.imaging.webp_alpha import code_lengths
from tasks.imaging.webp_writer import WebpWriter

RNG = np.random.default_rng(5)


def disc() -> np.ndarray:
    """A soft disc in the middle of nothing."""
    down, across = np.mgrid[:203, :301]
    return np.clip(800 - 8 * np.hypot(down - 101, across - 150), 0, 255).astype(np.uint8)


ALPHAS = {
    "disc": disc(),
    "disc with a full first column": np.maximum(disc(), np.eye(1, 301, dtype=np.uint8) * 255),
    "noise": RNG.integers(0, 256, (77, 45), np.uint8),
    "nothing": np.zeros((20, 30), np.uint8),
    "almost everything": np.maximum(255 - np.eye(20, 30, dtype=np.uint8), 0),
    "one value": np.full((20, 30), 128, np.uint8),
    "one pixel after a run of 4097": np.append(np.zeros(4098, np.uint8), 255)[None],
    "runs of many lengths": np.repeat(np.arange(100) % 2 * 255, np.arange(100) ** 2 // 3 + 1)[
        :109500
    ].reshape(300, 365).astype(np.uint8),
    "a spot at each border, in other rows": np.pad(
        [[9, 255]], ((30, 90), (0, 60))).astype(np.uint8) + np.pad(
        [[255, 200]], ((70, 50), (60, 0))).astype(np.uint8),
    "one column": RNG.integers(0, 256, (9, 1), np.uint8),
    "one row": RNG.integers(0, 256, (1, 9), np.uint8),
    "one pixel": np.full((1, 1), 7, np.uint8),
}  # fmt: skip


def written(rgba: np.ndarray, rows: int) -> bytes:
    """As a file, given so many rows at a time."""
    writer = WebpWriter(*rgba.shape[:2], has_alpha=rgba.shape[2] == 4)
    for top in range(0, len(rgba), rows):
        writer.write(rgba[top : top + rows])
    return writer.close()


def opened(data: bytes, mode: str = "RGBA") -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert(mode))


def with_alpha(alpha: np.ndarray) -> np.ndarray:
    pixels = np.full((*alpha.shape, 4), 90, np.uint8)
    pixels[alpha == 0] = 0
    pixels[..., 3] = alpha
    return pixels


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
@pytest.mark.parametrize("name", ALPHAS)
def test_alpha_is_within_one_level_in_strips_of_any_size(name, rows):
    alpha = ALPHAS[name]

    shown = opened(written(with_alpha(alpha), rows))[..., 3]

    assert shown.shape == alpha.shape
    assert np.abs(shown.astype(int) - alpha).max() <= 1


def test_what_is_opaque_or_transparent_stays_so():
    shown = opened(written(with_alpha(disc()), 64))[..., 3]

    assert (shown[disc() == 0] == 0).all()
    assert (shown[disc() == 255] == 255).all()


def test_colours_do_not_depend_on_the_strips():
    pixels = with_alpha(disc())
    pixels[..., :3] = (
        RNG.integers(0, 256, (26, 38, 3), np.uint8).repeat(8, 0).repeat(8, 1)[:203, :301]
    )
    pixels[disc() == 0] = 0

    assert (opened(written(pixels, 9)) == opened(written(pixels, 1000))).all()


@pytest.mark.parametrize("rows", [16, 1000])
def test_leaving_out_what_is_transparent_changes_no_byte(monkeypatch, rows):
    room = ((9, 60), (150, 131))
    alpha = np.pad(disc(), room)
    pixels = np.pad(RNG.integers(0, 256, (*disc().shape, 4), np.uint8), (*room, (0, 0)))
    pixels[alpha == 0] = 0
    pixels[..., 3] = alpha
    data = written(pixels, rows)

    whole = [(slice(0, rows), slice(0, pixels.shape[1]))]
    monkeypatch.setattr(webp_writer, "busy", lambda *_: whole)

    assert data == written(pixels, rows)


@pytest.mark.parametrize("channels", [3, 4])
def test_an_opaque_picture_has_no_alpha(channels):
    data = written(np.full((40, 50, channels), 255, np.uint8), 16)

    assert guard.check(data).channels == 3
    assert (opened(data, "RGB") >= 253).all()


def test_a_matte_takes_fewer_bytes_than_libwebp_makes_of_it():
    pixels = with_alpha(disc())
    theirs = io.BytesIO()
    Image.fromarray(pixels).save(theirs, "WEBP", quality=90, method=2, alpha_quality=80)

    assert len(written(pixels, 64)) <= len(theirs.getvalue())


@pytest.mark.parametrize("counts", [[5, 0, 0, 0], [0, 0, 0, 0], [1] * 280, [1, 1]])
def test_codes_leave_no_gap(counts):
    lengths = code_lengths(np.array(counts))

    assert sum(2.0 ** -lengths[lengths > 0].astype(float)) == 1


def test_no_code_is_longer_than_the_format_allows():
    fibonacci = [1, 1]
    while len(fibonacci) < 40:
        fibonacci.append(sum(fibonacci[-2:]))

    lengths = code_lengths(np.array(fibonacci))

    assert lengths.max() == 15
    assert sum(2.0 ** -lengths.astype(float)) == 1
