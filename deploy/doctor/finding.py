"""What a check of `pixelmill doctor` reports."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from tasks.settings import Settings

Level = Literal["ok", "warn", "fail"]
GIB = 2**30
ANSWER_S = 1.0
"""How long a check waits for each answer of a server."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    level: Level
    what: str
    value: str
    hint: str = ""
    """What to do about it; empty if it is well."""


Check = Callable[[Settings], Iterable[Finding]]
