"""How much work is under way, by variant, and what each model has done so far: for the pilot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage.redis.answers import fields
from storage.redis.calls import ARRAY, Call, script
from storage.states import PRIORITIES


@dataclass(frozen=True)
class Load:
    """One reading."""

    at_ms: int
    """Redis time."""
    runs: Mapping[str, int]
    """Variant -> runs that have not been through their model: they wait, or are in a stage before
    the end of inference."""
    totals: Mapping[str, Mapping[str, str]]
    """Model -> its counters since the state Redis was last emptied (shared_lua/metrics.lua)."""


def read(variants: Sequence[str], models: Sequence[str]) -> Call[Load]:
    """The load of these variants and models, in one round trip."""

    def parse(answer: Any) -> Load:
        at_ms, runs, totals = answer
        counts = zip(variants, map(int, runs), strict=True)
        by_model = zip(models, map(fields, totals), strict=True)
        return Load(int(at_ms), dict(counts), dict(by_model))

    values = {"variants": variants, "models": models, "priorities": PRIORITIES}
    return script("jobs/load", parse, [], values, kinds=ARRAY)
