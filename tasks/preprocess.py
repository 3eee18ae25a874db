"""Stage 1, queue `cpu`: the upload's bytes -> the array that the model needs."""

import hashlib
from collections.abc import Callable
from typing import Any

from celery import Task
from numpy.typing import NDArray

from storage.jobs.endings import End
from storage.redis.calls import Batch
from tasks import pictures, uploads
from tasks.app import app
from tasks.clients import scratch
from tasks.errors import WrongBytes
from tasks.imaging import codec, guard
from tasks.imaging.types import NO_IMAGE, Image
from tasks.imaging.volumes.opening import open_volume
from tasks.message import PROBE, Message
from tasks.models import contract
from tasks.results import cache_batch, restore, reuse, saved_end
from tasks.runner import run_stage
from tasks.settings import settings
from tasks.stage import Stage
from tasks.work import UploadInfo, Work

MAX_SIDE = 2048
"""Longest side in pixels that is worked on; larger uploads are decoded to this size."""

STAGE = Stage("preprocess", "preprocessing", 0.05, 0.25)


@app.task(name="preprocess", bind=True)
def preprocess(self: "Task[Any, Any]", message: Message) -> None:
    """Read, check and decode each run's upload; store the arrays for inference."""
    cache = cache_batch()
    run_stage(self, STAGE, message, lambda work: prepare(work, cache))


def prepare(work: Work, cache: Batch[Any]) -> str | Callable[[], End | None]:
    """Read one upload: its result's JSON if that exists, else the function that continues."""
    restored = restore(work.spec)
    if restored:
        return restored
    data = uploads.read(work.spec)
    if work.spec.model.startswith(PROBE):  # goes through all stages and leaves nothing behind
        _checked_sha256(work, data)
        _put_input(work, data)
        return lambda: None
    reused = reuse(work.spec, _checked_sha256(work, data), cache)

    def finish() -> End | None:
        result = reused()
        if result is None:
            _put_input(work, data)
            return None
        return saved_end(work.ref, result)

    return finish


def _put_input(work: Work, data: bytes) -> None:
    """Decode the upload and store the model's array, of a volume one for all slices."""
    if work.model.input == "volume":
        subject: Any = open_volume(
            data,
            settings().volume_limits(work.spec.model),
            with_source=work.model.needs_source(work.params),
        )
        work.put_volume(subject)
    else:
        subject = NO_IMAGE if work.model.decode == "none" else _decode(work, data)
    scratch().put(work.scratch("input"), _prepared(work, subject))


def _prepared(work: Work, subject: Any) -> NDArray[Any]:
    """The model's array. The small picture that it is made of is kept, if postprocess needs it."""
    model = work.model
    if model.glance is None:
        return contract.prepared(model.preprocess(subject, work.params), model)
    small = model.glance(subject, work.params)
    scratch().put(work.scratch("glance"), small)
    return contract.prepared(model.preprocess(subject, work.params, small), model)


def _decode(work: Work, data: bytes) -> Image:
    """The upright image. What postprocess needs of it is stored."""
    limits = settings().guard_limits
    decoded = codec.decode(data, guard.check(data, limits), MAX_SIDE, limits=limits)
    scratch().put(work.scratch("image"), decoded.image)
    info: UploadInfo = {
        "width": decoded.width,
        "height": decoded.height,
        "orientation": decoded.orientation,
        "browsers_agree": decoded.browsers_agree,
        "has_alpha": decoded.alpha is not None,
        "notes": decoded.notes,
    }
    work.put_upload_info(info)
    if pictures.needs_file(work, decoded.image, info):
        work.keep_file(data)
    return decoded.image


def _checked_sha256(work: Work, data: bytes) -> str:
    sha256 = hashlib.sha256(data).hexdigest()
    if work.spec.body_sha256 not in ("", sha256):
        raise WrongBytes(
            "the uploaded bytes do not have the SHA-256 that was declared",
            code="hash_mismatch",
            hint="Upload the file again.",
        )
    return sha256
