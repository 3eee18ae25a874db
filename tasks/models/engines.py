"""What runs networks: torch, the reference, or without a GPU MNN, or OpenVINO in 8 bits.

Each has weights of its own.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import structlog

from tasks.errors import Unavailable
from tasks.settings import Settings

if TYPE_CHECKING:  # `pixelmill up` asks for the engine, and needs no models
    from tasks.models.base import CpuNetwork, Model, Weight

Engine = Literal["openvino", "mnn", "torch"]
ENGINES: tuple[Engine, ...] = ("openvino", "mnn", "torch")
"""The fastest first. A model without a network for one of them is run by the next that it has."""
PACKAGES: Mapping[Engine, tuple[str, ...]] = {"openvino": ("openvino", "MNN"), "mnn": ("MNN",)}
"""Engine -> what it imports. Only some networks have a form in 8 bits, and MNN runs the others."""
PRODUCTS_OF_BYTES = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
"""What Linux calls instructions that multiply bytes and add up the products. Networks in 8 bits
were measured with them alone: without them products may overflow."""
CPUINFO = Path("/proc/cpuinfo")

log = structlog.get_logger()


def choose(device: str, settings: Settings) -> Engine:
    """The engine of a worker whose device is `cpu` or `cuda`, as the setting `cpu_engine` says.

    Raises Unavailable if this host lacks a package or the instructions of the engine that the
    setting asks for.
    """
    wanted = settings.cpu_engine
    if device != "cpu" or wanted == "torch":
        return "torch"
    if wanted != "auto":
        _check(wanted)
        return wanted
    if not _missing("openvino") and multiplies_bytes():
        return "openvino"
    if not _missing("mnn"):
        return "mnn"
    log.warning("networks run by torch", reason="the package mnn is not installed")
    return "torch"


def multiplies_bytes() -> bool:
    """Whether this processor has the instructions (VNNI, AMX) that make networks in 8 bits fast."""
    try:
        text = CPUINFO.read_text()
    except OSError:  # macOS has no such file
        return False
    _, _, line = text.partition("\nflags")
    return not PRODUCTS_OF_BYTES.isdisjoint(line.partition("\n")[0].split())


def networks(model: "Model", engine: Engine) -> "list[tuple[Engine, CpuNetwork]]":
    """What a model has for this engine and those after it, the fastest first; not torch's."""
    return [(one, model.cpu[one]) for one in _from(engine) if one in model.cpu]


def weights(model: "Model", engine: Engine) -> "Mapping[str, Weight]":
    """The weights that a model, in all its profiles, has with this engine."""
    found = dict(model.weights)
    for _, network in reversed(networks(model, engine)):
        found |= {name: network.weights[name] for name in found if name in network.weights}
    return found


def _from(engine: Engine) -> tuple[Engine, ...]:
    return ENGINES[ENGINES.index(engine) :]


def _missing(engine: Engine) -> list[str]:
    return [name.lower() for name in PACKAGES[engine] if not find_spec(name)]


def _check(engine: Engine) -> None:
    if missing := _missing(engine):
        raise Unavailable(
            f"PIXELMILL_CPU_ENGINE={engine}, but not installed: {', '.join(missing)}",
            hint="Install it (there is none for some systems), or set PIXELMILL_CPU_ENGINE=auto.",
        )
    if engine == "openvino" and not multiplies_bytes():
        names = ", ".join(sorted(PRODUCTS_OF_BYTES))
        raise Unavailable(
            f"PIXELMILL_CPU_ENGINE=openvino, but this processor has none of: {names}",
            hint="Networks in 8 bits were measured with them alone: set PIXELMILL_CPU_ENGINE=auto.",
        )
