"""What NVIDIA's driver says of a GPU: how busy, how full and how warm it is."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

Read = Callable[[], Iterable[Metric]]


def of(uuid: str | None) -> Read:
    """A function that reads the sensors of this GPU; of none, or without the driver, nothing."""
    import pynvml

    try:
        pynvml.nvmlInit()  # until this process ends
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid or "")
    except pynvml.NVMLError:
        return list
    return lambda: _read(pynvml, handle, str(uuid))


def _read(nvml: Any, handle: Any, uuid: str) -> list[Metric]:
    """Of the whole GPU, whoever uses it. What a board cannot tell is missing."""
    labels = ["gpu"]
    utilization = GaugeMetricFamily(
        "pixelmill_gpu_utilization_ratio",
        "Share of the last moments in which the GPU ran anything.",
        labels=labels,
    )
    temperature = GaugeMetricFamily(
        "pixelmill_gpu_temperature_celsius", "How warm the GPU is.", labels=labels
    )
    memory = GaugeMetricFamily(
        "pixelmill_gpu_memory_bytes", "Memory of the GPU, of all programs.", labels=["gpu", "of"]
    )
    with suppress(nvml.NVMLError):
        utilization.add_metric([uuid], nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)
    with suppress(nvml.NVMLError):
        warmth = nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
        temperature.add_metric([uuid], warmth)
    with suppress(nvml.NVMLError):
        info = nvml.nvmlDeviceGetMemoryInfo(handle)
        memory.add_metric([uuid, "used"], info.used)
        memory.add_metric([uuid, "total"], info.total)
    return [utilization, temperature, memory]
