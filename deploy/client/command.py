"""The command `pixelmill run`. What it needs is imported when it runs."""

from typing import Annotated, Literal

import typer

from deploy.client import completion
from deploy.failure import fail

PICTURES = "Cut-outs (of matting, and other models that cut out)"
RESULTS = "Results"
SENDING = "How photos are sent"
SERVER = "Server"

Url = Annotated[
    str,
    typer.Option(
        envvar="PIXELMILL_URL",
        help="Address of the server. Without it: the `pixelmill up` of this folder.",
        rich_help_panel=SERVER,
    ),
]
Key = Annotated[
    str,
    typer.Option(
        envvar="PIXELMILL_API_KEY",
        help="API key. Without it: that of the `pixelmill up` of this folder.",
        rich_help_panel=SERVER,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def _models(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    url, key = context.params.get("url") or "", context.params.get("key") or ""
    return [item for item in completion.models(url, key) if item[0].startswith(incomplete)]


def _params(context: typer.Context, incomplete: str) -> list[str]:
    url, key = context.params.get("url") or "", context.params.get("key") or ""
    model = context.params.get("model") or ""
    words = completion.parameters(url, key, model, incomplete)
    return [word for word in words if word.startswith(incomplete)]


def _outputs(incomplete: str) -> list[str]:
    return [name for name in completion.outputs(incomplete) if name.startswith(incomplete)]


Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="PHOTOS",
        help="Photos, folders of them, https addresses, or - for standard input.",
    ),
]
ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Name of the model. Without it: matting, or the only one that is served.",
        autocompletion=_models,
    ),
]
Param = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        help="A parameter of the model, as key=value. May be repeated.",
        autocompletion=_params,
    ),
]
Background = Annotated[
    str | None,
    typer.Option(
        help="A colour (white, ff8800), blur, or a picture to put behind the subject.",
        rich_help_panel=PICTURES,
        metavar="COLOUR|blur|FILE",
    ),
]
Crop = Annotated[
    Literal["none", "subject"] | None,
    typer.Option(help="Cut the picture to the subject.", rich_help_panel=PICTURES),
]
Margin = Annotated[
    float | None,
    typer.Option(
        help="Space around a cropped subject, as a part of its longer side.",
        rich_help_panel=PICTURES,
        min=0,
        max=1,
    ),
]
Format = Annotated[
    Literal["webp", "png", "avif", "jpeg"] | None,
    typer.Option("--format", help="Format of the cut-out.", rich_help_panel=PICTURES),
]
MaxSide = Annotated[
    int | None,
    typer.Option(
        help="Longest side of the cut-out in pixels; 0 for the photo's own size.",
        rich_help_panel=PICTURES,
        min=0,
    ),
]
Colour = Annotated[
    Literal["srgb", "keep"] | None,
    typer.Option(
        "--colour",
        "--color",
        help="Convert colours to sRGB, or keep the photo's own colour space.",
        rich_help_panel=PICTURES,
    ),
]
Out = Annotated[
    str,
    typer.Option(
        "--out",
        "-o",
        help="Folder of the results; for one photo also a file such as cut.png, or - for "
        "standard output.",
        rich_help_panel=RESULTS,
        metavar="FOLDER|FILE|-",
    ),
]
Output = Annotated[
    str,
    typer.Option(
        help="Comma-separated pictures to make: alpha, mask, cutout, preview.",
        rich_help_panel=RESULTS,
        autocompletion=_outputs,
        metavar="NAMES",
    ),
]
Again = Annotated[
    bool,
    typer.Option(
        "--again",
        help="Send photos too whose results are there already.",
        rich_help_panel=RESULTS,
    ),
]
Lines = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON object per photo and line, then the figures.",
        rich_help_panel=RESULTS,
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Name each photo that is done, and each file that is left out.",
        rich_help_panel=RESULTS,
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        "-j",
        help="How many photos are in progress at a time.",
        rich_help_panel=SENDING,
        min=1,
        max=64,
    ),
]
PriorityName = Annotated[
    Literal["interactive", "batch"] | None,
    typer.Option(
        help="batch lets others go first. Without it: batch for more than 16 photos.",
        rich_help_panel=SENDING,
    ),
]
Lighter = Annotated[
    bool,
    typer.Option(
        help="Whether lighter settings or a lighter model may be used while many people wait.",
        rich_help_panel=SENDING,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        "-n",
        help="Say what would be sent and written, and send nothing.",
        rich_help_panel=SENDING,
    ),
]


def run(
    paths: Paths,
    model: ModelName = "",
    param: Param = None,
    out: Out = "out",
    output: Output = "",
    again: Again = False,
    as_json: Lines = False,
    verbose: Verbose = False,
    background: Background = None,
    crop: Crop = None,
    margin: Margin = None,
    format_: Format = None,
    max_side: MaxSide = None,
    colour: Colour = None,
    jobs: Jobs = 4,
    priority: PriorityName = None,
    lighter: Lighter = True,
    dry_run: DryRun = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Send photos to a running server and write the results to a folder."""
    from deploy.client import destination, parameters, totals
    from deploy.client import run as client
    from deploy.client.server import find_server
    from tasks.errors import BadInput, JobError

    shorthands = {
        "background": background, "crop": crop, "margin": margin, "format": format_,
        "max_side": max_side, "colour": colour,
    }  # fmt: skip
    try:
        command = client.Command(
            paths, destination.parse(out), model, parameters.merged(param or [], shorthands),
            parameters.checked_output(output), priority, lighter, jobs, again, dry_run, as_json,
            verbose,
        )  # fmt: skip
        code = client.main(command, find_server(url, key))
    except JobError as error:
        code = totals.WRONG_USE if isinstance(error, BadInput) else totals.NO_SERVER
        fail(str(error), error.hint, code)
    raise SystemExit(code)
