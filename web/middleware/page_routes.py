"""Of Gradio's routes under /ui only those that the page uses; all others do not exist.

Gradio brings uploads, a file proxy, a queue, monitoring and more, of which the page needs nothing.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from tasks.errors import BadInput, JobError
from tasks.text import sentence, shown
from web.errors import error_response

ROOT = "/ui/"
RUN = "/ui/gradio_api/run/predict"
"""Draws the form of a model, the one thing that the page asks of Python."""
FILES = re.compile(r"/ui/(?:theme\.css|(?:assets|static)/[A-Za-z0-9_./-]{1,200})?")


class FormCall(BaseModel):
    """The body that the page sends to RUN."""

    model_config = ConfigDict(extra="forbid", strict=True)

    data: list[Annotated[str, Field(max_length=64)] | None] = Field(min_length=1, max_length=1)
    fn_index: Literal[0]
    trigger_id: int | None = Field(default=None, ge=0, le=1_000_000)
    session_hash: str = Field(pattern="^[a-z0-9]{1,32}$")
    event_data: None = None


class PageRoutes:
    """Answers 404 for the routes of Gradio that are closed."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """On to Gradio or whatever else there is."""
        if scope["type"] == "http" and scope["path"].startswith(ROOT):
            if not _is_open(scope["method"], scope["path"]):
                await error_response(_nothing_at(scope["path"]))(scope, receive, send)
                return
            # Gradio would let pages on other ports of this host read its answers.
            scope["headers"] = [one for one in scope["headers"] if one[0] != b"origin"]
        await self.app(scope, receive, send)


def check_call(body: Any) -> None:
    """BadInput for a call of the page's one function that the page would not make."""
    try:
        FormCall.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(sentence(f"{where}: {first['msg']}"), code="bad_request") from None


def _is_open(method: str, path: str) -> bool:
    if method == "POST":
        return path == RUN
    return method in ("GET", "HEAD") and FILES.fullmatch(path) is not None


def _nothing_at(path: str) -> JobError:
    return JobError(f"there is nothing at {shown(path)}", code="not_found", status=404)
