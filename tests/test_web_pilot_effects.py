"""When the numbers after an action are its effect."""

import pytest

from storage.redis.calls import AsyncRedis
from web.pilot.effects import Effects
from web.pilot.signals import Signals


class Log(AsyncRedis):
    """Counts what is written to it."""

    def __init__(self) -> None:
        self.entries = 0

    async def do(self, call: object) -> str:  # type: ignore[override]  # of no type of its own
        self.entries += 1
        return ""


@pytest.mark.parametrize(("passed_s", "entries"), [(59, 0), (65, 1), (600, 0)])
async def test_numbers_of_long_after_an_action_are_not_told_as_its_effect(
    passed_s: float, entries: int
) -> None:
    log = Log()
    effects = Effects(log)
    effects.expect("1-0", Signals("toy", at_s=1000))

    await effects.measure({"toy": Signals("toy", at_s=1000 + passed_s)})

    assert log.entries == entries
