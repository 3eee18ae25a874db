"""A GPU with torch: copies through pinned memory, half precision, memory of its own."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workers.gpu.accelerator import is_full


class Cuda:
    """The one GPU that this process sees."""

    name = "cuda"
    learns_sizes = True

    @property
    def gpu(self) -> str | None:
        """As the driver calls it."""
        return torch.cuda.get_device_name()

    @property
    def uuid(self) -> str | None:
        """As the driver lists it, `GPU-...`."""
        return f"GPU-{torch.cuda.get_device_properties(0).uuid}"

    def __init__(self, precision: str) -> None:
        """`precision`: auto (bfloat16 where the GPU has it, else float16), or a dtype's name."""
        if precision == "auto":
            precision = "bfloat16" if torch.cuda.is_bf16_supported(False) else "float16"
        self.dtype: torch.dtype = getattr(torch, precision)

    def prepare(self, session: Any) -> Any:
        """A network in channels-last layout, which tensor cores read directly."""
        if not isinstance(session, torch.nn.Module):
            return session
        return session.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub lacks it

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

    @contextmanager
    def precision(self) -> Iterator[None]:
        """Without gradients, and by autocast unless float32 was asked for."""
        autocast = torch.autocast(self.name, self.dtype, enabled=self.dtype != torch.float32)
        with torch.inference_mode(), autocast:
            yield

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
