"""Settings of the pilot (web/pilot): a part of tasks/settings.py."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class PilotSettings(BaseSettings):
    """Part of Settings."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    pilot: Literal["on", "dry", "off"] = "on"
    """Whether the pilot acts by itself: lighter profiles under load, versions that fail are rolled
    back, more or fewer workers. `dry`: it only writes into its log what it would have done. `off`:
    it only says how many workers each model needs."""
    pilot_target_s: float = Field(2, gt=0)
    """95 of 100 jobs of people should end within this time, in seconds. Where they do not, new ones
    get a lighter profile, unless they name one."""
    pilot_target_wait_s: float = Field(5, gt=0)
    """In this time, in seconds, the workers of a model should be able to do all that waits: its
    work is divided by this to know how many workers it needs."""
    pilot_settle_s: float = Field(300, gt=0)
    """How long it must be quiet before the pilot gives back a heavier profile or stops a worker."""
    pilot_cooldown_s: float = Field(30, ge=0)
    """Least time between two actions of one rule on one model."""
    pilot_canary_percent: float = Field(10, ge=0, le=100)
    """How many of 100 new runs a new version of a model gets until it has served well. 0: it gets
    all at once."""
