"""Stage 3, queue `cpu`: the model's array -> objects and JSON; the end of the run."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from celery import Task
from numpy.typing import NDArray

from storage import object_keys
from storage.jobs.endings import End
from storage.jobs.result import StoredObject, StoredResult
from storage.redis.calls import Batch
from tasks import pictures
from tasks.app import app
from tasks.clients import objects, scratch
from tasks.imaging.sinks import Encoded
from tasks.imaging.thumbnail import thumbnail
from tasks.imaging.types import NO_IMAGE, Image
from tasks.message import Message
from tasks.models import contract
from tasks.models.base import File, Output
from tasks.results import cache_batch, new_edition, save, stored_bytes, to_json
from tasks.runner import run_stage
from tasks.settings import settings
from tasks.stage import Stage
from tasks.work import NO_UPLOAD, UploadInfo, Work

THUMBNAIL = "thumbnail-256"
"""Its name in the edition; no picture of a model has that."""
STAGE = Stage("postprocess", "postprocessing", 0.85, 1.0)


@app.task(name="postprocess", bind=True)
def postprocess(self: "Task[Any, Any]", message: Message) -> None:
    """Finish each run: the model's postprocess, encoding, saving."""
    cache = cache_batch()
    run_stage(self, STAGE, message, lambda work: conclude(work, cache))


def conclude(work: Work, cache: Batch[Any]) -> End | Callable[[], End]:
    """Store one run's images: the function that waits until its result is saved.

    A degraded result ends the run at once.
    """
    is_volume = work.model.input == "volume"
    image, upload = (NO_IMAGE, NO_UPLOAD) if is_volume else _image(work)
    array, is_degraded = _inferred(work)
    subject: Any = work.volume() if is_volume else image
    output = _finished(work, array, subject)
    made = pictures.made(work, output, image, upload)
    edition = new_edition(work.spec)
    result: StoredResult = {
        "kind": work.model.kind,
        "width": upload["width"],
        "height": upload["height"],
        "orientation": upload["orientation"],
        "browsers_agree": upload["browsers_agree"],
        "notes": [*upload["notes"], *output.notes, *made.notes],
        "objects": _store(edition, made.pictures) | _store_files(edition, output.files),
        "data": {**_in_upload_pixels(output.data, image, upload["width"]), **made.data},
    }
    shown = output.images.get("preview", image) if is_volume else image
    if small := _thumbnail(work, shown, output.images.get("alpha")):
        result["thumbnail"] = _store(edition, {THUMBNAIL: small})[THUMBNAIL]
    if is_degraded:  # not saved: the next attempt may find the device free
        return End(work.ref, "done", to_json({**result, "degraded": True}), degraded=True)
    saved = save(work.spec, edition, result, cache)
    size, made_s = stored_bytes(result), object_keys.edition_made_s(edition)
    return lambda: End(work.ref, "done", saved(), stored_bytes=size, made_s=made_s)


def _finished(work: Work, array: NDArray[Any], subject: Any) -> Output:
    """What the model makes of its array."""
    model, asked = work.model, (work.params, work.spec.output)
    small = () if model.glance is None else (work.glance(),)
    return contract.finished(model.postprocess(array, subject, *asked, *small), model, subject)


def _inferred(work: Work) -> tuple[NDArray[Any], bool]:
    """What the device made of it, and whether it was the fallback that made it."""
    dtype = None if work.model.input == "volume" else np.float32
    try:
        return np.asarray(scratch().get(work.scratch("output")), dtype), False
    except FileNotFoundError:
        return np.asarray(work.array("degraded"), dtype), True


def _image(work: Work) -> tuple[Image, UploadInfo]:
    """The upright image, and what is known of the upload that it comes from."""
    if work.model.decode == "none":
        return NO_IMAGE, NO_UPLOAD
    return np.asarray(work.array("image"), np.uint8), work.upload_info()


def _thumbnail(work: Work, image: Image, matte: Any) -> Encoded | None:
    """The small picture for lists of jobs; None where there is no photo, or none is wanted."""
    if not image.size or not settings().thumbnails:
        return None
    return thumbnail(image, matte if work.model.kind == "matte" else None)


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


def _store(edition: str, pictures: Mapping[str, Encoded]) -> dict[str, StoredObject]:
    """Put the pictures into the edition's folder."""
    stored: dict[str, StoredObject] = {}
    for name, picture in pictures.items():
        key = f"{edition}{name}.{picture.media_type.rpartition('/')[2]}"
        objects().put(key, picture.data, picture.media_type)
        stored[name] = {
            "key": key,
            "type": picture.media_type,
            "width": picture.width,
            "height": picture.height,
            "bytes": len(picture.data),
        }
    return stored


def _store_files(edition: str, files: Mapping[str, File]) -> dict[str, StoredObject]:
    """Put the files into the edition's folder. They have no size in pixels: 0."""
    stored: dict[str, StoredObject] = {}
    for full_name, file in files.items():
        key = f"{edition}{full_name}"
        objects().put(key, file.data, file.media_type)
        size = len(file.data)
        stored[full_name.partition(".")[0]] = {
            "key": key, "type": file.media_type, "width": 0, "height": 0, "bytes": size,
        }  # fmt: skip
    return stored
