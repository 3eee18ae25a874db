"""What the pilot shares through the state Redis: who leads, what it sees, and what it orders."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from storage import keys
from storage.redis.answers import fields
from storage.redis.calls import FIELDS, NUMBER, Call, command, script

LEASE_MS = 15_000
"""How long a leader stays one without asking again."""
FRESH_S = 30.0
"""Older views say nothing of the present: no data is no reason to act."""


def why_lighter(used: str, instead_of: str) -> str:
    """What people are told of what is lighter."""
    return f"Many people wait: {used} was used instead of {instead_of}."


def in_words(values: Mapping[str, Any]) -> str:
    """Values of parameters: `effort fast`; that of a profile alone is enough: `fast`."""
    if [*values] == ["profile"]:
        return str(values["profile"])
    return ", ".join(f"{name} {value}" for name, value in values.items())


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


@dataclass(frozen=True)
class Pins:
    """What a person has fixed, and the pilot leaves alone; empty or 0: nothing."""

    profile: str = ""
    version: str = ""
    workers: int = 0


@dataclass(frozen=True)
class Order:
    """What holds for new work of one model: web processes obey it."""

    profile: str = ""
    """The profile of runs that name none; empty: the model's own default."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Values of parameters, of runs that do not name these."""
    model: str = ""
    """The model that computes them; empty: this one."""
    reason: str = ""
    """Why it is not the model's default, for those whose answers it is said in."""
    version: str = ""
    """The wanted version; empty: the newest."""
    served_well: str = ""
    """The version before it: what can be gone back to."""
    canary: str = ""
    """A version on trial, which gets a part of the runs."""
    refused: tuple[str, ...] = ()
    """Versions that were rolled back: they are never tried again."""
    workers: int = 0
    """How many there should be; 0: the pilot has not said yet."""
    pins: Pins = Pins()

    @property
    def is_lighter(self) -> bool:
        """Whether new runs get something lighter than the model's own defaults."""
        return bool(self.params or self.profile or self.model)

    def chosen(self, live: Sequence[str]) -> str:
        """Which of these versions, the newest last, computes new runs; empty if there is none."""
        for wanted in (self.pins.version, self.version):
            if wanted in live:
                return wanted
        return next((of for of in reversed(live) if of not in self.refused), ("", *live)[-1])


@dataclass(frozen=True)
class Orders:
    """All that is ordered."""

    models: Mapping[str, Order] = field(default_factory=dict)
    paused_until_ms: float = 0.0
    """Until then the pilot changes nothing; FOREVER_MS: until somebody lets it go on."""

    def of(self, model: str) -> Order:
        """What holds for a model."""
        return self.models.get(model, NOTHING_ORDERED)


NOTHING_ORDERED = Order()
NO_ORDERS = Orders()
FOREVER_MS = 1e15
_PAUSE, _PINS = "*", ":pins"
"""Fields of the pause and of a model's pins: no model has such a name."""


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


def orders() -> Call[Orders]:
    """What is in force."""
    return command(parse_orders, "HGETALL", keys.PILOT, kinds=FIELDS)


def order(model: str, wanted: Order) -> Call[int]:
    """Let this hold for a model from now on."""
    stored = {name: value for name, value in asdict(wanted).items() if name != "pins"}
    return command(int, "HSET", keys.PILOT, model, orjson.dumps(stored), kinds=NUMBER)


def pin(model: str, pins: Pins) -> Call[int]:
    """Fix this of a model. It has a field of its own: the pilot writes orders at the same time."""
    name = f"{model}{_PINS}"
    return command(int, "HSET", keys.PILOT, name, orjson.dumps(asdict(pins)), kinds=NUMBER)


def pause(until_ms: float) -> Call[int]:
    """Let the pilot change nothing until then; 0: it goes on."""
    return command(int, "HSET", keys.PILOT, _PAUSE, until_ms, kinds=NUMBER)


def parse_orders(answer: Any) -> Orders:
    """The hash of orders, as a script or a command answers it."""
    stored = fields(answer)
    paused = float(stored.pop(_PAUSE, 0))
    models = {name.removesuffix(_PINS) for name in stored}
    return Orders({model: _order(stored, model) for model in models}, paused)


def _order(stored: Mapping[str, str], model: str) -> Order:
    found = json.loads(stored.get(model, "{}"))
    known = {name: value for name, value in found.items() if name in Order.__dataclass_fields__}
    pins = Pins(**json.loads(stored.get(f"{model}{_PINS}", "{}")))
    return Order(**{**known, "pins": pins, "refused": tuple(known.get("refused", ()))})


def _views(answer: Any) -> dict[str, View]:
    return {model: _view(json.loads(text)) for model, text in fields(answer).items()}


def _view(stored: dict[str, Any]) -> View:
    return View(**{**stored, "scaling": Scaling(**stored["scaling"])})
