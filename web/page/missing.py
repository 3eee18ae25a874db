"""What a browser shows where there is nothing; programs get the error as JSON."""

from html import escape

from fastapi import Request
from starlette.responses import Response

from web.page.html import document
from web.text import shown

PAGE = """<h1>There is nothing here</h1>
<p>The address may be mistyped, or what was here is gone.</p>
<p><code translate="no">{path}</code></p>
<p><a class="button" href="/ui/">Open the page</a></p>
<p><a href="/docs">Look at the API</a></p>"""
API = "/api/"


def page(request: Request) -> Response | None:
    """The answer to a person who opened an address that is none; None for programs."""
    asks = request.method == "GET" and "text/html" in request.headers.get("accept", "")
    if not asks or request.url.path.startswith(API):
        return None
    body = PAGE.format(path=escape(shown(request.url.path)[1:-1]))
    return document("nothing here", body, 404)
