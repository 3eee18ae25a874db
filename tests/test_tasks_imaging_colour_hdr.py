"""Pictures brighter than a screen: tone-mapped, or their ordinary base; and the answer says so."""

import struct

import colours
import pytest
from colour_files import P3, flat, meant, middle, near, notes, png
from colours import with_segments


def test_pq_is_tone_mapped_and_that_is_said():
    """BT.2390's curve from 1000 to 203 cd/m2: 87 stay 87, 202 become 159, 1010 white."""
    greys = [middle(png((b"cICP", bytes([9, 16, 0, 1])), values=(v,) * 3))[1] for v in RAMP]

    assert greys == sorted(greys)
    assert greys[0] == 0 and greys[-1] == 255
    assert near(greys[1:3], [175, 229], 1)
    assert notes(png((b"cICP", bytes([9, 16, 0, 1])))) == ("tone_mapped",)


RAMP = (0, 126, 148, 192, 255)


def test_the_peak_that_a_picture_states_becomes_white():
    peak = (b"cLLI", struct.pack(">II", 203 * 10_000, 50 * 10_000))

    assert min(middle(png((b"cICP", bytes([9, 16, 0, 1])), peak, values=(149,) * 3))) >= 254


def test_hlg_is_tone_mapped():
    """A signal of 0.75 is diffuse white, BT.2408's 203 cd/m2, and as bright as that of PQ."""
    greys = [
        middle(png((b"cICP", bytes([9, 18, 0, 1])), values=(v,) * 3))[1] for v in (0, 191, 255)
    ]

    assert near(greys, [0, 229, 255], 1)


def test_an_avif_in_pq_is_tone_mapped():
    data = colours.with_code_points(flat("AVIF", (148, 148, 148)), 9, 16)

    assert near(middle(data), [229] * 3, 2)
    assert notes(data) == ("tone_mapped",)


def test_a_profile_that_states_pq_is_tone_mapped():
    tags = [(b"cicp", b"cicp" + bytes(4) + bytes([9, 16, 0, 1]))]
    data = flat("PNG", (148, 148, 148), icc_profile=colours.profile(b"RGB ", tags))

    assert near(middle(data), [229] * 3, 1)


XMP = b"http://ns.adobe.com/xap/1.0/\0<x xmlns:hdrgm='http://ns.adobe.com/hdr-gain-map/1.0/'/>"


@pytest.mark.parametrize("segment", [(0xE1, XMP), (0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0")])
def test_of_a_picture_with_a_gain_map_the_base_is_used_and_that_is_said(segment):
    data = with_segments(flat("JPEG", icc_profile=P3.icc()), segment)

    assert near(middle(data), meant(P3))
    assert notes(data) == ("base_picture",)
