"""What the API of a running server answers, as far as the commands read it."""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict


class Picture(TypedDict):
    """One picture of a result."""

    url: str
    """Its path ends with the name of the file."""
    type: str
    """Media type."""


class Note(TypedDict):
    """Something about a result that people should know."""

    code: str
    message: str


class Result(TypedDict):
    """What a job has made."""

    kind: NotRequired[str]
    """Of the model: `matte`, `boxes`, `labels` or `volume`."""
    width: int
    """Of the upright photo, in pixels."""
    height: int
    objects: Mapping[str, Picture]
    data: Mapping[str, Any]
    notes: NotRequired[list[Note]]


class Failure(TypedDict):
    """Why a job or a request failed."""

    code: NotRequired[str]
    message: str
    hint: NotRequired[str | None]


class Job(TypedDict):
    """A job as the API answers; other fields are passed on as they are."""

    id: str
    state: str
    stage: str | None
    progress: float
    """From 0 to 1."""
    slices: NotRequired[Mapping[str, int] | None]
    """Of a volume in its model: how many are `done`, and the `total`."""
    position: int | None
    """Place in the queue; 1 is next."""
    cached: bool
    degraded: bool
    degraded_reason: str | None
    asked_model: NotRequired[str | None]
    """The model that was asked for, where the lighter `model` computed it."""
    error: Failure | None
    result: Result


class Profile(TypedDict):
    """One of the profiles of a model."""

    ms_per_image: float
    weights_bytes: int
    licence: str


class Model(Profile):
    """A model as the API answers; its own times and sizes are of its first profile."""

    name: str
    title: str
    kind: str
    input: NotRequired[str]
    """What it takes: `image` or `volume`."""
    live: bool
    """Whether a worker serves it now."""
    params: Mapping[str, Any]
    """JSON schema of its parameters."""
    device: str
    profiles: NotRequired[Mapping[str, Profile]]


class SignedUpload(TypedDict):
    """Where and how to send the bytes of a file."""

    id: str
    url: str
    method: str
    headers: Mapping[str, str]
