"""Requests that mean the same as another one are served as that one.

`/api/v1/models/` is `/api/v1/models`, without a redirect (which many clients do not follow with a
body), and HEAD is a GET whose answer has no body.
"""

from starlette.types import Scope

from tasks.settings import settings

IS_HEAD = "pixelmill.is_head"
"""Key of the ASGI scope: the request was HEAD. The server itself leaves out the answer's body."""

_FOLDERS = ("/ui/", "/static/", "/examples/", "/docs/assets/")
"""Paths below these are files, whose names are taken as they are."""


def adapted(scope: Scope) -> Scope:
    """The scope of the request to serve: a copy where it differs."""
    path: str = scope["path"]
    if scope["method"] == "HEAD" and not path.startswith(_bucket()):
        scope = {**scope, "method": "GET", IS_HEAD: True}
    if path.endswith("/") and len(path) > 1 and not path.startswith((*_FOLDERS, _bucket())):
        scope = {**scope, "path": path.rstrip("/")}
    return scope


def _bucket() -> str:
    return f"/{settings().s3_bucket}/"
