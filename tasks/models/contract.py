"""Whether what a model's functions return is what they must: each error names function and remedy.

Only types, shapes and names are looked at, which costs microseconds; `pixelmill models check`
(workers/model_check.py) also looks at the numbers.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import ModelFailure
from tasks.imaging.encode import ENCODERS
from tasks.models.base import Model, Output

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
"""Of a picture or a file, without its ending: it becomes part of an address."""
JOIN = "Join what belongs to one image by `torch.cat`, and part it again in `postprocess`."
LISTS = {"labels": ("labels", "label"), "boxes": ("faces", "box"), "volume": ("regions", "label")}
"""Kind -> the list in `data` that the page draws, and a field that each item of it has."""


def prepared(array: Any, model: Model) -> NDArray[Any]:
    """What `preprocess` returned, float64 made float32. Raises ModelFailure."""
    is_volume = model.input == "volume"
    form = "Z x C x H x W float32 or float16" if is_volume else "C x H x W float32"
    if not isinstance(array, np.ndarray):
        raise _wrong("preprocess", _kind_of(array), f"an array of NumPy, {form}")
    if array.dtype.kind != "f":
        raise _wrong(
            "preprocess", f"an array of {array.dtype}", form, "End it with `.astype(np.float32)`."
        )
    if array.ndim != 3 + is_volume:
        raise _wrong("preprocess", _shape_of(array), f"{form}, of one {model.input} alone")
    sizes = {size for sizes in (model.bins, *model.profile_bins.values()) for size in sizes}
    if array.shape[-2:] not in sizes:
        raise _wrong_size(array, sorted(sizes))
    return array.astype(np.float32) if array.dtype == np.float64 else array


def inferred(outputs: Any, batch: Any) -> Sequence[Any]:
    """What `infer` returned for this batch, a tensor of torch or an array. Raises ModelFailure."""
    count, kind = len(batch), type(batch)
    form = f"{count} of type {kind.__name__}, one per image"
    if not hasattr(outputs, "__len__") or not getattr(outputs, "shape", (count,)):
        raise _wrong("infer", _kind_of(outputs), form)
    if len(outputs) != count:
        hint = "`infer` gets N images and returns N answers, in order."
        if isinstance(outputs, tuple):
            hint = f"{JOIN} A network with several outputs returns them as one tuple."
        raise _wrong("infer", f"{len(outputs)} of them for a batch of {count}", form, hint)
    for output in outputs if isinstance(outputs, list | tuple) else ():
        if not isinstance(output, kind):
            hint = JOIN if isinstance(output, list | tuple) else ""
            raise _wrong("infer", f"{_kind_of(output)} for an image", form, hint)
    return outputs  # type: ignore[no-any-return]  # a tensor of torch is a sequence here


def finished(output: Any, model: Model, image: Any) -> Output:
    """What `postprocess` returned, its `data` as plain JSON. Raises ModelFailure.

    `image`: what it was given; of a volume anything.
    """
    if not isinstance(output, Output):
        raise _wrong("postprocess", _kind_of(output), "an Output(data=..., images=...)")
    for full_name, picture in output.images.items():
        _check_picture(full_name, picture)
    for full_name in output.files:
        _check_name(full_name, full_name.partition(".")[0])
    if model.kind == "matte":
        _check_alpha(output.images.get("alpha"), image)
    return Output(_plain_data(output.data, model.kind), output.images, output.files, output.notes)


def _check_picture(full_name: str, picture: Any) -> None:
    name, _, form = full_name.partition(".")
    _check_name(full_name, name)
    if form and form not in ENCODERS:
        known = ", ".join(f".{ending}" for ending in ENCODERS)
        raise _wrong("postprocess", f"a picture {full_name!r}", f"one of the endings {known}")
    form = "H x W, H x W x 3 or H x W x 4 uint8"
    if not isinstance(picture, np.ndarray):
        raise _wrong("postprocess", f"{_kind_of(picture)} as {name!r}", f"an array, {form}")
    if picture.dtype != np.uint8:
        hint = "For 0..1 write `(picture * 255).astype(np.uint8)`."
        raise _wrong("postprocess", f"{name!r} as {picture.dtype}", form, hint)
    channels = picture.shape[2] if picture.ndim == 3 else 3
    if picture.ndim not in (2, 3) or channels not in (3, 4) or not picture.size:
        raise _wrong("postprocess", f"{name!r} with {_shape_of(picture)}", form)


def _check_name(full_name: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise _wrong(
            "postprocess",
            f"a picture or file called {full_name!r}",
            "a name of lower-case letters, digits, `_` and `-`",
        )


def _check_alpha(alpha: Any, image: NDArray[Any]) -> None:
    if alpha is None:
        raise _wrong("postprocess", "no `alpha`", 'Output(images={"alpha": ...}) of kind "matte"')
    if not image.size:  # a model that needs no pixels
        return
    if alpha.shape != image.shape[:2]:
        height, width = image.shape[:2]
        raise _wrong(
            "postprocess",
            f"`alpha` with {_shape_of(alpha)}",
            f"that of the image that it was given, {height} x {width}",
            "`geometry.resize(alpha, *image.shape[:2])` makes it so.",
        )


def _plain_data(data: Any, kind: str) -> Mapping[str, Any]:
    """`data` as the answer has it: numbers and arrays of NumPy become plain ones."""
    if not isinstance(data, Mapping):
        raise _wrong("postprocess", f"{_kind_of(data)} as `data`", "a mapping")
    try:
        plain: Mapping[str, Any] = json.loads(_ENCODER.encode(data))
    except (TypeError, ValueError) as error:
        hint = "NaN and infinity are no JSON: return None, or leave the field out."
        hint = hint if isinstance(error, ValueError) else ""
        raise _wrong("postprocess", f"`data` that is no JSON ({error})", "JSON", hint) from error
    name, field = LISTS.get(kind, ("", ""))
    items = plain.get(name, []) if name else []
    if not isinstance(items, list) or any(
        not isinstance(item, Mapping) or field not in item for item in items
    ):
        raise _wrong(
            "postprocess",
            f"`data[{name!r}]` of another form",
            f"a list of mappings that each have {field!r}, as kind {kind!r} says",
        )
    return plain


def _plain_value(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} in it")


_ENCODER = json.JSONEncoder(allow_nan=False, default=_plain_value)


def _wrong_size(array: NDArray[Any], sizes: Sequence[tuple[int, int]]) -> ModelFailure:
    hint = "`bins` names every (H, W) that `preprocess` may give."
    if array.shape[-3:-1] in sizes:
        hint = "It looks like H x W x C: end with `.transpose(2, 0, 1)`."
    known = " or ".join(f"{height} x {width}" for height, width in sizes[:8])
    return _wrong("preprocess", _shape_of(array), f"H x W of {known}", hint)


def _wrong(function: str, returned: str, expected: str, hint: str = "") -> ModelFailure:
    return ModelFailure(f"`{function}` returned {returned}; expected {expected}", hint=hint or None)


def _kind_of(value: Any) -> str:
    return "nothing" if value is None else f"a value of type {type(value).__name__}"


def _shape_of(array: Any) -> str:
    return "the shape " + " x ".join(str(side) for side in array.shape)
