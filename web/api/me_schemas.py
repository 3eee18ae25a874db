"""What `/me` takes and answers: for the OpenAPI document, and to validate requests."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from web.api_keys import DEFAULT_SCOPES, Scope

MAX_NAME = 64
LONGEST_DAYS = 3650


class Kept(BaseModel):
    """How long what you have here is kept, in seconds."""

    uploads_s: int = Field(description="From when the photo was sent.")
    results_s: int = Field(
        description="From when the result was made. The jobs that it answers are kept as long, and "
        "a job without a result from its end on."
    )


class Limit(BaseModel):
    """A quota, and what is left of it."""

    limit: int | None = Field(description="The most, in images, bytes or jobs; null: no limit.")
    used: int
    left: int | None = Field(description="Null: no limit.")
    window_s: int | None = Field(description="Seconds of its window; null: it has none.")
    resets_in_s: int | None = Field(
        description="Seconds until there is more: its window ends, or the first of what is stored "
        "expires. Null: nothing is used."
    )


class Limits(BaseModel):
    """All quotas. New runs count, known results do not."""

    images_per_hour: Limit
    images_per_day: Limit
    bytes_per_hour: Limit
    bytes_per_day: Limit
    stored_bytes: Limit = Field(description="Of uploads and results that are kept at present.")
    jobs_in_flight: Limit


class Me(BaseModel):
    """Who you are to this server, and what you may do."""

    user: str
    kind: Literal["browser", "account", "key", "proxy", "oidc"] = Field(
        description="By what you are known; `browser` by a cookie alone."
    )
    role: Literal["user", "admin"]
    scopes: list[Scope] = Field(description="What this key may do; people may do all.")
    kept: Kept
    limits: Limits = Field(
        description="In open mode those of your address, and otherwise your own."
    )


class Key(BaseModel):
    """An API key, without the key itself."""

    id: str
    name: str
    prefix: str = Field(description="How the key begins, to tell it from others.")
    scopes: list[Scope]
    created: datetime
    expires: datetime | None = Field(description="Null: never.")
    last_used: datetime | None = Field(description="To the minute; null: never.")


class NewKey(Key):
    """A key that was just made."""

    key: str = Field(description="The key itself. It is shown this once, and stored as a hash.")


class Keys(BaseModel):
    """Your API keys, the oldest first."""

    keys: list[Key]


class KeyRequest(BaseModel):
    """The API key that is to be made."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(
        default="",
        max_length=MAX_NAME,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]*$",
        description="What you call it, for example `laptop`.",
    )
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=3)] = Field(
        default=list(DEFAULT_SCOPES),
        description="`read` sees jobs, results and models; `run` hands in work, cancels and "
        "deletes it; `admin` manages keys and data, and whatever else your role allows.",
    )
    days: float | None = Field(
        default=None,
        gt=0,
        le=LONGEST_DAYS,
        allow_inf_nan=False,
        description="Days until it expires; without it, it does not.",
    )


class Erasure(BaseModel):
    """Whether anything of yours is left."""

    state: Literal["erasing", "erased"]
