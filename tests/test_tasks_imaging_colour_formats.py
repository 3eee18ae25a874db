"""HEIC, TIFF, BMP and JPEG XL state their colours too, and those come out as what they mean."""

import struct
from typing import Any

import colours
import corpus
import cv2
import imagecodecs
import numpy as np
import pictures
import pytest
from colour_files import INPUTS, P3, RED, flat, meant, middle, near, notes
from colours import SPACES
from PIL import Image

from tasks.imaging import codec, guard
from tasks.imaging.guard import Header

ADOBE = SPACES["adobe"]


def heif(values=RED, profile: bytes = b"", points: tuple[int, int] | None = None) -> bytes:
    picture = Image.new("RGB", (64, 64), values)
    if profile:
        picture.info["icc_profile"] = profile
    stated = {}
    if points:
        stated = {
            "save_nclx_profile": True,
            "color_primaries": points[0],
            "transfer_characteristics": points[1],
            "matrix_coefficients": 6,
            "full_range_flag": 1,
        }
    return pictures.heif(picture, quality=-1, **stated)


def shown(data: bytes) -> list[int]:
    """The colour in the middle, of formats of which the guard's first look is not enough."""
    image = codec.decode(data, whole_header(data)).image
    return image[image.shape[0] // 2, image.shape[1] // 2].tolist()


def whole_header(data: bytes) -> Header:
    return guard.complete(data, guard.check(data))


def test_a_heic_follows_its_profile():
    assert near(shown(heif(profile=P3.icc())), meant(P3), 4)


def test_a_heic_follows_its_code_points():
    assert near(shown(heif(points=(12, 13))), meant(P3), 4)


def test_the_profile_of_a_heic_counts_more_than_its_code_points():
    assert near(shown(heif(profile=ADOBE.icc(), points=(12, 13))), meant(ADOBE), 4)


def coded_p3(kind: str) -> bytes:
    if kind == "heif":
        return heif(points=(12, 13))
    pixels = np.full((64, 64, 3), RED, np.uint8)
    return bytes(imagecodecs.avif_encode(pixels, level=95, primaries=12, transfer=13))


@pytest.mark.parametrize("kind", ["avif", "heif"])
def test_code_points_that_only_the_coded_picture_states_count(kind: str) -> None:
    data = coded_p3(kind).replace(b"colr", b"free")

    assert near(shown(data), meant(P3), 3)


def test_a_heic_in_pq_is_tone_mapped_and_that_is_said():
    data = heif((148, 148, 148), points=(9, 16))

    assert near(shown(data), [229] * 3, 3)
    assert codec.decode(data, whole_header(data)).notes == ("tone_mapped",)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize(
    ("mode", "values", "profile", "wanted"),
    [
        ("RGB", RED, P3.icc(), meant(P3)),
        ("L", 80, colours.grey_icc(colours.gamma(1.0)), [152] * 3),
        ("CMYK", (255, 0, 0, 0), b"", [0, 255, 255]),
    ],
)
def test_a_tiff_follows_its_profile(mode, values, profile, wanted, compression):
    options = {"icc_profile": profile} if profile else {}
    picture = Image.new(mode, (48, 32), values)

    data = corpus.save(picture, "TIFF", compression=compression, **options)

    assert near(middle(data), wanted)


@pytest.mark.parametrize("name", ["p3", "adobe", "linear"])
def test_a_jpeg_xl_follows_its_profile(name):
    jpeg = flat("JPEG", icc_profile=SPACES[name].icc())

    data = imagecodecs.jpegxl_encode_jpeg(jpeg)

    assert near(middle(data), meant(SPACES[name]), 3)


def test_a_bmp_follows_the_profile_in_it():
    data = bmp((124, 4, b"DEBM"), P3.icc())

    assert near(middle(data), meant(P3))
    assert notes(data) == ()


def bmp(header: tuple[int, int, bytes], profile: bytes) -> bytes:
    """A BMP of version 5, its profile behind its pixels."""
    size, intent, kind = header
    rows = bytes(reversed(RED)) * 48 * 32
    head = struct.pack("<IiiHHIIiiII", size, 48, 32, 1, 24, 0, len(rows), 0, 0, 0, 0)
    head += bytes(16) + kind + bytes(36 + 12)
    head += struct.pack("<IIII", intent, size + len(rows), len(profile), 0)
    start = 14 + size
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + head + rows + profile


def test_inks_in_ycck_are_read_as_in_cmyk():
    """Adobe's programs write both; their marker says which it is, and that inks are inverted."""
    inks = [230, 20, 20, 0]
    pixels = 255 - np.full((32, 48, 4), inks, np.uint8)
    for stored in ("CMYK", "YCCK"):
        data = imagecodecs.jpeg8_encode(pixels, level=98, colorspace="CMYK", outcolorspace=stored)

        assert near(middle(data), [25, 235, 235]), stored


def png(space: str = "p3", depth: Any = np.uint8, version: int = 4) -> bytes:
    pixels = np.full((20, 20, 3), np.iinfo(depth).max // 2, depth)
    plain = cv2.imencode(".png", pixels)[1].tobytes()
    return colours.with_chunks(plain, colours.iccp(SPACES[space].icc(version=version)))


CASES = {
    "formula": (png(), True),
    "gamma": (png("adobe"), True),
    "by values": (png("adobe", version=2), False),
    "sRGB by values": (png("srgb", version=2), True),
    "table": (flat("PNG", icc_profile=colours.table_icc(SPACES["p3"])), False),
    "deep": (png("p3", np.uint16), False),
    "deep sRGB": (png("srgb", np.uint16), True),
    "phone": ((INPUTS / "p3-samsung.jpg").read_bytes(), True),
    "nclx": ((INPUTS / "p3-nclx.avif").read_bytes(), True),
    "AVIF with alpha": (corpus.save(Image.new("RGBA", (32, 32), (*RED, 90)), "AVIF"), False),
    "EXIF": ((INPUTS / "adobe-exif-r03.jpg").read_bytes(), False),
    "inks": ((INPUTS / "cmyk-adobe.jpg").read_bytes(), False),
}


@pytest.mark.parametrize(("data", "agree"), CASES.values(), ids=CASES)
def test_it_is_said_whether_browsers_convert_the_colours_alike(data: bytes, agree: bool) -> None:
    assert codec.decode(data, whole_header(data)).browsers_agree == agree
