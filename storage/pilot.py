"""What the pilot shares through the state Redis: who leads, and what it sees of each model."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from storage import keys
from storage.redis.answers import fields
from storage.redis.calls import FIELDS, NUMBER, Call, command, script

LEASE_MS = 15_000
"""How long a leader stays one without asking again."""
FRESH_S = 30.0
"""Older views say nothing of the present: no data is no reason to act."""


@dataclass(frozen=True)
class Scaling:
    """What an autoscaler needs to know of one model."""

    workers_wanted: int
    wait_s: float
    """Estimated time until a run that comes now would begin on a device."""


@dataclass(frozen=True)
class View:
    """What the pilot saw of one model, and what each of its rules said."""

    at_ms: int
    """Redis time."""
    scaling: Scaling
    numbers: Mapping[str, float | None]
    """Name -> value; None: no data."""
    rules: Mapping[str, str]
    """Rule -> why it acts, or does not, as a sentence."""


def lead(name: str) -> Call[bool]:
    """Whether the process of this name is the pilot for the next LEASE_MS."""
    return script("lead", bool, [], {"name": name, "ttl_ms": LEASE_MS}, kinds=NUMBER)


def show(views: Mapping[str, View]) -> Call[int]:
    """Let others see what the pilot sees."""
    words = [word for model, view in views.items() for word in (model, orjson.dumps(asdict(view)))]
    return command(int, "HSET", keys.PILOT_VIEWS, *words, kinds=NUMBER)


def views() -> Call[Mapping[str, View]]:
    """Model -> what the pilot saw last; that may be long ago (`is_fresh`)."""
    return command(_views, "HGETALL", keys.PILOT_VIEWS, kinds=FIELDS)


def is_fresh(view: View, now_ms: float) -> bool:
    """Whether the view tells of the present."""
    return abs(now_ms - view.at_ms) <= FRESH_S * 1000


def _views(answer: Any) -> dict[str, View]:
    return {model: _view(json.loads(text)) for model, text in fields(answer).items()}


def _view(stored: dict[str, Any]) -> View:
    return View(**{**stored, "scaling": Scaling(**stored["scaling"])})
