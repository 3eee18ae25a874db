"""What differs between devices: copies, precision, and how a full or a lost memory looks."""

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
"""What torch, cuBLAS and cuDNN say where they raise a plain RuntimeError."""


class Accelerator(Protocol):
    """A device that torch knows."""

    name: str
    """What torch and a model's `load` call it."""

    def prepare(self, session: torch.nn.Module) -> torch.nn.Module:
        """Lay a network out in memory as this device likes it."""

    def room_for(self, shape: Sequence[int], dtype: str) -> NDArray[Any]:
        """Memory of the host, not filled, from which `put` copies best."""

    def put(self, batch: NDArray[np.float32]) -> torch.Tensor:
        """N x C x H x W of the host -> the same on the device."""

    def take(self, outputs: Sequence[torch.Tensor]) -> list[NDArray[Any]]:
        """N tensors of the device -> N float32 arrays of the host."""

    def precision(self) -> AbstractContextManager[Any]:
        """The arithmetic in which networks run here."""

    def free(self) -> None:
        """Give back what is kept for later."""

    def room_bytes(self) -> int | None:
        """What could be allocated now; None if that is nobody's to say."""

    def peak_bytes(self, run: Callable[[], object]) -> int:
        """What `run` allocates at its height, above what is there before."""

    def summary(self) -> str:
        """Who has the memory, for the log."""

    def is_lost(self, error: BaseException) -> bool:
        """Whether this process can use the device no more after such an error."""


def is_full(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in FULL)


def choose(wanted: str, precision: str, asked_by: str = "PIXELMILL_DEVICE=cuda") -> Accelerator:
    """The accelerator for `auto`, `cuda` or `cpu`; Unavailable when a GPU is asked for in vain."""
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return Cpu()
    if not torch.cuda.is_available():
        raise Unavailable(
            f"{asked_by}, but torch sees no GPU",
            hint="Install a CUDA build of torch and a driver, or set PIXELMILL_DEVICE=auto.",
        )
    return Cuda(precision)


class Cpu:
    """The processor: float32, and memory that is everybody's."""

    name = "cpu"

    def prepare(self, session: torch.nn.Module) -> torch.nn.Module:
        """As the model laid it out."""
        return session

    def room_for(self, shape: Sequence[int], dtype: str) -> NDArray[Any]:
        """Any."""
        return np.empty(shape, dtype)

    def put(self, batch: NDArray[np.float32]) -> torch.Tensor:
        """The same memory."""
        return torch.from_numpy(batch)

    def take(self, outputs: Sequence[torch.Tensor]) -> list[NDArray[Any]]:
        """The same memory where it is float32; in one step where all are one tensor."""
        if isinstance(outputs, torch.Tensor):
            return list(outputs.float().numpy())
        return [output.float().numpy() for output in outputs]

    def precision(self) -> AbstractContextManager[Any]:
        """As it is."""
        return nullcontext()

    def free(self) -> None:
        """Drop what only cycles hold."""
        gc.collect()

    def room_bytes(self) -> int | None:
        """Not to be said: the allocator and the system decide."""
        return None

    def peak_bytes(self, run: Callable[[], object]) -> int:
        """Not measured."""
        run()
        return 0

    def summary(self) -> str:
        """This process's memory, and the machine's."""
        mib = 2**20
        used, machine = psutil.Process().memory_info().rss // mib, psutil.virtual_memory()
        return f"process {used} MiB; machine {machine.available // mib} MiB available"

    def is_lost(self, error: BaseException) -> bool:
        """Never."""
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
        """Channels last: what tensor cores read."""
        return session.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # stub lacks it

    def room_for(self, shape: Sequence[int], dtype: str) -> NDArray[Any]:
        """Pinned: the GPU reads it without the processor."""
        pinned = torch.empty(tuple(shape), dtype=getattr(torch, dtype), pin_memory=True)
        return np.asarray(pinned.numpy())

    def put(self, batch: NDArray[np.float32]) -> torch.Tensor:
        """Through pinned memory, where `room_for` has it already, so that the copy waits not."""
        pinned = torch.from_numpy(batch).pin_memory()
        layout = torch.channels_last if batch.ndim == 4 else torch.preserve_format
        return pinned.to(self.name, non_blocking=True, memory_format=layout)

    def take(self, outputs: Sequence[torch.Tensor]) -> list[NDArray[Any]]:
        """In one copy where all have one shape: each copy waits for the device."""
        if isinstance(outputs, torch.Tensor):
            return list(outputs.float().cpu().numpy())
        if len({output.shape for output in outputs}) == 1:
            return list(torch.stack(list(outputs)).float().cpu().numpy())
        return [output.float().cpu().numpy() for output in outputs]

    def precision(self) -> AbstractContextManager[Any]:
        """Autocast, unless float32 was asked for."""
        return torch.autocast(self.name, self.dtype, enabled=self.dtype != torch.float32)

    def free(self) -> None:
        """Hand torch's cached blocks back to the driver."""
        gc.collect()
        torch.cuda.empty_cache()

    def room_bytes(self) -> int | None:
        """Free on the GPU, and torch's own that is not in use."""
        kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(torch.cuda.mem_get_info()[0]) + kept

    def peak_bytes(self, run: Callable[[], object]) -> int:
        """By torch's own counter."""
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    def summary(self) -> str:
        """torch's table."""
        return torch.cuda.memory_summary(abbreviated=True)

    def is_lost(self, error: BaseException) -> bool:
        """After an illegal access or an assert every later call fails as well."""
        return isinstance(error, torch.AcceleratorError) and not is_full(error)
