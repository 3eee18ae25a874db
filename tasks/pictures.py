"""The pictures of a run's result: those that its model has made, and cut-outs from its matte."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tasks import uploads
from tasks.errors import BadInput, ModelFailure
from tasks.imaging import codec, cutouts, encode, geometry, guard, sinks
from tasks.imaging.codec import Composed
from tasks.imaging.cutouts import Look, Subject
from tasks.imaging.notes import WRITTEN_AS_PNG
from tasks.imaging.sinks import Encoded
from tasks.imaging.types import Alpha, Image
from tasks.models.base import Output
from tasks.models.cutouts import CutoutParams
from tasks.models.previews import PREVIEW, PreviewParams
from tasks.settings import settings
from tasks.work import UploadInfo, Work

BACKDROP_SIDE = 4096
"""Longest side in pixels at which an upload is used as background."""


@dataclass(frozen=True)
class Made:
    """The pictures, and what the answer says of them."""

    pictures: Mapping[str, Encoded]
    data: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def made(work: Work, output: Output, image: Image, upload: UploadInfo) -> Made:
    """All pictures of a result. Raises BadInput or WrongBytes if the background cannot be used."""
    own = dict(output.images)
    matte = own.pop("alpha", None) if work.model.kind == "matte" else None
    preview = work.params.format if isinstance(work.params, PreviewParams) else ""
    encoded = dict(_encoded(name, picture, preview) for name, picture in own.items())
    if work.model.kind != "matte":
        return Made(encoded)
    if matte is None:
        raise ModelFailure(f"the model {work.spec.model} has returned no `alpha`")
    cut = _cut_out(work, matte, image, upload)
    return Made(encoded | _named(cut.pictures), _crop(work, cut, upload), _notes(work, cut))


def needs_file(work: Work, image: Image, upload: UploadInfo) -> bool:
    """Whether the pictures are made from the upload itself, and not from the image that was worked
    on: it has more pixels than that, transparency, or colours that are kept."""
    if work.model.kind != "matte":
        return False
    if _has_own_colours(work, upload):
        return True
    size = upload["height"], upload["width"]
    is_larger = max(geometry.fit(*size, _params(work).max_side or max(size))) > max(image.shape[:2])
    return is_larger and not cutouts.SMALL.keys() >= set(work.spec.output) & set(cutouts.NAMES)


def _encoded(full_name: str, picture: Any, preview: str) -> tuple[str, Encoded]:
    """A model's own picture, in the format that its name ends in.

    `preview`: the format of a picture of that name; empty where the request cannot choose it.
    """
    name, _, form = full_name.partition(".")
    form = form or (preview if name == PREVIEW else "")
    form = form or ("png" if picture.ndim == 2 else "webp")
    height, width = picture.shape[:2]
    data = encode.ENCODERS[form](picture, b"")
    return name, Encoded(data, sinks.MEDIA_TYPES[form], width, height)


def _cut_out(work: Work, matte: Alpha, image: Image, upload: UploadInfo) -> Composed:
    params = _params(work)
    fields = params.model_dump(include=set(Look.__dataclass_fields__))
    look, names = Look(**fields), [name for name in work.spec.output if name in cutouts.NAMES]
    backdrop = _backdrop(work, look)
    if needs_file(work, image, upload):
        data, limits = work.file(), settings().guard_limits
        photo = None if _has_own_colours(work, upload) else image
        return codec.compose(
            data, guard.check(data, limits), matte, backdrop, look, names,
            keeps=params.colour == "keep", photo=photo, limits=limits,
        )  # fmt: skip
    subject = Subject(image, matte)
    frame = cutouts.frame_of(subject, (upload["height"], upload["width"]), look)
    photo = geometry.resize(image, frame.height, frame.width)
    return Composed(cutouts.compose([photo], subject, frame, look, names, backdrop), frame)


def _has_own_colours(work: Work, upload: UploadInfo) -> bool:
    return upload["has_alpha"] or _params(work).colour == "keep"


def _params(work: Work) -> CutoutParams:
    """How the cut-outs are to look; the defaults where the model lets nobody choose."""
    return work.params if isinstance(work.params, CutoutParams) else CutoutParams()


def _backdrop(work: Work, look: Look) -> Image | None:
    """The upload that fills the background, if one does."""
    if look.background in ("", "blur") or look.background.startswith("#"):
        return None
    data, limits = uploads.read_other(work.spec, look.background), settings().guard_limits
    try:
        header = guard.check(data, limits)
        return codec.decode(data, header, BACKDROP_SIDE, limits=limits).image
    except BadInput as error:
        raise BadInput(
            f"The background cannot be used: {error}", code="bad_background", hint=error.hint
        ) from error


def _named(made: Mapping[str, Encoded]) -> dict[str, Encoded]:
    """The first cut-out is `cutout` whatever its format; further ones keep their own names.

    First in the order of CUTOUTS, since requests that differ in their order share a result.
    """
    first = next((name for name in cutouts.CUTOUTS if name in made), "")
    return {"cutout" if name == first else name: picture for name, picture in made.items()}


def _crop(work: Work, cut: Composed, upload: UploadInfo) -> Mapping[str, Any]:
    """Which part of the upload the pictures show, if not all of it."""
    frame = cut.frame
    whole = (0, 0, frame.width, frame.height)
    if (frame.left, frame.top, frame.right, frame.bottom) == whole:
        return {}
    scale = upload["width"] / frame.width
    box = np.array([frame.left, frame.top, frame.right, frame.bottom]) * scale
    return {"crop": [round(float(side), 1) for side in box]}


def _notes(work: Work, cut: Composed) -> Sequence[str]:
    chosen = _params(work).format
    asked = {name: form or chosen for name, form in cutouts.CUTOUTS.items()}
    others = [
        name
        for name, picture in cut.pictures.items()
        if name in asked and picture.media_type != sinks.MEDIA_TYPES[asked[name]]
    ]
    return (WRITTEN_AS_PNG,) if others else ()
