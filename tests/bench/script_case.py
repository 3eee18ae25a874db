"""A Lua script in one situation, for tests/bench/scripts.py."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from options import setting

from storage.redis.calls import Call

TIMES = setting("TIMES", 9, "calls of each script")


@dataclass(frozen=True)
class Case:
    """A script in one situation."""

    name: str
    call: Callable[[int], Call[Any]]
    """The call of each time."""
    prepare: Callable[[int], None] = lambda number: None
    """What makes the situation anew."""
    units: int = 0
    """How many things it looks at or writes, where that is limited; they are the same kind."""
    times: int = TIMES
