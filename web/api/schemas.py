"""Requests and answers of the API: for the OpenAPI document, and to validate requests."""

from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal

from fastapi import Header, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from storage.states import Priority
from web.api.option_fields import DEADLINE, KEEP, LIGHTER
from web.jobs.submission import MAX_NAME, OUTPUTS
from web.jobs.uploads import ALIASES, MEDIA_TYPES, VOLUME_TYPES
from web.middleware.validation import OBJECT_ID
from web.rate_limit import LIMITED

PREFIX = "/api/v1"
TAGS: list[str | Enum] = ["pixelmill"]

State = Literal[
    "queued", "preprocessing", "inferring", "postprocessing", "done", "failed", "cancelling",
    "cancelled",
]  # fmt: skip
VARIANT = Field(
    default="original",
    pattern="^[a-z0-9.-]{1,32}$",
    description="How the client changed the original before sending, e.g. `jpeg-2048`.",
)
MAX_OUTPUT = 200
"""Characters of the names of what to make."""
MOST_WAIT_S = 300
WAIT = Field(
    default=30,
    ge=0,
    le=MOST_WAIT_S,
    allow_inf_nan=False,
    description="Seconds to wait for the job's end.",
)
Wait = Annotated[
    float,
    Query(ge=0, le=MOST_WAIT_S, allow_inf_nan=False, description=WAIT.description),
]
MAX_KEY = 200
"""Characters of an Idempotency-Key."""
KEY_PATTERN = "^[!-~]([ -~]*[!-~])?$"
KEY_TEXT = "The same request with the same key within a day gets the same job."
IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=MAX_KEY,
        description=KEY_TEXT,
        json_schema_extra={"pattern": KEY_PATTERN},
    ),
]
# What follows is for readers of the document. A name or an id of another form is answered 404, as
# one of something that does not exist, and not as a parameter that is wrong.
ID: dict[str, Any] = {"pattern": f"^{OBJECT_ID.pattern}$"}
MODEL_NAME: dict[str, Any] = {"pattern": "^[a-z_][a-z0-9_]{0,63}$"}
JobId = Annotated[str, Path(description="The id of one of your jobs.", json_schema_extra=ID)]
ModelName = Annotated[
    str, Path(description="One of the names in GET /models.", json_schema_extra=MODEL_NAME)
]
UploadId = Annotated[str, Field(max_length=64, json_schema_extra=ID)]
ONE_IMAGE: dict[str, Any] = {
    # With oneOf alone, makers of clients take the body for three types without the other fields.
    "if": {
        "oneOf": [
            {"required": [name], "properties": {name: {"type": kind}}}
            for name, kind in (("upload", "string"), ("uploads", "array"), ("sha256", "string"))
        ]
    },
    "else": False,
}
URL_TEXT = "Address of the image, instead of its bytes; only where the server allows that."
SIZE = Field(gt=0, description="Bytes that will be sent; signed into the address.")
TYPE = Field(
    default="image/jpeg",
    pattern="^(image|application)/[a-z0-9.+-]{1,32}$",
    description="Content-Type that will be sent; signed into the address.",
    json_schema_extra={"enum": [*MEDIA_TYPES, *VOLUME_TYPES, *ALIASES]},
)


class Error(BaseModel):
    """Why something failed: `code` is for programs, `message` and `hint` for people."""

    code: str
    message: str
    hint: str | None = Field(default=None, description="What to do about it.")
    limit: str | None = Field(default=None, description="Only in a 429: which limit is reached.")
    value: float | None = Field(default=None, description="Only in a 429: that limit's value.")
    retry_after_s: int | None = Field(
        default=None, description="Only in a 429: seconds after which to try again."
    )
    reference: str | None = Field(
        default=None, description="Only in a 500: what the server's log calls it."
    )
    jobs: list[str | None] | None = Field(
        default=None,
        description="Only of several `uploads`, of which some were refused: the ids of the jobs "
        "that were started, null for the others.",
    )


class Failure(BaseModel):
    """The body of every 4xx and 5xx."""

    error: Error


class Object(BaseModel):
    """One image or file of a result."""

    url: str = Field(description="Signed address; works for a few minutes.")
    type: str
    width: int = Field(description="0 of a file that is no picture, like `height`.")
    height: int
    bytes: int


class Note(BaseModel):
    """Something to know of how a file was read or written."""

    code: str
    message: str


class Result(BaseModel):
    """What a job has computed."""

    kind: Literal["matte", "boxes", "labels", "volume"]
    width: int = Field(description="Of the upright upload as it was received, in pixels.")
    height: int
    orientation: int = Field(
        ge=1, le=8, description="How the file was turned to be upright, as EXIF counts it."
    )
    browsers_agree: bool = Field(
        description="Whether browsers show the upload's colours as they were read, within some "
        "levels of 255, and all of it. If not, show `photo` instead of the upload."
    )
    notes: list[Note] = Field(description="What to know of how the file was read or written.")
    objects: dict[str, Object]
    thumbnail: Object | None = Field(
        description="A WebP of at most 256 pixels a side, for lists; null where there is no photo."
    )
    data: dict[str, Any]


class Slices(BaseModel):
    """How far a volume is on its way through its model."""

    done: int
    total: int


class Job(BaseModel):
    """What one user asked for, and how it is going."""

    id: str
    name: str | None = Field(description="What you called the photo.")
    created: datetime = Field(description="When it was asked for.")
    expires: datetime | None = Field(
        description="When it leaves the history, with its result; null while it is under way."
    )
    state: State
    model: str
    params: dict[str, Any]
    upload: str | None = Field(
        description="The upload that it was made from, for other jobs while that is kept."
    )
    cached: bool = Field(description="Answered by an earlier result.")
    degraded: bool = Field(
        description="Computed by something lighter than asked for: the model's fallback, or a "
        "lighter profile, setting or model while many people wait. What you name is never changed."
    )
    degraded_reason: str | None = Field(description="Why, as a sentence.")
    asked_model: str | None = Field(
        description="The model that you asked for, where the lighter `model` computes it."
    )
    priority: Priority
    progress: float = Field(ge=0, le=1)
    stage: Literal["preprocess", "inference", "postprocess"] | None
    slices: Slices | None = Field(
        description="How many of a volume's slices its model has computed; null before, and of "
        "pictures."
    )
    position: int | None = Field(
        description="Position in the queue until its model has computed it; 1 is next."
    )
    eta_s: float | None = Field(description="Estimated seconds until it ends.")
    result: Result | None
    timings_ms: dict[str, float]
    weights: str
    error: Error | None


class Jobs(BaseModel):
    """A page of your jobs, newest first."""

    jobs: list[Job]
    next: str | None = Field(
        description="Send it as `cursor` for the next page; null on the last one. A page may have "
        "fewer jobs than `limit`, or none, and still not be the last."
    )


class JobRequest(BaseModel):
    """Name the image in one of three ways: `upload`, `uploads`, or `sha256` and `variant`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=ONE_IMAGE)

    model: str = Field(max_length=64, json_schema_extra=MODEL_NAME)
    params: dict[str, Any] = Field(default={}, max_length=100)
    upload: UploadId | None = Field(default=None, description="Id of an upload.")
    uploads: list[UploadId] | None = Field(default=None, min_length=1, max_length=16)
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    variant: str = VARIANT
    size: int | None = Field(
        default=None,
        gt=0,
        description="Bytes of the file; without it a 409 has no address.",
    )
    type: str = TYPE
    priority: Priority = "interactive"
    keep: bool = KEEP
    lighter: bool = LIGHTER
    deadline_s: float | None = DEADLINE
    name: str = Field(
        default="",
        max_length=MAX_NAME,
        description="What you call the photo, to find it in your history. Erased with the job.",
    )
    or_upload: bool = Field(
        default=False,
        description="Only with `sha256`: where the bytes are not known, the answer is 202 with the "
        "address to send them to, and not 409.",
    )
    output: list[Literal[OUTPUTS]] | None = Field(  # type: ignore[valid-type]  # one list of names
        default=None, max_length=len(OUTPUTS)
    )


class UploadRequest(BaseModel):
    """A file that is about to be sent."""

    model_config = ConfigDict(extra="forbid")

    size: int = SIZE
    type: str = TYPE
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    variant: str = VARIANT


class Upload(BaseModel):
    """Where and how to send the bytes: exactly this method and these headers."""

    id: str
    url: str
    method: Literal["PUT"]
    headers: dict[str, str]
    expires_s: int


class UploadAnswer(BaseModel):
    """The upload that was created."""

    upload: Upload


class UploadNeeded(BaseModel):
    """The body of a 409 `upload_needed`, or of a 202 where the request says `or_upload`."""

    error: Error
    upload: Upload | None = Field(description="Null if the request has no `size`.")


FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure, "description": why}
    for status, why in {
        401: "Not signed in (only where open mode is off).",
        403: "The API key lacks a scope, or a page of another site may not do this.",
        404: "There is no such model, upload or job, or it is not yours.",
        413: "The file is too large.",
        415: "Not an image type that is accepted.",
        422: "The image or a parameter is wrong.",
        429: "Too much is waiting; Retry-After says when to try again.",
        503: "No worker, or storage does not answer; Retry-After says when to try again.",
    }.items()
}
"""Answers that every route may give, for the OpenAPI document."""
ADMINS_ONLY: dict[str, Any] = {"model": Failure, "description": "Only admins may see this."}
JOB: dict[int | str, dict[str, Any]] = {
    **FAILURES,
    200: {"model": Job, "description": "The job has ended.", **LIMITED},
    202: {"model": Job, "description": "The job is under way.", **LIMITED},
    **{status: {**FAILURES[status], **LIMITED} for status in (413, 415, 422, 429, 503)},
}
"""Answers of routes that create jobs. One that has failed is answered like a wrong request."""
