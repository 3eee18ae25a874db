"""What a batch of n images costs: about a + b*n ms, estimated from the batches that have run."""

from collections.abc import Sequence

FORGET = 0.98
"""Weight of all earlier batches at each new one: about the last fifty count."""
KEEP = 0.1
"""Constant weight of each warm-up batch: these keep the line defined when all batches are of one
size."""


class Cost:
    """A least-squares line through recent batches and, with little weight, those of the warm-up."""

    def __init__(self, warm_up: Sequence[tuple[float, float]]) -> None:
        """`warm_up`: (images, ms) of batches of at least two sizes."""
        self._warm_up = [KEEP * part for part in _sums(warm_up)]
        self._recent = [0.0] * 5

    def add(self, n: float, ms: float) -> None:
        """Learn from one batch of n images."""
        batch = _sums([(n, ms)])
        self._recent = [FORGET * old + new for old, new in zip(self._recent, batch, strict=True)]

    @property
    def a_ms(self) -> float:
        """The fixed cost of a batch."""
        return self._line()[0]

    @property
    def b_ms(self) -> float:
        """The cost that each image adds."""
        return self._line()[1]

    def _line(self) -> tuple[float, float]:
        sums = (old + new for old, new in zip(self._warm_up, self._recent, strict=True))
        weight, n, nn, ms, nms = sums
        slope = (weight * nms - n * ms) / (weight * nn - n * n)
        b = min(max(slope, 0.0), ms / n)  # neither part of a cost is negative
        return (ms - b * n) / weight, b


def wait_s(cost: Cost, count: int, gap_s: float, max_s: float) -> float:
    """How long `count` waiting images should wait for one more; 0 if waiting does not pay.

    `gap_s`: mean time between arrivals. Waiting delays the images by the gap and by the new image's
    share of the batch. It saves the new image a batch of its own, which costs `a`, less the gap
    that it would have gained.
    """
    delay_ms = count * (1000 * gap_s + cost.b_ms)
    return min(2 * gap_s, max_s) if delay_ms + 1000 * gap_s < cost.a_ms else 0.0


def _sums(batches: Sequence[tuple[float, float]]) -> list[float]:
    """Sums over (n, ms) batches of 1, n, n*n, ms and n*ms."""
    rows = [(1.0, n, n * n, ms, n * ms) for n, ms in batches]
    return [sum(column) for column in zip(*rows, strict=True)]
