"""What routes of the pilot answer: for the OpenAPI document."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field


class PilotModel(BaseModel):
    """One model as the pilot sees it."""

    at_ms: int
    is_fresh: bool = Field(description="Whether this tells of the present.")
    scaling: dict[str, float] = Field(description="`workers_wanted` and `wait_s`.")
    numbers: dict[str, float | None]
    rules: dict[str, str] = Field(description="Rule: why it acts, or does not.")
    order: dict[str, Any] = Field(description="What holds for new runs, and what is pinned of it.")


class Pilot(BaseModel):
    """All models."""

    paused: bool
    models: dict[str, PilotModel]


class Decision(BaseModel):
    """One thing that was done, or not."""

    id: str
    at: datetime
    model: str = Field(description="Empty: all.")
    rule: str
    action: str
    outcome: str = Field(description="`done`, or why not: `paused`, `pinned`, `cooldown`, ...")
    reason: str
    values: dict[str, float | None]
    thresholds: dict[str, float | None]
    samples: int
    alternatives: list[str]
    by: str = Field(description="`pilot`, or who asked for it.")
    effect: dict[str, float | None] | None = Field(description="Measured a minute later.")


class PilotLog(BaseModel):
    """A page of the log, newest first."""

    decisions: list[Decision]
    next: str | None = Field(description="Send it as `cursor` for the next page.")
