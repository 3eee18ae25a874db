"""Which GPUs there are, which models run on which, and how many threads a process gets.

Never imports torch: a GPU has to be chosen before that.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tasks.errors import Unavailable

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
VISIBLE = "CUDA_VISIBLE_DEVICES"
DRIVERS = (Path("/dev/kfd"), Path("/dev/nvmap"))
"""GPUs that torch may know and NVIDIA's library does not: AMD's, and those of Jetson boards."""


@dataclass(frozen=True)
class Gpu:
    """One GPU as NVIDIA's own library sees it. Sizes are in bytes."""

    number: int
    name: str
    used: int
    free: int
    total: int


def gpus() -> list[Gpu]:
    """All GPUs of this host; none without NVIDIA's driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [_gpu(pynvml, number) for number in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def usable() -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES allows this process to use."""
    visible = os.environ.get(VISIBLE)  # noqa: TID251  (CUDA's variable, not one of our settings)
    if visible is None:
        return gpus()
    numbers = {int(word) for word in visible.split(",") if word.strip().isdecimal()}
    return [gpu for gpu in gpus() if gpu.number in numbers]


def has_driver() -> bool:
    """Whether there may be a GPU, which torch is then asked for."""
    return bool(gpus()) or any(path.exists() for path in DRIVERS)


def pin(number: int) -> None:
    """Make this GPU the only one that this process sees. Call it before torch is imported.

    Raises Unavailable if there is no such GPU, rather than run on the CPU unnoticed.
    """
    present = gpus()
    if number not in [gpu.number for gpu in present]:
        names = ", ".join(f"{gpu.number} ({gpu.name})" for gpu in present)
        raise Unavailable(
            f"there is no GPU {number}; the driver sees {names or 'none'}",
            hint="`nvidia-smi -L` lists the GPUs. Leave --gpu out to use whatever there is.",
        )
    # By default CUDA numbers GPUs by speed; nvidia-smi and --gpu number them by slot.
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # noqa: TID251  (written, not read)
    os.environ[VISIBLE] = str(number)  # noqa: TID251  (as above)


def models_of(number: int | None, setting: str) -> str:
    """The models of a GPU in `0=matting;1=classify,facemask`; empty if the GPU is not listed.

    Raises Unavailable for a setting that cannot be read.
    """
    models_by_gpu: dict[int, str] = {}
    for part in filter(None, setting.replace(" ", "").split(";")):
        gpu, _, models = part.partition("=")
        if not gpu.isdecimal() or not models:
            raise Unavailable(
                f"PIXELMILL_GPU_MODELS has {part!r}; expected a GPU's number and models",
                hint="For example 0=matting;1=classify,facemask",
            )
        models_by_gpu[int(gpu)] = models
    return "" if number is None else models_by_gpu.get(number, "")


def cores() -> int:
    """Cores that this process may use, by its affinity and its container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = CPU_QUOTA.read_text().split()
        return max(1, min(allowed or 1, int(quota) // int(period)))
    except (OSError, ValueError):  # not in a container, or its quota is `max`
        return allowed or 1


def threads(setting: int, processes: int = 1) -> int:
    """torch threads for one of `processes` on this host: the setting, or an equal share if 0."""
    return setting or max(1, cores() // processes)


def _gpu(nvml: Any, number: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(number)
    name = nvml.nvmlDeviceGetName(handle)
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError:  # a board that shares the machine's memory
        machine = psutil.virtual_memory()
        return Gpu(number, str(name), machine.used, machine.available, machine.total)
    return Gpu(number, str(name), int(memory.used), int(memory.free), int(memory.total))
