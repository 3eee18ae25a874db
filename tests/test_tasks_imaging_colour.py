"""Colours come out as what they mean in sRGB, whichever way a file says what they mean."""

import io
import zlib

import colours
import corpus
import numpy as np
import pytest
from colour_files import INPUTS, P3, RED, flat, found, meant, middle, near, notes, png
from colours import SPACES, SRGB, with_segments
from PIL import Image

from tasks.imaging import codec, guard
from tasks.imaging.cms import lcms
from tasks.imaging.cutouts import Look


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("p3-apple.jpg", (255, 0, 0)),
        ("p3-samsung.jpg", (255, 0, 0)),
        ("p3-chrome.png", (255, 0, 0)),
        ("linear-gimp.png", (128, 66, 66)),
        ("grey-linear.jpg", (152, 152, 152)),
        ("p3-nclx.avif", (254, 1, 0)),
        ("p3-cicp.png", (255, 0, 0)),
        ("linear-gama.png", (128, 66, 66)),
        ("adobe-exif-r03.jpg", (0, 191, 70)),
        ("cmyk-adobe.jpg", (25, 235, 235)),
        ("cmyk-no-adobe-marker.jpg", (25, 235, 235)),
    ],
)
def test_a_picture_from_a_phone_a_camera_or_an_editor_keeps_its_colours(name, wanted):
    data = (INPUTS / name).read_bytes()

    image = codec.decode(data, guard.check(data)).image
    matte = np.full(image.shape[:2], 255, np.uint8)
    cut = codec.compose(data, guard.check(data), matte, None, Look(), ["cutout-png"]).pictures

    assert near(image[288, 320].tolist(), list(wanted), 3)
    with Image.open(io.BytesIO(cut["cutout-png"].data)) as picture:
        assert near(list(picture.getpixel((320, 288))), [*wanted, 255], 3)


@pytest.mark.parametrize("version", [2, 4])
@pytest.mark.parametrize("name", SPACES)
def test_a_profile_is_converted_by_what_it_does(name, version):
    space = SPACES[name]

    got = middle(flat("PNG", icc_profile=space.icc(version=version)))

    assert near(got, meant(space))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_profile_with_srgb_in_its_name_is_converted_in_every_format(kind):
    profile = P3.icc(name="DCI-P3 D65 Gamut with sRGB Transfer")

    assert near(middle(flat(kind, icc_profile=profile)), meant(P3), 3)


def test_a_profile_called_srgb_whose_channels_are_exchanged_is_converted():
    got = middle(flat("PNG", icc_profile=SRGB.icc(name="sRGB IEC61966-2.1", swapped=True)))

    assert got[1] > 190 and got[0] < 80


@pytest.mark.parametrize("version", [2, 4])
def test_srgb_under_another_name_changes_no_value(version):
    picture = corpus.photo()
    data = corpus.save(picture, "PNG", icc_profile=SRGB.icc(version=version, name="Scanner"))

    assert (codec.decode(data, guard.check(data)).image == np.asarray(picture)).all()
    assert found(data).icc == b""


def test_a_profile_by_a_table_is_converted():
    space = SPACES["adobe"]

    got = middle(flat("PNG", icc_profile=colours.table_icc(space)))

    assert near(got, meant(space), 3)


@pytest.mark.parametrize("name", ["p3", "adobe", "eci"])
def test_a_profile_by_a_table_is_exact_to_four_levels_beside_the_edge_of_srgb_too(name):
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    pixels = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(18, -1, 3)
    profile = colours.table_icc(SPACES[name])
    data = corpus.save(Image.fromarray(pixels), "PNG", icc_profile=profile)
    exact = lcms.Transform(profile, "RGB", np.uint8, way=lcms.EXACT)(pixels)

    image = codec.decode(data, guard.check(data)).image

    assert abs(image.astype(int) - exact).max() <= 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_profile_of_a_megabyte_is_used(kind):
    profile = colours.table_icc(P3, extra_bytes=2**20)

    assert near(middle(flat(kind, icc_profile=profile)), meant(P3), 3)


def test_parts_of_a_profile_are_joined_by_their_numbers():
    parts = colours.icc_segments(colours.table_icc(P3), 10_000)

    data = with_segments(flat("JPEG"), *reversed(parts))

    assert near(middle(data), meant(P3), 3)


@pytest.mark.parametrize("change", ["missing", "twice", "another count"])
def test_a_profile_with_wrong_parts_is_ignored_and_that_is_said(change):
    parts = colours.icc_segments(colours.table_icc(P3), 10_000)
    if change == "missing":
        parts = parts[:-1]
    elif change == "twice":
        parts = [*parts, parts[0]]
    else:
        marker, body = parts[0]
        parts[0] = marker, body[:13] + b"\x09" + body[14:]
    data = with_segments(flat("JPEG"), *parts)

    assert near(middle(data), list(RED))
    assert notes(data) == ("profile_ignored",)


# PNG: cICP before iCCP before sRGB before gAMA and cHRM

CICP_P3 = (b"cICP", bytes([12, 13, 0, 1]))
CHUNK_SRGB = (b"sRGB", b"\0")


@pytest.mark.parametrize(
    ("chunks", "space"),
    [
        ([colours.iccp(SPACES["adobe"].icc()), CICP_P3], P3),
        ([CHUNK_SRGB, CICP_P3], P3),
        ([CHUNK_SRGB, colours.iccp(P3.icc())], P3),
        ([colours.gama(1.0), CHUNK_SRGB], SRGB),
        ([(b"cICP", bytes([12, 13, 1, 1])), colours.iccp(SPACES["adobe"].icc())], SPACES["adobe"]),
        ([(b"cICP", b"\x0c"), CHUNK_SRGB], SRGB),
        ([colours.gama(2.2)], SRGB),
        ([colours.gama(2.2), colours.chrm(SRGB)], SPACES["gamma22"]),
        ([colours.gama(1.8)], colours.Space("1.8", colours.BT709, colours.gamma(1.8))),
        ([colours.gama(1.8), colours.chrm(SPACES["apple"])], SPACES["apple"]),
        ([colours.chrm(P3)], SRGB),
        ([(b"cICP", bytes([1, 1, 0, 1]))], colours.Space("tv", colours.BT709, colours.gamma(2.4))),
    ],
)
def test_of_several_statements_in_a_png_the_one_that_the_standard_prefers_counts(chunks, space):
    data = png(*chunks)

    assert near(middle(data), meant(space))
    assert notes(data) == ()


def test_a_profile_that_cannot_be_used_is_named_though_something_else_counts():
    broken = colours.iccp(b"no profile")
    with_gamma = png(broken, colours.gama(1.0))

    assert near(middle(with_gamma), meant(SPACES["linear"]))
    assert notes(with_gamma) == ("profile_ignored",)
    assert notes(flat("AVIF", icc_profile=b"no profile" * 50)) == ("profile_ignored",)
    assert notes(png(CICP_P3, broken)) == (), "cICP counts before it"
    assert notes(png((b"cICP", b"\x0c"), CHUNK_SRGB)) == (), "this is no profile"


def test_half_of_a_png_chunk_about_colours_states_nothing():
    for kind in (b"gAMA", b"cHRM", b"cICP", b"mDCV", b"cLLI", b"iCCP"):
        assert near(middle(png((kind, b"\0"))), list(RED), 0), kind


def test_grey_follows_its_gamma():
    data = png(colours.gama(1.0), values=55)

    assert near(middle(data), meant(SPACES["linear"], (55, 55, 55)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_grey_follows_a_profile_of_grey(kind):
    data = flat(kind, 80, icc_profile=colours.grey_icc(colours.gamma(1.0), 2))

    assert near(middle(data), [152] * 3)


def test_grey_follows_a_profile_of_rgb():
    data = flat("JPEG", 80, icc_profile=SPACES["linear2020"].icc())

    assert near(middle(data), [152] * 3)


def test_narrow_values_are_widened():
    data = png((b"cICP", bytes([1, 13, 0, 0])), values=(16, 126, 235))

    assert middle(data) == [0, 128, 255]


def test_a_profile_that_would_inflate_without_end_is_ignored():
    bomb = zlib.compress(bytes(2**26), 9)

    data = png((b"iCCP", b"a name\0\0" + bomb))

    assert near(middle(data), list(RED), 0)
    assert notes(data) == ("profile_ignored",)


# AVIF


@pytest.mark.parametrize(
    ("points", "space"),
    [
        ((12, 13), P3),
        ((9, 13), SPACES["bt2020"]),
        ((1, 8), SPACES["linear"]),
        ((2, 2), SRGB),
        ((1, 1), SRGB),
    ],
)
def test_an_avif_follows_its_code_points(points, space):
    data = colours.with_code_points(flat("AVIF"), *points)

    assert near(middle(data), meant(space), 4)


def test_the_profile_of_an_avif_counts_more_than_its_code_points():
    data = colours.with_code_points(flat("AVIF", icc_profile=P3.icc()), 9, 8)

    assert near(middle(data), meant(P3), 4)


# Adobe RGB by EXIF

UNSPECIFIED = {"color-primaries": "unspecified", "transfer-characteristics": "unspecified"}
"""For libaom: the coded picture states no colours either."""


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_adobe_rgb_by_exif_is_honoured_and_that_is_said(kind, order):
    options = {"advanced": UNSPECIFIED} if kind == "AVIF" else {}
    data = flat(kind, exif=b"Exif\0\0" + colours.exif(order=order), **options)
    data = data.replace(b"colrnclx", b"free----")

    assert near(middle(data), meant(SPACES["adobe"]), 3)
    assert notes(data) == ("adobe_rgb_by_exif",)


@pytest.mark.parametrize("space", [0, 2])
def test_adobe_rgb_by_exif_is_seen_as_other_cameras_write_it(space):
    data = flat("JPEG", exif=b"Exif\0\0" + colours.exif(b"R03" if space == 0 else b"R98", space))

    assert near(middle(data), meant(SPACES["adobe"]), 3)


@pytest.mark.parametrize(("index", "space"), [(b"R98", 65535), (b"R03", 1), (b"THM", 65535)])
def test_any_other_exif_means_srgb(index, space):
    data = flat("JPEG", exif=b"Exif\0\0" + colours.exif(index, space))

    assert near(middle(data), list(RED))
    assert notes(data) == ()


def test_a_profile_counts_more_than_exif():
    data = flat("JPEG", exif=b"Exif\0\0" + colours.exif(), icc_profile=P3.icc())

    assert near(middle(data), meant(P3))


# CMYK


def test_cmyk_goes_by_its_profile():
    inks = np.zeros((32, 32, 4), np.uint8)
    inks[:, 16:, 0] = 255
    picture = Image.frombytes("CMYK", (32, 32), inks.tobytes())
    data = corpus.save(picture, "JPEG", quality=100, icc_profile=colours.cmyk_icc())

    image = codec.decode(data, guard.check(data)).image

    white, cyan = image[8, 2].astype(int), image[8, 28].astype(int)
    assert white.min() >= 250
    assert cyan[1] > cyan[0] + 50 and cyan[1] > cyan[2] + 50, "green, not the cyan of plain mixing"


def test_cmyk_is_mixed_plainly_without_a_profile_of_its_own():
    for options, said in (({}, ()), ({"icc_profile": P3.icc()}, ("profile_ignored",))):
        data = flat("JPEG", (255, 0, 0, 0), **options)

        assert near(middle(data), [0, 255, 255])
        assert notes(data) == said
