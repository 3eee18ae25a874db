"""What came of the pilot's actions: the same numbers again, a minute later."""

from collections.abc import Mapping

from storage import pilot_log
from storage.redis.calls import AsyncRedis
from web.pilot import signals
from web.pilot.signals import Signals

AFTER_S = 60.0
"""When an action is measured: twice the window of latencies, so that none from before is in it."""
LATE_S = 60.0
"""What is seen so much later than that is no effect: this process did not lead meanwhile, or Redis
did not answer."""


class Effects:
    """The actions whose effect is to be measured. Those of a process that ends never are."""

    def __init__(self, state: AsyncRedis) -> None:
        self._state = state
        self._expected: dict[str, Signals] = {}
        """Id of a decision -> what was seen then."""

    def expect(self, decision_id: str, before: Signals) -> None:
        """An action was done just now."""
        self._expected[decision_id] = before

    async def measure(self, present: Mapping[str, Signals]) -> None:
        """Log the effect of each action that was done long enough ago. Raises StorageDown."""
        for decision_id, before in list(self._expected.items()):
            now = present.get(before.model)
            passed_s = now.at_s - before.at_s if now else 0.0
            if now is None or passed_s < AFTER_S:
                continue
            del self._expected[decision_id]
            if passed_s > AFTER_S + LATE_S:
                continue
            await self._state.do(pilot_log.record_effect(decision_id, changed(before, now)))


def changed(before: Signals, now: Signals) -> dict[str, float | None]:
    """`name_before` and `name_after` of each number."""
    pairs = (("before", signals.numbers(before)), ("after", signals.numbers(now)))
    return {f"{name}_{when}": value for when, of in pairs for name, value in of.items()}
