"""What happens when a batch does not fit into the device's memory: smaller batches, then fallbacks.

A fallback chain is a list of steps, tried in order: the device itself, a smaller bin, the model's
fallback, the CPU. What did not fit once is remembered, so that it is not tried again and again.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import structlog
from numpy.typing import NDArray

from tasks.errors import ModelFailure
from tasks.models.base import Inferred

Bin = tuple[str, tuple[int, ...], str]
"""(model, shape of one image's array, its dtype). Only images of one bin share a batch."""
Arrays = Sequence[NDArray[Any]]

RAISE_AFTER_S = 600.0
"""A lowered budget is doubled after this time: the process that took the memory may have ended."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Step:
    """One way to compute an image: on the device itself, or with something smaller."""

    name: str
    """`device`, `smaller_bin`, `degraded` (the model's fallback) or `cpu`."""
    bin: Bin
    on: str
    """Name of the accelerator that it runs on."""

    @property
    def is_degraded(self) -> bool:
        """Whether the result is of lower quality than the user asked for."""
        return self.name in ("smaller_bin", "degraded")


class FallbackChain:
    """Runs batches. A batch that does not fit is halved, and the lower budget is kept per step.

    An image that does not fit even alone goes to the next step of its chain, and fails with a
    clear error after the last one. A budget only falls, except once every RAISE_AFTER_S: all
    batches of a bin together meet a full memory about five times, not once each.
    """

    def __init__(
        self,
        steps: Callable[[Bin], Sequence[Step]],
        max_images: Callable[[Step], int],
        attempt: Callable[[Step, Arrays], Arrays | None],
        free: Callable[[Step], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`steps`: the chain of a bin. `max_images`: the largest batch of a step before anything
        has failed. `attempt`: the outputs, or None for a batch that does not fit. `free`: release
        as much memory as possible."""
        self.counts: Counter[str] = Counter()
        """`full`: batches that did not fit; `halved`; `smaller_bin`, `degraded`, `cpu`: images by
        the step that computed them; `out_of_memory`: images that fitted nowhere."""
        self._steps, self._max_images, self._clock = steps, max_images, clock
        self._attempt, self._free = attempt, free
        self._budgets: dict[Step, tuple[int, float]] = {}
        """Step -> largest batch that may fit, and when that was set."""

    def limit(self, bin: Bin) -> int:
        """Largest batch of this bin, on the first step that takes any image; at least 1."""
        return next(filter(None, (self._budget(step) for step in self._steps(bin))), 1)

    def run(self, bin: Bin, arrays: Arrays) -> list[Inferred | Exception]:
        """One answer per array, in order; a ModelFailure for each array that fits nowhere."""
        answers: list[Inferred | Exception] = []
        for step in self._steps(bin):
            outputs = self._run_step(step, arrays[len(answers) :])
            if outputs and step.name != "device":
                self.counts[step.name] += len(outputs)
            answers += [Inferred(array, step.is_degraded) for array in outputs]
            if len(answers) == len(arrays):
                return answers
        missing = len(arrays) - len(answers)
        self.counts["out_of_memory"] += missing
        return answers + [_out_of_memory(bin) for _ in range(missing)]

    def forbid(self, step: Step) -> None:
        """Remember that this step has no memory for a single image."""
        self._lower(step, 1)

    def _run_step(self, step: Step, arrays: Arrays) -> list[NDArray[Any]]:
        """The outputs of the first arrays, up to the first one that does not fit alone."""
        outputs: list[NDArray[Any]] = []
        while len(outputs) < len(arrays) and (budget := self._budget(step)):
            part = arrays[len(outputs) : len(outputs) + budget]
            part_outputs = self._attempt(step, part)
            outputs += self._make_room(step, part) if part_outputs is None else part_outputs
        return outputs

    def _make_room(self, step: Step, part: Arrays) -> Arrays:
        """Free memory for a part that did not fit; its outputs, or none and a lower budget."""
        self.counts["full"] += 1
        self._free(step)
        if len(part) == 1:
            outputs = self._attempt(step, part)  # what was freed may be enough for one image
            if outputs is not None:
                return outputs
        self.counts["halved"] += 1
        self._lower(step, len(part))
        return ()

    def _lower(self, step: Step, images: int) -> None:
        self._budgets[step] = images // 2, self._clock()
        model, shape, _ = step.bin
        log.warning(
            "device memory full",
            model=model,
            shape="x".join(map(str, shape)),
            step=step.name,
            images=images,
            budget=images // 2,
        )

    def _budget(self, step: Step) -> int:
        """Largest batch that this step may try now; 0 if a single image did not fit."""
        max_images = self._max_images(step)
        if step not in self._budgets:
            return max_images
        budget, since = self._budgets[step]
        if self._clock() - since > RAISE_AFTER_S:
            budget = max(1, 2 * budget)
            self._budgets[step] = budget, self._clock()
        return min(max_images, budget)


def _out_of_memory(bin: Bin) -> ModelFailure:
    height, width = bin[1][-2:]
    return ModelFailure(
        f"no device of this worker has enough memory for one image of {width} x {height}",
        code="out_of_memory",
        hint="Try a smaller image or a smaller model. The worker's log lists what was tried.",
    )
