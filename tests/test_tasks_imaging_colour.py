"""Colours under a profile come out as what they mean in sRGB."""

import struct

import corpus
import numpy as np
import pytest
from PIL import Image, ImageCms

from tasks.imaging import codec, colour, guard

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile() -> bytes:
    """sRGB with its red and green light exchanged, under another name."""
    profile = bytearray(SRGB.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be")))
    places = {}
    for i in range(struct.unpack_from(">I", profile, 128)[0]):
        name, place, _ = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        places[name] = place
    red, green = places[b"rXYZ"] + 8, places[b"gXYZ"] + 8
    light = bytes(profile[red : red + 12])
    profile[red : red + 12] = profile[green : green + 12]
    profile[green : green + 12] = light
    return bytes(profile)


def cmyk_profile() -> bytes:
    """Ink 0 gives white; cyan a middle green, unlike plain mixing; any black gives black."""
    corners = np.zeros((2, 2, 2, 2, 3), np.uint8)
    corners[...] = (0, 128, 128)
    corners[:, :, :, 0] = (128, 70, 170)
    corners[0, 0, 0, 0] = (255, 128, 128)
    steps = bytes(range(256))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1" + bytes(4) + b"\4\3\2\0" + identity + steps * 4 + corners.tobytes() + steps * 3
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags = struct.pack(">I4sII4sII", 2, b"A2B0", 156, len(table), b"wtpt", 156 + len(table), 20)
    size = 156 + len(table) + 20
    head = struct.pack(">I4sI4s4s4s12s4s", size, bytes(4), 0x02100000, b"prtr", b"CMYK", b"Lab ",
                       struct.pack(">6H", 2026, 1, 1, 0, 0, 0), b"acsp")  # fmt: skip
    head += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + tags + table + white


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_wide_profile_is_converted_in_every_format(kind):
    picture = Image.new("RGB", (32, 32), (220, 40, 40))
    data = corpus.save(picture, kind, icc_profile=swapped_profile())

    red, green, blue = codec.decode(data, guard.check(data)).image[16, 16].tolist()

    assert green > 200 and red < 80 and blue < 80


def test_srgb_and_broken_profiles_change_nothing():
    image = np.asarray(corpus.photo())

    for profile in (b"", b"noise" * 9, SRGB, bytes(16) + b"RGB " + bytes(200), cmyk_profile()):
        found = colour.find(b"", guard.Header("png", 96, 64), {"icc_profile": profile})
        assert (colour.to_srgb(image, found) == image).all()


def test_cmyk_goes_by_its_profile():
    inks = np.zeros((32, 32, 4), np.uint8)
    inks[:, 16:, 0] = 255
    picture = Image.frombytes("CMYK", (32, 32), inks.tobytes())
    data = corpus.save(picture, "JPEG", quality=100, icc_profile=cmyk_profile())

    image = codec.decode(data, guard.check(data)).image

    white, cyan = image[8, 2].astype(int), image[8, 28].astype(int)
    assert white.min() >= 250
    assert cyan[1] > cyan[0] + 50 and cyan[1] > cyan[2] + 50, "green, not the cyan of plain mixing"


def test_cmyk_without_a_profile_is_mixed_plainly():
    inks = np.full((4, 4, 4), (255, 0, 0, 0), np.uint8)

    for profile in (b"", bytes(16) + b"CMYK" + bytes(200)):
        mixed = colour.to_srgb(inks, colour.Colour("CMYK", profile))
        assert mixed[0, 0].tolist() == [0, 255, 255]
