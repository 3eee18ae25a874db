"""What goes over the wire, for the OpenAPI document and for checking what comes in."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from storage.catalogue import GONE_S
from web.jobs.service import LONGEST_DEADLINE_S, OUTPUTS

State = Literal[
    "queued", "preprocessing", "inferring", "postprocessing", "done", "failed", "cancelling",
    "cancelled",
]  # fmt: skip
MEDIA_TYPES = ("image/jpeg", "image/png", "image/webp", "image/avif")
VARIANT = Field(
    default="original",
    pattern="^[a-z0-9.-]{1,32}$",
    description="How the client changed the original before sending, e.g. `jpeg-2048`.",
)
KEEP = Field(
    default=True,
    description="False: the job is cancelled when nobody has looked at it for 30 s.",
)
DEADLINE = Field(
    default=None,
    gt=0,
    le=LONGEST_DEADLINE_S,
    allow_inf_nan=False,
    description="Seconds until it fails as `expired`. Default: 120, in the batch priority 3600.",
)
SIZE = Field(gt=0, description="Bytes that will be sent; signed into the address.")
TYPE = Field(
    default="image/jpeg",
    pattern="^image/[a-z0-9.+-]{1,32}$",
    description="Content-Type that will be sent; signed into the address.",
)


class Error(BaseModel):
    """Why something failed, for programs (`code`) and people."""

    code: str
    message: str
    hint: str | None = Field(default=None, description="What to do about it.")
    limit: str | None = Field(default=None, description="Of a 429: the setting that is reached,")
    value: float | None = Field(default=None, description="what it is set to,")
    retry_after_s: int | None = Field(default=None, description="and when to come back.")


class Failure(BaseModel):
    """The body of every 4xx and 5xx."""

    error: Error


class Object(BaseModel):
    """One picture of a result."""

    url: str = Field(description="Signed address; good for a few minutes.")
    type: str
    width: int
    height: int
    bytes: int


class Result(BaseModel):
    """What came of a job."""

    kind: Literal["matte", "boxes", "labels"]
    width: int = Field(description="Of the upright upload as received, in pixels.")
    height: int
    objects: dict[str, Object]
    data: dict[str, Any]


class Job(BaseModel):
    """One thing that one user asked for."""

    id: str
    state: State
    model: str
    params: dict[str, Any]
    cached: bool = Field(description="Answered without any work.")
    degraded: bool = Field(description="Answered by the model's lighter stand-in.")
    priority: Literal["interactive", "batch"]
    progress: float = Field(ge=0, le=1)
    stage: Literal["preprocess", "inference", "postprocess"] | None
    position: int | None = Field(
        description="Place in line until it is through its model; 1 is first."
    )
    eta_s: float | None = Field(description="Estimated seconds until it ends.")
    result: Result | None
    timings_ms: dict[str, float]
    weights: str
    error: Error | None


class JobRequest(BaseModel):
    """Name the image in one of three ways: `upload`, `uploads`, or `sha256` and `variant`."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(max_length=64)
    params: dict[str, Any] = Field(default={}, max_length=100)
    upload: str | None = Field(default=None, max_length=64, description="Id of an upload.")
    uploads: list[Annotated[str, Field(max_length=64)]] | None = Field(
        default=None, min_length=1, max_length=16
    )
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    variant: str = VARIANT
    size: int | None = Field(
        default=None,
        gt=0,
        description="Bytes of the file; a 409 brings an address only where it is given.",
    )
    type: str = TYPE
    priority: Literal["interactive", "batch"] = "interactive"
    keep: bool = KEEP
    deadline_s: float | None = DEADLINE
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
    """A place for a file."""

    upload: Upload


class UploadNeeded(BaseModel):
    """The body of a 409 `upload_needed`."""

    error: Error
    upload: Upload | None = Field(description="Null where the request did not say the file's size.")


class ModelCard(BaseModel):
    """A model that can be asked."""

    name: str
    title: str
    kind: Literal["matte", "boxes", "labels"]
    live: bool = Field(description=f"False after {GONE_S} s without a worker that serves it.")
    params: dict[str, Any] = Field(description="JSON schema of its parameters.")
    licence: str
    intended_use: str
    fallback: str | None
    profiles: dict[str, dict[str, float]] = Field(
        description="Of each served value of the parameter `profile`: ms_per_image, weights_bytes."
    )
    device: str
    ms_per_image: float
    weights: str
    weights_bytes: int


class Models(BaseModel):
    """What live workers can do."""

    models: list[ModelCard]
