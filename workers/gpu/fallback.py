"""What is done when a batch does not fit the memory: rung by rung, never again and again."""

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
"""(model, shape of one image's array, its dtype): what may share a batch."""
Arrays = Sequence[NDArray[Any]]

RAISE_S = 600.0
"""After so long a lowered budget is doubled: whoever took the memory may have given it back."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Rung:
    """One way to get an image done: the device itself, or something smaller."""

    name: str
    """`device`, `smaller_bin`, `lighter` or `cpu`."""
    bin: Bin
    on: str
    """Name of the accelerator that it runs on."""

    @property
    def is_degraded(self) -> bool:
        """Whether the answer is less than was asked for."""
        return self.name in ("smaller_bin", "degraded")


class Ladder:
    """Runs batches; one that does not fit is halved, and the lower budget is remembered per bin.

    An image that does not fit alone goes down: smaller bin, lighter model, CPU, a clear error. A
    bin's budget only falls, so all its batches together meet a full memory some five times, not
    each of them anew.
    """

    def __init__(
        self,
        rungs: Callable[[Bin], Sequence[Rung]],
        most: Callable[[Rung], int],
        attempt: Callable[[Rung, Arrays], Arrays | None],
        free: Callable[[Rung], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.counts: Counter[str] = Counter()
        """full (batches that did not fit), halved, and images by the rung that served them:
        smaller_bin, lighter, cpu; those it could not help: out_of_memory."""
        self._rungs, self._most, self._clock = rungs, most, clock
        self._attempt, self._free = attempt, free
        """`attempt` answers None for a batch that does not fit; `free` makes what room it can."""
        self._budgets: dict[Rung, tuple[int, float]] = {}

    def limit(self, bin: Bin) -> int:
        """Images of a batch of this bin, on the first rung that takes any; at least 1."""
        return next(filter(None, (self._budget(rung) for rung in self._rungs(bin))), 1)

    def run(self, bin: Bin, arrays: Arrays) -> list[Inferred | Exception]:
        """One answer per array, in order; an error for each that fits nowhere."""
        answers: list[Inferred | Exception] = []
        for rung in self._rungs(bin):
            done = self._run_at(rung, arrays[len(answers) :])
            if done and rung.name != "device":
                self.counts[rung.name] += len(done)
            answers += [Inferred(array, rung.is_degraded) for array in done]
            if len(answers) == len(arrays):
                return answers
        left = len(arrays) - len(answers)
        self.counts["out_of_memory"] += left
        return answers + [_no_room(bin) for _ in range(left)]

    def forbid(self, rung: Rung) -> None:
        """Remember that this rung has no room for a single image."""
        self._lower(rung, 1)

    def _run_at(self, rung: Rung, arrays: Arrays) -> list[NDArray[Any]]:
        """The outputs of the first arrays, as far as this rung takes them."""
        done: list[NDArray[Any]] = []
        while len(done) < len(arrays) and (most := self._budget(rung)):
            part = arrays[len(done) : len(done) + most]
            outputs = self._attempt(rung, part)
            done += self._relieve(rung, part) if outputs is None else outputs
        return done

    def _relieve(self, rung: Rung, part: Arrays) -> Arrays:
        """Make room for a part that did not fit, or lower the budget."""
        self.counts["full"] += 1
        self._free(rung)
        if len(part) == 1:
            outputs = self._attempt(rung, part)  # what was freed may have been all it needed
            if outputs is not None:
                return outputs
        self.counts["halved"] += 1
        self._lower(rung, len(part))
        return ()

    def _lower(self, rung: Rung, images: int) -> None:
        self._budgets[rung] = images // 2, self._clock()
        model, shape, _ = rung.bin
        log.warning(
            "device memory full",
            model=model,
            shape="x".join(map(str, shape)),
            rung=rung.name,
            images=images,
            budget=images // 2,
        )

    def _budget(self, rung: Rung) -> int:
        """Images that a batch may have on this rung now; 0 if one was too many."""
        most = self._most(rung)
        if rung not in self._budgets:
            return most
        budget, since = self._budgets[rung]
        if self._clock() - since > RAISE_S:
            budget = max(1, 2 * budget)
            self._budgets[rung] = budget, self._clock()
        return min(most, budget)


def _no_room(bin: Bin) -> ModelFailure:
    height, width = bin[1][-2:]
    return ModelFailure(
        f"no device of this worker has the memory for one image of {width} x {height}",
        code="out_of_memory",
        hint="Try a smaller image or a lighter model. The worker's log says what it tried.",
    )
