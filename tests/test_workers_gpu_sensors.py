"""What the driver of a GPU says is shown; what it cannot say is left out."""

from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from workers.gpu import sensors


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A driver with one GPU: what each of its functions answers, or raises."""
    says: dict[str, Any] = {
        "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=87),
        "nvmlDeviceGetTemperature": 61,
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=30, total=100),
    }

    def answer(name: str) -> Any:
        if isinstance(says[name], Exception):
            raise says[name]
        return says[name]

    def find(uuid: str) -> str:
        if uuid != "GPU-1":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return "the handle"

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", find)
    for name in says:
        monkeypatch.setattr(pynvml, name, lambda *of, name=name: answer(name))
    return says


def samples(uuid: str | None) -> dict[str, float]:
    """Name, and kind of memory -> value."""
    families = sensors.of(uuid)()
    return {
        sample.name + sample.labels.get("of", ""): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.mark.usefixtures("nvml")
def test_a_gpu_shows_how_busy_how_warm_and_how_full_it_is() -> None:
    assert samples("GPU-1") == {
        "pixelmill_gpu_utilization_ratio": 0.87,
        "pixelmill_gpu_temperature_celsius": 61,
        "pixelmill_gpu_memory_bytesused": 30,
        "pixelmill_gpu_memory_bytestotal": 100,
    }


def test_what_a_board_cannot_tell_is_left_out(nvml: dict[str, Any]) -> None:
    nvml["nvmlDeviceGetTemperature"] = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    shown = samples("GPU-1")

    assert "pixelmill_gpu_temperature_celsius" not in shown and len(shown) == 3


@pytest.mark.usefixtures("nvml")
def test_a_cpu_and_an_unknown_gpu_show_nothing() -> None:
    assert samples(None) == samples("MIG-7") == {}
