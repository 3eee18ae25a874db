"""What routes of links take and answer: for the OpenAPI document, and to validate requests."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from web.api.schemas import Failure


class ShareRequest(BaseModel):
    """Which picture a link shows, and for how long."""

    model_config = ConfigDict(extra="forbid")

    object: str = Field(
        max_length=64,
        description="Its name in the job's `result.objects`.",
        json_schema_extra={"pattern": "^[a-z0-9_-]+$"},
    )
    expires_s: int = Field(
        default=7 * 86_400,
        ge=1,
        le=366 * 86_400,
        description="Seconds for which the link works, at most until the result is removed.",
    )


class Share(BaseModel):
    """A link to one picture."""

    id: str
    job: str
    object: str
    url: str = Field(description="Whoever has it sees the picture, without a key or a cookie.")
    created: datetime
    expires: datetime


class Shares(BaseModel):
    """Your links that still work."""

    shares: list[Share]


OFF: dict[str, Any] = {"model": Failure, "description": "This server makes no links."}
TOO_MANY: dict[str, Any] = {"model": Failure, "description": "You have as many as one may."}
