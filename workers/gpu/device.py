"""One device and the models on it: loads them, decides how large batches are, runs them."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from tasks import extras
from tasks.clients import objects
from tasks.errors import ModelFailure, Unavailable
from tasks.imaging import geometry
from tasks.message import PROBE
from tasks.models import registry, weights
from tasks.models.base import Inferred, Model
from tasks.models.engines import Engine
from tasks.settings import settings
from workers.gpu import cost
from workers.gpu.accelerator import Accelerator, Cpu, CpuArrays, is_full, set_torch_threads
from workers.gpu.cost import Cost
from workers.gpu.engine import by_engine
from workers.gpu.fallback import Arrays, Bin, FallbackChain, Step
from workers.gpu.loaded import Loaded
from workers.gpu.warmup import ms_since, warm_up
from workers.watchdog import RESTART_EXIT_CODE

MEMORY_SHARE = 0.9
"""Share of the memory that is free once all models are loaded which batches may use; the rest is a
reserve."""
FIRST_GUESS = [(1, 1.0), (2, 2.0)]
"""Cost of a model that was not warmed up, until its batches have been measured."""

log = structlog.get_logger()


class Device:
    """Loads models once and runs batches of them, on one thread."""

    def __init__(
        self,
        main: Accelerator,
        end: Callable[[int], Any] = os._exit,
        *,
        engine: Engine = "torch",
        threads: int = 0,
    ) -> None:
        """`end` is called with an exit code when the device can no longer be used. `engine` runs
        the networks that have one for it. `threads`: of networks on the CPU; 0: the engine's
        default."""
        self.main, self.engine, self._threads = main, engine, threads
        self.loaded: dict[str, Loaded] = {}
        """Variant (`matting`, `matting:quality`) -> model, warm on the main accelerator."""
        self.fallback_chain = FallbackChain(
            self._steps, self._max_images, self._attempt, self._free
        )
        self._fallbacks: dict[tuple[str, str], Loaded] = {}
        """(variant, accelerator) -> what is loaded only when a fallback needs it."""
        self._files: dict[str, Mapping[str, Path]] = {}
        self._free_bytes: int | None = None
        """Free memory once all models are loaded; None where it is not measured."""
        self._end = end

    @property
    def name(self) -> str:
        """`cpu` or `cuda`."""
        return self.main.name

    def load(self, name: str) -> None:
        """Fetch the weights of a variant, load it, run every bin once and measure.

        Raises ModelFailure with the reason if any of that fails.
        """
        model = self._variant(name)
        began = time.monotonic()
        self._fetch(name, model)
        try:
            with extras.explained():
                loaded = self._on(name, self.main)
            ms, too_large = warm_up(loaded)
        except Unavailable:  # nothing is wrong with the model
            raise
        except ModelFailure as error:
            raise ModelFailure(f"model {name!r}: {error}", hint=error.hint) from error
        except Exception as error:
            raise ModelFailure(
                f"model {name!r} could not be warmed up: {type(error).__name__}: {error}"
            ) from error
        self.loaded[name] = loaded
        self._free_bytes = self.main.room_bytes()
        for bin in too_large:
            self.fallback_chain.forbid(self._first_step(name, bin))
        log.info(
            "model warm",
            model=name,
            device=self.name,
            ms=round(ms, 1),
            bins=len(model.bins),
            too_large=len(too_large),
            batch=self._max_images(self._first_step(name, model.bins[0])),
            seconds=round(time.monotonic() - began, 2),
        )

    def run(self, bin: Any, arrays: Arrays) -> list[Inferred | Exception]:
        """One answer per array, in order; an error for each image that fits nowhere."""
        if bin[0].startswith(PROBE):
            return self._run_probe(arrays)
        return self.fallback_chain.run(bin, arrays)

    def limit(self, bin: Any) -> int:
        """Largest batch of this bin: by its model, pixels, memory, and what did not fit before."""
        if bin[0].startswith(PROBE):
            return 1
        return self.fallback_chain.limit(bin)

    def slots(self, bin: Any, n: int) -> Any:
        """Memory for a batch of n images: an array, or a list if there is no memory for one."""
        _, shape, dtype = bin
        try:
            return self.main.room_for((n, *shape), dtype)
        except Exception as error:
            if not is_full(error):
                raise
            return [None] * n  # a batch that does not fit is the fallback chain's business

    def wait_s(self, bin: Any, count: int, gap_s: float) -> float:
        """How long an idle device should wait for one more image, by the measured cost."""
        max_s = settings().batch_wait_ms / 1000
        loaded = self.loaded.get(bin[0])
        return cost.wait_s(loaded.cost, count, gap_s, max_s) if max_s and loaded else 0.0

    def _run_probe(self, arrays: Arrays) -> list[Inferred | Exception]:
        """The arrays themselves, copied to the device and back."""
        on = self.main if self.engine == "torch" else CpuArrays()
        try:
            outputs = on.take(list(on.put(_batch(arrays, arrays[0].shape))))
        except Exception as error:
            self._end_if_lost(self.main, error)
            raise
        return [Inferred(output.copy()) for output in outputs]

    # What the fallback chain asks for.

    def _first_step(self, name: str, bin: tuple[int, int]) -> Step:
        channels = registry.variant(name).channels
        return Step("device", (name, (channels, *bin), "float32"), self.name)

    def _steps(self, bin: Bin) -> list[Step]:
        name = bin[0]
        degraded = self._degraded(bin)
        if ":" in name and name not in self.loaded and degraded:
            return degraded  # only other workers serve this profile
        steps = [Step("device", bin, self.name)]
        steps += [Step("smaller_bin", smaller, self.name) for smaller in _smaller_bins(bin)]
        steps += degraded
        if self.name != "cpu":
            steps.append(Step("cpu", bin, "cpu"))
        return steps

    def _degraded(self, bin: Bin) -> list[Step]:
        """The step of the model's fallback, if it can take the array, scaled down if need be."""
        name, shape, dtype = bin
        fallback = self._fallback(name)
        sizes = registry.variant(fallback).bins if fallback else ()
        if shape[-2:] in sizes:
            size = shape[-2:]
        elif sizes and registry.variant(name).shrinks:
            size = max(sizes)
        else:
            return []
        return [Step("degraded", (str(fallback), (*shape[:-2], *size), dtype), self.name)]

    def _fallback(self, name: str) -> str | None:
        """The model's fallback, or the next lower profile that this device has loaded."""
        fallback = registry.variant(name).fallback
        while fallback and ":" in fallback and fallback not in self.loaded:
            fallback = registry.variant(fallback).fallback
        return fallback

    def _max_images(self, step: Step) -> int:
        """Largest batch of a step before anything has failed; at least 1."""
        name, shape, _ = step.bin
        loaded = self.loaded.get(name)
        if step.on != self.name or (loaded and not loaded.pays):
            return 1
        views = max(1, shape[0] // 3)
        pixels = shape[-2] * shape[-1] * views
        model = loaded.model if loaded else self._variant(name)
        images = min(model.max_batch, int(settings().batch_megapixels * 1e6 / pixels))
        image_bytes = views * loaded.image_bytes.get(shape[-2:], 0) if loaded else 0
        if image_bytes and self._free_bytes is not None:
            images = min(images, int(self._free_bytes * MEMORY_SHARE / image_bytes))
        return max(images, 1)

    def _attempt(self, step: Step, arrays: Arrays) -> Arrays | None:
        """The outputs of a batch, or None if it does not fit: its memory is then released."""
        name, shape, _ = step.bin
        accelerator = self._accelerator(step.on)
        try:
            loaded = self._on(name, accelerator)
            batch = _batch(arrays, shape)
            began = time.perf_counter()
            outputs = loaded.infer(batch)
            loaded.cost.add(len(arrays) * loaded.count(shape), ms_since(began))
        except Exception as error:
            if is_full(error):
                log.debug("out of memory", reason=str(error), summary=accelerator.summary())
                return None
            self._end_if_lost(accelerator, error)
            raise
        wanted = arrays[0].shape[-2:]
        if wanted == shape[-2:]:
            return outputs
        return [_scaled_back(output, shape[-2:], wanted) for output in outputs]

    def _free(self, step: Step) -> None:
        self._accelerator(step.on).free()

    def _end_if_lost(self, accelerator: Accelerator, error: Exception) -> None:
        """End this process if no later call on the device can succeed."""
        if accelerator.is_lost(error):
            log.error("device lost", device=accelerator.name, reason=str(error))
            self._end(RESTART_EXIT_CODE)

    def _accelerator(self, name: str) -> Accelerator:
        return self.main if name == self.name else Cpu()

    # Loading.

    def _fetch(self, name: str, model: Model) -> None:
        """Fetch the weights of a model and of its fallback, which may be needed at any time."""
        self._files[name] = weights.fetch_model(model, objects())
        fallback = self._fallback(name)
        if fallback and fallback not in self._files:
            try:
                fallen = self._variant(fallback)
                self._files[fallback] = weights.fetch_model(fallen, objects())
            except LookupError as error:
                raise ModelFailure(f"the fallback of {name!r}: {error}") from error

    def _variant(self, name: str) -> Model:
        """A model or profile, as this device's engine runs it."""
        return by_engine(registry.variant(name), self.engine, self._threads)[0]

    def _on(self, name: str, accelerator: Accelerator) -> Loaded:
        """A model on an accelerator, loaded the first time that it is asked for."""
        if accelerator.name == self.name and name in self.loaded:
            return self.loaded[name]
        key = name, accelerator.name
        if key not in self._fallbacks:
            model, engine = by_engine(registry.variant(name), self.engine, self._threads)
            if engine == "torch":
                set_torch_threads(self._threads)
            on = accelerator if engine == "torch" else CpuArrays()
            session = on.prepare(model.load(self._files[name], on.name))
            self._fallbacks[key] = Loaded(model, session, on, Cost(FIRST_GUESS))
        return self._fallbacks[key]


def _smaller_bins(bin: Bin) -> list[Bin]:
    """The model's bins of fewer pixels, largest first; none if its arrays must not be scaled."""
    name, shape, dtype = bin
    model = registry.variant(name)
    if not model.shrinks:
        return []
    sizes = [size for size in model.bins if size[0] * size[1] < shape[-2] * shape[-1]]
    sizes.sort(key=lambda size: size[0] * size[1], reverse=True)
    return [(name, (*shape[:-2], *size), dtype) for size in sizes]


def _batch(arrays: Arrays, shape: Sequence[int]) -> NDArray[Any]:
    """The images as one N x C x H x W array of this (C, H, W); not copied if they are one."""
    if isinstance(arrays, np.ndarray) and arrays.shape[1:] == tuple(shape):
        return arrays
    return np.stack([_scaled(array, shape[-2:]) for array in arrays]).astype(np.float32, copy=False)


def _scaled(array: NDArray[Any], size: Sequence[int]) -> NDArray[Any]:
    """C x H x W at another (H, W)."""
    if array.shape[-2:] == tuple(size):
        return array
    return np.stack([geometry.resize(plane, size[0], size[1]) for plane in array])


def _scaled_back(
    output: NDArray[Any], bin_size: Sequence[int], wanted: Sequence[int]
) -> NDArray[Any]:
    """A C x H x W map of the bin's size, scaled to the wanted size; any other output unchanged."""
    is_map = output.ndim == 3 and output.shape[-2:] == tuple(bin_size)
    return _scaled(output, wanted) if is_map else output
