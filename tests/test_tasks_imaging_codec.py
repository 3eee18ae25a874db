"""Good pictures come out upright and in the right colours; bad ones harm nothing."""

import io
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import corpus
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tasks.errors import BadInput
from tasks.imaging import codec, guard

FORMATS = {"JPEG": {"quality": 100, "subsampling": 0}, "PNG": {}}
FORMATS |= {"WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}


def decode(data: bytes, max_side: int = 2048) -> codec.Decoded:
    return codec.decode(data, guard.check(data), max_side)


def quarters(mode: str) -> Image.Image:
    """Four colours, four alphas, wider than high."""
    pixels = np.zeros((64, 96, 4), np.uint8)
    pixels[:32, :48], pixels[:32, 48:] = (200, 30, 30, 255), (30, 200, 30, 200)
    pixels[32:, :48], pixels[32:, 48:] = (30, 30, 200, 255), (200, 200, 30, 255)
    return Image.fromarray(pixels).convert(mode)


def on_white(picture: Image.Image) -> np.ndarray:
    rgba = np.asarray(picture.convert("RGBA")).astype(float)
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


def assert_near(image: np.ndarray, expected: np.ndarray, levels: float = 3) -> None:
    """Equal within a few levels but at the edges between colours, where codecs ring."""
    assert image.shape == expected.shape
    inner = np.ones(image.shape[:2], bool)
    for axis, size in enumerate(image.shape[:2]):
        middle = [slice(None)] * 2
        middle[axis] = slice(size // 2 - 8, size // 2 + 8)
        inner[tuple(middle)] = False
    assert np.abs(image - expected)[inner].max() <= levels


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_comes_out_upright(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = corpus.save(quarters("RGB"), kind, exif=exif, **FORMATS[kind])

    decoded = decode(data)

    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert (decoded.width, decoded.height) == expected.size
    assert_near(decoded.image, np.asarray(expected).astype(float))
    assert expected.size == ((96, 64) if orientation < 5 else (64, 96))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF"])
def test_transparency_is_turned_too_and_shows_white(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = corpus.save(quarters("RGBA"), kind, exif=exif, **FORMATS[kind])

    decoded = decode(data)

    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert decoded.alpha is not None
    assert_near(decoded.image, on_white(expected))
    assert_near(decoded.alpha, np.asarray(expected)[..., 3].astype(float))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_of_png_is_right(mode):
    picture = corpus.photo(mode=mode)

    decoded = decode(corpus.save(picture, "PNG"))

    assert np.abs(decoded.image - on_white(picture)).max() <= 3
    assert (decoded.alpha is None) == (not picture.has_transparency_data)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("interlace", [0, 1])
def test_16_bits_are_right(colour, channels, interlace):
    values = np.random.default_rng(5).integers(0, 65536, (20, 24, channels))
    data = png16(values, colour) if not interlace else png16_interlaced(values, colour)

    decoded = decode(data)

    shown = values / 257
    alpha = shown[..., -1:] / 255 if channels in (2, 4) else 1
    expected = shown[..., : 3 if channels > 2 else 1] * alpha + 255 * (1 - np.asarray(alpha))
    assert np.abs(decoded.image - expected).max() <= 3


def png16(values: np.ndarray, colour: int) -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = corpus.ihdr(values.shape[1], values.shape[0], 16, colour)
    return corpus.png(header, corpus.zlib.compress(rows))


def png16_interlaced(values: np.ndarray, colour: int) -> bytes:
    """Adam7: seven smaller pictures, one behind the other."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)]
    passes += [(2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [values[top::down, left::across] for top, left, down, across in passes]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for part in parts for row in part)
    header = corpus.ihdr(values.shape[1], values.shape[0], 16, colour, 1)
    return corpus.png(header, corpus.zlib.compress(rows))


@pytest.mark.parametrize(
    ("bits", "colour", "key"), [(8, 0, (0, 90)), (8, 2, (0, 90, 0, 90, 0, 90)), (16, 0, (90, 90))]
)
def test_a_colour_that_stands_for_transparent_is_transparent(bits, colour, key):
    channels = 3 if colour == 2 else 1
    row = [90] * (bits // 8 * channels) + [30] * (bits // 8 * channels)
    rows = (b"\0" + bytes(row * 16)) * 32
    transparent = corpus.chunk(b"tRNS", bytes(key))
    header = corpus.ihdr(32, 32, bits, colour)

    decoded = decode(corpus.png(header, corpus.zlib.compress(rows), transparent))

    assert decoded.alpha is not None
    assert decoded.alpha[5, :2].tolist() == [0, 255]
    assert decoded.image[5, :2, 0].tolist() == [255, 30]


def test_colours_hidden_under_alpha_zero_do_not_show():
    pixels = np.full((32, 32, 4), (255, 0, 0, 0), np.uint8)

    decoded = decode(corpus.save(Image.fromarray(pixels), "PNG"))

    assert (decoded.image == 255).all() and (decoded.alpha == 0).all()


def test_an_opaque_alpha_channel_is_none():
    assert decode(corpus.save(Image.new("RGBA", (32, 32), "red"), "PNG")).alpha is None


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("size", [(1501, 997), (700, 90)])
def test_shrinking_is_area_averaging(kind, size):
    picture = corpus.photo(*size).resize(size, Image.Resampling.BICUBIC)
    data = corpus.save(picture, kind, **FORMATS[kind] | ({"speed": 10} if kind == "AVIF" else {}))

    decoded = decode(data, 300)

    height, width = decoded.image.shape[:2]
    whole = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    expected = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    assert max(height, width) == 300
    assert (decoded.width, decoded.height) == size
    assert np.abs(decoded.image.astype(int) - expected).mean() <= 2.5


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 95}])
@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "PNG"])
def test_colours_hidden_under_transparency_do_not_bleed_as_a_picture_shrinks(kind, options):
    """Green on black that nobody may see: a shrunk edge is between green and white, not darker."""
    pixels = np.zeros((400, 400, 4), np.uint8)
    y, x = np.mgrid[:400, :400]
    pixels[(x - 200) ** 2 + (y - 200) ** 2 < 150**2] = (90, 200, 90, 255)
    known = {"PNG": {}, "WEBP": options | {"exact": True}, "AVIF": {"quality": 95}}[kind]

    decoded = decode(corpus.save(Image.fromarray(pixels), kind, **known), 90)

    whole = on_white(Image.fromarray(pixels)).astype(np.float32)
    expected = cv2.resize(whole, (90, 90), interpolation=cv2.INTER_AREA)
    assert np.abs(decoded.image - expected).mean() <= 1
    assert decoded.image[..., 1].min() >= 185


@pytest.mark.parametrize("size", [(96, 64), (97, 601)])
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4", "4:0:0"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_strips_of_an_avif_are_what_pillow_decodes(mode, subsampling, size):
    options = {"speed": 10, "subsampling": subsampling, "range": "limited"}
    data = corpus.save(corpus.photo(*size, mode), "AVIF", **options)

    decoded = decode(data)

    whole = Image.open(io.BytesIO(data)).convert(mode)
    if mode == "RGB":
        assert (decoded.image == np.asarray(whole)).all()
    else:
        assert (decoded.alpha == np.asarray(whole)[..., 3]).all()
        assert np.abs(decoded.image - on_white(whole)).max() <= 1


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_small_first_frame_of_an_animation_lies_at_its_place(mode, lossless):
    still = corpus.save(quarters(mode), "WEBP", lossless=lossless, exact=True, quality=100)
    place = b"".join(n.to_bytes(3, "little") for n in (20 // 2, 30 // 2, 96 - 1, 64 - 1, 0))
    parts = still[12:] if still[12:16] != b"VP8X" else still[30:]
    frame = (b"ANMF", place + b"\0" + parts)
    data = corpus.riff(corpus.canvas(200, 100, 0x12), (b"ANIM", bytes(6)), frame)

    decoded, half = decode(data), decode(data, 100)

    canvas = Image.new("RGBA", (200, 100))
    canvas.paste(quarters(mode).convert("RGBA"), (20, 30))
    assert decoded.alpha is not None and half.alpha is not None
    assert np.abs(decoded.alpha.astype(int) - np.asarray(canvas)[..., 3]).max() <= 3
    assert np.abs(decoded.image - on_white(canvas)).mean() <= 1
    assert half.image.shape == (50, 100, 3)
    expected = cv2.resize(on_white(canvas).astype(np.float32), (100, 50), interpolation=3)
    assert np.abs(half.image - expected).mean() <= 1


def test_the_image_is_contiguous_rgb_bytes_of_the_asked_size():
    decoded = decode(corpus.save(corpus.photo(300, 200), "JPEG"), 150)

    assert decoded.image.dtype == np.uint8
    assert decoded.image.shape == (100, 150, 3)
    assert decoded.image.flags.c_contiguous
    assert (decoded.width, decoded.height) == (300, 200)


def test_max_side_zero_keeps_the_size():
    assert decode(corpus.save(corpus.photo(3000, 80), "PNG"), 0).image.shape == (80, 3000, 3)


def test_an_animation_gives_its_first_frame():
    for kind in ("PNG", "WEBP", "AVIF"):
        frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
        data = corpus.save(frames[0], kind, save_all=True, append_images=frames[1:])

        assert_near(decode(data).image, np.full((32, 32, 3), (255, 0, 0.0)), 4)


def test_nothing_is_decoded_larger_than_the_guard_said():
    seen = guard.check(corpus.save(corpus.photo(200, 100), "JPEG"))
    lying = guard.Header("jpeg", seen.width - 1, seen.height)

    with pytest.raises(BadInput):
        codec.decode(corpus.save(corpus.photo(200, 100), "JPEG"), lying)


def test_a_picture_that_takes_too_long_is_bad_input():
    data = corpus.files()["64-megapixels.png"].data

    with pytest.raises(BadInput) as caught:
        codec.decode(data, guard.check(data), cpu_s=0.2)

    assert caught.value.status == 422


def test_decoding_works_in_a_daemonic_process():
    data = corpus.save(corpus.photo(), "JPEG")
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    worker = context.Process(target=lambda: answers.put(decode(data).width), daemon=True)
    worker.start()
    worker.join()

    assert answers.get() == 96


def test_threads_may_decode_at_once():
    files = [corpus.save(corpus.photo(40 + i, 30), "JPEG") for i in range(24)]

    with ThreadPoolExecutor(6) as threads:
        widths = [decoded.width for decoded in threads.map(decode, files)]

    assert widths == [40 + i for i in range(24)]


SEEDS = [name for name in corpus.files() if name.startswith(("cut-7", "mode-", "plain", "exif"))]


@settings(deadline=None, max_examples=120)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=8),
)
def test_whatever_the_bytes_the_codec_answers_or_refuses(name, changes):
    data = bytearray(corpus.files()[name].data)
    for position, value in changes:
        data[position % len(data)] = value

    try:
        header = guard.complete(bytes(data), guard.check(bytes(data)))
        decoded = codec.decode(bytes(data), header)
    except BadInput as error:
        assert error.status in (415, 422)
    else:
        assert decoded.width * decoded.height <= header.pixels
        assert decoded.image.size <= 3 * header.pixels


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket"])
def test_every_example_can_be_decoded(name: str) -> None:
    examples = Path(__file__).parent.parent / "examples"
    data = (examples / f"{name}.jpg").read_bytes()

    decoded = codec.decode(data, guard.check(data))

    assert decoded.image.shape == (decoded.height, decoded.width, 3)
