"""`pixelmill run`: sends photos to a running server, several at a time, and writes the results."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from deploy.client import choice, crew, display, photos
from deploy.client.api import Client, RunOptions
from deploy.client.destination import Destination
from deploy.client.display import Display
from deploy.client.folders import LeftOut
from deploy.client.lines import Lines
from deploy.client.outcome import Outcome, is_same_for_all
from deploy.client.photos import STDIN, Found, Photo
from deploy.client.plan import Plan
from deploy.client.sender import Sender, remembered
from deploy.client.server import Server
from deploy.client.sources import Sources
from deploy.client.totals import Totals
from deploy.client.words import Words
from storage.states import Priority
from tasks.errors import BadInput

MANY = 16
"""More photos than this are batch work by default."""


@dataclass(frozen=True)
class Command:
    """What a command line asks for."""

    words: Sequence[str]
    """Paths, addresses, or `-`."""
    destination: Destination
    model: str = ""
    """Empty: `matting`, or the only model that is served."""
    params: dict[str, str] | None = None
    output: str = ""
    priority: Priority | None = None
    """None: `batch` for more than MANY photos."""
    lighter: bool = True
    """Whether something lighter may compute them while many people wait."""
    jobs: int = 4
    """How many photos are in progress at a time."""
    again: bool = False
    dry_run: bool = False
    as_json: bool = False
    is_verbose: bool = False


class Report(Protocol):
    """Says what becomes of photos."""

    def add(self, outcome: Outcome) -> None:
        """Take note of a photo."""

    def end(self, totals: Totals, left_out: Sequence[LeftOut]) -> None:
        """Say what has not been said yet."""


def main(command: Command, server: Server) -> int:
    """Do what the command line asks for; returns the exit code.

    Raises BadInput for what is wrong with the command line, and other JobErrors if there is no
    server, or none that would take the photos.
    """
    _check_streams(command)
    command.destination.check()
    with Client(server) as client, Sources(client.stopping) as sources:
        models = client.models()
        are_volumes = choice.takes_volumes(choice.chosen(models, command.model))
        found = photos.find(command.words, are_volumes=are_volumes)
        _check_single(command, found)
        options = choice.options(
            models,
            command.model,
            command.params or {},
            output=command.output,
            destination=command.destination,
            priority=command.priority or ("batch" if len(found.photos) > MANY else "interactive"),
            lighter=command.lighter,
        )
        is_shown = not (command.as_json and sys.stdout.isatty())
        with display.progress(
            len(found.photos), "volume" if are_volumes else "photo", is_shown=is_shown
        ) as bars:
            report = _report(command, options, bars, server)
            totals = _run(command, client, sources, options, found, bars, report)
        report.end(totals, found.left_out)
    return totals.exit_code


def _run(
    command: Command,
    client: Client,
    sources: Sources,
    options: RunOptions,
    found: Found,
    bars: Display,
    report: Report,
) -> Totals:
    totals = Totals(len(found.photos), found.left_out)
    asked = remembered(dict(options.params))
    if not command.dry_run:
        options = choice.with_upload(options, client.upload)
    sender = Sender(client, sources, options, asked, command.destination, command.again)
    do = sender.plan if command.dry_run else sender.send

    def work(photo: Photo) -> Outcome:
        with bars.photo(photo) as show:
            outcome = do(photo, show)
        if is_same_for_all(outcome.error):
            client.stopping.set()
        return outcome

    with crew.Interrupts(client.stopping, sources.remove_files) as interrupts:

        def say_stop() -> None:
            if interrupts.number:
                bars.say("cancelling what is in progress; Ctrl-C again ends at once")

        work_at = crew.Crew(work, command.jobs, client.stopping, say_stop)
        for outcome in work_at.outcomes(found.photos):
            totals.add(outcome)
            report.add(outcome)
        totals.signal = interrupts.number
    return totals


def _report(command: Command, options: RunOptions, bars: Display, server: Server) -> Report:
    to = command.destination
    if command.as_json:
        return Lines(to, options.model)
    if command.dry_run:
        return Plan(bars, to, options, server.public_url or server.url)
    return Words(bars, to, is_verbose=command.is_verbose)


def _check_streams(command: Command) -> None:
    if STDIN in command.words and sys.stdin.isatty() and not command.dry_run:
        raise BadInput(
            "standard input is a terminal",
            hint="Give it a photo: pixelmill run - -o - < photo.jpg > cut.png",
        )
    if not command.destination.is_stdout:
        return
    if command.as_json:
        raise BadInput("--json and -o - cannot both have standard output")
    if sys.stdout.isatty() and not command.dry_run:
        raise BadInput(
            "standard output is a terminal, which cannot show a picture",
            hint="Write to a file (-o cut.png), or to another program (| display).",
        )


def _check_single(command: Command, found: Found) -> None:
    to = command.destination
    if to.folder:
        return
    if len(found.photos) > 1:
        raise BadInput(
            f"{to} takes the picture of one photo, and here are {len(found.photos)}",
            hint="Name a folder with --out.",
        )
    [photo] = found.photos
    if photo.file and to.file and to.file.exists() and photo.file.samefile(to.file):
        raise BadInput(f"{to.file} is the photo itself, and would be overwritten")
