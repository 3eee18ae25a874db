"""What differs between the CPU and a GPU: copies, precision, memory, and how their errors look.

torch is imported where one of its networks is loaded, or its GPU asked for, and not before: a
worker whose networks all run by MNN starts in a fraction of the time and of the memory.
"""

import gc
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np
import psutil
from numpy.typing import NDArray

from tasks.errors import Unavailable
from workers import pinning

FULL = ("can't allocate memory", "ALLOC_FAILED", "out of memory")
"""Texts of plain RuntimeErrors of torch, cuBLAS and cuDNN that mean a full memory."""


class Accelerator(Protocol):
    """What runs networks: the CPU or a GPU."""

    name: str
    """Its name in torch and in a model's `load`: `cpu` or `cuda`."""

    @property
    def gpu(self) -> str | None:
        """What the driver calls the GPU; None for the CPU."""

    @property
    def uuid(self) -> str | None:
        """By which the driver knows this very GPU; None for the CPU."""

    @property
    def learns_sizes(self) -> bool:
        """Whether the first run of a network with pictures of a size takes longer than others."""

    def prepare(self, session: Any) -> Any:
        """What a model's `load` returned, a network of torch in the memory layout that is fastest
        on this device, for inference only."""

    def room_for(self, shape: Sequence[int], dtype: str) -> NDArray[Any]:
        """An uninitialised array in host memory, of the kind that `put` copies fastest."""

    def put(self, batch: NDArray[np.float32]) -> Any:
        """N x C x H x W in host memory -> the same as the model's `infer` takes it."""

    def take(self, outputs: Sequence[Any]) -> list[NDArray[Any]]:
        """What `infer` returned for N images -> N float32 arrays in host memory."""

    def precision(self) -> AbstractContextManager[Any]:
        """A context in which networks run: without gradients, with this device's arithmetic."""

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
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")  # an error of torch's is there only if torch is
    if torch and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in FULL)


def choose(wanted: str, precision: str, asked_by: str = "PIXELMILL_DEVICE=cuda") -> Accelerator:
    """The accelerator for `auto`, `cuda` or `cpu`.

    Raises Unavailable for `cuda` without a GPU; `asked_by` names the setting or option that asked.
    """
    if wanted == "cpu" or (wanted == "auto" and not pinning.has_driver()):
        return Cpu()
    import torch

    if not torch.cuda.is_available():
        if wanted == "auto":
            return Cpu()
        raise Unavailable(
            f"{asked_by}, but torch sees no GPU",
            hint="Install a CUDA build of torch and a driver, or set PIXELMILL_DEVICE=auto.",
        )
    from workers.gpu.cuda import Cuda

    return Cuda(precision)


def set_torch_threads(count: int) -> None:
    """Import torch, and give its networks on the CPU so many threads; 0: as many as it likes."""
    import torch

    if count:
        torch.set_num_threads(count)


class Cpu:
    """The CPU with torch: float32, and memory that is shared with the rest of the machine."""

    name = "cpu"
    gpu: str | None = None
    uuid: str | None = None
    learns_sizes = True

    def prepare(self, session: Any) -> Any:
        """The network itself."""
        import torch

        return session.eval() if isinstance(session, torch.nn.Module) else session

    def room_for(self, shape: Sequence[int], dtype: str) -> NDArray[Any]:
        """An ordinary array."""
        return np.empty(shape, dtype)

    def put(self, batch: NDArray[np.float32]) -> Any:
        """A tensor over the same memory."""
        import torch

        return torch.from_numpy(batch)

    def take(self, outputs: Sequence[Any]) -> list[NDArray[Any]]:
        """Arrays over the same memory where it is float32 already."""
        import torch

        if isinstance(outputs, torch.Tensor):
            return list(outputs.float().numpy())
        return [output.float().numpy() for output in outputs]

    def precision(self) -> AbstractContextManager[Any]:
        """Without gradients, in the precision that the network has: float32."""
        import torch

        return torch.inference_mode()

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


class CpuArrays(Cpu):
    """The CPU with an engine that takes and returns arrays of NumPy."""

    learns_sizes = False

    def prepare(self, session: Any) -> Any:
        """The session itself."""
        return session

    def put(self, batch: NDArray[np.float32]) -> Any:
        """The batch itself."""
        return batch

    def take(self, outputs: Sequence[Any]) -> list[NDArray[Any]]:
        """The arrays themselves."""
        return list(outputs)

    def precision(self) -> AbstractContextManager[Any]:
        """The precision that the engine has: float32."""
        return nullcontext()
