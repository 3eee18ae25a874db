"""Stage 1, queue `cpu`: the upload's bytes -> the array that the model wants."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from celery import Task

from storage import keys
from storage.redis.calls import Batch
from tasks.app import app
from tasks.clients import objects, scratch
from tasks.errors import WrongBytes
from tasks.imaging import codec, guard
from tasks.imaging.types import NO_IMAGE, Image
from tasks.message import PROBE, Message
from tasks.results import adopt, gathered, recall
from tasks.runner import run_stage
from tasks.settings import settings
from tasks.stage import Stage
from tasks.work import OPAQUE, TRANSPARENT, Work

MAX_SIDE = 2048
"""Longest side that is worked on; larger uploads are decoded smaller."""

STAGE = Stage("preprocess", "preprocessing", 0.05, 0.25)


@app.task(name="preprocess", bind=True)
def preprocess(self: "Task[Any, Any]", carried: Message) -> None:
    """Read, check and decode each run's upload; keep the arrays for inference."""
    cache = gathered()
    run_stage(self, STAGE, carried, lambda work: prepare(work, cache))


def prepare(work: Work, cache: Batch[Any]) -> str | Callable[[], str | None]:
    """Read one upload; its result's JSON if that exists already, else what goes on with it."""
    known = recall(work.spec)
    if known:
        return known
    data = _read(work)
    if work.spec.model.startswith(PROBE):  # is to go all the way, and to leave nothing behind
        _checked_sha256(work, data)
        _put_input(work, data)
        return lambda: None
    adopted = adopt(work.spec, _checked_sha256(work, data), cache)

    def go_on() -> str | None:
        known = adopted()
        if known is None:
            _put_input(work, data)
        return known

    return go_on


def _put_input(work: Work, data: bytes) -> None:
    """Decode into scratch."""
    image = NO_IMAGE if work.model.decode == "none" else _decode(work, data)
    scratch().put(work.scratch("input"), work.model.preprocess(image, work.params))


def _decode(work: Work, data: bytes) -> Image:
    """The upright image; what postprocess needs of it is kept."""
    limits = settings().guard_limits
    decoded = codec.decode(data, guard.check(data, limits), MAX_SIDE, limits=limits)
    scratch().put(work.scratch("image"), decoded.image)
    kind = OPAQUE if decoded.alpha is None else TRANSPARENT
    scratch().put(work.scratch("size"), np.array((decoded.width, decoded.height), kind))
    if decoded.alpha is not None:
        scratch().put(work.scratch("alpha"), decoded.alpha)
    return decoded.image


def _read(work: Work) -> bytes:
    spec = work.spec
    try:
        data = objects().get(keys.upload_object(spec.user, spec.upload), spec.etag)
    except FileNotFoundError as error:
        raise WrongBytes(
            "the uploaded file is gone or was changed after the job was asked for",
            code="upload_gone",
            hint="Upload it again.",
        ) from error
    return data


def _checked_sha256(work: Work, data: bytes) -> str:
    sha256 = hashlib.sha256(data).hexdigest()
    if work.spec.body_sha256 not in ("", sha256):
        raise WrongBytes(
            "the uploaded bytes do not have the SHA-256 that was declared",
            code="hash_mismatch",
            hint="Upload the file again.",
        )
    return sha256
