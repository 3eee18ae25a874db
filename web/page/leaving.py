"""The end of a sign-in in this browser: its cookie goes, with all that is stored for this page, and
an OpenID provider is asked to end its own session too (RP-Initiated Logout 1.0)."""

from html import escape

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from tasks.errors import JobError
from web.accounts import accounts_of
from web.middleware import cookies
from web.middleware.hosts import address_of
from web.middleware.identity import Identity
from web.page.html import document

CLEAR = '"cache", "storage"'
"""What a shared computer must not show to the next person: pictures in the browser's cache, and the
originals that the page keeps. Cookies stay, as `cookies` would take those of all ports too."""
AT_PROVIDER = """<h1>Sign out</h1><p>You are signed out here.</p>
<p><a class="button" href="{url}">Sign out at the provider too</a></p>"""


async def provider_address(request: Request, identity: Identity | None) -> str:
    """Where the provider signs somebody out; empty where nobody signed in there. To be asked for
    before the session is ended."""
    if not identity or identity.kind != "oidc" or not identity.session:
        return ""
    from web.oidc import oidc_of  # other modes do without the memory of what this imports

    id_token = await accounts_of(request).id_token(identity.user, identity.session)
    try:
        return await oidc_of(request).sign_out_address(address_of(request, "/login"), id_token)
    except JobError:  # one that does not answer keeps nobody signed in here
        return ""


def leave(at_provider: str) -> Response:
    """Forget this browser, and send it to the provider, or else to the sign-in form."""
    headers = {"clear-site-data": CLEAR}
    answer: Response
    if at_provider:
        # Not by a redirect: the policy lets a form lead to no other site.
        headers["refresh"] = f"0; url={at_provider}"
        body = AT_PROVIDER.format(url=escape(at_provider))
        answer = document("sign out", body, headers=headers)
    else:
        answer = RedirectResponse("/login", 303, headers)
    answer.headers.append("set-cookie", cookies.end_cookie())
    return answer
