"""Scores of slices are averaged with those of the slices around them, by their distance in mm."""

import numpy as np
import pytest

from tasks.imaging.volumes.along import averaged


def stack(*scores: float) -> np.ndarray:
    """Slices of one pixel each."""
    return np.array(scores, np.float16)[:, None, None]


def test_a_slice_that_is_unsure_follows_its_neighbours() -> None:
    assert averaged(stack(0.02, 0.6, 0.02), 3)[1, 0, 0] < 0.5
    assert averaged(stack(0.98, 0.4, 0.98), 3)[1, 0, 0] > 0.5


def test_a_slice_that_is_sure_stays_as_it_is_beside_some_that_are_not() -> None:
    assert averaged(stack(0.4, 0.99, 0.4), 3)[1, 0, 0] > 0.9


def test_slices_that_lie_far_apart_are_not_averaged() -> None:
    scores = stack(0.02, 0.6, 0.9, 0.3)

    np.testing.assert_allclose(averaged(scores, 15), scores, atol=2e-3)


@pytest.mark.parametrize("distance_mm", [0.0, 3.0])
def test_one_slice_and_slices_of_unknown_distance_keep_their_scores(distance_mm: float) -> None:
    scores = stack(0.02, 0.6, 0.9)[: 1 if distance_mm else 3]

    np.testing.assert_allclose(averaged(scores, distance_mm), scores, atol=2e-3)


def test_the_mean_is_over_mm_whatever_the_distance_of_slices() -> None:
    """Of a border between sure slices, a thin slice reaches as far as a thick one."""
    thin = averaged(stack(*[0.01] * 30, *[0.99] * 30), 0.5)[:, 0, 0]
    thick = averaged(stack(*[0.01] * 10, *[0.99] * 10), 1.5)[:, 0, 0]

    np.testing.assert_allclose(thin[1::3], thick, atol=0.05)


def test_the_first_and_the_last_slice_are_continued_beyond_the_ends() -> None:
    ends = averaged(stack(0.7, 0.7, 0.7), 1)[:, 0, 0]

    np.testing.assert_allclose(ends, 0.7, atol=2e-3)
