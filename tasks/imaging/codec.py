"""Decodes images in a sandboxed process, and encodes our own arrays in this one."""

import io
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from tasks.errors import BadInput
from tasks.imaging import geometry, guard, notes, sandbox
from tasks.imaging.guard import Header, Limits
from tasks.imaging.types import Alpha, Image

DECODER = "tasks.imaging.decoder:decode"
"""What runs in the sandbox; a name, because it is imported only there."""
_BASE_BYTES = 256 * 2**20
_BYTES_PER_PIXEL = 12
"""Of address space. Pillow reserves 8 for a WebP, libwebp 4; at most 6 are in use (for a JPEG)."""
_WALL_FACTOR = 4
"""How many times longer than the CPU time a busy machine may take."""
_TO_OPENCV = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}


@dataclass(frozen=True)
class Decoded:
    """A picture in the form that every model gets."""

    image: Image
    """Upright, and white where the upload is transparent. It may be read-only or not."""
    alpha: Alpha | None
    """The upload's own transparency at the image's size; None if everything is opaque."""
    width: int
    """Of the upload, upright."""
    height: int
    orientation: int = 1
    """How the file was turned, EXIF's 1..8."""
    notes: tuple[str, ...] = ()
    """Codes of notes.py."""


def decode(
    data: bytes,
    header: Header,
    max_side: int = 2048,
    cpu_s: float = 10,
    limits: Limits = Limits(),  # noqa: B008 - frozen, never changed
) -> Decoded:
    """Decode what the guard has accepted; the longer side of the image is at most `max_side`.

    With `max_side` 0 the size is kept. Raises BadInput (422), whatever is wrong with the bytes.
    """
    guard.check_scans(data, header, limits)
    side = max(header.width, header.height)
    side = min(side, max_side) if max_side else side
    answer, memory = sandbox.run(
        DECODER,
        data,
        {"header": asdict(header), "max_side": side},
        4 * min(side * side, header.pixels),
        sandbox.Allowance(
            memory_bytes=_BASE_BYTES + _BYTES_PER_PIXEL * header.pixels,
            cpu_s=cpu_s,
            wall_s=cpu_s * _WALL_FACTOR,
        ),
    )
    return _decoded(answer, memory, header)


def prepare() -> dict[str, str]:
    """Start the process that decoding needs, so that no picture waits for it.

    Call it before this process forks, so that all its children share one helper. Returns the
    layers of the sandbox: name -> `on`, or why it is off.
    """
    sandbox.start(DECODER)
    return sandbox.layers()


def encode_png(array: NDArray[np.uint8]) -> bytes:
    """H x W, H x W x 3 or H x W x 4 -> PNG at level 1: a tenth larger, five times faster."""
    clean = _without_hidden_colour(array)
    if clean.ndim == 3:
        clean = cv2.cvtColor(clean, _TO_OPENCV[clean.shape[2]])
    return cv2.imencode(".png", clean, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def encode_webp(array: NDArray[np.uint8], quality: int = 90) -> bytes:
    """H x W x 3 or H x W x 4 -> WebP. Method 2 takes a third of the time of 4, for 3 % more
    bytes."""
    return _by_pillow(array, "WEBP", quality=quality, method=2, alpha_quality=80, exact=False)


def encode_avif(array: NDArray[np.uint8], quality: int = 75) -> bytes:
    """H x W x 3 or H x W x 4 -> AVIF at the fastest speed."""
    return _by_pillow(array, "AVIF", quality=quality, speed=10, max_threads=1)


def _decoded(answer: dict[str, Any], memory: sandbox.Memory, header: Header) -> Decoded:
    """The child's pixels as arrays. Its numbers are checked, since it may have been compromised."""
    height, width = int(answer["height"]), int(answer["width"])
    area = height * width
    if height < 1 or width < 1 or 4 * area > memory.size:
        raise BadInput("This picture cannot be decoded.", code="decode_failed")
    orientation = int(answer["orientation"])
    is_turned = geometry.is_turned(orientation)
    upload = (header.height, header.width) if is_turned else (header.width, header.height)
    return Decoded(
        image=memory[: 3 * area].reshape(height, width, 3),
        alpha=memory[3 * area : 4 * area].reshape(height, width) if answer["alpha"] else None,
        width=upload[0],
        height=upload[1],
        orientation=orientation,
        notes=tuple(code for code in notes.SENTENCES if code in answer["notes"]),
    )


def _by_pillow(array: NDArray[np.uint8], name: str, **options: Any) -> bytes:
    picture = Picture.fromarray(_without_hidden_colour(array))
    buffer = io.BytesIO()
    picture.save(buffer, name, **options)
    return buffer.getvalue()


def _without_hidden_colour(array: NDArray[np.uint8]) -> NDArray[Any]:
    """RGBA with RGB zero where alpha is 0: what was removed must not be in the file."""
    if array.ndim != 3 or array.shape[2] != 4:
        return np.ascontiguousarray(array)
    shown = (array[..., 3] > 0).view(np.uint8)
    return cv2.bitwise_and(array, array, mask=shown)
