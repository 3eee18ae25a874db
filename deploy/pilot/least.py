"""About what nobody can beat: the GPU-hours of one who knows each minute's rate beforehand, whose
workers start at once, and who lets 5 of 100 runs wait for a free worker, each alone on it."""

import heapq
from collections.abc import Sequence

MAY_WAIT = 0.05
"""The part of runs that may find all workers busy: the 95th percentile is that of those that do
not."""


def gpu_hours(per_s: Sequence[float], run_s: float) -> float:
    """The least for these rates of each minute, where a run alone on a device takes `run_s`.

    Workers are given, one after the other, to the minute where one saves most runs from waiting.
    """
    loads = [rate * run_s for rate in per_s]
    workers = [int(load) + 1 for load in loads]
    waiting = [_waiting(*of) for of in zip(workers, loads, strict=True)]
    left = sum(waiting) - MAY_WAIT * sum(loads)
    saved = [(_gain(*of), at) for at, of in enumerate(zip(workers, loads, strict=True))]
    heapq.heapify(saved)
    while left > 0:
        gain, at = heapq.heappop(saved)
        left += gain
        workers[at] += 1
        heapq.heappush(saved, (_gain(workers[at], loads[at]), at))
    return sum(workers) / 60


def must_wait(workers: int, load: float) -> float:
    """The chance that a run finds all workers busy, of which `load` are on average (Erlang's C)."""
    if load >= workers:
        return 1.0
    lost = 1.0
    for count in range(1, workers + 1):
        lost = load * lost / (count + load * lost)
    return lost / (1 - load / workers * (1 - lost))


def _waiting(workers: int, load: float) -> float:
    return load * must_wait(workers, load)


def _gain(workers: int, load: float) -> float:
    """What one worker more changes; negative, for a heap."""
    return _waiting(workers + 1, load) - _waiting(workers, load)
