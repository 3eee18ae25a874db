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
from tasks.imaging.sinks import Encoded
from tasks.imaging.types import Alpha, Image
from tasks.models.base import Output
from tasks.models.cutouts import CutoutParams
from tasks.settings import settings
from tasks.work import UploadInfo, Work

BACKDROP_SIDE = 4096
"""Longest side in pixels at which an upload is used as background."""
_SMALL = ("preview", "edge_colours")
"""Pictures for which the image that was worked on is always large enough."""


@dataclass(frozen=True)
class Made:
    """The pictures, and what the answer says of them."""

    pictures: Mapping[str, Encoded]
    data: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def made(work: Work, output: Output, image: Image, upload: UploadInfo) -> Made:
    """All pictures of a result. Raises BadInput or WrongBytes if the background cannot be used."""
    own = {name: picture for name, picture in output.images.items() if name != "alpha"}
    encoded = dict(_encoded(name, picture) for name, picture in own.items())
    if work.model.kind != "matte":
        alpha = {"alpha": output.images["alpha"]} if "alpha" in output.images else {}
        return Made(encoded | dict(_encoded(name, picture) for name, picture in alpha.items()))
    if "alpha" not in output.images:
        raise ModelFailure(f"the model {work.spec.model} has returned no `alpha`")
    cut = _cut_out(work, output.images["alpha"], image, upload)
    return Made(encoded | _named(cut.pictures), _crop(work, cut, upload), _notes(work, cut))


def _encoded(full_name: str, picture: Any) -> tuple[str, Encoded]:
    """A model's own picture, in the format that its name ends in."""
    name, _, form = full_name.partition(".")
    form = form or ("png" if picture.ndim == 2 else "webp")
    height, width = picture.shape[:2]
    data = encode.ENCODERS[form](picture, b"")
    return name, Encoded(data, sinks.MEDIA_TYPES[form], width, height)


def _cut_out(work: Work, matte: Alpha, image: Image, upload: UploadInfo) -> Composed:
    params = work.params if isinstance(work.params, CutoutParams) else CutoutParams()
    fields = params.model_dump(include=set(Look.__dataclass_fields__))
    look, names = Look(**fields), [name for name in work.spec.output if name in cutouts.NAMES]
    backdrop = _backdrop(work, look)
    keeps = params.colour == "keep"
    if _needs_upload(upload, image, look, names, keeps):
        data = uploads.read(work.spec)
        limits = settings().guard_limits
        header = guard.complete(data, guard.check(data, limits), limits)
        photo = None if keeps or upload["has_alpha"] else image
        return codec.compose(data, header, matte, backdrop, look, names, keeps, photo)
    subject = Subject(image, matte)
    frame = cutouts.frame_of(subject, (upload["height"], upload["width"]), look)
    photo = geometry.resize(image, frame.height, frame.width)
    return Composed(cutouts.compose([photo], subject, frame, look, names, backdrop), frame)


def _needs_upload(
    upload: UploadInfo, image: Image, look: Look, names: Sequence[str], keeps: bool
) -> bool:
    """Whether more of the upload is needed than the image that was worked on."""
    if upload["has_alpha"] or keeps:
        return True
    longest = min(look.max_side or upload["width"], max(upload["width"], upload["height"]))
    is_larger = longest > max(image.shape[:2])
    return is_larger and any(name not in _SMALL for name in names)


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
    params = work.params
    chosen = params.format if isinstance(params, CutoutParams) else "webp"
    asked = {name: form or chosen for name, form in cutouts.CUTOUTS.items()}
    others = [
        name
        for name, picture in cut.pictures.items()
        if name in asked and picture.media_type != sinks.MEDIA_TYPES[asked[name]]
    ]
    return ("written_as_png",) if others else ()
