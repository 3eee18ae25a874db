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


def day(peak_per_s: float) -> list[float]:
    """Runs per second in each minute: quiet nights, a broad day, a burst and a flash crowd that
    reaches `peak_per_s` within two minutes."""
    usual = [
        0.12 + 0.38 * max(0.0, math.sin(math.pi * (m / 60 - 6) / 16)) ** 2 for m in range(1440)
    ]
    usual = [share if 6 * 60 <= m < 22 * 60 else 0.06 for m, share in enumerate(usual)]
    for at in range(BURST[0], sum(BURST)):
        usual[at] += 0.35
    for at in range(FLASH[0], sum(FLASH)):
        usual[at] = max(usual[at], min(1.0, 0.5 + 0.25 * (at - FLASH[0] + 1)))
    return [share * peak_per_s for share in usual]


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
