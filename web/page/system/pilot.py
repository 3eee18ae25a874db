"""The part of the system page about the pilot: what it sees, what holds, what it did, and forms."""

from collections.abc import Sequence
from html import escape

from storage import pilot
from storage.pilot import Pins
from storage.times import second
from web.jobs.system import Decision, System, View
from web.page.system.numbers import duration
from web.page.system.parts import part, plain, table
from web.pilot import by_hand

PAUSE = (
    """<form method="post" action="/system/pilot/pause"><button>Pause the pilot</button></form>"""
)
RESUME = """<p><b class="bad">The pilot is paused: it changes nothing.</b></p>
<form method="post" action="/system/pilot/resume"><button>Let it act again</button></form>"""
PIN = """<form method="post" action="/system/pilot/pin"><label>Model <select name="model">{models}
</select></label> <label>Profile <input name="profile" maxlength="40" size="10"></label>
<label>Version <input name="version" maxlength="40" size="18"></label>
<label>Workers <input name="workers" type="number" min="0" max="9999" value="0"></label>
<button>Leave this as it is</button> <small>Empty fields and 0 pin nothing.</small></form>"""


def models(system: System) -> str:
    """What it sees of each model, and what holds for it."""
    rows = [_row(system, name, view) for name, view in sorted(system.views.items())]
    heads = ("Model", "95 of 100 within", "Workers", "Profile", "Version", "Pinned", "Why")
    return table("pilot", heads, rows, "No web process has looked yet.")


def log(decisions: Sequence[Decision]) -> str:
    """Its newest decisions."""
    rows = [
        [
            f"<small>{second(of.at_ms)}</small>",
            plain(of.model or "–"),
            escape(of.rule),
            plain(of.action),
            "done" if of.outcome == "done" else f"<b>{escape(of.outcome)}</b>",
            f"<small>{plain(of.reason)}{_effect(of)}</small>",
            plain(of.by),
        ]
        for of in decisions
    ]
    heads = ("Time (UTC)", "Model", "Rule", "Action", "Outcome", "Why", "By")
    return table("pilot-log", heads, rows, "It has decided nothing yet.")


def forms(system: System) -> str:
    """To pause it, and to fix what it is to leave alone."""
    is_paused = system.orders.paused_until_ms > system.catalogue.now_ms
    options = "".join(
        f'<option value="{escape(name)}" translate="no">{escape(name)}' for name in system.views
    )
    return part("pilot-forms", RESUME if is_paused else PAUSE) + PIN.format(models=options)


def _row(system: System, name: str, view: View) -> list[str]:
    order, p95_s = system.orders.of(name), view.numbers.get("p95_s")
    is_fresh = pilot.is_fresh(view, system.catalogue.now_ms)
    trial = f"<br><small>on trial:</small> {plain(order.canary)}" if order.canary else ""
    reasons = "<br>".join(f"<b>{escape(r)}</b> {plain(why)}" for r, why in view.rules.items())
    return [
        plain(name),
        duration(p95_s * 1000) if p95_s is not None and is_fresh else "no data",
        f"{view.numbers.get('workers') or 0:g} "
        f"<small>wanted:</small> {view.scaling.workers_wanted}",
        plain(by) if (by := by_hand.computed_by(order)) else "its own",
        plain(order.version) + trial,
        plain(by_hand.as_text(order.pins)) if order.pins != Pins() else "nothing",
        f"<small>{reasons}</small>",
    ]


def _effect(of: Decision) -> str:
    before, after = ((of.effect or {}).get(f"p95_s_{when}") for when in ("before", "after"))
    if before is None or after is None:
        return ""
    change = f"{duration(before * 1000)} → {duration(after * 1000)}"
    return f"<br><b>A minute later:</b> {plain(change)}"
