"""Small photos that nobody has sent before."""

import io
import itertools

from PIL import Image

_numbers = itertools.count()


def fresh_photo() -> bytes:
    """A PNG of 64 x 48 pixels in a colour that no other of this process has."""
    number, out = next(_numbers), io.BytesIO()
    Image.new("RGB", (64, 48), (number % 256, number // 256, 7)).save(out, "PNG")
    return out.getvalue()
