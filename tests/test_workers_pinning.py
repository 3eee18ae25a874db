"""A worker gets the GPU that it was asked to have, its models and its share of the cores."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stack import REPOSITORY

from tasks.errors import Unavailable
from workers import pinning
from workers.pinning import Gpu, cores, gpus, models_of, pin, threads, usable

GIB = 2**30
TWO = [Gpu(0, "H200", GIB, 139 * GIB, 140 * GIB), Gpu(1, "T4", 0, 15 * GIB, 15 * GIB)]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinning, "gpus", lambda: TWO)


@pytest.mark.usefixtures("two_gpus")
def test_a_pinned_process_sees_one_gpu_numbered_as_nvidia_smi_does() -> None:
    pin(1)

    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_that_is_not_there_is_refused_with_what_is() -> None:
    with pytest.raises(
        Unavailable, match=r"there is no GPU 2; the driver sees 0 \(H200\), 1 \(T4\)"
    ):
        pin(2)

    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_without_a_driver_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    def fail() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)

    assert gpus() == []
    with pytest.raises(Unavailable, match="there is no GPU 0; the driver sees none"):
        pin(0)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("shown", "numbers"), [("0,1", [0, 1]), ("1", [1]), ("", []), ("-1", []), ("7", [])]
)
def test_gpus_that_cudas_own_variable_hides_stay_hidden(
    monkeypatch: pytest.MonkeyPatch, shown: str, numbers: list[int]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)

    assert [gpu.number for gpu in usable()] == numbers


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "matting"), (1, "classify,facemask"), (2, ""), (None, "")],
)
def test_the_setting_says_which_models_run_on_which_gpu(number: int | None, expected: str) -> None:
    assert models_of(number, "0=matting; 1=classify,facemask") == expected


@pytest.mark.parametrize("placed", ["matting", "x=matting", "0=", "0:matting"])
def test_a_placement_that_makes_no_sense_is_refused(placed: str) -> None:
    with pytest.raises(Unavailable, match="PIXELMILL_GPU_MODELS has"):
        models_of(0, placed)


@pytest.mark.parametrize(
    ("quota", "expected"), [("200000 100000", 2), ("50000 100000", 1), ("max 100000", 6), ("", 6)]
)
def test_cores_are_those_of_the_affinity_and_the_containers_quota(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, expected: int
) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    monkeypatch.setattr(pinning, "CPU_QUOTA", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)))

    assert cores() == expected


@pytest.mark.parametrize(
    ("asked", "processes", "expected"), [(0, 1, 8), (0, 4, 2), (0, 16, 1), (3, 4, 3)]
)
def test_threads_are_the_cores_divided_by_the_workers(
    monkeypatch: pytest.MonkeyPatch, asked: int, processes: int, expected: int
) -> None:
    monkeypatch.setattr(pinning, "cores", lambda: 8)

    assert threads(asked, processes) == expected


@pytest.mark.parametrize("modules", ["workers.pinning", "workers.boot", "deploy.gpu_workers"])
def test_what_starts_gpu_workers_never_imports_torch(modules: str) -> None:
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    env: dict[str, Any] = {**os.environ, "PYTHONPATH": str(REPOSITORY)}

    assert subprocess.run([sys.executable, "-c", code], env=env).returncode == 0
