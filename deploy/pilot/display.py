"""What `pixelmill pilot` prints."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from deploy.tables import print_table
from storage import pilot
from storage.pilot import Orders, View
from storage.pilot_log import Decision
from web.pilot import by_hand


def status(ordered: Orders, views: Mapping[str, View]) -> None:
    """A table of all models."""
    if ordered.paused_until_ms > time.time() * 1000:
        Console().print(
            "[yellow]The pilot is paused.[/] `pixelmill pilot resume` lets it act again."
        )
    table = Table("Model", "95 %", "Wait", "Workers", "Wanted", "Profile", "Version", "Pinned")
    for model, view in sorted(views.items()):
        order, numbers = ordered.of(model), view.numbers
        is_fresh = pilot.is_fresh(view, time.time() * 1000)
        version = order.version + (f" (on trial: {order.canary})" if order.canary else "")
        table.add_row(
            model,
            seconds(numbers.get("p95_s")) if is_fresh else "no data",
            seconds(view.scaling.wait_s) if is_fresh else "",
            f"{numbers.get('workers') or 0:g}",
            str(view.scaling.workers_wanted),
            by_hand.computed_by(order) or "its own",
            version,
            by_hand.as_text(order.pins),
        )
    print_table(table)


def explain(model: str, view: View) -> None:
    """All numbers and the sentence of each rule."""
    at = datetime.fromtimestamp(view.at_ms / 1000, UTC)
    print(f"{model} at {at:%Y-%m-%d %H:%M:%S} UTC")
    for name, value in view.numbers.items():
        print(f"  {name:14} {'no data' if value is None else f'{value:g}'}")
    print(f"  {'wanted':14} {view.scaling.workers_wanted}")
    for rule, reason in view.rules.items():
        print(f"  {rule}: {reason}")


def line(decision: Decision) -> str:
    """A decision as two lines of text."""
    at = datetime.fromtimestamp(decision.at_ms / 1000, UTC)
    by = "" if decision.by == "pilot" else f" (by {decision.by})"
    first = (
        f"{at:%Y-%m-%d %H:%M:%S}  {decision.model or 'all models'}  {decision.rule}: "
        f"{decision.action}: {decision.outcome}{by}"
    )
    effect = decision.effect or {}
    after = [
        f"{name} {effect.get(f'{name}_before')} -> {effect.get(f'{name}_after')}"
        for name in ("p95_s", "wait_s", "workers")
        if f"{name}_after" in effect
    ]
    later = f" A minute later: {', '.join(after)}." if after else ""
    return f"{first}\n    {decision.reason}{later}"


def seconds(value: float | None) -> str:
    """`1.20 s`, or nothing."""
    return "no data" if value is None else f"{value:.2f} s"
