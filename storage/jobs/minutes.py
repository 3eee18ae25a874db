"""What each model did in each of the last minutes: ends, hits, and the time that stages took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage.redis.answers import text
from storage.redis.calls import ARRAY, Call, script
from storage.states import END_STATES, TIMED_STAGES

MINUTES = 60
MOST_MODELS = 20
FIELDS = ("hit", *END_STATES, *(f"ms:{stage}" for stage in TIMED_STAGES))
"""Counters of a minute: see shared_lua/metrics.lua and claim.lua."""


@dataclass(frozen=True)
class Minute:
    """Sums of one minute of one model."""

    hits: int
    """Answers from the cache."""
    done: int
    failed: int
    cancelled: int
    stage_ms: Mapping[str, float]
    """By each of TIMED_STAGES: of all runs that ended in this minute together."""


NOTHING = Minute(0, 0, 0, 0, dict.fromkeys(TIMED_STAGES, 0.0))


def read() -> Call[Mapping[str, Sequence[Minute]]]:
    """The last MINUTES of each of at most MOST_MODELS models, oldest first."""
    values = {"minutes": MINUTES, "most": MOST_MODELS, "fields": FIELDS}
    return script("jobs/minutes", _parse, [], values, kinds=ARRAY)


def _parse(answer: Any) -> dict[str, Sequence[Minute]]:
    present, rows = answer
    models: dict[str, Sequence[Minute]] = {}
    for name, *words in rows:
        pairs = zip(words[::2], words[1::2], strict=True)
        known = {int(at): _minute(counts) for at, counts in pairs}
        first = int(present) - MINUTES + 1
        models[text(name)] = [known.get(first + at, NOTHING) for at in range(MINUTES)]
    return models


def _minute(values: Sequence[Any]) -> Minute:
    hits, done, failed, cancelled, *times = (float(value or 0) for value in values)
    stage_ms = dict(zip(TIMED_STAGES, times, strict=True))
    return Minute(int(hits), int(done), int(failed), int(cancelled), stage_ms)
