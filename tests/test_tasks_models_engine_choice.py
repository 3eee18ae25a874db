"""Which engine runs networks, by the setting, the packages and the processor."""

from pathlib import Path
from typing import Any

import pytest

from tasks.errors import Unavailable
from tasks.models import engines
from tasks.settings import settings

CPUINFO = """processor\t: 0
vmx flags\t: avx_vnni
flags\t\t: fpu {instructions}
bugs\t\t: amx_int8

"""
"""Only what the line of flags says counts."""


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The engine for a setting and a device, where these packages are installed, on a processor
    with these instructions."""

    def chosen(setting: str, device: str, packages: str, instructions: str = "avx2") -> str:
        monkeypatch.setenv("PIXELMILL_CPU_ENGINE", setting)
        settings.cache_clear()
        monkeypatch.setattr(
            engines, "find_spec", lambda name: object() if name in packages.split() else None
        )
        cpuinfo = tmp_path / "cpuinfo"
        cpuinfo.write_text(CPUINFO.format(instructions=instructions))
        monkeypatch.setattr(engines, "CPUINFO", cpuinfo)
        return engines.choose(device, settings())

    yield chosen
    settings.cache_clear()


@pytest.mark.parametrize(
    ("setting", "device", "packages", "engine"),
    [
        ("auto", "cpu", "MNN openvino", "mnn"),
        ("auto", "cpu", "", "torch"),
        ("auto", "cuda", "MNN", "torch"),
        ("torch", "cpu", "MNN", "torch"),
        ("mnn", "cpu", "MNN", "mnn"),
        ("mnn", "cuda", "MNN", "torch"),
        ("openvino", "cuda", "MNN openvino", "torch"),
    ],
)
def test_the_setting_chooses_the_engine_where_there_is_no_gpu(
    choose: Any, setting: str, device: str, packages: str, engine: str
) -> None:
    assert choose(setting, device, packages) == engine


@pytest.mark.parametrize("instructions", ["fma avx512_vnni", "avx_vnni", "amx_int8 amx_tile"])
def test_openvino_is_chosen_on_processors_that_multiply_bytes(
    choose: Any, instructions: str
) -> None:
    assert choose("auto", "cpu", "MNN openvino", instructions) == "openvino"
    assert choose("auto", "cpu", "MNN", instructions) == "mnn"
    assert choose("mnn", "cpu", "MNN openvino", instructions) == "mnn"
    assert choose("openvino", "cpu", "MNN openvino", instructions) == "openvino"


def test_where_linux_does_not_say_what_the_processor_knows_mnn_is_chosen(
    choose: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    choose("auto", "cpu", "MNN openvino")
    monkeypatch.setattr(engines, "CPUINFO", tmp_path / "missing")

    assert engines.choose("cpu", settings()) == "mnn"


@pytest.mark.parametrize(
    ("engine", "packages", "missing"),
    [("mnn", "", "mnn"), ("openvino", "MNN", "openvino"), ("openvino", "", "openvino, mnn")],
)
def test_an_engine_that_is_asked_for_and_missing_is_an_error(
    choose: Any, engine: str, packages: str, missing: str
) -> None:
    expected = f"PIXELMILL_CPU_ENGINE={engine}, but not installed: {missing}$"
    with pytest.raises(Unavailable, match=expected):
        choose(engine, "cpu", packages)


def test_openvino_on_a_processor_that_does_not_multiply_bytes_is_an_error(choose: Any) -> None:
    expected = "this processor has none of: amx_int8, avx512_vnni, avx_vnni$"
    with pytest.raises(Unavailable, match=expected):
        choose("openvino", "cpu", "MNN openvino", "avx2 avx512f")
