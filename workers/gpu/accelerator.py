"""What differs between the CPU and a GPU: copies, precision, memory, and how their errors look."""

import gc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from tasks.errors import Unavailable

FULL = ("can't allocate memory", "ALLOC_FAILED", "out of memory")
"""Texts of plain RuntimeErrors of torch, cuBLAS and cuDNN that mean a full memory."""


class Accelerator(Protocol):
    """A device that torch knows."""

    name: str
    """Its name in torch and in a model's `load`: `cpu` or `cuda`."""

    def prepare(self, session: torch.nn.Module) -> torch.nn.Module:
        """The network in the memory layout that is fastest on this device."""

    def room_for(self, shape: Sequence[int], dtype: str) -> NDArray[Any]:
        """An uninitialised array in host memory, of the kind that `put` copies fastest."""

    def put(self, batch: NDArray[np.float32]) -> torch.Tensor:
        """N x C x H x W in host memory -> the same as a tensor on the device."""

    def take(self, outputs: Sequence[torch.Tensor]) -> list[NDArray[Any]]:
        """N tensors on the device -> N float32 arrays in host memory."""

    def precision(self) -> AbstractContextManager[Any]:
        """A context in which networks run with this device's arithmetic."""

    def free(self) -> None:
        """Release memory that is only cached."""

    def room_bytes(self) -> int | None:
        """Bytes that could be allocated now; None where that is unknown."""

    def peak_bytes(self, run: Callable[[], object]) -> int:
        """Most bytes that `run` has allocated at one time, beyond those allocated before it."""

    def summary(self) -> str:
        """How the memory is used, as text for the log."""

    def is_lost(self, error: BaseException) -> bool:
        """Whether every later use of the device in this process will fail after this error."""


def is_full(error: BaseException) -> bool:
    """Whether an error means that there was not enough memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in FULL)


def choose(wanted: str, precision: str, asked_by: str = "PIXELMILL_DEVICE=cuda") -> Accelerator:
    """The accelerator for `auto`, `cuda` or `cpu`.

    Raises Unavailable for `cuda` without a GPU; `asked_by` names the setting or option that asked.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return Cpu()
    if not torch.cuda.is_available():
        raise Unavailable(
            f"{asked_by}, but torch sees no GPU",
            hint="Install a CUDA build of torch and a driver, or set PIXELMILL_DEVICE=auto.",
        )
    return Cuda(precision)


class Cpu:
    """The CPU: float32, and memory that is shared with the rest of the machine."""

    name = "cpu"

    def prepare(self, session: torch.nn.Module) -> torch.nn.Module:
        """The network itself."""
        return session

    def room_for(self, shape: Sequence[int], dtype: str) -> NDArray[Any]:
        """An ordinary array."""
        return np.empty(shape, dtype)

    def put(self, batch: NDArray[np.float32]) -> torch.Tensor:
        """A tensor over the same memory."""
        return torch.from_numpy(batch)

    def take(self, outputs: Sequence[torch.Tensor]) -> list[NDArray[Any]]:
        """Arrays over the same memory where it is float32 already."""
        if isinstance(outputs, torch.Tensor):
            return list(outputs.float().numpy())
        return [output.float().numpy() for output in outputs]

    def precision(self) -> AbstractContextManager[Any]:
        """The precision that the network has: float32."""
        return nullcontext()

    def free(self) -> None:
        """Collect objects that only refer to each other."""
        gc.collect()

    def room_bytes(self) -> int | None:
        """Unknown: the allocator and the operating system decide."""
        return None

    def peak_bytes(self, run: Callable[[], object]) -> int:
        """Not measured: 0."""
        run()
        return 0

    def summary(self) -> str:
        """This process's memory, and the machine's."""
        mib = 2**20
        used, machine = psutil.Process().memory_info().rss // mib, psutil.virtual_memory()
        return f"process {used} MiB; machine {machine.available // mib} MiB available"

    def is_lost(self, error: BaseException) -> bool:
        """Never: the CPU keeps working."""
        return False


class Cuda:
    """The one GPU that this process sees."""

    name = "cuda"

    def __init__(self, precision: str) -> None:
        """`precision`: auto (bfloat16 where the GPU has it, else float16), or a dtype's name."""
        if precision == "auto":
            precision = "bfloat16" if torch.cuda.is_bf16_supported(False) else "float16"
        self.dtype: torch.dtype = getattr(torch, precision)

    def prepare(self, session: torch.nn.Module) -> torch.nn.Module:
        """In channels-last layout, which tensor cores read directly."""
        return session.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # the stub lacks it

    def room_for(self, shape: Sequence[int], dtype: str) -> NDArray[Any]:
        """Pinned memory, which the GPU reads without the CPU."""
        pinned = torch.empty(tuple(shape), dtype=getattr(torch, dtype), pin_memory=True)
        return np.asarray(pinned.numpy())

    def put(self, batch: NDArray[np.float32]) -> torch.Tensor:
        """Copied asynchronously from pinned memory; arrays of `room_for` are pinned already."""
        pinned = torch.from_numpy(batch).pin_memory()
        layout = torch.channels_last if batch.ndim == 4 else torch.preserve_format
        return pinned.to(self.name, non_blocking=True, memory_format=layout)

    def take(self, outputs: Sequence[torch.Tensor]) -> list[NDArray[Any]]:
        """In one copy where all have one shape, since each copy waits for the device."""
        if isinstance(outputs, torch.Tensor):
            return list(outputs.float().cpu().numpy())
        if len({output.shape for output in outputs}) == 1:
            return list(torch.stack(list(outputs)).float().cpu().numpy())
        return [output.float().cpu().numpy() for output in outputs]

    def precision(self) -> AbstractContextManager[Any]:
        """Autocast, unless float32 was asked for."""
        return torch.autocast(self.name, self.dtype, enabled=self.dtype != torch.float32)

    def free(self) -> None:
        """Return the blocks that torch caches to the driver."""
        gc.collect()
        torch.cuda.empty_cache()

    def room_bytes(self) -> int | None:
        """Memory that is free on the GPU, and memory that torch has reserved but not allocated."""
        cached = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(torch.cuda.mem_get_info()[0]) + cached

    def peak_bytes(self, run: Callable[[], object]) -> int:
        """Measured by torch's counter."""
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    def summary(self) -> str:
        """torch's own summary."""
        return torch.cuda.memory_summary(abbreviated=True)

    def is_lost(self, error: BaseException) -> bool:
        """After an illegal access or a device-side assert, every later call fails as well."""
        return isinstance(error, torch.AcceleratorError) and not is_full(error)
