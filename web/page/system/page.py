"""The system page as a whole."""

from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from platform import python_version
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse

from storage.audit import Event
from storage.states import TIMED_STAGES
from tasks.settings import settings
from web.jobs.system import Decision, RecentUsers, System
from web.middleware.hosts import LOOPBACK
from web.page.html import document
from web.page.system import charts, limits, pilot, sections
from web.page.system.parts import empty

BODY = """<header><img src="/static/icon.svg" alt="" width="28" height="28"><h1>System</h1>
<nav aria-label="Other pages"><a href="/ui/">Photos</a><a href="/account">Account</a>
<a href="/docs">API</a>{links}</nav>
</header>{sections}<footer><small>Pixelmill {version}, Python {python}.
<span role="status" id="refreshed">This page refreshes itself.</span></small></footer>
<script type="module" src="/static/system/refresh.js"></script>"""
SECTION = '<section aria-labelledby="{id}"><h2 id="{id}">{title}</h2>{content}</section>'
STYLE = "system/system"
SIGN_IN = 'Users and the audit log are shown to admins: <a href="/login">sign in</a> as one.'


def page(
    system: System,
    users: RecentUsers | None,
    events: Sequence[Event],
    decisions: Sequence[Decision] = (),
    *,
    is_local: bool,
) -> HTMLResponse:
    """The page; `users` is None for those who may not see who uses the installation.

    `is_local`: whether the browser runs on this machine, so that loopback addresses lead to it.
    """
    decided = _pilot(system, decisions, users is not None)
    body = BODY.format(
        links=_links(is_local),
        sections=_work(system) + decided + _people(users, events),
        version=escape(version("pixelmill")),
        python=python_version(),
    )
    return document("system", body, style=STYLE)


def _work(system: System) -> str:
    left = [
        _section("room", "Room", limits.room(system)),
        _section("refused", "Refused by this web process", limits.refused()),
        _section("failures", "Failed since the beginning", sections.failures(system)),
    ]
    parts = [
        sections.tiles(system),
        _section("activity", "Images per minute", sections.activity(system)),
        _section("models", "Models", sections.models(system) + charts.legend(*TIMED_STAGES)),
        _section("queues", "Queues", sections.queues(system)),
        _section("workers", "Workers and devices", sections.workers(system)),
        f'<div class="half">{"".join(left)}</div>',
        f'<div class="half">{_section("limits", "Limits", limits.limits())}</div>',
    ]
    return "".join(parts)


def _pilot(system: System, decisions: Sequence[Decision], is_admin: bool) -> str:
    content = pilot.models(system)
    if is_admin:
        content += pilot.forms(system) + pilot.log(decisions)
    return _section("pilot", "Pilot", content)


def _people(users: RecentUsers | None, events: Sequence[Event]) -> str:
    if users is None:
        return _section("users", "Users", empty(SIGN_IN))
    return _section("users", "Users", limits.users(users)) + _section(
        "audit", "Audit log", limits.audit(events)
    )


def _section(name: str, title: str, content: str) -> str:
    return SECTION.format(id=f"title-{name}", title=title, content=content)


def _links(is_local: bool) -> str:
    """Flower and Grafana, where there are some and this browser can reach them."""
    named = {"Flower": settings().flower_url, "Grafana": settings().grafana_url}
    return "".join(_link(name, url, is_local) for name, url in named.items() if url)


def _link(name: str, url: str, is_local: bool) -> str:
    parts = urlsplit(url)
    if parts.hostname in LOOPBACK and not is_local:
        where = f"{name} is at {url} on the server itself: ssh -L {parts.port}:{parts.netloc}"
        return f'<span title="{escape(where)}">{name} (on the server)</span>'
    return f'<a href="{escape(url)}">{name}</a>'
