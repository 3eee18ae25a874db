"""What a person tells the pilot: pause, go on, leave this as it is. Each is an entry of its log."""

from collections.abc import Sequence
from typing import Any

from storage import pilot, pilot_log
from storage.pilot import FOREVER_MS, Order, Pins
from storage.pilot_log import Decision
from storage.redis.calls import Call

MODEL_OF_ALL = ""
"""The model of entries that are about all."""


def pause(by: str, until_ms: float = FOREVER_MS) -> Sequence[Call[Any]]:
    """Change nothing until then."""
    action = "nothing changes until it is resumed"
    if until_ms < FOREVER_MS:
        action = "nothing changes for a time"
    return pilot.pause(until_ms), _entry(MODEL_OF_ALL, "pause", action, by)


def resume(by: str) -> Sequence[Call[Any]]:
    """Go on."""
    return pilot.pause(0), _entry(MODEL_OF_ALL, "resume", "the pilot acts again", by)


def pin(model: str, pins: Pins, by: str) -> Sequence[Call[Any]]:
    """Leave these of a model as they are; empty pins let the pilot act on all again."""
    return pilot.pin(model, pins), _entry(model, "pin", as_text(pins), by)


def as_text(pins: Pins) -> str:
    """`profile best, 2 workers`."""
    parts = [
        *([f"profile {pins.profile}"] if pins.profile else []),
        *([f"version {pins.version}"] if pins.version else []),
        *([f"{pins.workers} workers"] if pins.workers else []),
    ]
    return ", ".join(parts) or "nothing"


def computed_by(order: Order) -> str:
    """What is ordered for new runs that name no profile: `small / fast`; empty: nothing."""
    parts = (order.model, order.profile, pilot.in_words(order.params))
    return " / ".join(part for part in parts if part)


def _entry(model: str, rule: str, action: str, by: str) -> Call[str]:
    return pilot_log.record(Decision(model, rule, action, "done", "A person asked for it.", by=by))
