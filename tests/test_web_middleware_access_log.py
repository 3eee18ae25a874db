"""The access log: one line a request, without ids and names; nothing is wrapped when it is off."""

import hashlib

import pytest
from starlette.responses import PlainTextResponse
from structlog.testing import capture_logs

from web.middleware.access_log import AccessLog
from web.middleware.identity import Identity
from web.middleware.scopes import ALL_SCOPES
from web.text import logged

ID = "0123456789abcdef0123456789abcdef"


async def app(scope, receive, send) -> None:
    scope["state"] = {"identity": Identity("ada", "key", "user", ALL_SCOPES, None, "")}
    if scope["path"] == "/breaks":
        raise RuntimeError("of the application")
    await PlainTextResponse("hello", 202)(scope, receive, send)


async def ask(path: str) -> list[dict[str, object]]:
    async def send(message) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    with capture_logs() as lines:
        await AccessLog(app)(scope, lambda: None, send)
    return lines


async def test_a_request_is_one_line() -> None:
    [line] = await ask(f"/api/v1/jobs/{ID}")

    assert line["path"] == "/api/v1/jobs/*" and line["method"] == "GET"
    assert (line["status"], line["bytes"]) == (202, 5)
    assert line["user"] == hashlib.sha256(b"ada").hexdigest()[:8]
    assert ID not in str(line) and "ada" not in str(line).replace("loada", "")


async def test_one_that_breaks_is_logged_as_well() -> None:
    with capture_logs() as lines, pytest.raises(RuntimeError):
        await AccessLog(app)({"type": "http", "method": "GET", "path": "/breaks"}, None, None)

    assert [line["status"] for line in lines] == [0]


def test_long_paths_are_cut() -> None:
    assert len(logged("/x" * 500)) == 80


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/api/v1/predict/toy/my passport.jpg", "/api/v1/predict/toy/*"),
        ("/s/Zm9vYmFyYmF6cXV4", "/s/*"),
        ("/pixelmill/in/ada/photo", "/pixelmill/*"),
        ("/ui/gradio_api/file=holiday.png", "/ui/gradio_api/file=*"),
        (f"/api/v1/jobs/{ID}/events", "/api/v1/jobs/*/events"),
    ],
)
def test_a_path_is_logged_without_names_of_files_and_links(path: str, told: str) -> None:
    assert logged(path) == told
