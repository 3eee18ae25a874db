"""What is asked for of each photo: the model, its parameters, and the pictures to make."""

import mimetypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from deploy.client.answers import Model
from deploy.client.api import RunOptions
from deploy.client.destination import FORMATS, Destination
from deploy.client.parameters import BACKGROUND, background_file, check
from storage.states import Priority
from tasks.errors import BadInput, Unavailable

DEFAULT = "matting"
CUTOUT = "cutout"
MATTE_OUTPUT = "alpha,preview,cutout"
"""What is made by default of a photo by a model that cuts out, in a folder."""


def options(
    models: Sequence[Model],
    name: str,
    params: Mapping[str, str],
    *,
    output: str,
    destination: Destination,
    priority: Priority,
    lighter: bool = True,
) -> RunOptions:
    """What the command line asks for, with what it leaves open. Raises as `chosen` and `check`."""
    model = chosen(models, name)
    volumes = takes_volumes(model)
    asked = RunOptions(model["name"], params, output, priority, lighter, volumes)
    has_format = "format" in _names(model)
    if model["kind"] == "matte":
        asked = _with_cutout(asked, destination, has_format=has_format)
    elif has_format:
        asked = _with_format(asked, destination)
    check(asked.params, model)
    return asked


def chosen(models: Sequence[Model], name: str) -> Model:
    """The model of this name; without one `matting`, or the only one that is served.

    Raises BadInput for a name that there is not, Unavailable if no worker serves the model.
    """
    known = {model["name"]: model for model in models}
    if not name:
        live = [model["name"] for model in models if model["live"]]
        name = live[0] if len(live) == 1 else DEFAULT
        if name not in known and live:
            raise BadInput(f"several models are served: {', '.join(live)}; name one by --model")
    if name not in known:
        names = ", ".join(known) or "none yet, as no worker has announced any"
        raise BadInput(f"no model {name!r}; there are: {names}")
    if not known[name]["live"]:
        raise Unavailable(f"no worker serves {name!r} at present", hint="See `pixelmill doctor`.")
    return known[name]


def takes_volumes(model: Model) -> bool:
    """Whether it is a model of volumes."""
    return model.get("input") == "volume"


def with_upload(asked: RunOptions, upload: Callable[[Path, str], str]) -> RunOptions:
    """The same with the id of an upload where the background names a file.

    `upload` sends a file of a media type, and returns the id. Raises BadInput for a file that is no
    picture by its ending.
    """
    file = background_file(asked.params.get(BACKGROUND, ""))
    if not file:
        return asked
    media_type = mimetypes.guess_type(file.name)[0] or "image/jpeg"
    if not media_type.startswith("image/"):
        raise BadInput(f"{file} is no picture, which a background has to be")
    return replace(asked, params={**asked.params, BACKGROUND: upload(file, media_type)})


def _with_cutout(asked: RunOptions, to: Destination, *, has_format: bool) -> RunOptions:
    """What a model that cuts out is asked for if the command line does not say it."""
    if asked.output:
        is_cutout = has_format and CUTOUT in asked.output.split(",")
        return _with_format(asked, to) if is_cutout else asked
    if to.folder:
        return replace(asked, output=MATTE_OUTPUT)
    form = _format_of(to, asked.params)
    if not form:  # the answer as JSON
        return asked
    if not has_format:
        return replace(asked, output=f"{CUTOUT}-{form}")
    return replace(asked, output=CUTOUT, params={"format": form, **asked.params})


def _with_format(asked: RunOptions, to: Destination) -> RunOptions:
    """The same in the format of the file that takes the picture."""
    form = "" if to.folder else _format_of(to, asked.params)
    return replace(asked, params={"format": form, **asked.params}) if form else asked


def _format_of(to: Destination, params: Mapping[str, str]) -> str:
    """The format by a file's ending; PNG on standard output; empty for the answer as JSON.

    Raises BadInput if another one is asked for.
    """
    form = FORMATS.get(to.file.suffix.lower() if to.file else ".png", "")
    if form and to.file and params.get("format", form) != form:
        raise BadInput(f"{to.file} does not end like a picture of --format {params['format']}")
    return form


def _names(model: Model) -> Mapping[str, object]:
    names: Mapping[str, object] = model["params"].get("properties", {})
    return names
