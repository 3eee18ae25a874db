"""Whose batch is next where several flows wait: each gets the same part of the device's time.

Photos are one flow, the volumes of a model another. Start-time fair queueing (Goyal, Vin and Cheng,
SIGCOMM 1996): a flow's tag is where its previous batch ends in virtual time, but not before the tag
of the batch that started last. So a flow that comes is next, however much of another one waits.
"""

from collections.abc import Iterable
from typing import NewType

Flow = NewType("Flow", str)
PHOTOS = Flow("")
"""Of equal tags, theirs is first."""


class Shares:
    """The device's time by flow. What a batch takes is estimated by the flow's previous one until
    it has ended. Nothing here locks."""

    def __init__(self) -> None:
        self._virtual_s = 0.0
        self._ends_s: dict[Flow, float] = {}
        self._batch_s: dict[Flow, float] = {}
        """What the previous batch of a flow took."""

    def next(self, flows: Iterable[Flow]) -> Flow:
        """Whose turn it is among the flows that have something waiting."""
        return min(flows, key=lambda flow: (self._tag(flow), flow))

    def begin(self, flow: Flow) -> None:
        """A batch of this flow starts."""
        self._virtual_s = self._tag(flow)
        self._ends_s[flow] = self._virtual_s + self._batch_s.get(flow, 0.0)

    def end(self, flow: Flow, seconds: float) -> None:
        """It has ended, and took so long."""
        self._ends_s[flow] += seconds - self._batch_s.get(flow, 0.0)
        self._batch_s[flow] = seconds

    def _tag(self, flow: Flow) -> float:
        return max(self._virtual_s, self._ends_s.get(flow, 0.0))
