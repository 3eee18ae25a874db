"""HEIC, TIFF, BMP, GIF and JPEG XL are read like others, and JPEG and PNG in all their kinds."""

import base64
import io
import struct
from typing import Any

import corpus
import cv2
import imagecodecs._jpegxl
import numpy as np
import pictures
import pillow_heif
import pytest
from colours import with_segments
from PIL import Image, ImageOps
from test_tasks_imaging_codec import assert_near, decode, on_white, quarters

from tasks.errors import BadInput
from tasks.imaging import guard, sources

EIGHT = range(1, 9)


def opened(data: bytes) -> sources.Source:
    return sources.open_source(data, guard.complete(data, guard.check(data)))


def pixels_of(data: bytes) -> np.ndarray:
    """The picture at full size, as its source gives it."""
    return np.vstack(list(opened(data).strips()))


def upright(orientation: int) -> Image.Image:
    """What `quarters` should look like."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = corpus.save(quarters("RGB"), "PNG", exif=exif)
    return ImageOps.exif_transpose(Image.open(io.BytesIO(data)))


def ramp(channels: int, bits: int = 8) -> np.ndarray:
    """40 x 56, all values different in each channel; the last one is at its most on the right."""
    y, x = np.mgrid[:40, :56]
    most = (1 << bits) - 1
    parts = [(x * 45 + y) / (55 * 45 + 39), y / 39, (x + y) / 94, x / 55][:channels]
    kind = np.uint16 if bits > 8 else np.uint8
    return np.dstack([np.rint(part * most) for part in parts]).astype(kind)


# HEIF


@pytest.mark.parametrize("orientation", EIGHT)
def test_an_heic_is_turned_once_though_container_and_exif_say_so(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = pictures.heif(quarters("RGB"), quality=100, exif=exif.tobytes())

    decoded = decode(data)

    expected = upright(orientation)
    assert (decoded.width, decoded.height) == expected.size
    assert_near(decoded.image, np.asarray(expected).astype(float))


@pytest.mark.parametrize("tile_side", [0, 32])
@pytest.mark.parametrize("chroma", [420, 422, 444])
def test_an_heic_has_the_colours_that_libheif_shows(chroma, tile_side):
    photo = corpus.photo(150, 90).resize((300, 180), Image.Resampling.BICUBIC)
    data = pictures.heif(photo, quality=95, chroma=chroma, tile_size=tile_side)

    shown = pixels_of(data)

    known = np.asarray(pillow_heif.open_heif(io.BytesIO(data)).to_pillow())
    assert shown.shape == known.shape
    assert np.abs(shown.astype(int) - known).mean() <= 1


@pytest.mark.parametrize("options", [{}, {"tile_size": 32}])
@pytest.mark.parametrize(("transfer", "kind"), [(13, np.uint8), (16, np.uint16)])
def test_an_heic_of_10_bits_keeps_them_if_it_is_hdr(transfer, kind, options):
    deep = ramp(3, 16)
    file, buffer = pillow_heif.from_bytes("RGB;16", (56, 40), deep.tobytes()), io.BytesIO()
    file.save(buffer, quality=100, chroma=444, transfer_characteristics=transfer, **options)
    data = buffer.getvalue()

    shown = pixels_of(data)

    assert guard.complete(data, guard.check(data)).bits == 10
    assert shown.dtype == kind
    assert np.abs(shown / np.iinfo(kind).max - deep / 65_535).max() <= 0.016


def test_the_alpha_of_an_heic_is_its_own():
    decoded = decode(pictures.heif(quarters("RGBA"), quality=100))

    assert decoded.alpha is not None
    assert_near(decoded.alpha, np.asarray(quarters("RGBA"))[..., 3].astype(float))
    assert_near(decoded.image, on_white(quarters("RGBA")))


def test_a_grey_heic_is_grey():
    shown = pixels_of(pictures.heif(corpus.photo(mode="L"), quality=100))

    assert np.abs(shown - np.asarray(corpus.photo(mode="L")).astype(int)[..., None]).max() <= 4


def test_of_several_pictures_the_primary_one_is_used_and_it_is_said():
    red, blue = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
    file, data = pillow_heif.from_pillow(red), io.BytesIO()
    file.add_from_pillow(blue)
    file.save(data, quality=90, chroma=444, primary_index=1)

    decoded = decode(data.getvalue())

    assert decoded.notes == ("first_frame",)
    assert_near(decoded.image, np.full((64, 64, 3), (0, 0, 255.0)), 4)


# TIFF


@pytest.mark.parametrize("compression", ["", "lzw", "adobe_deflate", "packbits", "lzma", "zstd"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_and_compression_of_tiff_is_exact(mode, compression):
    picture = corpus.photo(mode=mode)
    options = {"compression": f"tiff_{compression}"} if compression else {}
    if compression in ("packbits", "zstd"):
        options = {"compression": compression}

    shown = pixels_of(corpus.save(picture, "TIFF", **options))

    known = np.asarray(picture.convert({"1": "L", "P": "RGB"}.get(mode, mode)))
    assert (shown == known.reshape(shown.shape)).all()


def test_the_black_of_a_shrunk_tiff_is_no_alpha():
    inks = np.full((64, 96, 4), (30, 60, 90, 0), np.uint8)
    data = corpus.save(Image.fromarray(inks, "CMYK"), "TIFF")

    assert (opened(data).shrunk(16, 24) == (30, 60, 90, 0)).all()


def test_a_jpeg_in_a_tiff_has_its_colours():
    data = corpus.save(quarters("RGB"), "TIFF", compression="jpeg", quality=95)

    assert_near(decode(data).image, np.asarray(quarters("RGB")).astype(float), 4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("channels", "photometric"), [(1, 1), (3, 2)])
@pytest.mark.parametrize("bits", [8, 16])
def test_tiffs_of_both_byte_orders_and_sizes_are_exact(bits, channels, photometric, big, order):
    values = ramp(channels, bits)

    shown = pixels_of(pictures.plain_tiff(values, photometric, order=order, big=big))

    assert shown.dtype == values.dtype
    assert (shown == values).all()


@pytest.mark.parametrize("planar", [False, True])
def test_tiles_and_planes_of_a_tiff_are_put_together(planar):
    values = np.asarray(corpus.photo(150, 90))

    assert (pixels_of(pictures.tiled_tiff(values, 32, planar)) == values).all()


@pytest.mark.parametrize("orientation", EIGHT)
def test_a_tiff_is_turned_as_its_tag_says(orientation):
    turn = [(274, 3, [orientation])]

    decoded = decode(pictures.plain_tiff(np.asarray(quarters("RGB")), 2, turn))

    assert_near(decoded.image, np.asarray(upright(orientation)).astype(float))


@pytest.mark.parametrize(("kind", "straight"), [(2, True), (1, False)])
def test_a_tiffs_alpha_comes_out_straight(kind, straight):
    values = np.full((32, 32, 4), (200, 60, 40, 128), np.uint8)
    stored = values if straight else np.full((32, 32, 4), (100, 30, 20, 128), np.uint8)

    shown = pixels_of(pictures.plain_tiff(stored, 2, [(338, 3, [kind])]))

    assert np.abs(shown.astype(int) - values).max() <= 2


def test_white_may_be_zero_in_a_tiff():
    values = ramp(1)

    assert (pixels_of(pictures.plain_tiff(values, 0)) == 255 - values).all()


def test_a_tiff_of_several_pages_gives_the_first_and_says_so():
    pages = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]

    decoded = decode(corpus.save(pages[0], "TIFF", save_all=True, append_images=pages[1:]))

    assert decoded.notes == ("first_frame",)
    assert (decoded.image == (255, 0, 0)).all()


# BMP


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_every_mode_of_bmp_is_exact(mode):
    picture = corpus.photo(97, 64, mode)

    assert (pixels_of(corpus.save(picture, "BMP")) == np.asarray(picture.convert("RGB"))).all()


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_a_palette_of_a_bmp_gives_its_colours(bits):
    indices = np.random.default_rng(1).integers(0, 1 << bits, (20, 40), np.uint8)
    palette = np.random.default_rng(2).integers(0, 256, (1 << bits, 4), np.uint8)
    packed = np.unpackbits(indices[..., None], axis=2)[..., 8 - bits :].reshape(20, -1)
    rows = pictures.bmp_rows(np.packbits(packed, 1))

    shown = pixels_of(pictures.bmp(rows, 40, -20, bits, palette=palette.tobytes()))

    assert (shown == palette[indices][..., 2::-1]).all()


@pytest.mark.parametrize(
    ("masks", "compression", "widths"),
    [((), 0, (5, 5, 5)), ((0xF800, 0x7E0, 0x1F), 3, (5, 6, 5)), ((0xF00, 0xF0, 0xF), 3, (4, 4, 4))],
)
def test_16_bits_of_a_bmp_are_stretched(masks, compression, widths):
    values = np.random.default_rng(3).integers(0, [1 << w for w in widths], (20, 30, 3))
    red, green, blue = np.moveaxis(values, 2, 0)
    words = (red << widths[1] + widths[2] | green << widths[2] | blue).astype("<u2")

    shown = pixels_of(pictures.bmp(pictures.bmp_rows(words), 30, -20, 16, compression, masks=masks))

    most = np.array([(1 << w) - 1 for w in widths])
    assert np.abs(shown - values * 255 / most).max() <= 0.51


@pytest.mark.parametrize("header_bytes", [56, 108, 124])
def test_a_bmps_alpha_is_straight_and_counts_only_where_it_is_set(header_bytes):
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    rgba = np.full((20, 30, 4), (200, 60, 40, 128), np.uint8)
    words = np.ascontiguousarray(rgba[..., [2, 1, 0, 3]]).view("<u4")[..., 0]

    def shown(stored):
        return pixels_of(
            pictures.bmp(stored.tobytes(), 30, 20, 32, 3, masks=masks, header_bytes=header_bytes)
        )

    assert (shown(words) == rgba).all()
    assert (shown(words & 0xFFFFFF) == rgba[..., :3]).all()


@pytest.mark.parametrize("bits", [4, 8])
def test_run_lengths_of_a_bmp_are_expanded(bits):
    palette = bytes(value for i in range(1 << bits) for value in (255 - i, 9, i, 0))
    run = b"\x10\x11" if bits == 4 else b"\x10\x01"
    literal = b"\0\4\x12\x34" if bits == 4 else b"\0\4\1\2\3\4"
    row = literal + run + b"\x0c" + run[1:] + b"\0\0"
    data = pictures.bmp(row * 20 + b"\0\1", 32, 20, bits, 2 if bits == 4 else 1, palette)

    shown = pixels_of(data)

    expected = np.array([(i, 9, 255 - i) for i in (1, 2, 3, 4, *[1] * 28)])
    assert (shown == expected).all()


# GIF


def test_a_gif_has_the_colours_of_its_palette():
    data = corpus.save(corpus.photo(mode="P"), "GIF")

    assert (pixels_of(data) == np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).all()


def test_a_gifs_transparent_colour_is_transparent():
    picture = Image.fromarray(np.tile(np.array([0, 1], np.uint8), (32, 16)), "P")
    picture.putpalette([255, 0, 0, 0, 0, 255])

    decoded = decode(corpus.save(picture, "GIF", transparency=1))

    assert decoded.alpha is not None
    assert decoded.alpha[5, :2].tolist() == [255, 0]
    assert decoded.image[5, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("interlace", [0, 1])
def test_a_gif_gives_its_first_frame_and_says_so(interlace):
    frames = [corpus.photo(96, 64), Image.new("RGB", (96, 64), "blue")]
    data = corpus.save(
        frames[0], "GIF", save_all=True, append_images=frames[1:], interlace=interlace
    )

    decoded = decode(data)

    assert decoded.notes == ("first_frame",)
    assert (decoded.image == np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).all()


def test_a_gifs_small_frame_lies_at_its_place_on_a_clear_screen():
    palette = bytes((200, 30, 30)) * 256
    frame = pictures.gif_frame(20, 10, 30, 15, pictures.gif_codes([1] * 450))

    shown = pixels_of(pictures.gif((96, 64), frame, palette=palette))

    expected = np.zeros((64, 96, 4), np.uint8)
    expected[10:25, 20:50] = (200, 30, 30, 255)
    assert (shown == expected).all()


# JPEG XL


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_lossless_jpeg_xl_is_exact(channels, bits):
    values = (
        ramp(4, bits)[..., [*range(channels - 1), 3]] if channels % 2 == 0 else ramp(channels, bits)
    )

    shown = pixels_of(pictures.jxl(values))

    assert shown.dtype == values.dtype
    assert (shown == values).all()


def test_a_lossy_jpeg_xl_is_near():
    decoded = decode(pictures.jxl(np.asarray(quarters("RGB")), level=95))

    assert np.abs(decoded.image - np.asarray(quarters("RGB")).astype(float)).mean() <= 1.5


def test_a_jpeg_xl_made_of_a_jpeg_shows_the_same():
    photo = corpus.save(corpus.photo(), "JPEG")
    data = bytes(imagecodecs._jpegxl.jpegxl_encode_jpeg(photo))

    shown = pixels_of(data)

    assert np.abs(shown.astype(int) - np.asarray(Image.open(io.BytesIO(photo)))).mean() <= 1


def test_an_animated_jpeg_xl_gives_its_first_frame_and_says_so():
    frames = np.stack([np.full((32, 32, 3), colour, np.uint8) for colour in (10, 200)])

    decoded = decode(bytes(imagecodecs._jpegxl.jpegxl_encode(frames)))

    assert decoded.notes == ("first_frame",)
    assert (decoded.image == 10).all()


# JPEG


def multi_picture(count: int, **options: Any) -> bytes:
    """An MPO of so many photos."""
    first, *others = [Image.new("RGB", (64, 48), (40 * i, 90, 30)) for i in range(count)]
    return corpus.save(first, "MPO", save_all=True, append_images=others, **options)


def test_a_jpeg_of_several_photos_gives_its_first_one_and_says_so():
    assert decode(multi_picture(3)).notes == ("first_frame",)


def test_a_smaller_copy_or_a_gain_map_is_no_second_photo():
    two = multi_picture(2)
    entries = two.index(b"MPF\0") + 4 + two[two.index(b"MPF\0") + 4 :].index(b"\2\xb0") + 8
    at = two.index(b"MPF\0") + 4 + int.from_bytes(two[entries : entries + 4], "little") + 16
    copy = two[:at] + (0x010001).to_bytes(4, "little") + two[at + 4 :]
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x xmlns='http://ns.adobe.com/hdr-gain-map/1.0/'/>"

    assert decode(copy).notes == ()
    assert decode(with_segments(two, (0xE1, xmp))).notes == ("base_picture",)


@pytest.mark.parametrize("length", range(4, 90, 3))
def test_an_index_of_several_photos_that_is_cut_short_hides_no_picture(length):
    two = multi_picture(2)
    start = two.index(b"MPF\0")
    size = int.from_bytes(two[start - 2 : start], "big")
    cut = (length + 2).to_bytes(2, "big") + two[start : start + length]

    assert decode(two[: start - 2] + cut + two[start - 2 + size :]).image.shape == (48, 64, 3)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("trailer", [b"", b"SEFH" + bytes(range(200)) * 30 + b"SEFT"])
def test_a_jpeg_without_its_end_shows_all_its_pixels(trailer, mode, options):
    whole = corpus.save(corpus.photo(200, 150, mode), "JPEG", **options)

    cut, control = decode(whole[:-2] + trailer), decode(whole)

    assert (cut.image == control.image).all()
    assert cut.notes == ()


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_that_ends_a_little_early_is_read_and_it_is_said(options):
    whole = corpus.save(corpus.photo(400, 300), "JPEG", quality=90, **options)

    cut = decode(whole[: len(whole) * 97 // 100])

    assert cut.notes == ("cut_short",)
    assert (cut.image[:200] == decode(whole).image[:200]).mean() > (0.99 if not options else 0.5)


@pytest.mark.parametrize(("options", "part"), [({}, 2), ({"progressive": True}, 4)])
def test_a_jpeg_of_which_too_much_is_missing_is_refused(options, part):
    whole = corpus.save(corpus.photo(400, 300), "JPEG", quality=90, **options)

    with pytest.raises(BadInput):
        decode(whole[: len(whole) // part])


ARITHMETIC = """
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAYEBQYFBAYGBQYHBwYIChAKCgkJChQODwwQFxQYGBcUFhYaHSUfGhsj
HBYWICwgIyYnKSopGR8tMC0oMCUoKSj/2wBDAQcHBwoIChMKChMoGhYaKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgo
KCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCj/yQARCAAgACADAREAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIR
AxEAPwD/AG14q1BRGyaFCO+B9bYlzHnvJpCTWM0HMhYcANDA/9k="""
"""32 x 32, red on the left and blue on the right, by `jpegtran -arithmetic`."""


def test_a_jpeg_in_arithmetic_coding_is_read():
    image = decode(base64.b64decode(ARITHMETIC)).image.astype(int)

    assert np.abs(image[:, :16] - (200, 60, 40)).max() <= 3
    assert np.abs(image[:, 16:] - (30, 60, 200)).max() <= 3


def test_a_film_behind_a_jpeg_is_no_part_of_it():
    """A motion photo."""
    photo = corpus.save(corpus.photo(), "JPEG")
    film = corpus.box(b"ftyp", b"isom" + bytes(4) + b"mp41") + corpus.box(b"mdat", bytes(9000))

    assert (decode(photo + film).image == decode(photo).image).all()


@pytest.mark.parametrize("pieces", [80, 300])
def test_mebibytes_of_metadata_are_skipped(pieces):
    """As Photoshop's DocumentAncestors, in extended XMP."""
    photo = corpus.save(corpus.photo(), "JPEG")
    xmp = corpus.segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(65_000))

    assert (decode(corpus.after_start(photo, xmp * pieces)).image == decode(photo).image).all()


# PNG


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("interlace", [0, 1])
def test_a_grey_key_of_every_depth_stands_for_transparent(bits, interlace):
    most = (1 << bits) - 1
    values = np.tile(np.array([0, most, max(1, most // 2)], np.int64), (32, 11))[:, :32]
    key = most
    header = corpus.ihdr(32, 32, bits, 0, interlace)
    data = corpus.png(
        header, packed(values, bits, interlace), corpus.chunk(b"tRNS", struct.pack(">H", key))
    )

    shown = pixels_of(data)

    opaque = shown[..., 1] > 0
    assert (opaque == (values != key)).all()
    levels = values * (65_535 if bits == 16 else 255) / most
    assert np.abs(shown[..., 0] - levels).max() <= 0.5


def packed(values: np.ndarray, bits: int, interlace: int) -> bytes:
    """Rows of grey in so many bits, deflated; in seven passes if interlaced."""
    starts = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)]
    starts += [(2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    passes = starts if interlace else [(0, 0, 1, 1)]
    rows = b""
    for top, left, down, across in passes:
        for row in values[top::down, left::across]:
            unpacked = np.unpackbits(row.astype(">u2").view(np.uint8)).reshape(-1, 16)
            rows += b"\0" + np.packbits(unpacked[:, 16 - bits :].reshape(-1)).tobytes()
    return corpus.zlib.compress(rows)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bits_of_a_png_are_kept(colour, channels):
    values = np.random.default_rng(5).integers(0, 65_536, (20, 24, channels))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    data = corpus.png(corpus.ihdr(24, 20, 16, colour), corpus.zlib.compress(rows))

    assert (pixels_of(data) == values).all()


def test_a_key_of_16_bits_means_one_colour_only():
    values = np.full((32, 32, 3), (0x1234, 0x5678, 0x9ABC))
    values[:, 16:, 2] += 1
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    key = corpus.chunk(b"tRNS", struct.pack(">HHH", 0x1234, 0x5678, 0x9ABC))
    data = corpus.png(corpus.ihdr(32, 32, 16, 2), corpus.zlib.compress(rows), key)

    assert pixels_of(data)[5, [0, 31], 3].tolist() == [0, 65_535]


def test_thousands_of_small_chunks_are_read():
    """As video tools write frames."""
    picture = corpus.photo(640, 480)
    packed_rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(picture))
    stream = corpus.zlib.compress(packed_rows, 0)
    pieces = [stream[i : i + 128] for i in range(0, len(stream), 128)]
    chunks = b"".join(corpus.chunk(b"IDAT", piece) for piece in pieces)
    data = corpus.PNG + corpus.ihdr(640, 480) + chunks + corpus.chunk(b"IEND", b"")

    assert len(pieces) > 7000
    assert (decode(data).image == np.asarray(picture)).all()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("missing", [12, 6])
def test_a_png_without_its_end_is_whole_if_its_pixels_are(bits, missing):
    values = ramp(3, bits)
    data = cv2.imencode(".png", values[..., ::-1])[1].tobytes()

    assert (pixels_of(data[:-missing]) == values).all()


@pytest.mark.parametrize("orientation", EIGHT)
def test_a_png_is_turned_wherever_its_exif_is(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = corpus.save(quarters("RGB"), "PNG")
    behind = corpus.chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))

    decoded = decode(data[:-12] + behind + data[-12:])

    assert (decoded.image == np.asarray(upright(orientation))).all()


# Shrinking


@pytest.mark.parametrize("kind", ["heif", "tiff", "jxl", "gif"])
def test_shrinking_is_area_averaging_in_the_new_formats_too(kind):
    photo = corpus.photo(90, 60).resize((720, 480), Image.Resampling.BICUBIC)
    values = np.asarray(photo)
    data = {
        "heif": lambda: pictures.heif(photo, quality=95),
        "tiff": lambda: corpus.save(photo, "TIFF", compression="tiff_lzw"),
        "jxl": lambda: pictures.jxl(values),
        "gif": lambda: corpus.save(photo, "GIF"),
    }[kind]()

    decoded = decode(data, 300)

    expected = cv2.resize(values, (300, 200), interpolation=cv2.INTER_AREA)
    assert np.abs(decoded.image.astype(int) - expected).mean() <= 2.5
