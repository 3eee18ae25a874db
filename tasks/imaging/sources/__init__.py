"""Opens and decodes the accepted formats, in the sandbox only.

libwebp and libavif, which Pillow brings, are called directly (libwebp.py, libavif.py). Pillow
itself holds such a picture two or three times at its full size. pyvips would be one dependency
instead, and can be confined as well, but costs more: on pictures of 40 megapixels 1.2 to 1.7 times
the CPU for WebP, and for AVIF 2.9 times the CPU and 600 MiB instead of 120.
"""

from collections.abc import Callable, Mapping

from PIL import Image as Picture

from tasks.imaging.header import Format, Header
from tasks.imaging.sources import avif, bmp, gif, heif, jpeg, jxl, png, tiff, webp
from tasks.imaging.sources.base import Source

# All plug-ins are imported now: a confined child can open no file, so it could not import them.
Picture.init()

_OPENERS: Mapping[Format, Callable[[bytes, Header], Source]] = {
    "jpeg": jpeg.open_source,
    "png": png.open_source,
    "webp": webp.open_source,
    "avif": avif.open_source,
    "heif": heif.open_source,
    "tiff": tiff.open_source,
    "bmp": bmp.open_source,
    "gif": gif.open_source,
    "jxl": jxl.open_source,
}


def open_source(data: bytes, header: Header) -> Source:
    """The picture in a file that the guard has accepted. Raises whatever its decoder raises."""
    source = _OPENERS[header.format](data, header)
    notes = source.colour.notes
    if header.animated and "base_picture" not in notes:  # a gain map is no second photo
        notes = ("first_frame", *notes)
    return source.noted(*notes)
