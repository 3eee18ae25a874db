"""`pixelmill pilot`: what the pilot sees, did and is to leave alone."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.client.command import AsJson
from tasks.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from storage.pilot import Orders, View
    from storage.pilot_log import Decision
    from storage.redis.calls import Call

app = typer.Typer(
    help="The pilot: what it sees, did, and is to leave alone.",
    epilog="Example: pixelmill pilot explain matting",
)

BY = "command line"
Model = Annotated[str, typer.Argument(help="Name of the model.")]


@app.callback(invoke_without_command=True)
def status(context: typer.Context) -> None:
    """Show each model: how long jobs take, workers, and what holds."""
    if context.invoked_subcommand:
        return
    from deploy.pilot import display

    ordered, views = _read()
    display.status(ordered, views)


@app.command(epilog="Example: pixelmill pilot pause --minutes 60")
def pause(
    minutes: Annotated[
        float | None, typer.Option(help="Without it: until `pixelmill pilot resume`.", min=0.1)
    ] = None,
) -> None:
    """Let the pilot change nothing; it goes on to look, and logs what it would do."""
    import time

    from storage.pilot import FOREVER_MS
    from web.pilot import by_hand

    until_ms = FOREVER_MS if minutes is None else (time.time() + minutes * 60) * 1000
    _do(*by_hand.pause(BY, until_ms))
    print("the pilot is paused")


@app.command(epilog="Example: pixelmill pilot resume")
def resume() -> None:
    """Let the pilot act again."""
    from web.pilot import by_hand

    _do(*by_hand.resume(BY))
    print("the pilot acts again")


@app.command(epilog="Example: pixelmill pilot pin matting --profile quality --workers 2")
def pin(
    model: Model,
    profile: Annotated[str, typer.Option(help="Of new runs that name none.")] = "",
    version: Annotated[str, typer.Option(help="That new runs are computed by.")] = "",
    workers: Annotated[int, typer.Option(help="How many there should be.", min=0)] = 0,
    none: Annotated[bool, typer.Option("--none", help="Pin nothing any more.")] = False,
) -> None:
    """Fix what the pilot is to leave alone; what is not named is no longer fixed."""
    from storage.pilot import Pins
    from web.pilot import by_hand

    if none == bool(profile or version or workers):
        raise BadInput("name what to pin (--profile, --version, --workers), or --none")
    _view_of(model)
    pins = Pins(profile, version, workers)
    _do(*by_hand.pin(model, pins, BY))
    print(f"pinned of {model}: {by_hand.as_text(pins)}")


@app.command(epilog="Example: pixelmill pilot log --model matting --json")
def log(
    lines: Annotated[
        int, typer.Option("--lines", "-n", help="How many of the newest decisions.", min=1)
    ] = 20,
    model: Annotated[str, typer.Option(help="Only of this model.")] = "",
    since: Annotated[
        datetime | None, typer.Option(help="Only decisions at this time (UTC) or later.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what was done, what was not, why, and what came of it; newest first."""
    import json
    from itertools import islice

    from deploy.pilot import display
    from storage import pilot_log
    from storage.times import ms_of

    since_ms = int(ms_of(since)) if since else 0
    wanted = (of for of in _decisions(since_ms) if model in ("", of.model))
    for decision in islice(wanted, lines):
        print(json.dumps(pilot_log.as_json(decision)) if as_json else display.line(decision))


@app.command(epilog="Example: pixelmill pilot explain matting")
def explain(model: Model, as_json: AsJson = False) -> None:
    """Show what the pilot sees of a model now, and why each rule acts or does not."""
    import json
    from dataclasses import asdict

    from deploy.pilot import display

    view = _view_of(model)
    if as_json:
        print(json.dumps(asdict(view), indent=1))
        return
    display.explain(model, view)


@app.command(epilog="Example: pixelmill pilot simulate --workers 50 --peak 100")
def simulate(
    trace: Annotated[
        Path | None,
        typer.Option(
            help="CSV with a column `runs`, one line a minute. Without it: a made-up day."
        ),
    ] = None,
    peak: Annotated[float, typer.Option(help="Runs a second of the made-up day's peak.")] = 60,
    workers: Annotated[int, typer.Option(help="Most workers.", min=1, max=200)] = 200,
    start_s: Annotated[float, typer.Option(help="Seconds that a worker needs to start.")] = 30,
    a_ms: Annotated[float, typer.Option(help="Fixed cost of a batch in ms.")] = 100,
    b_ms: Annotated[float, typer.Option(help="Cost that each image adds, in ms.")] = 200,
    max_batch: Annotated[int, typer.Option(help="Most images of a batch.", min=1)] = 4,
    room: Annotated[
        float, typer.Option(help="Workers that the pilot keeps free: PIXELMILL_PILOT_ROOM.", min=0)
    ] = 2,
    days: Annotated[
        int,
        typer.Option(
            help="So many made-up days, at four scales and with other start times, in one table; "
            "that takes minutes.",
            min=0,
        ),
    ] = 0,
    svg: Annotated[Path | None, typer.Option(help="Also draw the day into this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Play a day with the pilot's own rules, and compare them with usual ways to scale."""
    import json

    from rich.console import Console

    from deploy.pilot import chart, comparison, scales
    from deploy.pilot.simulation import Machine
    from deploy.pilot.traffic import day, read

    rates = read(trace) if trace else day(peak)
    machine = Machine(
        a_ms / 1000, b_ms / 1000, b_ms / 4000, max_batch, start_s=start_s, most=workers
    )
    if days:
        scales.show(scales.played(peak, machine, room, days))
        return
    with Console(stderr=True).status("playing the day"):
        results = comparison.compare(rates, machine, room)
    if svg:
        svg.write_text(chart.draw(rates, machine, results))
    if as_json:
        print(json.dumps([comparison.numbers(of) for of in results], indent=1))
        return
    comparison.show(results, rates, machine)


def _read() -> "tuple[Orders, dict[str, View]]":
    from storage import pilot
    from tasks.clients import state

    ordered, views = state().do(pilot.orders()), state().do(pilot.views())
    return ordered, dict(views)


def _view_of(model: str) -> "View":
    """What the pilot saw of a model. BadInput if it has seen none of this name."""
    _, views = _read()
    if model not in views:
        names = ", ".join(sorted(views)) or "none yet"
        raise BadInput(f"the pilot knows no model {model!r}; it knows: {names}")
    return views[model]


def _do(*calls: "Call[Any]") -> None:
    from tasks.clients import state

    for call in calls:
        state().do(call)


def _decisions(since_ms: int) -> "Iterator[Decision]":
    """Newest first, a page at a time."""
    from storage import pilot_log
    from tasks.clients import state

    before = "+"
    while page := state().do(pilot_log.read(before=before, since_ms=since_ms, most=1000)):
        yield from page
        before = page[-1].id
