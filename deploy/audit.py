"""`pixelmill audit`: the audit log on the terminal, or as JSON lines."""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.client.command import AsJson

if TYPE_CHECKING:
    from storage.audit import Event, Filter
    from storage.redis.calls import SyncRedis

PAGE = 1000
"""Events that are read at a time."""


def audit(
    lines: Annotated[
        int, typer.Option("--lines", "-n", help="How many of the newest events.", min=1)
    ] = 50,
    user: Annotated[str, typer.Option(help="Only what this user did.")] = "",
    action: Annotated[
        str, typer.Option(help="Only this action, as key.add, or kind of actions, as key.")
    ] = "",
    since: Annotated[
        datetime | None, typer.Option(help="Only events at this time (UTC) or later.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show who did what, on which id, from which network; with --json all of it, oldest first."""
    import json

    from storage import audit as log
    from storage.times import ms_of
    from tasks.clients import state

    since_ms = int(ms_of(since)) if since else 0
    wanted = log.Filter(user, action, max(since_ms, 0))
    if as_json:
        for event in oldest_first(state(), wanted):
            print(json.dumps(log.as_json(event)))
        return
    for event in islice(newest_first(state(), wanted), lines):
        print(line(event))


def newest_first(state: "SyncRedis", wanted: "Filter") -> Iterator["Event"]:
    """The events that are wanted. Raises StorageDown."""
    from storage import audit as log

    before = "+"
    while events := state.do(log.read(before=before, since_ms=wanted.since_ms, most=PAGE)):
        yield from filter(wanted.lets_pass, events)
        before = events[-1].id


def oldest_first(state: "SyncRedis", wanted: "Filter") -> Iterator["Event"]:
    """The same from the other end."""
    from storage import audit as log

    after = ""
    while events := state.do(log.read_on(after=after, since_ms=wanted.since_ms, most=PAGE)):
        yield from filter(wanted.lets_pass, events)
        after = events[-1].id


def line(event: "Event") -> str:
    """An event as a line of text."""
    from storage.times import second

    who = f"{event.user or '-'} ({event.kind})"
    parts = [
        second(event.at_ms),
        who,
        event.action,
        event.target or "-",
        event.network or "-",
        event.outcome,
    ]
    return "  ".join(parts)
