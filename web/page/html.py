"""The small pages beside the large one: plain forms, without any script."""

from html import escape

from starlette.responses import HTMLResponse

from tasks.errors import JobError

HEAD = (
    '<!doctype html><html lang="en"><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width"><title>Pixelmill: {title}</title>'
    '<link rel="icon" href="/static/icon.svg" type="image/svg+xml">'
    '<link rel="stylesheet" href="/static/login.css"><main>'
)


def document(
    title: str, body: str, status: int = 200, headers: dict[str, str] | None = None
) -> HTMLResponse:
    """A page with this body, which is HTML; `title` is text. No copy of it is kept anywhere."""
    text = f"{HEAD.format(title=escape(title))}{body}</main></html>"
    return HTMLResponse(text, status, {"cache-control": "no-store", **(headers or {})})


def sentence(error: JobError) -> str:
    """What went wrong and what to do, for people."""
    return f"{str(error).capitalize()}. {error.hint or ''}"


def alert(message: str) -> str:
    """A line that says what went wrong; empty without a message."""
    return f'<p role="alert">{escape(message)}</p>' if message else ""
