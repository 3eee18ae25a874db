"""Pixels of 8 and 16 bits are converted, or kept with a profile; broken profiles do no harm."""

import io
import struct

import colours
import corpus
import numpy as np
import pytest
from colour_files import P3, RED, flat, found, meant, middle, near, notes, png
from colours import SPACES
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from tasks.imaging import codec, colour, guard
from tasks.imaging.colour import Colour
from tasks.imaging.cutouts import Look
from tasks.imaging.guard import Header
from tasks.imaging.sinks import Encoded

CICP_P3 = (b"cICP", bytes([12, 13, 0, 1]))


def ramp16() -> np.ndarray:
    """1 x 4096 x 3 of 16 bits: greys, the dark ones among them."""
    return np.repeat(np.arange(4096, dtype=np.uint16) * 16, 3).reshape(1, -1, 3)


@pytest.mark.parametrize("name", SPACES)
def test_16_bits_are_converted_before_they_become_8(name):
    space, values = SPACES[name], ramp16()
    values[..., 1] = values[:, ::-1, 0]

    got = colour.to_srgb(values, Colour(icc=space.icc()))

    wanted = space.to_srgb(values / 65535.0) * 255
    assert abs(got - wanted).max() <= 1.5


def test_the_darks_of_16_bit_linear_light_stay_apart():
    dark = np.array([0, 8, 16, 32, 64, 128], np.uint16).repeat(3).reshape(1, -1, 3)

    got = colour.to_srgb(dark, Colour(icc=SPACES["linear"].icc()))

    assert got[0, :, 0].tolist() == [0, 0, 1, 2, 3, 6]


def test_alpha_and_grey_pass_in_8_and_16_bits():
    profile = P3.icc()
    for depth, factor in ((np.uint8, 1), (np.uint16, 257)):
        rgba = (np.array([[[200, 60, 40, 77]]]) * factor).astype(depth)
        grey = (np.array([[[90, 33]]]) * factor).astype(depth)

        assert near(colour.to_srgb(rgba, Colour(icc=profile))[0, 0].tolist(), [*meant(P3), 77])
        assert colour.to_srgb(grey, Colour("GRAY"))[0, 0].tolist() == [90, 90, 90, 33]
        assert near(colour.to_srgb(grey, Colour("GRAY", profile))[0, 0].tolist(), [90, 90, 90, 33])


def test_a_large_picture_is_converted_as_a_small_one_is():
    pixels = np.random.default_rng(3).integers(0, 65536, (70, 5000, 4), np.uint16)
    linear = Colour(icc=SPACES["linear2020"].icc())

    whole = colour.to_srgb(pixels, linear)

    assert (whole[69:, :99] == colour.to_srgb(pixels[69:, :99], linear)).all()


@pytest.mark.parametrize("name", [name for name in SPACES if name != "srgb"])
def test_what_is_kept_means_the_same_by_the_embedded_profile(name):
    data = flat("PNG", icc_profile=SPACES[name].icc())
    pixels = np.array([[RED]], np.uint8)

    space = found(data)

    assert colour.kept(pixels, space).tolist() == pixels.tolist()
    assert colour.profile(space) == SPACES[name].icc()


@pytest.mark.parametrize(
    "chunks",
    [
        [CICP_P3],
        [colours.gama(1.8), colours.chrm(SPACES["apple"])],
        [(b"cICP", bytes([9, 1, 0, 1]))],
    ],
)
def test_a_small_profile_is_made_for_what_has_none(chunks):
    space, pixels = found(png(*chunks)), np.array([[RED]], np.uint8)

    made = colour.profile(space)

    assert len(made) < 600
    shown = shown_by_pillow(colour.kept(pixels, space), made)
    assert near(shown, colour.to_srgb(pixels, space)[0, 0].tolist())


def shown_by_pillow(pixels: np.ndarray, profile: bytes) -> list[int]:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    target = ImageCms.createProfile("sRGB")
    picture = ImageCms.profileToProfile(Image.fromarray(pixels), source, target)
    return np.asarray(picture)[0, 0].tolist()


def test_kept_grey_becomes_rgb_with_a_profile_of_rgb():
    space = found(flat("PNG", 80, icc_profile=colours.grey_icc(colours.gamma(1.0))))
    pixels = np.full((1, 1, 1), 80, np.uint8)

    assert colour.kept(pixels, space).tolist() == [[[80, 80, 80]]]
    assert near(shown_by_pillow(colour.kept(pixels, space), colour.profile(space)), [152] * 3)


def test_kept_hdr_is_tone_mapped_within_its_gamut():
    space = found(png((b"cICP", bytes([9, 16, 0, 1]))))
    pixels = np.array([[[126, 110, 100]]], np.uint8)

    shown = shown_by_pillow(colour.kept(pixels, space), colour.profile(space))

    assert near(shown, colour.to_srgb(pixels, space)[0, 0].tolist())


def test_srgb_and_inks_have_no_profile_to_keep():
    inks = found(flat("JPEG", (255, 0, 0, 0), icc_profile=colours.cmyk_icc()))
    pixels = np.array([[[255, 0, 0, 0]]], np.uint8)

    assert colour.profile(found(flat("PNG"))) == b""
    assert colour.profile(inks) == b""
    assert (colour.kept(pixels, inks) == colour.to_srgb(pixels, inks)).all()


def test_a_broken_profile_changes_nothing_and_that_is_said():
    whole = P3.icc()
    for broken in (b"noise" * 99, whole[:200], whole.replace(b"acsp", b"scpa"), cleared(whole)):
        data = flat("PNG", icc_profile=broken)

        assert near(middle(data), list(RED), 0)
        assert notes(data) == ("profile_ignored",)


def cleared(profile: bytes) -> bytes:
    """The profile with primaries without any light."""
    data = bytearray(profile)
    for name in (b"rXYZ", b"gXYZ", b"bXYZ"):
        (start,) = struct.unpack_from(">I", data, data.index(name) + 4)
        data[start + 8 : start + 20] = bytes(12)
    return bytes(data)


def test_tiff_and_bmp_state_their_colours():
    tiff = corpus.save(Image.new("RGB", (48, 32), RED), "TIFF", icc_profile=P3.icc())
    assert colour.find(tiff, Header("tiff", 48, 32), {}).icc == P3.icc()

    bmp = bmp_with_profile(P3.icc())
    assert colour.find(bmp, Header("bmp", 48, 32), {}).icc == P3.icc()


def bmp_with_profile(profile: bytes) -> bytes:
    """A BMP of version 5 that embeds a profile behind its header."""
    head = struct.pack("<IiiHHIIiiII", 124, 48, 32, 1, 24, 0, 0, 0, 0, 0, 0)
    head += bytes(16) + struct.pack("<I", 0x4D424544) + bytes(36 + 12)
    head += struct.pack("<IIII", 4, 124, len(profile), 0)
    return b"BM" + bytes(12) + head + profile


SEEDS = {
    "matrix 4": ((200, 60, 40), P3.icc()),
    "matrix 2": ((200, 60, 40), P3.icc(version=2)),
    "table": ((200, 60, 40), colours.table_icc(P3, steps=3)),
    "inks": ((200, 60, 40, 9), colours.cmyk_icc()),
    "grey": (90, colours.grey_icc(colours.gamma(2.2))),
}
BARE = {name: flat("JPEG", values) for name, (values, _) in SEEDS.items()}
Changes = list[tuple[int, bytes]]


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(list(SEEDS)),
    st.sampled_from((np.uint8, np.uint16)),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=9)), min_size=1),
)
def test_whatever_a_profile_holds_pixels_come_out(name: str, depth: type, changes: Changes):
    values, whole = SEEDS[name]
    profile = bytearray(whole)
    for place, new in changes:
        place %= len(profile)
        profile[place : place + len(new)] = new
    data = colours.with_segments(BARE[name], *colours.icc_segments(bytes(profile)))

    space = colour.find(data, guard.check(data), {})

    pixels = np.full((2, 2, np.size(values)), values, depth)
    assert colour.to_srgb(pixels, space).shape == (2, 2, 3)
    assert colour.kept(pixels, space).shape == (2, 2, 3)
    assert isinstance(colour.profile(space), bytes)


def test_steps_that_could_be_chained_without_end_are_not_taken():
    """Multi-process elements, which LittleCMS would prefer to a matrix."""
    endless = b"mpet" + bytes(4) + struct.pack(">HHI", 3, 3, 2**17) + bytes(2**20)
    matrix = P3.icc()
    tags = [(name, endless) for name in (b"D2B0", b"D2B1")]
    for i in range(struct.unpack_from(">I", matrix, 128)[0]):
        name, start, size = struct.unpack_from(">4sII", matrix, 132 + 12 * i)
        tags.append((name, matrix[start : start + size]))
    data = flat("PNG", icc_profile=colours.profile(b"RGB ", tags))

    assert near(middle(data), meant(P3))


def cut_out(data: bytes, form: str) -> Encoded:
    """All of the picture, as a cut-out that keeps its colours."""
    return composed(data, f"cutout-{form}")


def composed(
    data: bytes,
    name: str,
    alpha: int = 255,
    background: str = "",
    backdrop: np.ndarray | None = None,
) -> Encoded:
    """A picture that keeps the colours of `data`, all of which has this alpha."""
    matte, look = np.full((32, 48), alpha, np.uint8), Look(background)
    return codec.compose(data, guard.check(data), matte, backdrop, look, [name], True).pictures[
        name
    ]


@pytest.mark.parametrize("form", ["png", "webp", "avif", "jpeg"])
@pytest.mark.parametrize("name", ["adobe", "prophoto", "linear", "almost a megabyte"])
def test_a_cut_out_that_keeps_its_colours_has_the_profile_of_the_upload(name, form):
    big = colours.table_icc(P3, extra_bytes=900_000)
    profile = big if name == "almost a megabyte" else SPACES[name].icc()

    cut = cut_out(flat("PNG", icc_profile=profile), form)

    with Image.open(io.BytesIO(cut.data)) as picture:
        assert picture.info["icc_profile"] == profile
        assert near(list(picture.convert("RGB").getpixel((24, 16))), list(RED), 3)


@pytest.mark.parametrize("values", [(200, 60, 40), 80])
def test_a_cut_out_that_keeps_linear_light_looks_as_the_upload_does(values):
    data = png(colours.gama(1.0), values=values)

    cut = cut_out(data, "png").data

    assert near(middle(cut), middle(data), 1)
    assert notes(cut) == ()


def test_of_a_huge_profile_only_what_is_needed_is_kept():
    data = flat("PNG", icc_profile=colours.table_icc(P3, extra_bytes=2**21))

    cut = cut_out(data, "png").data

    assert len(cut) < 2**16
    assert near(middle(cut), middle(data), 1)


def test_a_profile_that_needs_over_a_megabyte_is_not_kept_but_used():
    data = flat("PNG", icc_profile=colours.table_icc(P3, steps=65))

    cut = cut_out(data, "png").data

    assert colour.profile(found(cut)) == b""
    assert near(middle(cut), meant(P3), 3)


def test_a_cut_out_of_srgb_has_no_profile():
    with Image.open(io.BytesIO(cut_out(flat("PNG"), "png").data)) as picture:
        assert "icc_profile" not in picture.info


@pytest.mark.parametrize("name", ["preview", "edge_colours"])
@pytest.mark.parametrize("space", ["adobe", "linear"])
def test_small_pictures_are_srgb_though_the_cut_out_keeps_its_colours(space, name):
    small = composed(
        flat("PNG", icc_profile=SPACES[space].icc()), name, 254 if name == "preview" else 128
    )

    with Image.open(io.BytesIO(small.data)) as picture:
        top = picture.convert("RGB").getpixel((24, 8))
        assert "icc_profile" not in picture.info
        assert near(list(top), meant(SPACES[space]), 4)


@pytest.mark.parametrize("space", ["adobe", "linear", "p3", "grey", "table"])
@pytest.mark.parametrize("with_picture", [True, False])
def test_a_background_looks_the_same_beside_kept_colours(space, with_picture):
    profiles = {
        "grey": colours.grey_icc(colours.gamma(1.0)),
        "table": colours.table_icc(P3),
        **{name: SPACES[name].icc() for name in ("adobe", "linear", "p3")},
    }
    data = flat("PNG", 80 if space == "grey" else RED, icc_profile=profiles[space])
    backdrop = np.full((32, 48, 3), (128, 160, 90), np.uint8) if with_picture else None

    cut = composed(data, "cutout-png", 0, "an upload" if with_picture else "#80a05a", backdrop)

    assert near(middle(cut.data), [128, 160, 90], 2)
