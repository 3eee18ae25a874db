"""Settings of the pilot (web/pilot): a part of tasks/settings.py."""

from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_PAIR = "[a-z][a-z0-9_]*:[a-z][a-z0-9_]*"


class PilotSettings(BaseSettings):
    """Part of Settings."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    pilot: Literal["on", "dry", "off"] = "on"
    """Whether the pilot acts by itself: lighter settings under load, versions that fail are rolled
    back, more or fewer workers. `dry`: it only writes into its log what it would have done. `off`:
    it only says how many workers each model needs."""
    pilot_target_s: float = Field(2, gt=0)
    """95 of 100 jobs of people should end within this time, in seconds. Where they do not, new ones
    get lighter settings, where they name none."""
    default_profiles: str = ""
    """Comma-separated profiles of runs that name none, for example `matting:quality`, where gpu
    workers load them (`profiles`). The pilot lets new runs have a lighter one while many people
    wait. Empty: each model's first, which is its lightest."""
    pilot_fallbacks: str = Field("", pattern=f"^({_PAIR}(,{_PAIR})*)?$")
    """Comma-separated `model:lighter model`, for example `big:small`. Where no lighter profile is
    left, new jobs of the first are computed by the second while many people wait, if both answer
    with the same kind and the parameters suit it, unless they say `lighter=false` or name a
    profile."""
    pilot_target_wait_s: float = Field(5, gt=0)
    """In this time, in seconds, the workers of a model should be able to do all that waits: its
    work is divided by this to know how many workers it needs."""
    pilot_room: float = Field(2, ge=0)
    """How many workers are kept free for runs that happen to come together, in standard deviations
    of how many are busy. With 2, a run of twenty or so finds all workers busy; with 0.5, workers
    are busier and runs wait longer, though not much longer than the target wait."""
    pilot_settle_s: float = Field(300, gt=0)
    """How long jobs must be quick before the pilot gives back a heavier profile. There must be less
    work for twice as long before it stops a worker, or as long where far too many are left."""
    pilot_cooldown_s: float = Field(30, ge=0)
    """Least time between two actions of one rule on one model."""
    pilot_canary_percent: float = Field(10, ge=0, le=100)
    """How many of 100 new runs a new version of a model gets until it has served well. 0: it gets
    all at once."""
    pilot_workers: str = Field("", pattern=r"^([1-9][0-9]{0,3}\.\.[1-9][0-9]{0,3})?$")
    """How many gpu workers there may be, for example `1..4`. `pixelmill up` then starts and stops
    them as the work needs. Empty: no limit for an autoscaler of yours, and `pixelmill up` starts
    one worker per GPU."""

    @field_validator("pilot_workers")
    @classmethod
    def _check_order(cls, value: str) -> str:
        least, _, most = value.partition("..")
        if value and int(least) > int(most):
            raise ValueError(f"{least} is more than {most}; write the smaller number first")
        return value

    @property
    def fallback_models(self) -> dict[str, str]:
        """Model -> the one that takes its work while many people wait."""
        pairs = (of.partition(":") for of in self.pilot_fallbacks.split(",") if of)
        return {model: lighter for model, _, lighter in pairs}

    @property
    def worker_bounds(self) -> tuple[int, int] | None:
        """The least and the most gpu workers; None for no limits."""
        if not self.pilot_workers:
            return None
        least, most = map(int, self.pilot_workers.split(".."))
        return least, most
