"""Stage 3, queue `cpu`: the model's array -> objects and JSON; the end of the run."""

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from celery import Task
from numpy.typing import NDArray

from storage.jobs.endings import End
from storage.jobs.result import StoredObject, StoredResult
from storage.redis.calls import Batch
from tasks.app import app
from tasks.clients import objects, scratch
from tasks.imaging import codec
from tasks.imaging.types import NO_IMAGE, Alpha, Image
from tasks.message import Message
from tasks.models.base import Output
from tasks.results import cache_batch, new_edition, save, to_json
from tasks.runner import run_stage
from tasks.stage import Stage
from tasks.work import NO_UPLOAD, UploadInfo, Work

STAGE = Stage("postprocess", "postprocessing", 0.85, 1.0)

ENCODERS: Mapping[str, tuple[str, Callable[[NDArray[np.uint8]], bytes]]] = {
    "png": ("image/png", codec.encode_png),
    "webp": ("image/webp", codec.encode_webp),
    "avif": ("image/avif", codec.encode_avif),
}


@app.task(name="postprocess", bind=True)
def postprocess(self: "Task[Any, Any]", message: Message) -> None:
    """Finish each run: the model's postprocess, encoding, saving."""
    cache = cache_batch()
    run_stage(self, STAGE, message, lambda work: conclude(work, cache))


def conclude(work: Work, cache: Batch[Any]) -> str | End | Callable[[], str]:
    """Store one run's images: its result's JSON, or the function that waits until it is saved.

    A degraded result ends the run at once.
    """
    image, upload = _image(work)
    alpha = _alpha(work, upload)
    array, is_degraded = _inferred(work)
    output = work.model.postprocess(array, image, work.params, work.spec.output)
    edition = new_edition(work.spec)
    result: StoredResult = {
        "kind": work.model.kind,
        "width": upload["width"],
        "height": upload["height"],
        "orientation": upload["orientation"],
        "notes": list(upload["notes"]),
        "objects": _store(edition, _with_own_alpha(work, output, alpha)),
        "data": _in_upload_pixels(output.data, image, upload["width"]),
    }
    if is_degraded:  # not saved: the next attempt may find the device free
        return End(work.ref, "done", to_json({**result, "degraded": True}), degraded=True)
    return save(work.spec, edition, result, cache)


def _inferred(work: Work) -> tuple[NDArray[np.float32], bool]:
    """What the device made of the image, and whether it was the fallback that made it."""
    try:
        return np.asarray(scratch().get(work.scratch("output")), np.float32), False
    except FileNotFoundError:
        return np.asarray(work.array("degraded"), np.float32), True


def _image(work: Work) -> tuple[Image, UploadInfo]:
    """The upright image, and what is known of the upload that it comes from."""
    if work.model.decode == "none":
        return NO_IMAGE, NO_UPLOAD
    return np.asarray(work.array("image"), np.uint8), work.upload_info()


def _alpha(work: Work, upload: UploadInfo) -> Alpha | None:
    """The upload's own alpha, at the image's size."""
    return np.asarray(work.array("alpha"), np.uint8) if upload["has_alpha"] else None


def _in_upload_pixels(data: Mapping[str, Any], image: Image, width: int) -> dict[str, Any]:
    """The data with every `box` scaled from the decoded image to the upload, which may be
    larger."""
    scale = width / image.shape[1] if image.size else 1.0

    def scaled(value: Any) -> Any:
        if not isinstance(value, dict) or "box" not in value:
            return value
        return {**value, "box": [round(side * scale, 1) for side in value["box"]]}

    return {
        name: [scaled(item) for item in value] if isinstance(value, list) else value
        for name, value in data.items()
    }


def _with_own_alpha(
    work: Work, output: Output, own: Alpha | None
) -> Mapping[str, NDArray[np.uint8]]:
    """What was transparent in the upload stays transparent in a cut-out."""
    if own is None or work.model.kind != "matte":
        return output.images
    return {name: _masked(picture, own) for name, picture in output.images.items()}


def _masked(picture: NDArray[np.uint8], own: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Multiply an H x W alpha, or the alpha of an H x W x 4 cut-out, by `own` of any size."""
    height, width = picture.shape[:2]
    fitted = cv2.resize(own, (width, height), interpolation=cv2.INTER_AREA)
    masked = picture.copy()
    alpha = masked if masked.ndim == 2 else masked[:, :, 3]
    alpha[:] = cv2.multiply(alpha, fitted, scale=1 / 255)
    return masked


def _store(edition: str, images: Mapping[str, NDArray[np.uint8]]) -> dict[str, StoredObject]:
    """Encode the images and put them into the edition's folder."""
    stored: dict[str, StoredObject] = {}
    for full_name, picture in images.items():
        name, _, ending = full_name.partition(".")
        ending = ending or ("png" if picture.ndim == 2 else "webp")
        media_type, encode = ENCODERS[ending]
        data = encode(picture)
        key = f"{edition}{name}.{ending}"
        objects().put(key, data, media_type)
        height, width = picture.shape[:2]
        stored[name] = {
            "key": key,
            "type": media_type,
            "width": width,
            "height": height,
            "bytes": len(data),
        }
    return stored
