"""Opens only those of Gradio's routes under /ui that the page uses; all others answer 404.

Gradio comes with uploads, a file proxy, a queue, monitoring and more; the page needs none of them.
Those that programs call (`gradio_client`) are routes of our own: web/page/programs.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from tasks.errors import BadInput, JobError
from web.errors import error_response
from web.text import sentence, shown

ROOT = "/ui/"
RUN = "/ui/gradio_api/run/predict"
"""The route that draws the form of a model, the only thing that the page asks of Python."""
GRADIO = "/ui/gradio_api/"
LOGIN = "/ui/login"
UPLOAD = f"{GRADIO}upload"
JOIN = f"{GRADIO}queue/join"
PROGRAM_POSTS = frozenset({UPLOAD, JOIN, f"{GRADIO}cancel", f"{GRADIO}reset"})
PROGRAM_GETS = frozenset({"/config", "/ui/config", f"{GRADIO}info", f"{GRADIO}queue/data"})
FILE = re.compile(rf"{GRADIO}file=[0-9a-f]{{32}}/[a-z0-9_-]{{1,32}}/[A-Za-z0-9_.-]{{1,120}}")
"""A picture of a job. Gradio's own route of this name, for files on the disk, is never reached."""
OPEN_PATHS = re.compile(r"/ui/(?:theme\.css|(?:assets|static)/[A-Za-z0-9_./-]{1,200})?")


class FormCall(BaseModel):
    """The body that the page sends to RUN."""

    model_config = ConfigDict(extra="forbid", strict=True)

    data: list[Annotated[str, Field(max_length=64)] | None] = Field(min_length=1, max_length=1)
    fn_index: Literal[0]
    trigger_id: int | None = Field(default=None, ge=0, le=1_000_000)
    session_hash: str = Field(pattern="^[a-z0-9]{1,32}$")
    event_data: None = None


class PageRoutes:
    """Answers 404 for all routes of Gradio that the page does not use."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 404."""
        if scope["type"] == "http" and scope["path"].startswith(ROOT):
            if not _is_open(scope["method"], scope["path"]):
                await error_response(_nothing_at(scope["path"]))(scope, receive, send)
                return
            # With an Origin, Gradio lets pages on other ports of this host read its answers.
            scope["headers"] = [item for item in scope["headers"] if item[0] != b"origin"]
        await self.app(scope, receive, send)


def check_call(body: Any) -> None:
    """Raises BadInput for a body of RUN that the page itself would not send."""
    try:
        FormCall.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(sentence(f"{where}: {first['msg']}"), code="bad_request") from None


def is_of_programs(path: str) -> bool:
    """Whether this is a route of web/page/programs that needs to know who is asking."""
    return path in PROGRAM_GETS or path in PROGRAM_POSTS or _is_file(path)


def _is_file(path: str) -> bool:
    return FILE.fullmatch(path) is not None


def _is_open(method: str, path: str) -> bool:
    if method == "POST":
        return path in (RUN, LOGIN) or path in PROGRAM_POSTS
    if method not in ("GET", "HEAD"):
        return False
    is_of_program = path in PROGRAM_GETS or _is_file(path)
    return is_of_program or OPEN_PATHS.fullmatch(path) is not None


def _nothing_at(path: str) -> JobError:
    return JobError(f"there is nothing at {shown(path)}", code="not_found", status=404)
