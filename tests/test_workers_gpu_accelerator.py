"""What a full memory looks like, and which accelerator is chosen."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.errors import Unavailable
from workers import pinning
from workers.gpu.accelerator import Cpu, choose, is_full
from workers.gpu.cuda import Cuda


@pytest.mark.parametrize(
    ("error", "is_so"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_full_memory_is_told_from_other_errors(error: Exception, is_so: bool) -> None:
    assert is_full(error) == is_so


def test_torchs_own_words_for_a_full_memory_of_the_cpu_are_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)

    assert is_full(caught.value)


@pytest.mark.parametrize(
    ("wanted", "has_driver", "is_there", "chosen"),
    [
        ("cpu", True, True, "cpu"),
        ("cpu", True, False, "cpu"),
        ("auto", True, True, "cuda"),
        ("auto", True, False, "cpu"),
        ("auto", False, False, "cpu"),
        ("cuda", True, True, "cuda"),
        ("cuda", False, True, "cuda"),
    ],
)
def test_the_device_is_what_is_wanted_or_there(
    monkeypatch: pytest.MonkeyPatch, wanted: str, has_driver: bool, is_there: bool, chosen: str
) -> None:
    monkeypatch.setattr(pinning, "gpus", lambda: ["a GPU"] if has_driver else [])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_there)

    assert choose(wanted, "float16").name == chosen


def test_torch_is_asked_for_a_gpu_that_only_torch_knows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pinning, "gpus", list)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(pinning, "DRIVERS", (tmp_path / "kfd",))
    before = choose("auto", "float16").name

    (tmp_path / "kfd").touch()

    assert (before, choose("auto", "float16").name) == ("cpu", "cuda")


def test_a_gpu_that_is_asked_for_and_not_there_is_no_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(Unavailable, match="--gpu 1, but torch sees no GPU") as caught:
        choose("cuda", "auto", "--gpu 1")

    assert "PIXELMILL_DEVICE=auto" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("has_bfloat16", "precision", "dtype"),
    [
        (True, "auto", torch.bfloat16),
        (False, "auto", torch.float16),
        (True, "float16", torch.float16),
        (True, "float32", torch.float32),
    ],
)
def test_the_precision_is_what_the_gpu_has_or_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool, precision: str, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda emulated: has_bfloat16)

    assert Cuda(precision).dtype == dtype


def test_a_lost_device_is_told_from_a_full_one() -> None:
    gpu = Cuda("float32")

    assert gpu.is_lost(torch.AcceleratorError("CUDA error: device-side assert triggered"))
    assert not gpu.is_lost(torch.AcceleratorError("CUDA error: out of memory"))
    assert not gpu.is_lost(RuntimeError("a bug of the model"))


def test_half_precision_comes_back_as_float32() -> None:
    [array] = Cpu().take([torch.ones(3, dtype=torch.float16)])

    assert array.dtype == np.float32


def test_the_log_says_who_has_the_memory() -> None:
    assert "MiB available" in Cpu().summary()
