"""How many runs arrive in each minute of a day: a trace file, or a day that is made up."""

import csv
import math
import random
from collections.abc import Sequence
from pathlib import Path

from tasks.errors import BadInput

DAY_MINUTES = 24 * 60
BURST = (10 * 60, 20)
"""A customer sends a whole catalogue: (first minute, minutes)."""
FLASH = (20 * 60, 12)
"""Something is shown on television."""


def day(peak_per_s: float, number: int = 1) -> list[float]:
    """Runs per second in each minute of a made-up day. The first is the one that is described in
    docs/pilot.md; the others are made by chance, of which the number is the seed."""
    shares = _first_day() if number == 1 else _other_day(random.Random(f"day {number}"))
    return [share / max(shares) * peak_per_s for share in shares]


def _first_day() -> list[float]:
    """Quiet nights, a broad day, a burst and a flash crowd that reaches 1 within two minutes."""
    usual = [
        0.12 + 0.38 * max(0.0, math.sin(math.pi * (m / 60 - 6) / 16)) ** 2 for m in range(1440)
    ]
    usual = [share if 6 * 60 <= m < 22 * 60 else 0.06 for m, share in enumerate(usual)]
    for at in range(BURST[0], sum(BURST)):
        usual[at] += 0.35
    for at in range(FLASH[0], sum(FLASH)):
        usual[at] = max(usual[at], min(1.0, 0.5 + 0.25 * (at - FLASH[0] + 1)))
    return usual


def _other_day(chance: random.Random) -> list[float]:
    """A night, a day that is narrow or broad, up to three bursts, a flash crowd, and each minute by
    a tenth more or less."""
    begin_h, hours, power = chance.uniform(5, 9), chance.uniform(12, 17), chance.uniform(1, 3)
    night, noon = chance.uniform(0.03, 0.12), chance.uniform(0.3, 0.6)
    usual = []
    for minute in range(DAY_MINUTES):
        phase = (minute / 60 - begin_h) / hours
        height = math.sin(math.pi * phase) ** power if 0 < phase < 1 else 0.0
        usual.append(night + (noon - night) * height)
    for _ in range(chance.randint(1, 3)):
        at, more = chance.randrange(1380), chance.uniform(0.15, 0.4)
        for minute in range(at, min(at + chance.randint(5, 40), DAY_MINUTES)):
            usual[minute] += more
    at, rise = chance.randrange(600, 1380), chance.randint(1, 5)
    for minute in range(at, min(at + chance.randint(6, 15), DAY_MINUTES)):
        usual[minute] = max(usual[minute], min(1.0, 0.4 + 0.6 * (minute - at + 1) / rise))
    return [share * math.exp(chance.gauss(0, 0.1)) for share in usual]


def read(file: Path) -> list[float]:
    """Runs per second in each minute, from a CSV file with a column `runs`, one line a minute.

    Raises BadInput if it is something else.
    """
    try:
        with file.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        counts = [float(row["runs"]) for row in rows]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{file} is no trace", hint="Expected CSV with a column `runs`, one line a minute."
        ) from error
    if not counts or min(counts) < 0:
        raise BadInput(f"{file} has no minute, or a negative number of runs")
    return [count / 60 for count in counts]


def arrivals(per_s: Sequence[float], seed: int = 1) -> list[float]:
    """The moments, in seconds, at which runs arrive: a Poisson process of these rates."""
    chance, moments = random.Random(seed), []
    for minute, rate in enumerate(per_s):
        at = minute * 60.0
        while rate > 0 and (at := at + chance.expovariate(rate)) < (minute + 1) * 60:
            moments.append(at)
    return moments
