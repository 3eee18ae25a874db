"""What holds for every model: golden answers, batches, determinism. Real weights, on the CPU."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tasks.imaging.types import Image, Tensor
from tasks.models import registry, weights
from tasks.models.base import Model, Output
from tasks.settings import names_in, settings

GOLDEN = Path(__file__).parent / "golden"
WEIGHTS = Path(os.environ.get("PIXELMILL_WEIGHTS_DIR", GOLDEN.parents[1] / "var" / "weights"))
WRITE = "PIXELMILL_WRITE_GOLDEN" in os.environ
SAME = 1e-4
"""A batch of n against n singles: the rounding of float32 convolutions."""

# 168 MB of weights are fetched only where somebody asks for that profile.
QUALITY = ["matting:quality"] if "matting:quality" in names_in(settings().profiles) else []
CASES = [("matting", "astronaut"), ("matting", "chelsea"), ("matting", "coffee")]
CASES += [("classify", "chelsea"), ("classify", "coffee")]
CASES += [("facemask", "astronaut"), ("facemask", "coffee")]
CASES += [(name, subject) for name in QUALITY for subject in ("astronaut", "chelsea", "coffee")]


@dataclass
class Loaded:
    """A model on the CPU."""

    model: Model
    session: Any

    def prepare(self, image: Image) -> Tensor:
        return self.model.preprocess(image, self.model.params())

    def infer(self, *inputs: Tensor) -> list[Tensor]:
        outputs = self.model.infer(self.session, torch.from_numpy(np.stack(inputs)))
        return [output.numpy() for output in outputs]

    def finish(self, output: Tensor, image: Image) -> Output:
        return self.model.postprocess(output, image, self.model.params(), ["alpha", "preview"])

    def answer(self, image: Image) -> Output:
        return self.finish(self.infer(self.prepare(image))[0], image)


@pytest.fixture(scope="module", params=["matting", "classify", "facemask", *QUALITY])
def loaded(request: pytest.FixtureRequest) -> Loaded:
    return load(request.param)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tests share the machine; the results do not depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


LOADED: dict[str, Loaded] = {}


def load(name: str) -> Loaded:
    if name not in LOADED:
        model = registry.variant(name)
        files = {key: weights.fetch(weight, WEIGHTS) for key, weight in model.weights.items()}
        LOADED[name] = Loaded(model, model.load(files, "cpu"))
    return LOADED[name]


def photo(name: str) -> Image:
    """H x W x 3 uint8 RGB."""
    pixels = cv2.imread(str(GOLDEN / f"{name}.jpg"))
    assert pixels is not None
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


@pytest.mark.parametrize(("name", "subject"), CASES)
def test_the_answer_is_the_one_that_was_looked_at(name: str, subject: str) -> None:
    output = load(name).answer(photo(subject))

    if "alpha" in output.images:
        compare_alpha(GOLDEN / f"{name.replace(':', '_')}_{subject}.png", output.images["alpha"])
    elif "faces" in output.data:
        compare_faces(GOLDEN / f"{name}_{subject}.json", output.data["faces"])
    else:
        compare_labels(GOLDEN / f"{name}_{subject}.json", output.data["labels"])


def compare_alpha(file: Path, alpha: Any) -> None:
    """Mean difference <= 0.5 of 255, and no more than 0.2 % of the pixels off by more than 16."""
    if WRITE:
        cv2.imwrite(str(file), alpha)
    golden = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    assert golden is not None

    difference = np.abs(golden.astype(int) - alpha.astype(int))

    assert difference.mean() <= 0.5
    assert (difference > 16).mean() <= 0.002


def compare_labels(file: Path, labels: list[dict[str, Any]]) -> None:
    """What the golden answer gives 0.05 or more: in the same order, scores within 0.01."""
    if WRITE:
        file.write_text(json.dumps(labels, indent=1) + "\n")
    golden = [entry for entry in json.loads(file.read_text()) if entry["score"] >= 0.05]

    for entry, expected in zip(labels, golden, strict=False):
        assert entry["label"] == expected["label"]
        assert entry["score"] == pytest.approx(expected["score"], abs=0.01)


def compare_faces(file: Path, faces: list[dict[str, Any]]) -> None:
    """The same faces: labels equal, boxes within 2 pixels, scores within 0.02."""
    if WRITE:
        file.write_text(json.dumps(faces, indent=1) + "\n")
    golden = json.loads(file.read_text())

    assert [face["label"] for face in faces] == [face["label"] for face in golden]
    for face, expected in zip(faces, golden, strict=True):
        assert face["box"] == pytest.approx(expected["box"], abs=2)
        assert face["score"] == pytest.approx(expected["score"], abs=0.02)


def test_a_batch_gives_what_singles_give(loaded: Loaded) -> None:
    photos = [cv2.resize(photo(name), (512, 512)) for name in ("astronaut", "chelsea", "coffee")]
    inputs = [loaded.prepare(np.asarray(photo, np.uint8)) for photo in photos]

    singles = [loaded.infer(array)[0] for array in inputs]
    batch = loaded.infer(*inputs)

    for single, of_batch in zip(singles, batch, strict=True):
        assert np.abs(single - of_batch).max() <= SAME


def test_the_same_photo_gives_the_same_bytes_again(loaded: Loaded) -> None:
    image = photo("chelsea")

    first, second = loaded.answer(image), loaded.answer(image)

    assert first.data == second.data
    assert all(np.array_equal(first.images[k], second.images[k]) for k in first.images)


def test_parallel_calls_do_not_disturb_each_other(loaded: Loaded) -> None:
    inputs = [loaded.prepare(photo(name)) for name in ("astronaut", "coffee")]
    alone = [loaded.infer(array)[0] for array in inputs]

    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda array: loaded.infer(array)[0], inputs))

    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_preprocess_gives_one_of_the_bins_and_leaves_the_photo_alone(loaded: Loaded) -> None:
    image = photo("coffee")
    before = image.copy()

    prepared = loaded.prepare(image)

    assert prepared.shape[1:] in loaded.model.bins
    assert prepared.dtype == np.float32
    assert np.array_equal(image, before)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (7, 5)])
def test_photos_of_odd_sizes_have_an_answer(loaded: Loaded, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 77, np.uint8)

    output = loaded.finish(loaded.infer(loaded.prepare(image))[0], image)

    assert output.data


def test_parameters_make_a_form(loaded: Loaded) -> None:
    schema = loaded.model.params.model_json_schema()

    for field in schema["properties"].values():
        assert field["title"] and field["description"] and "default" in field


def test_the_card_says_licence_and_use(loaded: Loaded) -> None:
    assert loaded.model.licence != "unknown"
    assert loaded.model.intended_use.endswith(".")
    assert all(weight.licence and weight.bytes for weight in loaded.model.weights.values())
