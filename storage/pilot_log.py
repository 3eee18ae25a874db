"""The pilot's log: every action and every one that was refused, with its reasons and its effect.

One append-only stream in the state Redis. What came of an action is measured later, and is an
entry of its own that names the action's.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import orjson

from storage import keys
from storage.redis.answers import fields, text
from storage.redis.calls import ARRAY, NUMBER, TEXT, Call, command
from storage.times import rfc3339

MOST = 100_000
"""Entries that are kept: about 60 MB of the state Redis."""
KEPT_DAYS = 30

Numbers = Mapping[str, float | None]
"""Name -> value; None: no data."""


@dataclass(frozen=True)
class Decision:
    """One thing that the pilot did, or would have done."""

    model: str
    rule: str
    action: str
    """What was to be done, in words."""
    outcome: str
    """`done`, or why it was not: `paused`, `pinned`, `cooldown`, `dry run`, `impossible`."""
    reason: str
    """A sentence with the numbers."""
    values: Numbers = field(default_factory=dict)
    thresholds: Numbers = field(default_factory=dict)
    samples: int = 0
    alternatives: Sequence[str] = ()
    """What else could have been done, and why it was not."""
    by: str = "pilot"
    """Who did it: the pilot, or a person's name."""
    id: str = ""
    """`milliseconds-number`: grows with every decision."""
    effect: Numbers | None = None
    """The same numbers some time later; None: not measured (yet)."""

    @property
    def at_ms(self) -> int:
        """When it was recorded, by the clock of Redis."""
        return int(self.id.partition("-")[0])


def record(decision: Decision) -> Call[str]:
    """Append a decision; answers its id."""
    stored = {name: value for name, value in asdict(decision).items() if name not in _ELSEWHERE}
    return _add("decision", orjson.dumps(stored))


def record_effect(decision_id: str, numbers: Numbers) -> Call[str]:
    """Append what came of a decision."""
    return _add("effect", orjson.dumps({"of": decision_id, "numbers": numbers}))


def read(*, before: str = "+", since_ms: int = 0, most: int = 100) -> Call[list[Decision]]:
    """Decisions at or after `since_ms` and before the one with this id, newest first.

    At most `most` entries of the stream, effects included; an effect that lies on an earlier page
    than its decision is not shown.
    """
    last = before if before == "+" else f"({before}"
    words = ("XREVRANGE", keys.PILOT_LOG, last, since_ms, "COUNT", most)
    return command(_decisions, *words, kinds=ARRAY)


def trim(before_ms: int) -> Call[int]:
    """Remove what is older; answers how many entries."""
    return command(int, "XTRIM", keys.PILOT_LOG, "MINID", "~", before_ms, kinds=NUMBER)


def as_json(decision: Decision) -> dict[str, Any]:
    """A decision with the names of the API."""
    return {**asdict(decision), "at": rfc3339(decision.at_ms)}


_ELSEWHERE = ("id", "effect")
"""Fields that the stream itself has, or a later entry."""


def _add(kind: str, value: bytes) -> Call[str]:
    words = ("XADD", keys.PILOT_LOG, "MAXLEN", "~", MOST, "*", kind, value)
    return command(text, *words, kinds=TEXT)


def _decisions(answer: Sequence[Any]) -> list[Decision]:
    effects: dict[str, Numbers] = {}
    found = []
    for entry_id, entry in answer:
        ((kind, value),) = fields(entry).items()
        stored = json.loads(value)
        if kind == "effect":
            effects[stored["of"]] = stored["numbers"]
        else:
            made = Decision(**stored, id=text(entry_id))
            found.append(replace(made, effect=effects.get(made.id)))
    return found
