"""Opens an AVIF: libavif (libavif.py), a few rows at a time."""

import io
from collections.abc import Iterator

from PIL import AvifImagePlugin
from PIL import Image as Picture

from tasks.imaging import colour
from tasks.imaging.geometry import Pixels
from tasks.imaging.header import Header
from tasks.imaging.sources import base, libavif
from tasks.imaging.sources.base import Source

AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def open_source(data: bytes, header: Header) -> Source:
    """The picture in a file that the guard has accepted as an AVIF."""
    picture = Picture.open(io.BytesIO(data), formats=("AVIF",))
    base.check_size(picture, header)
    info = {**picture.info, "code_points": libavif.code_points(data)}
    channels, rows = 4 if "A" in picture.mode else 3, picture.height

    def strips() -> Iterator[Pixels]:
        return libavif.strips(data, channels, header.pixels, base.STRIP_ROWS)

    return Source(
        picture.width,
        rows,
        colour.find(data, header, info),
        strips,
        lambda height, width: base.shrink(strips(), rows, (height, width)),
        base.orientation_of(picture),
    )
