"""Decodes images in a sandboxed process."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tasks.errors import BadInput
from tasks.imaging import cutouts, geometry, guard, notes, sandbox, sinks
from tasks.imaging.cutouts import Look
from tasks.imaging.frame import Frame
from tasks.imaging.guard import Header, Limits
from tasks.imaging.sinks import Encoded
from tasks.imaging.types import Alpha, Image

DECODER = "tasks.imaging.decoder:decode"
COMPOSER = "tasks.imaging.composer:compose"
"""What runs in the sandbox; names, because it is imported only there."""
_BASE_BYTES = 256 * 2**20
_BYTES_PER_PIXEL = 12
"""Of address space. Pillow reserves 8 for a WebP, libwebp 4; at most 6 are in use (for a JPEG)."""
_COMPOSED_BYTES_PER_PIXEL = 32
"""The same while pictures are made, the files in memory included."""
_EXTRA_BYTES = 3 * 2**20
"""Of a file beside its pixels: a kept colour profile has up to 1 MiB."""
_WALL_FACTOR = 4
"""How many times longer than the CPU time a busy machine may take."""


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
    browsers_agree: bool = True
    """Whether browsers show the upload in these colours, and all of it."""
    notes: tuple[str, ...] = ()
    """Codes of notes.py."""


@dataclass(frozen=True)
class Composed:
    """The pictures of a result."""

    pictures: Mapping[str, Encoded]
    frame: Frame
    """The part of the upload that they show."""


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
    header = guard.complete(data, header, limits)
    side = max(header.width, header.height)
    side = min(side, max_side) if max_side else side
    answer, memory = sandbox.run(
        DECODER,
        data,
        {"header": asdict(header), "max_side": side},
        _channels(header) * min(side * side, header.pixels),
        sandbox.Allowance(
            memory_bytes=_BASE_BYTES + _BYTES_PER_PIXEL * header.pixels,
            cpu_s=cpu_s,
            wall_s=cpu_s * _WALL_FACTOR,
        ),
    )
    return _decoded(answer, memory, header)


def compose(
    data: bytes,
    header: Header,
    matte: Alpha,
    backdrop: Image | None,
    look: Look,
    names: Sequence[str],
    keeps: bool = False,
    photo: Image | None = None,
    cpu_s: float = 60,
    limits: Limits = Limits(),  # noqa: B008 - frozen, never changed
) -> Composed:
    """Decode the upload at full size, and make the pictures of a result from it and its matte.

    `matte`: H x W, at the size of `decode`'s image. `backdrop`: what fills the background if that
    is an upload. `keeps`: the colour space stays. `photo`: the image that the matte is of, where
    it shows the upload's own colours; else it is decoded once more. Raises BadInput as `decode`
    does.
    """
    header = guard.complete(data, header, limits)
    images = {"matte": matte, "backdrop": backdrop, "photo": photo}
    given = b"".join([*(i.tobytes() for i in images.values() if i is not None), data])
    # Hardly anything is larger than its pixels; what is not written takes no memory.
    room = sum(_most_bytes(name, header) for name in names)
    answer, memory = sandbox.run(
        COMPOSER,
        given,
        {
            "header": asdict(header),
            "look": asdict(look),
            "names": list(names),
            "keeps": keeps,
            **{name: None if i is None else i.shape for name, i in images.items()},
        },
        room,
        sandbox.Allowance(
            memory_bytes=_BASE_BYTES + _COMPOSED_BYTES_PER_PIXEL * header.pixels + 2 * len(given),
            cpu_s=cpu_s,
            wall_s=cpu_s * _WALL_FACTOR,
        ),
    )
    return _composed(answer, memory)


def prepare() -> dict[str, str]:
    """Start the process that decoding needs, so that no picture waits for it.

    Call it before this process forks, so that all its children share one helper. Returns the
    layers of the sandbox: name -> `on`, or why it is off.
    """
    sandbox.start(DECODER)
    return sandbox.layers()


def _channels(header: Header) -> int:
    """The most that `decode` can find: those of RGBA, but a JPEG has no alpha."""
    return 3 if header.format == "jpeg" else 4


def _most_bytes(name: str, header: Header) -> int:
    is_in_colours = name in (cutouts.PHOTO, *cutouts.CUTOUTS)
    pixels = header.pixels if is_in_colours else header.pixels // 4
    return _EXTRA_BYTES + 5 * pixels


def _composed(answer: dict[str, Any], memory: sandbox.Memory) -> Composed:
    """The child's pictures. Its numbers are checked, since it may have been compromised."""
    pictures, start = {}, 0
    for name, size, media_type, width, height in answer["pictures"]:
        if name not in cutouts.NAMES or media_type not in sinks.MEDIA_TYPES.values():
            raise BadInput("This picture cannot be decoded.", code="decode_failed")
        end = start + int(size)
        pictures[name] = Encoded(memory[start:end].tobytes(), media_type, int(width), int(height))
        start = end
    return Composed(pictures, Frame(*(int(side) for side in answer["crop"])))


def _decoded(answer: dict[str, Any], memory: sandbox.Memory, header: Header) -> Decoded:
    """The child's pixels as arrays. Its numbers are checked, since it may have been compromised."""
    height, width = int(answer["height"]), int(answer["width"])
    area = height * width
    if height < 1 or width < 1 or (4 if answer["alpha"] else 3) * area > memory.size:
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
        browsers_agree=bool(answer["browsers_agree"]),
        notes=tuple(code for code in notes.SENTENCES if code in answer["notes"]),
    )
