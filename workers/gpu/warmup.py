"""Runs a model before the worker takes work, every bin once where that makes later runs faster, and
measures time and memory."""

import time

import numpy as np

from tasks.settings import settings
from workers.gpu.accelerator import is_full
from workers.gpu.cost import Cost
from workers.gpu.loaded import Loaded

GAIN = 0.9
"""A batch of two must cost less than this share of two single images, else batches do not pay."""
SLOW_MS, TRIES = 100, 10
"""A batch is timed until its runs have taken SLOW_MS together, at most TRIES times."""


def warm_up(loaded: Loaded) -> tuple[float, list[tuple[int, int]]]:
    """Run and measure every bin; ms of one image, and the bins that do not fit into the memory.

    Sets the model's cost, whether batches pay, and what an image takes of the memory. Raises what
    the model raises, also if no bin fits.
    """
    model = loaded.model
    too_large: list[tuple[int, int]] = []
    if settings().compile:
        _compile(loaded)
    for bin in model.bins if loaded.on.learns_sizes else ():
        try:
            _warm_bin(loaded, bin)
        except Exception as error:
            if not is_full(error) or len(too_large) + 1 == len(model.bins):
                raise
            too_large.append(bin)
    return _measure(loaded, next(bin for bin in model.bins if bin not in too_large)), too_large


def ms_since(began: float) -> float:
    """Milliseconds since a time of time.perf_counter."""
    return (time.perf_counter() - began) * 1000


def _compile(loaded: Loaded) -> None:
    """One compiled form per size; the number of images stays open."""
    import torch

    if isinstance(loaded.session, torch.nn.Module):
        loaded.compiled = {bin: torch.compile(loaded.session) for bin in loaded.model.bins}


def _warm_bin(loaded: Loaded, bin: tuple[int, int]) -> None:
    _run(loaded, bin, 1)
    if loaded.compiled:
        _run(loaded, bin, 2)  # torch compiles 1 and "any other number" apart
    if loaded.on.room_bytes() is not None:
        one, two = (_peak_bytes(loaded, bin, n) for n in (1, 2))
        loaded.image_bytes[bin] = max(two - one, two // 2)


def _measure(loaded: Loaded, bin: tuple[int, int]) -> float:
    """Learn what one and two images cost; ms of one."""
    share = loaded.share((3, *bin))
    one_ms = _best_ms(loaded, bin, 1)
    two_ms, loaded.pays = 2 * one_ms, False
    try:
        if loaded.model.max_batch > 1:
            two_ms = _best_ms(loaded, bin, 2)
            loaded.pays = two_ms < GAIN * 2 * one_ms
    except Exception as error:
        if not is_full(error):
            raise
    loaded.cost = Cost([(share, one_ms), (2 * share, two_ms)])
    return one_ms


def _run(loaded: Loaded, bin: tuple[int, int], n: int) -> float:
    began = time.perf_counter()
    loaded.infer(np.zeros((n, loaded.model.channels, *bin), np.float32))
    return ms_since(began)


def _peak_bytes(loaded: Loaded, bin: tuple[int, int], n: int) -> int:
    return loaded.on.peak_bytes(lambda: _run(loaded, bin, n))


def _best_ms(loaded: Loaded, bin: tuple[int, int], n: int) -> float:
    """The fastest of several runs, since other processes may interrupt any of them.

    A slow model is timed once, so that the worker starts quickly.
    """
    times_ms = [_run(loaded, bin, n)]
    while sum(times_ms) < SLOW_MS and len(times_ms) < TRIES:
        times_ms.append(_run(loaded, bin, n))
    return min(times_ms)
