"""How a saliency map becomes a matte and a cut-out; no weights needed."""

from typing import Any

import numpy as np
import pytest
import torch

from tasks.imaging.types import Image, Tensor
from tasks.models import matting
from tasks.models.base import Output
from tasks.models.matting import Matting
from tasks.models.nets import saliency

PLAIN = np.zeros((8, 8, 3), np.uint8)
"""A photo whose colours tell nothing."""


@pytest.fixture
def image() -> Image:
    """480 x 640: a bright disc, the subject, on dark ground with grain."""
    rows, columns = np.mgrid[:480, :640]
    disc = (rows - 240) ** 2 + (columns - 320) ** 2 < 150**2
    grain = np.random.default_rng(7).integers(0, 20, (480, 640, 3))
    return (np.where(disc[..., None], 200, 30) + grain).astype(np.uint8)


@pytest.fixture
def output() -> Tensor:
    """1 x 320 x 320: the disc as the network would see it, its edge two pixels soft."""
    rows, columns = np.mgrid[:320, :320]
    distance = np.hypot((rows - 160) * 1.5, (columns - 160) * 2.0) - 150
    soft: Tensor = np.clip(0.5 - distance / 4, 0, 1).astype(np.float32)
    return soft[None]


def finish(output: Tensor, image: Image, *wanted: str, **params: Any) -> Output:
    return matting.postprocess(output, image, Matting(**params), wanted)


def test_the_alpha_has_the_photos_size_and_covers_the_subject(image: Image, output: Tensor) -> None:
    alpha = finish(output, image).images["alpha"]

    assert (alpha.shape, alpha.dtype) == ((480, 640), np.uint8)
    assert alpha[240, 320] == 255
    assert alpha[5, 5] == 0


@pytest.mark.parametrize("refine", [True, False])
def test_refined_or_not_the_share_of_the_photo_is_the_subjects(
    image: Image, output: Tensor, refine: bool
) -> None:
    data = finish(output, image, refine=refine).data

    assert data["coverage"] == pytest.approx(np.pi * 150**2 / (480 * 640), abs=0.01)


def test_haze_away_from_the_subject_goes() -> None:
    matte = np.zeros((320, 320), np.float32)
    matte[100:200, 100:200] = 1
    matte[100:200, 200:230] = 0.45

    cleaned = saliency.clean(matte, PLAIN)

    assert not cleaned[100:200, 205:].any()
    assert (cleaned[100:200, 100:200] == 1).all()
    assert cleaned[150, 200] == pytest.approx((0.45 - 0.03) / 0.92)  # beside the subject: an edge


@pytest.mark.parametrize(
    ("colour", "expected"), [((250, 80, 30), 1), ((20, 20, 20), 0), ((90, 200, 90), 0)]
)
def test_doubt_becomes_the_subject_where_it_has_its_colour_alone(
    colour: tuple[int, int, int], expected: float
) -> None:
    matte = np.zeros((320, 320), np.float32)
    matte[100:200, 100:200] = 1
    matte[100:200, 200:230] = 0.45
    photo = np.full((320, 320, 3), 20, np.uint8)
    photo[100:200, 100:200] = (250, 80, 30)
    photo[100:200, 200:230] = colour

    cleaned = saliency.clean(matte, photo)

    assert (cleaned[100:200, 206:228] == expected).all()
    assert not cleaned[:, 231:].any()


@pytest.mark.parametrize(("value", "whole"), [(0.3, 0), (0.45, 1), (0.6, 1)])
def test_doubt_about_half_of_the_subject_ends_with_all_of_it_or_none(
    value: float, whole: float
) -> None:
    matte = np.zeros((320, 320), np.float32)
    matte[100:200, 100:200] = 1
    matte[100:200, 200:260] = value

    cleaned = saliency.clean(matte, PLAIN)

    assert (cleaned[110:190, 208:250] == whole).all()


def test_a_body_that_is_half_believed_is_not_torn() -> None:
    matte = np.zeros((64, 64), np.float32)
    matte[4:24, 16:48] = 1
    matte[34:60, 8:56] = np.tile([0.45, 0.65], (26, 24))  # the mean is more than a half

    cleaned = saliency.clean(matte, np.full((64, 64, 3), 90, np.uint8))

    assert cleaned[38:56, 14:50].min() > 0.7


def test_an_outline_out_of_focus_is_as_soft_as_it_was() -> None:
    ramp = np.clip((np.arange(320, dtype=np.float32) - 100) / 8, 0, 1)
    matte = np.tile(ramp, (320, 1))

    cleaned = saliency.clean(matte, PLAIN)

    outline = slice(106, 109)  # further out it is haze
    assert cleaned[:, outline] == pytest.approx(matte[:, outline], abs=0.12)
    assert not cleaned[:, :100].any() and (cleaned[:, 112:] == 1).all()


def test_a_body_that_is_nearly_sure_becomes_solid() -> None:
    matte = np.zeros((320, 320), np.float32)
    matte[100:200, 100:200] = 0.96 + 0.001 * np.cos(np.arange(100))

    assert (saliency.clean(matte, PLAIN)[100:200, 100:200] == 1).all()


def test_what_the_network_is_sure_of_stays_however_thin() -> None:
    matte = np.zeros((320, 320), np.float32)
    matte[100:200, 100:200] = 1
    matte[150, 200:300] = 0.95

    cleaned = saliency.clean(matte, PLAIN)

    assert (cleaned[150, 200:300] == 1).all()


@pytest.mark.parametrize(("middle", "expected"), [(0.6, 1.0), (0.02, 0.0)])
def test_a_dent_in_the_subject_is_filled_and_a_hole_is_not(middle: float, expected: float) -> None:
    matte = np.zeros((320, 320), np.float32)
    matte[100:200, 100:200] = 1
    matte[140:160, 140:160] = middle

    assert saliency.clean(matte, PLAIN)[150, 150] == expected


def test_a_doubtful_area_that_only_doubt_surrounds_is_no_hole() -> None:
    matte = np.zeros((320, 320), np.float32)
    matte[60:260, 60:260] = 1
    matte[120:200, 120:200] = 0.6
    matte[140:180, 140:180] = 0.2

    assert saliency.clean(matte, PLAIN)[60:260, 60:260].min() > 0.95


def test_a_second_subject_stays_and_a_speck_goes() -> None:
    matte = np.zeros((320, 320), np.float32)
    matte[100:200, 20:120] = 1
    matte[120:180, 200:260] = 1
    matte[10:13, 300:303] = 0.95

    cleaned = saliency.clean(matte, PLAIN)

    assert cleaned[150, 230] == 1
    assert cleaned[11, 301] == 0


def test_without_a_subject_the_matte_is_empty(image: Image) -> None:
    faint = np.full((1, 320, 320), 0.3, np.float32)

    answer = finish(faint, image)

    assert answer.data == {"coverage": 0.0, "confidence": 0.0}
    assert answer.notes == ("no_subject",)
    assert not answer.images["alpha"].any()


def test_all_that_was_found_stays_when_haze_is_wanted(image: Image) -> None:
    faint = np.full((1, 320, 320), 0.3, np.float32)

    data = finish(faint, image, clean=False, refine=False).data

    assert data["coverage"] == pytest.approx(0.3, abs=0.01)


def test_stretching_does_not_make_a_matte_out_of_noise() -> None:
    noise = torch.rand(1, 1, 320, 320, generator=torch.Generator().manual_seed(1)) * 0.05
    clear = noise * 18

    faint, bright = matting.infer(lambda views: torch.cat([noise, clear]), torch.zeros(2, 3, 8, 8))

    assert float(faint.max()) < 0.11
    assert (float(bright.min()), float(bright.max())) == (0, 1)
