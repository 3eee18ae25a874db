"""A batch that does not fit is halved, then falls back step by step; full memory is not stormed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log2
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import ModelFailure
from tasks.models.base import Inferred
from workers.gpu.fallback import RAISE_AFTER_S, Bin, FallbackChain, Step

BIN: Bin = ("toy", (3, 64, 64), "float32")
SMALLER: Bin = ("toy", (3, 32, 32), "float32")
FALLBACK: Bin = ("light", (3, 64, 64), "float32")
STEPS = [
    Step("device", BIN, "cuda"),
    Step("smaller_bin", SMALLER, "cuda"),
    Step("degraded", FALLBACK, "cuda"),
    Step("cpu", BIN, "cpu"),
]
FIRST = {step.name: 100 * number for number, step in enumerate(STEPS)}
"""What each step adds to an image's number."""


@dataclass
class Memory:
    """Room for so many images per step; remembers what was tried."""

    room: dict[str, int]
    most: int = 16
    now: float = 0.0
    frees: dict[str, int] = field(default_factory=dict)
    """Step -> images for which there is room once its cache has been freed."""
    tried: list[tuple[str, int]] = field(default_factory=list)
    freed: int = 0

    def attempt(self, step: Step, arrays: Sequence[Any]) -> list[Any] | None:
        self.tried.append((step.name, len(arrays)))
        if len(arrays) > self.room.get(step.name, 0):
            return None
        return [array + FIRST[step.name] for array in arrays]

    def free(self, step: Step) -> None:
        self.freed += 1
        self.room |= self.frees

    def chain(self, steps: Sequence[Step] = STEPS) -> FallbackChain:
        return FallbackChain(
            lambda bin: steps,
            lambda step: 1 if step.name == "cpu" else self.most,
            self.attempt,
            self.free,
            lambda: self.now,
        )


def numbered(count: int) -> list[Any]:
    return [np.float32(number) for number in range(count)]


def values(answers: Sequence[Any]) -> list[float]:
    return [float(answer.array) for answer in answers]


def test_what_fits_is_run_as_it_is() -> None:
    memory = Memory({"device": 16})
    chain = memory.chain()

    answers = chain.run(BIN, numbered(16))

    assert answers == [Inferred(np.float32(number)) for number in range(16)]
    assert memory.tried == [("device", 16)]
    assert chain.counts == Counter()


def test_a_batch_that_does_not_fit_is_halved_and_answered_in_order() -> None:
    memory = Memory({"device": 5})
    chain = memory.chain()

    answers = chain.run(BIN, numbered(16))

    assert values(answers) == list(range(16))
    assert memory.tried == [("device", n) for n in (16, 8, 4, 4, 4, 4)]
    assert (chain.counts["full"], chain.counts["halved"], memory.freed) == (2, 2, 2)


def test_the_lowered_budget_is_remembered() -> None:
    memory = Memory({"device": 5})
    chain = memory.chain()
    chain.run(BIN, numbered(16))
    memory.tried.clear()

    assert chain.limit(BIN) == 4
    chain.run(BIN, numbered(4))

    assert memory.tried == [("device", 4)]


def test_a_bin_keeps_its_budget_whatever_becomes_of_another() -> None:
    memory = Memory({"device": 5})
    chain = FallbackChain(
        lambda bin: [Step("device", bin, "cuda")], lambda step: 16, memory.attempt, memory.free
    )
    chain.run(BIN, numbered(16))

    assert (chain.limit(BIN), chain.limit(SMALLER)) == (4, 16)


def test_freeing_the_cache_may_be_all_that_one_image_needs() -> None:
    memory = Memory({"device": 0}, frees={"device": 1})
    chain = memory.chain()

    assert values(chain.run(BIN, numbered(1))) == [0]
    assert chain.counts == Counter(full=1)
    assert chain.limit(BIN) == 16


@pytest.mark.parametrize(
    ("room", "step", "is_degraded", "first"),
    [
        ({"smaller_bin": 16}, "smaller_bin", True, 100),
        ({"degraded": 16}, "degraded", True, 200),
        ({"cpu": 1}, "cpu", False, 300),
    ],
)
def test_images_that_do_not_fit_alone_go_down_to_the_next_step_that_takes_them(
    room: dict[str, int], step: str, is_degraded: bool, first: int
) -> None:
    memory = Memory(room)
    chain = memory.chain()

    answers = chain.run(BIN, numbered(3))

    assert values(answers) == [first, first + 1, first + 2]
    assert [answer.is_degraded for answer in answers if isinstance(answer, Inferred)] == (
        [is_degraded] * 3
    )
    assert chain.counts[step] == 3


def test_the_batcher_is_told_the_limit_of_the_step_that_will_serve() -> None:
    memory = Memory({"smaller_bin": 6})
    chain = memory.chain()
    chain.run(BIN, numbered(8))

    assert chain.limit(BIN) == 4


def test_an_image_that_fits_nowhere_fails_with_a_clear_error() -> None:
    chain = Memory({}).chain()

    answers = chain.run(BIN, numbered(2))

    assert len(answers) == 2 and answers[0] is not answers[1]
    for error in answers:
        assert isinstance(error, ModelFailure) and error.code == "out_of_memory"
        assert "64 x 64" in str(error) and error.hint
    assert chain.counts["out_of_memory"] == 2


def test_a_full_memory_is_not_stormed() -> None:
    memory = Memory({"cpu": 1})
    chain = memory.chain()
    chain.run(BIN, numbered(16))
    tried = Counter(name for name, _ in memory.tried)
    memory.tried.clear()

    for _ in range(10):
        chain.run(BIN, numbered(16))

    assert tried["device"] <= log2(16) + 2 and tried["degraded"] <= log2(16) + 2
    assert Counter(memory.tried) == Counter({("cpu", 1): 160}), "what failed is not tried again"


def test_a_lowered_budget_is_tried_at_double_after_a_while() -> None:
    memory = Memory({"device": 5})
    chain = memory.chain()
    chain.run(BIN, numbered(16))

    memory.room["device"] = 16
    memory.now += RAISE_AFTER_S + 1

    assert [chain.limit(BIN), chain.limit(BIN)] == [8, 8]
    memory.now += RAISE_AFTER_S + 1
    assert chain.limit(BIN) == 16


def test_memory_that_comes_back_takes_images_off_the_later_steps() -> None:
    memory = Memory({"cpu": 1})
    chain = memory.chain()
    chain.run(BIN, numbered(1))

    memory.room["device"] = 16
    memory.now += RAISE_AFTER_S + 1

    assert values(chain.run(BIN, numbered(1))) == [0]


@given(
    st.dictionaries(st.sampled_from([step.name for step in STEPS]), st.integers(0, 20)),
    st.lists(st.integers(1, 16), min_size=1, max_size=8),
)
def test_every_image_is_answered_once_in_its_own_slot_whatever_fits(
    room: dict[str, int], batches: list[int]
) -> None:
    memory = Memory(room)
    chain = memory.chain()

    for count in batches:
        answers = chain.run(BIN, numbered(count))
        assert len(answers) == count
        for number, answer in enumerate(answers):
            if isinstance(answer, Inferred):
                assert float(answer.array) % 100 == number
            else:
                assert not any(room.values()), "an image fails only where no step takes one"
    failures = Counter(name for name, count in memory.tried if count > room.get(name, 0))
    assert max(failures.values(), default=0) <= log2(16) + 2
