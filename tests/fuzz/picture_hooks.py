"""What schemathesis sends as pictures: small ones that models take, and some that are none."""

import io

import schemathesis
from hypothesis import strategies
from PIL import Image

from web.jobs.uploads import MEDIA_TYPES


def picture(red: int, kind: str) -> bytes:
    """A picture of 16 x 16 pixels."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (red, 90, 30)).save(file, kind)
    return file.getvalue()


pictures = strategies.builds(
    picture, strategies.integers(0, 255), strategies.sampled_from(["png", "jpeg", "bmp", "webp"])
)
for media_type in (*MEDIA_TYPES, "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, pictures | strategies.binary(max_size=200))
