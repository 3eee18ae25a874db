"""What a full memory looks like, and which accelerator is chosen."""

import numpy as np
import pytest
import torch

from tasks.errors import Unavailable
from workers.gpu.accelerator import Cpu, Cuda, choose, is_full


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
    ("wanted", "is_there", "chosen"),
    [
        ("cpu", True, "cpu"),
        ("cpu", False, "cpu"),
        ("auto", True, "cuda"),
        ("auto", False, "cpu"),
        ("cuda", True, "cuda"),
    ],
)
def test_the_device_is_what_is_wanted_or_there(
    monkeypatch: pytest.MonkeyPatch, wanted: str, is_there: bool, chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_there)

    assert choose(wanted, "float16").name == chosen


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
