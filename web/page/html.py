"""The small pages beside the large one: plain forms, without any script."""

import re
from html import escape

from starlette.responses import HTMLResponse

from tasks.errors import JobError
from tasks.settings import settings
from web import words
from web.middleware.preferences import scheme
from web.words import t, translated

ICON = '<link rel="icon" href="/static/icon.svg" type="image/svg+xml">'
_FROM_ROOT = re.compile(r'\b(href|src|action)="/(?!/)')
HEAD = (
    '<!doctype html><html lang="{tag}"{scheme}><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width"><title>Pixelmill: {title}</title>'
    + ICON
    + '<link rel="stylesheet" href="/static/colours.css">'
    '<link rel="stylesheet" href="/static/{style}.css">'
)
BRAND = (
    '<header><a href="/ui/"><img src="/static/icon.svg" alt="" width="32" height="32">'
    '<span translate="no">Pixelmill</span></a></header>'
)


def document(
    title: str,
    body: str,
    status: int = 200,
    headers: dict[str, str] | None = None,
    *,
    style: str = "login",
) -> HTMLResponse:
    """A page with this body, which is HTML; `title` is text. No copy of it is kept anywhere.

    What there is of it in the catalogue is put into the page's language; text of users must stand
    in an element with `translate="no"`.
    """
    head = HEAD.format(
        tag=words.tag(), scheme=scheme_attribute(), title=escape(t(title)), style=style
    )
    brand = BRAND if style == "login" else ""
    text = f"{head}{brand}<main>{translated(body)}{_switch()}</main></html>"
    return HTMLResponse(rooted(text), status, {"cache-control": "no-store", **(headers or {})})


def rooted(html: str) -> str:
    """Our own HTML, its links to `/...` led to where the installation begins on its host.

    No text of users is changed: in it, a quotation mark is written as an entity.
    """
    path = settings().sub_path
    return _FROM_ROOT.sub(rf'\1="{path}/', html) if path else html


def scheme_attribute() -> str:
    """What the root element says of the colour scheme that was chosen; empty if none was."""
    return f' data-scheme="{scheme.get()}"' if scheme.get() else ""


def sentence(error: JobError) -> str:
    """What went wrong and what to do, for people."""
    message = t(str(error))
    return f"{message[:1].upper()}{message[1:]}{t('.')} {t(error.hint or '')}"


def alert(message: str) -> str:
    """A line that says what went wrong; empty without a message."""
    return f'<p role="alert" translate="no">{escape(t(message))}</p>' if message else ""


def _switch() -> str:
    """Links to this page in the other languages."""
    if not words.can_be_asked_again.get():
        return ""
    others = [code for code in words.LANGUAGES if code != words.language.get()]
    links = [
        f'<a href="?lang={code}" lang="{code}" hreflang="{code}" translate="no">'
        f"{escape(words.name_of(code))}</a>"
        for code in others
    ]
    return f'<nav class="languages">{" ".join(links)}</nav>'
