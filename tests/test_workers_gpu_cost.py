"""The cost of a batch is learned, and an idle device waits only where that pays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.gpu.cost import Cost, wait_s

SLOW = Cost([(1, 45), (2, 50)])


def test_the_warm_up_gives_the_first_line() -> None:
    assert (round(SLOW.a_ms, 6), round(SLOW.b_ms, 6)) == (40, 5)


def test_batches_teach_another_cost() -> None:
    cost = Cost([(1, 45), (2, 50)])

    for n in (1, 4, 8, 16) * 100:
        cost.add(n, 8 + 0.5 * n)

    assert cost.a_ms == pytest.approx(8, rel=0.2) and cost.b_ms == pytest.approx(0.5, rel=0.2)


def test_batches_of_one_size_leave_a_line_that_fits_them() -> None:
    cost = Cost([(1, 10), (2, 11)])

    for _ in range(200):
        cost.add(16, 25)

    assert cost.a_ms + 16 * cost.b_ms == pytest.approx(25, rel=0.01)


@given(st.lists(st.tuples(st.integers(1, 16), st.floats(0, 1e4)), max_size=60))
def test_no_part_of_a_cost_is_ever_negative(batches: list[tuple[int, float]]) -> None:
    cost = Cost([(1, 5), (2, 4)])
    for n, ms in batches:
        cost.add(n, ms)

    assert cost.a_ms >= -1e-6 and cost.b_ms >= 0


@pytest.mark.parametrize(
    ("count", "gap_s", "expected"),
    [
        (1, 0.002, 0.004),  # delays one by 7 ms, spares 38
        (6, 0.002, 0.0),  # delays six by 7 ms each: more than it spares
        (1, 0.030, 0.0),  # the next is too far away
        (1, 0.008, 0.010),  # never longer than allowed
    ],
)
def test_waiting_has_to_pay(count: int, gap_s: float, expected: float) -> None:
    assert wait_s(SLOW, count, gap_s, max_s=0.010) == expected
