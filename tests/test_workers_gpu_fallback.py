"""A batch that does not fit is halved and goes down rung by rung; nobody storms a full memory."""

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
from workers.gpu.fallback import RAISE_S, Bin, Ladder, Rung

BIN: Bin = ("toy", (3, 64, 64), "float32")
SMALLER: Bin = ("toy", (3, 32, 32), "float32")
LIGHTER: Bin = ("light", (3, 64, 64), "float32")
RUNGS = [
    Rung("device", BIN, "cuda"),
    Rung("smaller_bin", SMALLER, "cuda"),
    Rung("degraded", LIGHTER, "cuda"),
    Rung("cpu", BIN, "cpu"),
]
FIRST = {rung.name: 100 * number for number, rung in enumerate(RUNGS)}
"""What each rung adds to an image's number."""


@dataclass
class Memory:
    """Room for so many images per rung; remembers what was tried."""

    room: dict[str, int]
    most: int = 16
    now: float = 0.0
    frees: dict[str, int] = field(default_factory=dict)
    """Rung -> images for which there is room once its cache has been freed."""
    tried: list[tuple[str, int]] = field(default_factory=list)
    freed: int = 0

    def attempt(self, rung: Rung, arrays: Sequence[Any]) -> list[Any] | None:
        self.tried.append((rung.name, len(arrays)))
        if len(arrays) > self.room.get(rung.name, 0):
            return None
        return [array + FIRST[rung.name] for array in arrays]

    def free(self, rung: Rung) -> None:
        self.freed += 1
        self.room |= self.frees

    def ladder(self, rungs: Sequence[Rung] = RUNGS) -> Ladder:
        return Ladder(
            lambda bin: rungs,
            lambda rung: 1 if rung.name == "cpu" else self.most,
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
    ladder = memory.ladder()

    answers = ladder.run(BIN, numbered(16))

    assert answers == [Inferred(np.float32(number)) for number in range(16)]
    assert memory.tried == [("device", 16)]
    assert ladder.counts == Counter()


def test_a_batch_that_does_not_fit_is_halved_and_answered_in_order() -> None:
    memory = Memory({"device": 5})
    ladder = memory.ladder()

    answers = ladder.run(BIN, numbered(16))

    assert values(answers) == list(range(16))
    assert memory.tried == [("device", n) for n in (16, 8, 4, 4, 4, 4)]
    assert (ladder.counts["full"], ladder.counts["halved"], memory.freed) == (2, 2, 2)


def test_the_lowered_budget_is_remembered() -> None:
    memory = Memory({"device": 5})
    ladder = memory.ladder()
    ladder.run(BIN, numbered(16))
    memory.tried.clear()

    assert ladder.limit(BIN) == 4
    ladder.run(BIN, numbered(4))

    assert memory.tried == [("device", 4)]


def test_a_bin_keeps_its_budget_whatever_becomes_of_another() -> None:
    memory = Memory({"device": 5})
    ladder = Ladder(
        lambda bin: [Rung("device", bin, "cuda")], lambda rung: 16, memory.attempt, memory.free
    )
    ladder.run(BIN, numbered(16))

    assert (ladder.limit(BIN), ladder.limit(SMALLER)) == (4, 16)


def test_freeing_the_cache_may_be_all_that_one_image_needs() -> None:
    memory = Memory({"device": 0}, frees={"device": 1})
    ladder = memory.ladder()

    assert values(ladder.run(BIN, numbered(1))) == [0]
    assert ladder.counts == Counter(full=1)
    assert ladder.limit(BIN) == 16


@pytest.mark.parametrize(
    ("room", "rung", "is_degraded", "first"),
    [
        ({"smaller_bin": 16}, "smaller_bin", True, 100),
        ({"degraded": 16}, "degraded", True, 200),
        ({"cpu": 1}, "cpu", False, 300),
    ],
)
def test_images_that_do_not_fit_alone_go_down_to_the_next_rung_that_takes_them(
    room: dict[str, int], rung: str, is_degraded: bool, first: int
) -> None:
    memory = Memory(room)
    ladder = memory.ladder()

    answers = ladder.run(BIN, numbered(3))

    assert values(answers) == [first, first + 1, first + 2]
    assert [answer.is_degraded for answer in answers if isinstance(answer, Inferred)] == (
        [is_degraded] * 3
    )
    assert ladder.counts[rung] == 3


def test_the_batcher_is_told_the_limit_of_the_rung_that_will_serve() -> None:
    memory = Memory({"smaller_bin": 6})
    ladder = memory.ladder()
    ladder.run(BIN, numbered(8))

    assert ladder.limit(BIN) == 4


def test_an_image_that_fits_nowhere_fails_with_a_clear_error() -> None:
    ladder = Memory({}).ladder()

    answers = ladder.run(BIN, numbered(2))

    assert len(answers) == 2 and answers[0] is not answers[1]
    for error in answers:
        assert isinstance(error, ModelFailure) and error.code == "out_of_memory"
        assert "64 x 64" in str(error) and error.hint
    assert ladder.counts["out_of_memory"] == 2


def test_a_full_memory_is_not_stormed() -> None:
    memory = Memory({"cpu": 1})
    ladder = memory.ladder()
    ladder.run(BIN, numbered(16))
    tried = Counter(name for name, _ in memory.tried)
    memory.tried.clear()

    for _ in range(10):
        ladder.run(BIN, numbered(16))

    assert tried["device"] <= log2(16) + 2 and tried["degraded"] <= log2(16) + 2
    assert Counter(memory.tried) == Counter({("cpu", 1): 160}), "what failed is not tried again"


def test_a_lowered_budget_is_tried_at_double_after_a_while() -> None:
    memory = Memory({"device": 5})
    ladder = memory.ladder()
    ladder.run(BIN, numbered(16))

    memory.room["device"] = 16
    memory.now += RAISE_S + 1

    assert [ladder.limit(BIN), ladder.limit(BIN)] == [8, 8]
    memory.now += RAISE_S + 1
    assert ladder.limit(BIN) == 16


def test_memory_that_comes_back_takes_images_off_the_lower_rungs() -> None:
    memory = Memory({"cpu": 1})
    ladder = memory.ladder()
    ladder.run(BIN, numbered(1))

    memory.room["device"] = 16
    memory.now += RAISE_S + 1

    assert values(ladder.run(BIN, numbered(1))) == [0]


@given(
    st.dictionaries(st.sampled_from([rung.name for rung in RUNGS]), st.integers(0, 20)),
    st.lists(st.integers(1, 16), min_size=1, max_size=8),
)
def test_every_image_is_answered_once_in_its_own_slot_whatever_fits(
    room: dict[str, int], batches: list[int]
) -> None:
    memory = Memory(room)
    ladder = memory.ladder()

    for count in batches:
        answers = ladder.run(BIN, numbered(count))
        assert len(answers) == count
        for number, answer in enumerate(answers):
            if isinstance(answer, Inferred):
                assert float(answer.array) % 100 == number
            else:
                assert not any(room.values()), "an image fails only where no rung takes one"
    failures = Counter(name for name, count in memory.tried if count > room.get(name, 0))
    assert max(failures.values(), default=0) <= log2(16) + 2
