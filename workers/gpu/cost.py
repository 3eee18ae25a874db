"""What a batch of n images costs, learned while working: about a + b*n ms."""

from collections.abc import Sequence

FORGET = 0.98
"""Weight of all older batches at each new one: some fifty count."""
KEEP = 0.1
"""Weight of each batch of the warm-up, for ever: they keep the line defined."""


class Cost:
    """Least squares over the batches of late, and a little of the warm-up."""

    def __init__(self, warm_up: Sequence[tuple[float, float]]) -> None:
        """`warm_up`: (images, ms) of at least two sizes."""
        self._fixed = [KEEP * part for part in _sums(warm_up)]
        self._faded = [0.0] * 5

    def add(self, n: float, ms: float) -> None:
        """Learn from one batch."""
        new = _sums([(n, ms)])
        self._faded = [FORGET * old + one for old, one in zip(self._faded, new, strict=True)]

    @property
    def a_ms(self) -> float:
        """What any batch costs."""
        return self._line()[0]

    @property
    def b_ms(self) -> float:
        """What each image adds."""
        return self._line()[1]

    def _line(self) -> tuple[float, float]:
        sums = (old + new for old, new in zip(self._fixed, self._faded, strict=True))
        weight, n, nn, ms, nms = sums
        slope = (weight * nms - n * ms) / (weight * nn - n * n)
        b = min(max(slope, 0.0), ms / n)  # neither part of a cost is negative
        return (ms - b * n) / weight, b


def wait_s(cost: Cost, count: int, gap_s: float, most_s: float) -> float:
    """How long `count` waiting images should wait for one more; 0 if it does not pay.

    It delays them by the gap and the newcomer's share, and spares the newcomer a batch of its own,
    that is `a`, less the gap that it would have gained on them.
    """
    delay_ms = count * (1000 * gap_s + cost.b_ms)
    return min(2 * gap_s, most_s) if delay_ms + 1000 * gap_s < cost.a_ms else 0.0


def _sums(batches: Sequence[tuple[float, float]]) -> list[float]:
    """Sums over batches of 1, n, n*n, ms, n*ms."""
    rows = [(1.0, n, n * n, ms, n * ms) for n, ms in batches]
    return [sum(column) for column in zip(*rows, strict=True)]
