"""Settings of single models and of volumes: a part of tasks/settings.py."""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.imaging.volumes.limits import Limits

MIB = 2**20


@dataclass(frozen=True)
class ModelLimits:
    """What PIXELMILL_MODEL_LIMITS says of a model; 0 where it says nothing."""

    at_a_time: int = 0
    """Most runs of it that are worked on at a time; others wait in the backlog."""
    seconds: float = 0
    """Longest time that a run is worked on, in all stages together."""
    upload_mib: float = 0
    when_full: Literal["wait", "refuse"] = "wait"
    """What becomes of a run that comes while `at_a_time` others are in progress."""


class ModelSettings(BaseSettings):
    """Part of Settings."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    max_upload_mib: float = 25
    """Largest upload in MiB of a picture."""
    model_limits: str = ""
    """Limits of single models, for example `lungct:at_a_time=10,seconds=30;matting:seconds=5`.
    `at_a_time`: most runs that are worked on at a time; others wait, or with `when_full=refuse` are
    answered 429. `seconds`: longest work on a run, all stages together. `upload_mib`: largest
    upload."""
    max_volume_mib: float = Field(256, gt=0)
    """Largest upload in MiB for a model that takes volumes (series of slices)."""
    max_volume_raw_mib: float = Field(512, gt=0)
    """Most MiB of the voxels of a volume, once they are decoded."""
    max_slices: int = Field(1024, gt=0)
    """Most slices of a volume."""
    volume_limit_s: float = Field(300, gt=0)
    """Longest time in seconds that a run of a volume is worked on, all stages together."""
    keep_volumes: bool = False
    """Whether the upload of a volume is kept as long as other uploads. False: it is deleted when
    its run ends, as scans are of patients."""

    @field_validator("model_limits")
    @classmethod
    def _is_readable(cls, text: str) -> str:
        _parsed(text)
        return text

    @cached_property
    def limits_by_model(self) -> dict[str, ModelLimits]:
        """Model -> what `model_limits` says of it."""
        return _parsed(self.model_limits)

    def limits_of(self, model: str) -> ModelLimits:
        """What `model_limits` says of a model."""
        return self.limits_by_model.get(model, _NO_LIMITS)

    def max_bytes(self, model: str, takes: str) -> int:
        """Largest upload of a model that takes an `image` or a `volume`."""
        by_default = self.max_volume_mib if takes == "volume" else self.max_upload_mib
        return int((self.limits_of(model).upload_mib or by_default) * MIB)

    @property
    def largest_upload_bytes(self) -> int:
        """Largest upload of any model."""
        own = (limits.upload_mib for limits in self.limits_by_model.values())
        return int(max(self.max_upload_mib, self.max_volume_mib, *own) * MIB)

    def volume_limits(self, model: str) -> Limits:
        """How large a volume may be for a model."""
        raw_bytes = int(self.max_volume_raw_mib * MIB)
        return Limits(self.max_bytes(model, "volume"), raw_bytes, self.max_slices)


_NO_LIMITS = ModelLimits()


def _parsed(text: str) -> dict[str, ModelLimits]:
    """Raises ValueError for what is no `model:name=value,...;...`."""
    limits = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        model, colon, pairs = part.partition(":")
        if not colon:
            raise ValueError(f"{part!r} has no colon; expected model:name=value,name=value")
        limits[model.strip()] = ModelLimits(**dict(map(_pair, pairs.split(","))))
    return limits


def _pair(text: str) -> tuple[str, Any]:
    name, _, value = (word.strip() for word in text.partition("="))
    known = [field.name for field in fields(ModelLimits)]
    if name not in known:
        raise ValueError(f"no limit {name!r} of a model; there are: {', '.join(known)}")
    if name == "when_full":
        if value not in ("wait", "refuse"):
            raise ValueError(f"when_full={value!r}; expected wait or refuse")
        return name, value
    number = float(value)
    if not number > 0 or (name == "at_a_time" and number != int(number)):
        raise ValueError(f"{name}={value!r}; expected a number above 0")
    return name, int(number) if name == "at_a_time" else number
