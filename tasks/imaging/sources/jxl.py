"""Opens a JPEG XL: libjxl (libjxl.py)."""

from collections.abc import Iterator

from tasks.imaging import colour
from tasks.imaging.geometry import Pixels
from tasks.imaging.header import Header
from tasks.imaging.sources import base, libjxl
from tasks.imaging.sources.base import Source


def open_source(data: bytes, header: Header) -> Source:
    """The picture in a file that the guard has accepted as a JPEG XL."""
    about = libjxl.Decoder(data).about
    if (about.width, about.height) != (header.width, header.height):
        raise ValueError(f"the picture is {about.width} x {about.height}, header {header}")

    whole = base.region_of(lambda: libjxl.Decoder(data).pixels())

    def strips() -> Iterator[Pixels]:
        return base.sliced(whole(0, 0, about.width, about.height))

    return Source(
        about.width,
        about.height,
        colour.find(data, header, {"icc_profile": about.profile}),
        strips,
        lambda height, width: base.shrink(strips(), about.height, (height, width)),
        about.orientation,
        whole,
        ("tone_mapped",) if about.is_hdr else (),
    )
