"""Which GPUs there are, which models go where, how many threads a process gets. Never torch."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tasks.errors import Unavailable

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Gpu:
    """One GPU as NVIDIA's own library sees it."""

    number: int
    name: str
    used: int
    """Bytes."""
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
    """The GPUs that this process may use: CUDA's own variable may hide some."""
    shown = os.environ.get(VISIBLE)  # noqa: TID251  (CUDA's variable, no setting of ours)
    if shown is None:
        return gpus()
    numbers = {int(word) for word in shown.split(",") if word.strip().isdecimal()}
    return [gpu for gpu in gpus() if gpu.number in numbers]


def pin(number: int) -> None:
    """Make this GPU the only one that this process sees; before anything imports torch.

    Raises Unavailable when it is not there: whoever names a GPU wants no silent CPU.
    """
    found = gpus()
    if number not in [gpu.number for gpu in found]:
        there = ", ".join(f"{gpu.number} ({gpu.name})" for gpu in found)
        raise Unavailable(
            f"GPU {number} was asked for; there is {there or 'none that the driver sees'}",
            hint="`nvidia-smi -L` lists them. Leave --gpu out to run on what is there.",
        )
    # CUDA numbers by speed unless told; nvidia-smi and --gpu number by slot.
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # noqa: TID251  (written, not read)
    os.environ[VISIBLE] = str(number)  # noqa: TID251  (as above)


def models_of(number: int | None, placed: str) -> str:
    """The models of a GPU in `0=matting;1=classify,facemask`; empty where it is not named."""
    places: dict[int, str] = {}
    for part in filter(None, placed.replace(" ", "").split(";")):
        gpu, _, models = part.partition("=")
        if not gpu.isdecimal() or not models:
            raise Unavailable(
                f"PIXELMILL_GPU_MODELS has {part!r}; expected a GPU's number and models",
                hint="For example 0=matting;1=classify,facemask",
            )
        places[int(gpu)] = models
    return "" if number is None else places.get(number, "")


def cores() -> int:
    """Cores that this process may use: by its affinity and its container's quota."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = CPU_QUOTA.read_text().split()
        return max(1, min(mine or 1, int(quota) // int(period)))
    except (OSError, ValueError):  # no container, or `max`
        return mine or 1


def threads(asked: int, processes: int = 1) -> int:
    """torch threads of one of `processes` on this host: what was asked for, else a fair share."""
    return asked or max(1, cores() // processes)


def _gpu(nvml: Any, number: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(number)
    name = nvml.nvmlDeviceGetName(handle)
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError:  # boards whose memory is the machine's own
        machine = psutil.virtual_memory()
        return Gpu(number, str(name), machine.used, machine.available, machine.total)
    return Gpu(number, str(name), int(memory.used), int(memory.free), int(memory.total))
