"""What runs a network on the CPU: by which engine, and that their results are kept apart."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from threads import ticks_during

from tasks import compatibility
from tasks.compatibility import OtherVersion
from tasks.imaging.types import Image, Tensor
from tasks.models import classify, engines, matting, registry, weights
from tasks.models.base import CpuNetwork, Model, Weight
from tasks.models.matting import Matting
from tasks.models.nets import mnn
from tasks.training import convert
from workers.gpu.engine import by_engine

GOLDEN = Path(__file__).parent / "golden"
WEIGHTS = Path(os.environ.get("PIXELMILL_WEIGHTS_DIR", GOLDEN.parents[1] / "var" / "weights"))
SIDES = {"matting": 320, "classify": 224, "facemask-detector": 320, "facemask-classifier": 112}
SMALL = Weight(member="small.safetensors", sha256="5" * 64, licence="MIT")


def load(files: Mapping[str, Path], threads: int) -> Any:
    return f"{sorted(files)} by {threads}"


def double(session: Any, batch: Tensor) -> Sequence[Tensor]:
    assert isinstance(batch, np.ndarray)
    return [image * 2 for image in batch]


@pytest.fixture
def model() -> Model:
    """A model whose network `lite0` has a form for the CPU, and whose `large` has none."""
    large = replace(classify.MODEL.weights["lite0"], sha256="6" * 64)
    return replace(
        classify.MODEL,
        weights={**classify.MODEL.weights, "large": large},
        cpu={"mnn": CpuNetwork(load, double, {"lite0": SMALL})},
    )


def test_the_cpu_network_takes_the_place_of_the_models(model: Model) -> None:
    first = replace(model, weights={"lite0": model.weights["lite0"]})

    made, engine = by_engine(first, "mnn", 3)

    assert engine == "mnn"
    assert made.weights == {"lite0": SMALL}
    assert made.max_batch == 1
    assert made.load({"lite0": Path("x")}, "cpu") == "['lite0'] by 3"
    [answer] = made.infer(None, np.ones((1, 3, 2, 2), np.float32))
    assert np.array_equal(answer, np.full((3, 2, 2), 2.0))


def test_a_model_without_a_network_for_the_engine_is_run_by_the_next_one(model: Model) -> None:
    first = replace(model, weights={"lite0": model.weights["lite0"]})

    made, engine = by_engine(first, "openvino", 3)

    assert engine == "mnn"
    assert made.weights == {"lite0": SMALL}
    assert weights.digest(model, "openvino") == weights.digest(model, "mnn")


@pytest.mark.parametrize("engine", ["mnn", "openvino"])
@pytest.mark.parametrize("name", ["matting", "classify", "facemask"])
def test_what_a_built_in_model_needs_without_a_gpu_comes_with_the_code(
    name: str, engine: engines.Engine
) -> None:
    used = engines.weights(registry.variant(name), engine)

    assert all(weight.is_own for weight in used.values())
    assert all((registry.FOLDER / weight.member).is_file() for weight in used.values())


def test_a_profile_without_a_cpu_network_stays_with_torch(model: Model) -> None:
    large = replace(model, weights={"large": model.weights["large"]})

    assert by_engine(large, "mnn", 1) == (large, "torch")


def test_torch_runs_the_models_own_network(model: Model) -> None:
    assert by_engine(model, "torch", 1) == (model, "torch")


def test_results_of_two_engines_have_different_weights(model: Model) -> None:
    assert weights.digest(model, "torch") != weights.digest(model, "mnn")
    assert weights.digest(model, "torch") == weights.digest(replace(model, cpu={}))


def test_a_model_without_a_cpu_network_has_the_same_weights_with_each_engine() -> None:
    plain = replace(classify.MODEL, cpu={})

    assert weights.digest(plain, "torch") == weights.digest(plain, "mnn")


def test_only_the_stage_that_runs_the_network_asks_for_its_engine(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = compatibility.registry.code_digest("classify")
    monkeypatch.setattr(compatibility.registry, "get", lambda name: model)
    compatibility._weights.cache_clear()
    spec: Any = type("Spec", (), {"model": "classify", "code": code})()
    spec.weights = weights.digest(model, "torch")
    try:
        compatibility.check(spec)
        compatibility.check(spec, engine="torch")
        with pytest.raises(OtherVersion, match="other weights of 'classify'"):
            compatibility.check(spec, engine="mnn")
    finally:
        compatibility._weights.cache_clear()


@pytest.fixture(scope="module")
def prepared() -> Tensor:
    """A photo as matting's network gets it."""
    photo = cv2.imread(str(GOLDEN / "astronaut.jpg"), cv2.IMREAD_COLOR_RGB)
    assert photo is not None
    return matting.preprocess(np.asarray(photo, np.uint8), Matting(effort="fast"))


@pytest.fixture(scope="module")
def by_mnn() -> Any:
    """Matting's network as MNN runs it."""
    weight = engines.weights(registry.variant("matting"), "mnn")["fast"]
    return matting.load_mnn({"fast": weights.fetch(weight, WEIGHTS)}, 1)


def test_matting_by_mnn_agrees_with_torch(prepared: Tensor, by_mnn: Any) -> None:
    file = weights.fetch(matting.MODEL.weights["fast"], WEIGHTS)
    [reference] = matting.infer(
        matting.load({"fast": file}, "cpu"), torch.from_numpy(prepared[None])
    )

    [ours] = matting.infer_cpu(by_mnn, prepared[None])

    assert ours.shape == tuple(reference.shape)
    assert ours.dtype == np.float32
    assert np.abs(ours - reference.numpy()).mean() < 0.002


def photo(name: str) -> Image:
    """One of the golden photos, RGB."""
    pixels = cv2.imread(str(GOLDEN / f"{name}.jpg"), cv2.IMREAD_COLOR_RGB)
    assert pixels is not None
    return np.asarray(pixels, np.uint8)


def answers(name: str, image: Image) -> tuple[Tensor, Tensor]:
    """What a model's network says of a photo by torch and by MNN."""
    model = registry.variant(name)
    fast, engine = by_engine(model, "mnn", 1)
    assert engine == "mnn"
    prepared = model.preprocess(image, model.params())[None]
    reference = model.load(fetched(model), "cpu")
    [ours] = fast.infer(fast.load(fetched(fast), "cpu"), prepared)
    return model.infer(reference, torch.from_numpy(prepared))[0].numpy(), ours


def fetched(model: Model) -> dict[str, Path]:
    return {key: weights.fetch(weight, WEIGHTS) for key, weight in model.weights.items()}


@pytest.mark.parametrize("name", ["chelsea", "coffee", "astronaut"])
def test_classify_by_mnn_agrees_with_torch(name: str) -> None:
    reference, ours = answers("classify", photo(name))

    assert ours.shape == reference.shape and ours.dtype == np.float32
    assert ours.argmax() == reference.argmax()
    assert np.abs(ours - reference).max() < 0.01


@pytest.mark.parametrize("size", [(512, 512), (1400, 1050)], ids=["small", "large"])
def test_facemask_by_mnn_finds_the_faces_that_torch_finds(size: tuple[int, int]) -> None:
    image = np.asarray(cv2.resize(photo("astronaut"), size), np.uint8)

    reference, ours = answers("facemask", image)

    assert ours.shape == reference.shape and ours.dtype == np.float32
    [sure] = reference[reference[:, 4] >= 0.5]
    [found] = ours[ours[:, 4] >= 0.5]
    assert np.abs(found[:4] - sure[:4]).max() < 2
    assert np.abs(found[4:] - sure[4:]).max() < 0.03


def test_facemask_by_mnn_finds_nobody_where_nobody_is() -> None:
    _, ours = answers("facemask", photo("coffee"))

    assert not (ours[:, 4] >= 0.5).any()


def test_a_face_at_the_border_is_seen_by_both_engines_alike() -> None:
    image = photo("astronaut")[40:, 180:]  # the face is cut by the border

    reference, ours = answers("facemask", np.ascontiguousarray(image))

    rows = reference[reference[:, 4] >= 0.3]
    assert len(rows)
    assert np.abs(ours[: len(rows)] - rows)[:, 4:].max() < 0.05


@pytest.mark.parametrize("model", ["classify", "facemask", "matting"])
def test_the_recipe_makes_the_networks_that_are_shipped(model: str, tmp_path: Path) -> None:
    convert.main([model, "--out", str(tmp_path)])

    files = sorted(tmp_path.glob("*.mnn"))
    assert files
    for made in files:
        session = mnn.load(registry.FOLDER / made.name, 1)
        shape = (1, 3, SIDES[made.stem], SIDES[made.stem])
        image = np.random.default_rng(0).uniform(-2, 2, shape).astype(np.float32)
        assert np.array_equal(mnn.run(mnn.load(made, 1), image), mnn.run(session, image))


def test_a_picture_of_another_size_is_run_at_its_size_and_leaves_the_next_one_alone() -> None:
    detector = mnn.load(registry.FOLDER / "facemask-detector.mnn", 1)
    small, wide, large = (
        np.random.default_rng(0).uniform(0, 255, (1, 3, *size)).astype(np.float32)
        for size in ((320, 320), (96, 160), (736, 704))
    )
    before = mnn.run(detector, small)

    sizes = [mnn.run(detector, image).shape[2:] for image in (wide, large)]

    assert sizes == [(24, 40), (184, 176)]
    assert np.array_equal(mnn.run(detector, small), before)


def test_pictures_of_one_batch_do_not_mix(prepared: Tensor, by_mnn: Any) -> None:
    mirrored = np.ascontiguousarray(prepared[:, :, ::-1])

    both = matting.infer_cpu(by_mnn, np.stack([prepared, mirrored]))

    [alone] = matting.infer_cpu(by_mnn, prepared[None])
    assert np.array_equal(both[0], alone)
    assert not np.array_equal(both[1], alone)


def test_other_threads_go_on_while_mnn_computes(prepared: Tensor, by_mnn: Any) -> None:
    """A gpu worker's heartbeats would otherwise wait for each photo."""
    ticks = ticks_during(lambda: matting.infer_cpu(by_mnn, prepared[None]))

    assert ticks > 20
