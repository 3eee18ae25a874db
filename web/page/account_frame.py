"""What all parts of one's account have around them: whose it is, the way to the others, and out."""

from html import escape

from starlette.responses import Response

from web.middleware.identity import Identity
from web.page.html import document

PARTS = {"/account": "Account", "/account/keys": "API keys", "/account/data": "Your data"}
"""Path -> name of each part."""
FRAME = """<div class="who"><div><h1 translate="no">{user}</h1><p>{about}</p></div>{sign_out}</div>
<nav class="parts" aria-label="Account">{links}</nav>{body}"""
SIGN_OUT = '<form method="post" action="/logout"><button class="quiet">Sign out</button></form>'


def framed(
    identity: Identity,
    part: str,
    body: str,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    """The page of one of PARTS; `body` is HTML."""
    links = [_link(path, name, part) for path, name in PARTS.items()]
    if identity.role == "admin":
        links.append('<a href="/system">System</a>')
    page = FRAME.format(
        user=escape(identity.user),
        about=_about(identity),
        sign_out=SIGN_OUT if identity.session else "",
        links="".join(links),
        body=body,
    )
    return document(PARTS[part].lower(), page, status, headers)


def _about(identity: Identity) -> str:
    if identity.kind == "browser":
        return "Visitor"
    return "Admin" if identity.role == "admin" else "User"


def _link(path: str, name: str, part: str) -> str:
    present = ' aria-current="page"' if path == part else ""
    return f'<a href="{path}"{present}>{name}</a>'
