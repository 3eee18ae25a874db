"""Profiles: one plug-in, several weights; what is loaded, offered, and fallen back to."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.errors import BadInput, ModelFailure
from tasks.models import registry, weights
from tasks.models.base import Inferred, Model
from tasks.settings import settings
from web.jobs.parameters import canonical
from workers.gpu.accelerator import Cpu
from workers.gpu.cost import Cost
from workers.gpu.device import Device
from workers.gpu.model_card import model_card

TOY = '''"""Adds its profile's number."""
from typing import Literal

from tasks.models.base import Model, Output, Params, Weight


class ToyParams(Params):
    profile: Literal["small", "middle", "large"] = "small"


def weight(n):
    return Weight("p", "1", f"{n}.bin", str(n) * 64, "MIT", lambda data: {}, bytes=n)


def load(files, device):
    return {"small": 1, "middle": 2, "large": 3}[next(iter(files))]


MODEL = Model(
    title="Toy", kind="labels", params=ToyParams, bins=((8, 8),), load=load,
    preprocess=lambda image, params: image,
    infer=lambda session, batch: list(batch + session),
    postprocess=lambda output, image, params, wanted: Output(),
    weights={"small": weight(1), "middle": weight(2), "large": weight(3)},
    profiles=("small", "middle", "large"),
)
'''


@pytest.fixture(autouse=True)
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "toy.py").write_text(TOY)
    monkeypatch.setenv("PIXELMILL_MODEL_PATHS", str(tmp_path))
    monkeypatch.setattr(
        "workers.gpu.device.weights.fetch_model",
        lambda model, store: dict.fromkeys(model.weights, tmp_path),
    )
    settings.cache_clear()
    yield
    settings.cache_clear()


def device(*names: str) -> Device:
    made = Device(Cpu())
    for name in names:
        made.load(name)
    return made


def answers(made: Device, name: str, n: int = 1) -> list[tuple[float, bool]]:
    arrays: list[NDArray[np.float32]] = [np.zeros((3, 8, 8), np.float32)] * n
    done = made.run((name, (3, 8, 8), "float32"), arrays)
    return [(float(i.array.max()), i.is_degraded) for i in done if isinstance(i, Inferred)]


def test_each_profile_runs_on_its_own_weights() -> None:
    both = device("toy", "toy:large")

    assert answers(both, "toy") == [(1, False)]
    assert answers(both, "toy:large", 2) == [(3, False)] * 2


def test_a_profile_that_is_not_loaded_falls_back_to_the_next_below_and_says_so() -> None:
    assert answers(device("toy", "toy:middle"), "toy:large") == [(2, True)]
    assert answers(device("toy"), "toy:large", 3) == [(1, True)] * 3


def test_only_loaded_profiles_are_offered() -> None:
    card = model_card("toy", device("toy", "toy:middle").loaded)

    field = card["params"]["properties"]["profile"]
    assert field["enum"] == ["small", "middle"]
    assert "PIXELMILL_PROFILES=toy:large" in field["description"], "how the other is added"
    assert list(card["profiles"]) == ["small", "middle"]
    assert card["profiles"]["middle"]["weights_bytes"] == 2
    assert canonical(card["params"], {"profile": "middle"}) == {"profile": "middle"}
    with pytest.raises(BadInput, match="profile"):
        canonical(card["params"], {"profile": "large"})


def test_each_profile_is_announced_with_its_own_measured_cost() -> None:
    loaded = device("toy", "toy:large").loaded
    loaded["toy:large"].cost = Cost([(1, 1200), (2, 2100)])

    card = model_card("toy", loaded)

    assert card["profiles"]["large"]["cost_ms"] == {"a": 300, "b": 900}
    assert card["profiles"]["small"]["cost_ms"] == card["cost_ms"] != {"a": 300, "b": 900}


def test_workers_with_more_and_fewer_profiles_are_of_one_version() -> None:
    few, many = (
        model_card("toy", device("toy").loaded),
        model_card("toy", device("toy", "toy:large").loaded),
    )

    assert few["weights"] == many["weights"] == weights.digest(registry.get("toy"))


def test_a_variant_has_the_weights_of_its_profile_alone() -> None:
    assert list(registry.variant("toy").weights) == ["small"]
    assert list(registry.variant("toy:large").weights) == ["large"]
    assert registry.variant("toy:large").fallback == "toy:middle"
    assert registry.variant("toy:middle").fallback == "toy"
    assert registry.variant("toy").fallback is None


def test_a_worker_loads_the_first_profile_and_those_asked_for() -> None:
    assert registry.variants("toy", []) == ["toy"]
    assert registry.variants("toy", ["other:big", "toy:large"]) == ["toy", "toy:large"]


@pytest.mark.parametrize("name", ["toy:huge", "classify:large", "nothing:large"])
def test_a_profile_that_does_not_exist_is_named(name: str) -> None:
    with pytest.raises(LookupError, match=name.partition(":")[0]):
        registry.variant(name)


def test_profiles_without_their_parameter_are_refused(tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text(TOY.replace('] = "small"', '] = "large"'))

    with pytest.raises(ModelFailure, match="the default 'small'"):
        registry._load("toy2", tmp_path / "toy.py")


def test_a_profile_with_bins_of_its_own_falls_back_to_smaller_arrays(tmp_path: Path) -> None:
    own = 'shrinks=True, profile_bins={"large": ((16, 16),)},'
    (tmp_path / "toy.py").write_text(TOY.replace('kind="labels",', f'kind="labels", {own}'))
    registry._load.cache_clear()
    made = device("toy")
    array = np.zeros((3, 16, 16), np.float32)

    (answer,) = made.run(("toy:large", array.shape, "float32"), [array])

    assert registry.variant("toy:large").bins == ((16, 16),)
    assert registry.variant("toy").bins == ((8, 8),)
    assert isinstance(answer, Inferred) and answer.is_degraded
    assert (answer.array.shape, answer.array.max()) == ((3, 16, 16), 1)


def test_a_profile_fetches_no_weights_of_a_fallback_that_is_not_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def fetch(model: Model, store: object) -> dict[str, Path]:
        fetched.extend(model.weights)
        return dict.fromkeys(model.weights, tmp_path)

    monkeypatch.setattr("workers.gpu.device.weights.fetch_model", fetch)

    device("toy", "toy:large")

    assert fetched == ["small", "large"]


def test_matting_links_quality_to_fast() -> None:
    assert registry.variant("matting:quality").fallback == "matting"
    assert list(registry.variant("matting").weights) == ["fast"]


def test_the_small_network_of_matting_looks_with_detail() -> None:
    variant = registry.variant("matting:detail")

    assert list(variant.weights) == ["detail", "fast"]
    assert variant.bins == ((1024, 1024),)
