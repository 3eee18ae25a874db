"""Several looks at a photo, which subject stays, and what is said of a matte; without weights."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tasks.imaging.notes import SENTENCES
from tasks.imaging.types import Image, Tensor
from tasks.models import matting
from tasks.models.matting import Matting
from tasks.models.nets import subjects, views
from tasks.models.nets.u2net import Networks, Pair

SIDE = 64


def islands(*boxes: tuple[int, int, int, int]) -> Tensor:
    """SIDE x SIDE: 1 in each (top, left, bottom, right), else 0."""
    matte = np.zeros((SIDE, SIDE), np.float32)
    for top, left, bottom, right in boxes:
        matte[top:bottom, left:right] = 1
    return matte


LARGE, SMALL = (10, 6, 50, 30), (20, 44, 40, 58)
TWO = islands(LARGE, SMALL)
PLAIN = np.zeros((SIDE, SIDE, 3), np.uint8)


def photo_of(matte: Tensor, subject: int = 220, ground: int = 40) -> Image:
    grey = np.where(matte > 0.5, subject, ground).astype(np.uint8)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_maps_of_all_views_lie_on_the_photo(count: int) -> None:
    stack = views.of(np.stack([TWO] * 3), count)

    maps = views.upright(stack[::3])

    assert stack.shape == (3 * count, SIDE, SIDE)
    assert len(maps) == count and all((each == TWO).all() for each in maps)
    assert count == 1 or (stack[3] == TWO[:, ::-1]).all()


@pytest.mark.parametrize("profile", ["fast", "detail"])
def test_the_second_look_of_the_small_network_sees_more_contrast(profile: str) -> None:
    dull = photo_of(TWO, subject=150, ground=90)
    params = Matting.model_validate({"profile": profile, "effort": "good"})

    first, second = np.split(matting.preprocess(dull, params, dull), 2)

    assert np.ptp(second) > 2 * np.ptp(first)
    assert (np.sign(second - second.mean()) == np.sign(first - first.mean())[..., ::-1]).all()


def test_the_second_look_of_the_large_network_sees_the_mirror_image() -> None:
    dull = photo_of(TWO, subject=150, ground=90)
    params = Matting(profile="quality", effort="good")

    first, second = np.split(matting.preprocess(dull, params, dull), 2)

    assert (second == first[..., ::-1]).all()


def test_more_contrast_leaves_an_even_picture_nearly_as_it_is() -> None:
    even = np.full((SIDE, SIDE, 3), 120, np.uint8)
    even[::2] += 1

    assert np.ptp(views.contrasted(even)) < 20


def test_a_map_that_stands_alone_counts_less_than_in_the_mean() -> None:
    lost = islands(SMALL)

    joined = views.joined(np.stack([TWO, TWO, TWO, lost]), PLAIN)

    assert (joined[20:40, 44:58] > 0.999).all()
    assert (joined[10:50, 6:30] > 0.95).all() and not joined[:, 60:].any()
    assert not views.joined(np.zeros((2, SIDE, SIDE), np.float32), PLAIN).any()


@pytest.mark.parametrize("whole_first", [True, False])
def test_of_a_pair_that_disagrees_on_a_body_the_one_that_has_it_counts(whole_first: bool) -> None:
    pair = [islands((10, 10, 50, 50)), islands((10, 10, 30, 50))]

    joined = views.joined(np.stack(pair if whole_first else pair[::-1]), PLAIN)

    assert (joined == pair[0]).all()


def test_an_arm_that_one_of_a_pair_is_sure_of_stays_and_a_faint_speck_does_not_grow() -> None:
    body, arm, speck = (10, 10, 50, 50), (50, 20, 60, 30), (4, 54, 8, 60)
    less, more = islands(body), np.maximum(islands(body, arm), islands(speck) * np.float32(0.6))

    joined = views.joined(np.stack([less, more]), PLAIN)

    assert joined[53:58, 22:28] == pytest.approx(1)
    assert joined[4:8, 54:60] == pytest.approx(0.3, abs=0.02)
    assert (joined[10:50, 10:50] == 1).all()


@pytest.mark.parametrize(
    ("part", "expected"),
    [((50, 28, 64, 32), 0.6), ((10, 40, 50, 44), 0.3), ((54, 28, 64, 32), 0.3)],
)
def test_a_grip_that_one_of_a_pair_believes_in_stays_and_a_hem_does_not(
    part: tuple[int, int, int, int], expected: float
) -> None:
    less, more = islands((10, 20, 50, 40)), islands(part) * np.float32(0.6)
    pair = [each.repeat(4, 0).repeat(4, 1) for each in (less, np.maximum(less, more))]

    joined = views.joined(np.stack(pair), np.zeros((4 * SIDE, 4 * SIDE, 3), np.uint8))

    middle = 2 * (part[0] + part[2]), 2 * (part[1] + part[3])
    assert joined[middle] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("colour", "expected"), [((200, 90, 40), 0.7), ((40, 90, 60), 0.35), ((90, 90, 200), 0.35)]
)
def test_an_ear_that_one_of_a_pair_believes_in_stays_if_it_has_the_bodys_colours(
    colour: tuple[int, int, int], expected: float
) -> None:
    body, ear = (10, 20, 50, 40), (10, 40, 18, 44)
    photo = PLAIN + np.array((40, 90, 60), np.uint8)
    photo[10:50, 20:40], photo[10:18, 40:44] = (200, 90, 40), colour
    pair = [islands(body), np.maximum(islands(body), islands(ear) * np.float32(0.7))]
    less, more, large = (each.repeat(4, 0).repeat(4, 1) for each in (*pair, photo))
    joined = views.joined(np.stack([less, more]), large)

    assert joined[56, 168] == pytest.approx(expected, abs=0.01)


BODY, GROUND = (200, 90, 40), (40, 90, 60)


def joined_over(area: Tensor, body: Tensor, colour: tuple[int, int, int]) -> Tensor:
    """The map of two looks, of which one has seen the area too, which has a colour in the photo."""
    photo = PLAIN + np.array(GROUND, np.uint8)
    photo[body > 0], photo[area > 0] = BODY, colour
    looks = [body, np.maximum(body, area)]
    less, more, large = (each.repeat(4, 0).repeat(4, 1) for each in (*looks, photo))
    return views.joined(np.stack([less, more]), large)


@pytest.mark.parametrize(("colour", "expected"), [(GROUND, 0), (BODY, 1), ((90, 90, 200), 1)])
def test_what_one_look_alone_has_seen_is_no_lost_body_if_it_has_the_colours_of_the_ground(
    colour: tuple[int, int, int], expected: float
) -> None:
    joined = joined_over(islands((10, 40, 50, 55)), islands((10, 20, 50, 40)), colour)

    assert joined[120, 190] == expected


@pytest.mark.parametrize(("colour", "expected"), [(GROUND, 0), (BODY, 1)])
def test_a_gap_that_one_look_alone_has_filled_opens_if_it_has_the_colours_of_the_ground(
    colour: tuple[int, int, int], expected: float
) -> None:
    gap = islands((26, 26, 34, 34))

    joined = joined_over(gap, islands((10, 10, 50, 50)) - gap, colour)

    assert joined[120, 120] == expected


def test_colours_do_not_judge_what_one_look_has_seen_where_the_other_is_sure_of_nothing() -> None:
    body = islands((10, 20, 50, 40))

    joined = joined_over(body, np.zeros_like(body), BODY)

    assert (joined[body.repeat(4, 0).repeat(4, 1) > 0] == 1).all()


def test_a_fine_map_keeps_its_holes_and_gets_the_bodies_that_it_has_lost() -> None:
    disc = islands((8, 8, 48, 48))
    ring = disc - islands((14, 14, 42, 42))
    body = islands((8, 50, 48, 62))

    assert (views.completed(ring, disc) == ring).all()
    assert (views.completed(ring, np.maximum(disc, body)) >= body).all()
    assert (views.completed(disc, ring) == disc).all()


@pytest.mark.parametrize(
    ("profile", "effort", "count", "side"),
    [
        ("fast", "fast", 1, 320),
        ("fast", "good", 2, 320),
        ("fast", "best", 2, 320),
        ("quality", "best", 4, 320),
        ("detail", "fast", 1, 1024),
        ("detail", "best", 2, 1024),
    ],
)
def test_a_higher_effort_is_a_further_look(
    profile: str, effort: str, count: int, side: int
) -> None:
    params = Matting.model_validate({"profile": profile, "effort": effort})

    assert matting.preprocess(photo_of(TWO), params).shape == (3 * count, side, side)


@pytest.mark.parametrize("effort", ["fast", "good"])
def test_a_small_network_sees_each_view_beside_a_large_one_and_their_maps_become_one(
    effort: str,
) -> None:
    params = Matting.model_validate({"profile": "detail", "effort": effort})
    seen: list[tuple[int, ...]] = []
    count = matting._view_count(params)

    class Red(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append((len(images), *images.shape[2:]))
            return images[:, :1]

    batch = torch.from_numpy(views.of(np.stack([islands(LARGE)] * 3), count))
    (maps,) = matting.infer(Pair(Red(), Red(), 32), batch[None])

    assert sorted(seen) == sorted([(1, SIDE, SIDE), (count, 32, 32)])
    assert len(maps) == 1 + count
    assert (matting.joined(maps.numpy(), PLAIN, params) == islands(LARGE)).all()


def test_each_network_sees_a_pair_of_views_of_its_own() -> None:
    class Marked(torch.nn.Module):
        def __init__(self, mark: float) -> None:
            super().__init__()
            self.mark = mark

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images[:, :1] * self.mark

    views_of_two = torch.arange(8.0).reshape(2, 4, 1, 1, 1).expand(2, 4, 3, 2, 2)

    maps = Networks([Marked(1), Marked(10)])(views_of_two)

    assert maps[:, :, 0, 0].tolist() == [[0, 1, 20, 30], [4, 5, 60, 70]]


class First:
    """A session whose answer is the picture's first channel."""

    def run(self, image: Tensor) -> Tensor:
        return image[:, :1]


@pytest.mark.parametrize("engine", ["torch", "cpu"])
def test_a_network_is_asked_for_each_view(engine: str) -> None:
    batch = np.random.default_rng(3).random((2, 6, 8, 8)).astype(np.float32)

    if engine == "torch":
        answers = matting.infer(lambda views: views[:, :, 0], torch.from_numpy(batch))
        first, second = (answer.numpy() for answer in answers)
    else:
        first, second = matting.infer_cpu(First(), batch)

    assert first.shape == second.shape == (2, 8, 8)
    for view, channel in ((0, 0), (1, 3)):
        plane = batch[1, channel]
        assert second[view] == pytest.approx((plane - plane.min()) / np.ptp(plane), abs=1e-6)


@pytest.mark.parametrize(
    ("point", "only_largest", "expected"),
    [
        (None, False, TWO),
        (None, True, islands(LARGE)),
        ((0.8, 0.5), False, islands(SMALL)),
        ((0.99, 0.99), False, islands(SMALL)),
        ((0.3, 0.4), True, islands(LARGE)),
    ],
)
def test_the_subject_at_the_point_or_the_largest_stays(
    point: tuple[float, float] | None, only_largest: bool, expected: Tensor
) -> None:
    assert (subjects.keep(TWO, point, only_largest) == expected).all()


def test_of_an_empty_matte_nothing_stays() -> None:
    empty = np.zeros((SIDE, SIDE), np.float32)

    assert not subjects.keep(empty, (0.5, 0.5), only_largest=False).any()


@pytest.mark.parametrize(
    ("matte", "notes"),
    [
        (islands(LARGE), ()),
        (np.zeros((SIDE, SIDE), np.float32), ("no_subject",)),
        (TWO, ("several_subjects",)),
        (islands((0, 10, 40, 50)), ("touches_border",)),
        (islands((20, 10, SIDE, 50)), ()),
    ],
)
def test_what_a_person_should_know_is_said(matte: Tensor, notes: tuple[str, ...]) -> None:
    finding = subjects.judge(matte, matte, photo_of(matte))

    assert finding.notes == notes
    assert finding.confidence == (0 if "no_subject" in notes else 1)
    assert set(notes) <= set(SENTENCES)


def test_an_undecided_map_is_said() -> None:
    chances = islands(LARGE) * 0.7

    finding = subjects.judge(chances, islands(LARGE), photo_of(islands(LARGE)))

    assert finding.notes == ("unsure",)
    assert finding.confidence == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_a_side_without_contrast_is_named(side: str) -> None:
    matte = islands((16, 16, 48, 48))
    photo = photo_of(matte)
    rows, columns = {
        "left": (slice(None), slice(0, 16)),
        "right": (slice(None), slice(48, None)),
        "top": (slice(0, 16), slice(None)),
        "bottom": (slice(48, None), slice(None)),
    }[side]
    photo[rows, columns] = 218

    assert subjects.judge(matte, matte, photo).notes == (f"low_contrast_{side}",)
    assert f"low_contrast_{side}" in SENTENCES


def answer(chances: Tensor, photo: Image, **params: Any) -> Any:
    return matting.postprocess(chances[None], photo, Matting(refine=False, **params), ())


def test_a_box_is_where_the_subject_is_looked_for() -> None:
    photo = photo_of(TWO)
    photo[20:40, 44:58] = (250, 10, 10)

    array = matting.preprocess(photo, Matting(box="0.6,0.2,1,0.8"))
    found = answer(np.ones((SIDE, SIDE), np.float32), photo, box="0.6,0.2,1,0.8")

    assert array.shape == (6, 320, 320), "two views"
    assert array[0, 160, 160] > 2, "the red thing is in the middle of what the network sees"
    alpha = found.images["alpha"]
    assert (alpha[12:51, 38:] == 255).all()
    assert not alpha[:, :38].any() and not alpha[:12].any() and not alpha[51:].any()
    assert found.data["coverage"] == pytest.approx(39 * 26 / SIDE**2, abs=0.001)


def test_a_point_is_one_of_the_photo_also_inside_a_box() -> None:
    halves = np.zeros((SIDE, SIDE), np.float32)
    halves[8:56, 6:26] = halves[8:56, 38:58] = 1

    alpha = answer(halves, PLAIN, box="0.5,0,1,1", point="0.9,0.5").images["alpha"]

    assert alpha[32, 56] == 255 and not alpha[:, :48].any()


@pytest.mark.parametrize("box", ["1,1,1,1", "0,0,0,0", "0.9,0.9,0.1,0.1", "0.5,0.5,0.5,0.5"])
def test_a_box_turned_round_or_without_a_size_is_taken_as_it_can_be(box: str) -> None:
    found = answer(np.ones((SIDE, SIDE), np.float32), photo_of(TWO), box=box)

    assert found.images["alpha"].any()


@pytest.mark.parametrize("text", ["1.2,0.5", "0.5", "a,b", "0.1,0.2,0.3", "-0.1,0.5"])
def test_a_point_outside_the_photo_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="point"):
        Matting(point=text)
