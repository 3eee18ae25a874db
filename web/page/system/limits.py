"""The parts of the system page about limits, refusals, users and the audit log, each as HTML."""

from collections.abc import Sequence
from html import escape

from prometheus_client import Counter

from storage.audit import Event
from storage.times import second
from tasks.settings import MIB, Settings, settings
from web.jobs import counters
from web.jobs.system import Fill, RecentUsers, System
from web.page.system import charts
from web.page.system.numbers import limit, share, size
from web.page.system.parts import plain, table

SHOWN_USERS = 30


def room(system: System) -> str:
    """How full memory and disk are, and why new work is refused, if it is."""
    fills = [
        ("Memory of the state Redis", system.state_memory),
        ("Arrays between stages (scratch)", system.scratch),
        *([("Disk of the servers' data", system.disk)] if system.disk else []),
    ]
    rows = [[name, _fill(name, fill)] for name, fill in fills]
    rows += [['<b class="bad">New work is refused</b>', escape(why)] for why in system.refusals]
    return table("room", ("What", "Used"), rows, "")


def limits() -> str:
    """What is accepted: the settings."""
    rows = [
        [name, value, f"<code>{setting}</code>"] for name, value, setting in _limits(settings())
    ]
    return table("limits", ("Limit", "Value", "Setting"), rows, "")


def refused() -> str:
    """What this web process has refused since its start."""
    by_limit = _samples(counters.REFUSED, "limit", "model")
    by_code = _samples(counters.REJECTED, "code")
    rows = [
        [f"<code>{escape(name)}</code>", plain(of), f"{count:,.0f}"]
        for (name, of), count in sorted((by_limit | by_code).items(), key=lambda item: -item[1])
    ]
    nothing = "This web process has refused nothing since its start."
    return table("refused", ("Reason", "Model", "Requests"), rows, nothing)


def users(found: RecentUsers) -> str:
    """Who has most jobs."""
    rows = [
        [
            f"{plain(user.name)}{' <small>admin</small>' if user.role == 'admin' else ''}",
            f"{user.jobs:,}",
            f"{user.in_progress:,}",
            f"{user.images_today:,}",
            size(user.bytes_today),
            size(user.stored_bytes),
        ]
        for user in found.users[:SHOWN_USERS]
    ]
    heads = ("User", "Jobs kept", "In progress", "New images today", "Sent today", "Stored")
    more = found.total - len(rows)
    rest = f"<p><small>and {more:,} more</small></p>" if more > 0 else ""
    return table("users", heads, rows, "Nobody has jobs at present.") + rest


def audit(events: Sequence[Event]) -> str:
    """The newest events of the audit log."""
    rows = [
        [
            f"<small>{second(event.at_ms)}</small>",
            plain(event.user or "–"),
            f"<code>{escape(event.action)}</code>",
            f"<small>{plain(event.target)}</small>",
            f"<small>{escape(event.network)}</small>",
            "ok" if event.outcome == "ok" else f'<b class="bad">{escape(event.outcome)}</b>',
        ]
        for event in events
    ]
    heads = ("Time (UTC)", "User", "Action", "Target", "Network", "Outcome")
    return table("audit", heads, rows, "No event is recorded.")


def _fill(name: str, fill: Fill) -> str:
    if not fill.most:
        return f"{size(fill.used)}, no limit"
    words = f"{size(fill.used)} of {size(fill.most)}"
    return f"{words}{charts.fill(fill.used, fill.most, f'{name}: {share(fill.used, fill.most)}')}"


def _limits(now: Settings) -> list[tuple[str, str, str]]:
    return [
        ("Largest file", size(now.max_upload_mib * MIB), "PIXELMILL_MAX_UPLOAD_MIB"),
        ("Largest image", limit(now.max_megapixels, "megapixels"), "PIXELMILL_MAX_MEGAPIXELS"),
        ("Images of one user in progress", limit(now.max_in_flight), "PIXELMILL_MAX_IN_FLIGHT"),
        ("Images of one user per hour", limit(now.images_per_hour), "PIXELMILL_IMAGES_PER_HOUR"),
        ("Images of one user per day", limit(now.images_per_day), "PIXELMILL_IMAGES_PER_DAY"),
        ("Sent by one user per day", limit(now.mib_per_day, "MiB"), "PIXELMILL_MIB_PER_DAY"),
        ("Stored for one user", limit(now.stored_mib, "MiB"), "PIXELMILL_STORED_MIB"),
        ("Images that wait, in each priority", limit(now.max_waiting), "PIXELMILL_MAX_WAITING"),
        (
            "Wait of interactive work",
            limit(now.max_wait_interactive_s, "s"),
            "PIXELMILL_MAX_WAIT_INTERACTIVE_S",
        ),
        ("Wait of batch work", limit(now.max_wait_batch_s, "s"), "PIXELMILL_MAX_WAIT_BATCH_S"),
    ]


def _samples(counter: Counter, *labels: str) -> dict[tuple[str, str], float]:
    """Counts above zero, by the first label and by the second, which may be missing."""
    found = {}
    for sample in next(iter(counter.collect())).samples:
        if sample.name.endswith("_total") and sample.value:
            names = [sample.labels[label] for label in labels]
            found[names[0], names[1] if len(names) > 1 else ""] = sample.value
    return found
