"""What `pixelmill run` and `pixelmill models` show on a terminal."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.client.api import Job, Model, Profile

Show = Callable[[float, str], None]
"""Shows how far a file is (0 to 1), and in which stage."""


class Display:
    """A bar for all files, and a bar for each file that is in progress."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._all = progress.add_task("all", total=total, stage="")

    @contextmanager
    def file(self, name: str) -> Iterator[Show]:
        """A bar for this file while the block runs; yields what changes it."""
        task = self._progress.add_task(f"  {name}", total=1, stage="sending")
        try:
            yield lambda done, stage: self._progress.update(task, completed=done, stage=stage)
        finally:
            self._progress.remove_task(task)
            self._progress.advance(self._all)


@contextmanager
def progress(total: int) -> Iterator[Display]:
    """The bars for `total` files while the block runs; nothing if this is not a terminal."""
    console = Console(stderr=True)
    columns = [TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()]
    stage = TextColumn("{task.fields[stage]}", markup=False)
    with Progress(
        *columns, stage, console=console, disable=not console.is_terminal, transient=True
    ) as bars:
        yield Display(bars, total)


def stage_of(job: Job) -> str:
    """Where a job is, for people."""
    if job["state"] == "queued" and (job["position"] or 0) > 1:
        return f"queued, {(job['position'] or 0) - 1} before it"
    return str(job["stage"] or job["state"])


def print_error(file: Path, message: str) -> None:
    """Say why a file failed."""
    here = Path.cwd()
    name = file.relative_to(here) if here in file.parents else file
    Console(stderr=True).print(
        f"{name}: {message}", style="red", markup=False, highlight=False, soft_wrap=True
    )


def print_models(models: Sequence[Model]) -> None:
    """The table of `pixelmill models`, with a line for each further profile of a model."""
    if not models:
        Console().print("There are no models yet: no worker has announced any.")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("name", "title", "kind", "live", "device", "ms/image", "weights", "licence"):
        table.add_column(title, justify="right" if title in ("ms/image", "weights") else "left")
    for model in models:
        _add_row(table, model, (model["name"], model["title"], model["kind"]), model)
        for name, profile in list(model.get("profiles", {}).items())[1:]:
            _add_row(table, model, (f"  {name}", "", ""), profile)
    Console().print(table)


def _add_row(table: Table, model: Model, names: tuple[str, str, str], profile: Profile) -> None:
    live = "[green]yes[/]" if model["live"] else "[red]no[/]"
    ms, size = f"{profile['ms_per_image']:.1f}", f"{profile['weights_bytes'] / 2**20:.1f} MiB"
    table.add_row(*names, live, model["device"], ms, size, model["licence"])
