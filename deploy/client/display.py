"""The progress bars of `pixelmill run`, and the table of `pixelmill models`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.client.answers import Job, Model, Profile
from deploy.client.photos import Photo
from deploy.client.sender import Show
from deploy.client.text import many, shown
from deploy.tables import print_table


class Display:
    """A bar for all photos, and a bar for each photo that is in progress."""

    def __init__(self, progress: Progress, total: int, noun: str) -> None:
        """`noun`: what is sent, `photo` or `volume`."""
        self.noun = noun
        self._progress = progress
        self._all = progress.add_task(many(total, noun), total=total, stage="")

    @contextmanager
    def photo(self, photo: Photo) -> Iterator[Show]:
        """A bar for this photo while the block runs; yields what changes it."""
        name = shown(PurePath(photo.name).name)
        task = self._progress.add_task(f"  {name}", total=1, stage="sending")

        def show(job: Job) -> None:
            self._progress.update(task, completed=job["progress"], stage=_stage_of(job))

        try:
            yield show
        finally:
            self._progress.remove_task(task)
            self._progress.advance(self._all)

    def say(self, line: str, style: str = "") -> None:
        """Print a line on standard error, above the bars."""
        console = self._progress.console
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress(total: int, noun: str, *, is_shown: bool = True) -> Iterator[Display]:
    """The bars for `total` photos or volumes while the block runs; none without a terminal."""
    console = Console(stderr=True)
    columns = [TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()]
    stage = TextColumn("{task.fields[stage]}", markup=False)
    with Progress(
        *columns,
        stage,
        console=console,
        disable=not (console.is_terminal and is_shown),
        transient=True,
        redirect_stdout=False,  # it may be a picture, or JSON for a program
    ) as bars:
        yield Display(bars, total, noun)


def _stage_of(job: Job) -> str:
    """Where a job is, for people."""
    if job["state"] == "queued" and (job["position"] or 0) > 1:
        return f"queued, {(job['position'] or 0) - 1} before it"
    if slices := job.get("slices"):
        return f"{slices['done']} of {slices['total']} slices"
    return str(job["stage"] or job["state"])


def print_models(models: Sequence[Model]) -> None:
    """The table of `pixelmill models`, with a line for each further profile of a model."""
    if not models:
        Console().print("There are no models yet: no worker has announced any.")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("name", "title", "kind", "live", "device", "ms/image", "weights", "licence"):
        right, wraps = title in ("ms/image", "weights"), title in ("title", "licence")
        table.add_column(title, justify="right" if right else "left", no_wrap=not wraps)
    for model in models:
        _add_row(table, model, (model["name"], model["title"], model["kind"]), model)
        for name, profile in list(model.get("profiles", {}).items())[1:]:
            _add_row(table, model, (f"  {name}", "", ""), profile)
    print_table(table)


def _add_row(table: Table, model: Model, names: tuple[str, str, str], profile: Profile) -> None:
    live = "[green]yes[/]" if model["live"] else "[red]no[/]"
    ms, size = f"{profile['ms_per_image']:.1f}", f"{profile['weights_bytes'] / 2**20:.1f} MiB"
    texts = [escape(text) for text in (*names, profile["licence"])]
    table.add_row(*texts[:3], live, model["device"], ms, size, texts[3])
