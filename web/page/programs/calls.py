"""What a program asks for by `/run`: read out of Gradio's body, and submitted as a job."""

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

import orjson
from fastapi import Request
from pydantic import BaseModel, Field

from tasks.errors import BadInput, JobError
from tasks.imaging import guard
from tasks.settings import settings
from web.fair_share import share_of
from web.fetching.fetch import fetched
from web.jobs.service import JobService, service_of
from web.jobs.sessions import Event
from web.jobs.submission import DEFAULT_OUTPUT, Photo, Submission
from web.jobs.uploads import no_upload
from web.middleware.identity import Identity, identity_of
from web.middleware.validation import OBJECT_ID, is_text, matches
from web.payer import payer_of

UNKNOWN_TYPE = "application/octet-stream"
DEFAULT_MODEL = "matting"
MATTE_OUTPUT = ("cutout",)
MAX_STEM = 60
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")


class Call(BaseModel):
    """The body of `queue/join`. Clients send more fields, which mean nothing here."""

    data: list[Any]
    fn_index: Literal[0]
    session_hash: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]


@dataclass(frozen=True)
class _Asked:
    """What is to be done with the photo."""

    model: str
    params: Mapping[str, Any]
    output: Sequence[str]
    """Names of pictures; none: those that suit the model."""
    stem: str
    """Name of the photo without its ending."""


async def store(service: JobService, identity: Identity, data: bytes) -> str:
    """Store the bytes of a photo as an upload of this user; returns its id.

    They may be no photo at all: the job that names them will say so. Gradio's client would show
    its user nothing of an upload that is refused but its status.
    """
    photo = await asyncio.to_thread(_photo, data, is_checked=False)
    known = await service.uploads.find(identity.user, photo.body_sha256, "original")
    return known or await service.uploads.receive(identity.user, payer_of(identity), photo)


async def submit(request: Request, call: Call) -> Event:
    """Submit the job of a call. Raises JobError or StorageDown if that is refused."""
    image, model, params, output = [*call.data, *[None] * 4][:4]
    path, stem = _file(image)
    names = tuple(name.strip() for name in _text(output, "output").split(",") if name.strip())
    asked = _Asked(_text(model, "model") or DEFAULT_MODEL, _params(params), names, stem)
    if not path.startswith(("http://", "https://")):
        return await _submit(request, asked, await _uploaded(request, path))
    async with fetched(request.scope, path) as data:
        photo = await asyncio.to_thread(_photo, data, is_checked=True)
        return await _submit(request, asked, photo)


async def _submit(request: Request, asked: _Asked, photo: Photo) -> Event:
    service, output = service_of(request), asked.output
    if not output:
        card = await service.catalogue.card(asked.model)
        output = MATTE_OUTPUT if card["kind"] == "matte" else DEFAULT_OUTPUT
    identity = identity_of(request)
    submission = Submission(
        identity.user, asked.model, photo, asked.params, output,
        keep=False,  # a program that has gone wants nothing more
        share=share_of(identity),
        payer=payer_of(identity),
    )  # fmt: skip
    snapshot = await service.submit(submission)
    return Event(snapshot.fields["id"], stem=asked.stem, wanted=tuple(output))


async def _uploaded(request: Request, path: str) -> Photo:
    upload_id = path.partition("/")[0]
    if not matches(OBJECT_ID, upload_id):
        raise no_upload(upload_id)
    return await service_of(request).uploads.photo(identity_of(request).user, upload_id)


def _photo(data: bytes, *, is_checked: bool) -> Photo:
    """The photo in these bytes. Raises BadInput if they must be one and are not."""
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        media_type = guard.check(data, settings().guard_limits).media_type
    except JobError:
        if is_checked:
            raise
        media_type = UNKNOWN_TYPE
    return Photo(
        f"{sha256}:original", len(data), data=data, media_type=media_type, body_sha256=sha256
    )


def _file(image: Any) -> tuple[str, str]:
    """(path or address, name without ending) of the file that a client names."""
    named = image if isinstance(image, Mapping) else {"path": image}
    path = named.get("path") or named.get("url")
    if not isinstance(path, str) or not is_text(path, 4096):
        raise BadInput(
            "there is no photo", code="bad_request", hint='Give it as handle_file("photo.jpg").'
        )
    name = PurePosixPath(str(named.get("orig_name") or path.partition("?")[0])).stem
    return path, _NOT_IN_NAMES.sub("-", name).strip("-")[:MAX_STEM] or "picture"


def _params(given: Any) -> Mapping[str, Any]:
    """The parameters, which clients give as a JSON object or as its text."""
    if isinstance(given, str) and given.strip():
        try:
            given = orjson.loads(given)
        except orjson.JSONDecodeError:
            given = [given]
    if not given:
        return {}
    if not isinstance(given, Mapping):
        raise BadInput('the parameters are not an object like {"refine": false}', code="bad_params")
    return given


def _text(given: Any, name: str) -> str:
    if given is None:
        return ""
    if not isinstance(given, str):
        raise BadInput(f"`{name}` must be a text", code="bad_request")
    return given
