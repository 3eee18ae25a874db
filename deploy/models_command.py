"""`pixelmill models`: lists the models of a server; starts and tries models of your own."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.client.command import AsJson, Key, Url
from tasks.errors import BadInput

app = typer.Typer(epilog="Example: pixelmill models --json")


@app.callback(invoke_without_command=True)
def models(context: typer.Context, url: Url = "", key: Key = "", as_json: AsJson = False) -> None:
    """List the models of a running server; `models new` starts a model of your own, and
    `models check` tries it."""
    if context.invoked_subcommand:
        return
    import json

    from deploy.client import api, display
    from deploy.client.server import find_server

    with api.Client(find_server(url, key)) as server:
        served = server.models()
    print(json.dumps(served, indent=1)) if as_json else display.print_models(served)


@app.command(epilog="Example: pixelmill models new stripes")
def new(
    name: Annotated[str, typer.Argument(help="Name of the model; its file is NAME.py.")],
    folder: Annotated[Path, typer.Option(help="Folder in which the file is written.")] = Path("."),
) -> None:
    """Write the file of a new model: a small one that works, for you to change."""
    from deploy import new_model

    file = new_model.write(name, folder)
    print(
        f"Wrote {file}. `pixelmill models check {file}` tries it, "
        f"`{new_model.how_to_serve(file)}` serves it."
    )


@app.command(epilog="Example: pixelmill models check stripes.py photo.jpg --out tried")
def check(
    file: Annotated[
        Path,
        typer.Argument(help="The model's file.", exists=True, dir_okay=False, resolve_path=True),
    ],
    photo: Annotated[
        Path | None,
        typer.Argument(
            help="A photo (or a volume). Without one, photos are drawn.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="A parameter: name=value.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the pictures that it makes.")
    ] = None,
) -> None:
    """Take a photo through a model's functions, without a server, and say what is wrong."""
    import os
    import sys

    from tasks.models import registry

    if file.suffix != ".py":
        raise BadInput(f"{file} is no Python file; expected the file of a model, NAME.py")
    arguments = [str(file), *([str(photo)] if photo else [])]
    for pair in param or []:
        arguments += ["--param", pair]
    arguments += ["--out", str(out)] if out else []
    if file.parent != registry.FOLDER:
        os.environ["PIXELMILL_MODEL_PATHS"] = str(file.parent)
    # This process becomes one that may load torch, which the command line itself never imports.
    os.execv(sys.executable, [sys.executable, "-m", "workers", "check", *arguments])
