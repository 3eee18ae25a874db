"""/docs: the API's documentation, drawn by Swagger UI. Its files come from a package, not a CDN."""

from importlib.resources import files

from fastapi import FastAPI
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from web.api.openapi import add_document
from web.page.html import rooted, scheme_attribute

ASSETS = "/docs/assets"
PAGE = """<!doctype html><html lang="en"{scheme}><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Pixelmill: API</title>
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<link rel="stylesheet" href="/static/docs/docs.css">
<p class="back"><a href="/ui/">Pixelmill</a></p>
<div id="swagger-ui"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script type="module" src="/static/docs/start.js"></script></html>"""


def add_docs(app: FastAPI) -> None:
    """Add the page, the document that it shows and the files that it needs."""
    add_document(app)
    assets = StaticFiles(directory=str(files("fastapi_swagger") / "resources"))
    app.mount(ASSETS, assets, "docs-assets")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(rooted(PAGE.format(scheme=scheme_attribute())))
