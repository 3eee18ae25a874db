"""A loop comes back whatever its body raises, and says for how long it has completed no turn."""

import asyncio
import io
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import structlog
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tasks import loops as module
from tasks.loops import AsyncPeriodic, Loop, Loops, Periodic, progress

PATIENCE_S = 10.0
ERRORS = (
    ValueError, KeyError, OSError, MemoryError, RecursionError, AssertionError, StopIteration,
    StopAsyncIteration, TimeoutError, UnicodeError, SystemExit, KeyboardInterrupt, GeneratorExit,
    BaseException, asyncio.CancelledError, asyncio.InvalidStateError,
)  # fmt: skip
"""What a body may raise. A CancelledError of its own is of something that it awaited."""

plans = st.lists(st.none() | st.sampled_from(ERRORS), max_size=8)
"""What the turns of a body raise, one after the other; after that they go well."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.0001)
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.001)


class Body:
    """Raises what its plan says, turn by turn, then works."""

    def __init__(self, plan: list[type[BaseException] | None]) -> None:
        self.plan, self.turns = list(plan), 0
        self.works = threading.Event()

    def __call__(self) -> None:
        self.turns += 1
        if self.plan and (error := self.plan.pop(0)) is not None:
            raise error("as planned")
        if not self.plan:
            self.works.set()

    async def turn(self) -> None:
        self()


quietly = hypothesis_settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@quietly
@given(plans)
@example(list(ERRORS))
def test_a_coroutine_comes_back_whatever_it_raises(plan: list[type[BaseException] | None]) -> None:
    async def main() -> None:
        body = Body(plan)
        loop = AsyncPeriodic("test", body.turn, every_s=0.0001, max_age_s=1, loops=Loops())
        loop.start()
        async with asyncio.timeout(PATIENCE_S):
            while not (body.works.is_set() and loop.loop.reason == ""):
                await asyncio.sleep(0.001)
        await loop.stop()

        failures = sum(error is not None for error in plan)
        assert (loop.loop.failures, loop.loop.restarts) == (failures, failures)

    with capture_logs():
        asyncio.run(main())


@quietly
@given(plans)
@example(list(ERRORS))
def test_a_thread_comes_back_whatever_it_raises(plan: list[type[BaseException] | None]) -> None:
    body = Body(plan)
    loop = Periodic("test", body, every_s=0.0001, max_age_s=1, loops=Loops())

    with capture_logs():
        loop.start()
        assert body.works.wait(PATIENCE_S)
        loop.stop()
        loop.join(PATIENCE_S)

    assert loop.loop.failures == sum(error is not None for error in plan)
    assert not loop._thread.is_alive()


async def test_a_real_cancellation_ends_it() -> None:
    body, loops = Body([]), Loops()
    loop = AsyncPeriodic("test", body.turn, every_s=0.001, max_age_s=1, loops=loops)
    loop.start()
    await asyncio.sleep(0.02)

    await loop.stop()
    turns = body.turns
    await asyncio.sleep(0.02)

    assert turns > 1 and body.turns == turns
    assert list(loops) == []


@pytest.mark.measures_time
def test_the_end_of_an_event_loop_is_not_held_up() -> None:
    """As when a process ends without having stopped its loops."""

    async def main() -> None:
        AsyncPeriodic("test", Body([]).turn, every_s=10, max_age_s=1, loops=Loops()).start()
        await asyncio.sleep(0.01)

    began = time.monotonic()
    asyncio.run(main())

    assert time.monotonic() - began < 1


async def test_a_stopped_loop_that_was_about_to_come_back_stays_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.05)
    body = Body([ValueError])
    loop = AsyncPeriodic("test", body.turn, every_s=0.001, max_age_s=1, loops=Loops())
    with capture_logs():
        loop.start()
        await asyncio.sleep(0.01)

    await loop.stop()
    await asyncio.sleep(0.1)

    assert body.turns == 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    now = [1000.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])

    def set_forward(seconds: float) -> None:
        now[0] += seconds

    yield set_forward


def test_a_failed_turn_does_not_make_it_younger(clock: Callable[[float], None]) -> None:
    loops, loop = Loops(), Loop("reaper", max_age_s=10)
    loops.add(loop)
    clock(9)
    with capture_logs():
        loop.fail(ValueError("odd"))
    assert loops.late() == []
    clock(2)

    assert loops.late() == [loop]
    [reason] = loops.reasons()
    assert "'reaper'" in reason and "11 s" in reason and "ValueError: odd" in reason
    loop.tick()
    assert loops.late() == [] and loop.reason == ""


def test_one_with_nothing_to_do_is_never_late(clock: Callable[[float], None]) -> None:
    loop = Loop("publisher", max_age_s=10)
    loop.idle()
    clock(1000)
    assert loop.age_s() == 0

    loop.busy()
    clock(11)
    assert loop.is_late()


def test_pauses_double_up_to_a_limit_and_begin_anew_after_a_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 1.0)
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 30.0)
    monkeypatch.setattr(module.random, "uniform", lambda low, high: high)
    loop = Loop("test", 1)

    with capture_logs():
        pauses = [loop.fail(ValueError()) for _ in range(7)]
        loop.tick()
        again = loop.fail(ValueError())

    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert again == 1


def test_a_loop_that_fails_all_the_time_does_not_fill_the_log(
    clock: Callable[[float], None],
) -> None:
    loop = Loop("test", 1)
    with capture_logs() as logs:
        for _ in range(1000):
            loop.fail(ValueError("odd"))
            clock(0.1)

    assert 5 <= len(logs) <= 11
    assert isinstance(logs[0]["exc_info"], ValueError) and logs[1]["unlogged"] > 90


def test_a_log_that_cannot_be_written_ends_no_loop() -> None:
    """As on a full disk."""

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(Full()))
    try:
        assert Loop("test", 1).fail(ValueError()) > 0
    finally:
        structlog.configure(**before)


async def test_a_long_turn_may_say_that_it_gets_on() -> None:
    seen: list[float] = []

    async def body() -> None:
        await asyncio.sleep(0.1)
        await asyncio.to_thread(progress)
        seen.append(loop.loop.age_s())
        await asyncio.sleep(10)

    loop = AsyncPeriodic("test", body, every_s=1, max_age_s=1, loops=Loops())
    loop.start()
    while not seen:
        await asyncio.sleep(0.01)
    await loop.stop()

    assert seen[0] < 0.09
    progress()  # outside of a loop it is of no effect


def test_counters_never_fall_when_a_loop_is_stopped() -> None:
    loops, loop = Loops(), Loop("test", 1)
    loops.add(loop)
    with capture_logs():
        loop.fail(ValueError())

    def failures() -> float:
        metrics = {metric.name: metric for metric in loops.collect()}
        return metrics["pixelmill_loop_failures"].samples[0].value

    before = failures()
    loops.remove(loop)
    loops.remove(loop)

    assert before == failures() == 1
