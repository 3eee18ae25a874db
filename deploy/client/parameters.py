"""Parameters of models on the command line: `-p name=value`, and the options for cut-outs."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.client.answers import Model
from deploy.client.folders import ENDINGS
from tasks.errors import BadInput
from tasks.models.base import RESERVED

BACKGROUND = "background"
UPLOAD_ID = re.compile("[0-9a-f]{32}")


def parameters(pairs: Sequence[str]) -> dict[str, str]:
    """Parameters of a model from words like `refine=true`; BadInput for any other word."""
    values = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name or name in RESERVED:
            raise BadInput(f"{pair!r} is not a parameter of a model; expected e.g. -p refine=true")
        values[name] = value
    return values


def merged(pairs: Sequence[str], shorthands: Mapping[str, object]) -> dict[str, str]:
    """All parameters that were given; `shorthands` are those with an option of their own.

    None stands for an option that was not given. BadInput if one is given in both ways.
    """
    values = parameters(pairs)
    for name, value in shorthands.items():
        if value is None:
            continue
        if name in values:
            raise BadInput(f"{name} is given twice: by -p, and by {_option(name)}")
        values[name] = str(value)
    if BACKGROUND in values:
        values[BACKGROUND] = _background(values[BACKGROUND])
    return values


def check(params: Mapping[str, str], model: Model) -> None:
    """BadInput for a parameter that the model does not have, before any photo is sent."""
    known = model["params"].get("properties", {})
    for name in params:
        if name not in known:
            names = ", ".join(known) or "none"
            raise BadInput(
                f"{model['name']} has no parameter {name!r}; there are: {names}",
                hint="`pixelmill models --json` describes each of them.",
            )


def checked_output(output: str) -> str:
    """The names of pictures; BadInput for what looks like a path, which is for --out."""
    if "/" in output or "." in output or Path(output).is_dir() and output:
        raise BadInput(
            f"--output names pictures to make, such as alpha or cutout, and not {output!r}",
            hint="The folder or file of the results is --out (-o).",
        )
    return output.replace(" ", "")


def background_file(value: str) -> Path | None:
    """The file that a background names; None for a colour, `blur`, or the id of an upload."""
    path = Path(value)
    return path if value and path.is_file() else None


def _background(value: str) -> str:
    """A background as the API takes it, or the path of a file that is there.

    `white`, `fff` and `ffffff` are understood as `#ffffff` is: an unquoted # begins a comment in a
    shell, so that many would be lost.
    """
    if background_file(value) or value in ("", "blur") or UPLOAD_ID.fullmatch(value):
        return value
    digits = value.removeprefix("#").lower()
    if re.fullmatch(r"[0-9a-f]{6}", digits):
        return f"#{digits}"
    if re.fullmatch(r"[0-9a-f]{3}", digits):
        return "#" + "".join(2 * digit for digit in digits)
    if named := _named_colour(value):
        return named
    if "/" in value or Path(value).suffix.lower() in ENDINGS:
        raise BadInput(f"there is no file {value} for the background")
    raise BadInput(
        f"{value!r} is no background",
        hint="Expected a colour (white, ff8800), blur, the path of a picture, or an upload's id.",
    )


def _named_colour(value: str) -> str:
    """`#rrggbb` of a CSS colour such as `white` or `hsl(30, 100%, 50%)`; empty if it is none."""
    from PIL import ImageColor

    try:
        colour = ImageColor.getrgb(value)
    except ValueError:
        return ""
    return "#" + bytes(colour).hex() if len(colour) == 3 else ""


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
