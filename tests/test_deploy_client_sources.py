"""Photos are downloaded from the web by the command line itself, within limits."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.client import sources
from deploy.client.api import Stopped
from deploy.client.photos import Photo
from deploy.client.sources import Sources
from tasks.errors import BadInput, JobError, Unavailable

PAGES = {
    "/a.jpg": (200, {"content-type": "image/jpeg"}, b"bytes of a photo"),
    "/moved": (302, {"location": "/a.jpg"}, b""),
    "/loop": (302, {"location": "/loop"}, b""),
    "/file": (302, {"location": "file:///etc/passwd"}, b""),
    "/page": (200, {"content-type": "text/html; charset=utf-8"}, b"<html>"),
    "/empty": (200, {}, b""),
    "/broken": (500, {}, b""),
}


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = PAGES.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def read(url: str, stopping: threading.Event | None = None) -> bytes:
    with (
        Sources(stopping or threading.Event()) as opened,
        opened.file(Photo(url, Path("a"))) as file,
    ):
        return file.read_bytes()


def test_a_photo_is_downloaded_and_redirects_are_followed(web: str) -> None:
    assert read(f"{web}/a.jpg") == read(f"{web}/moved") == b"bytes of a photo"


@pytest.mark.parametrize(
    ("path", "said"),
    [("/nothing", "its server answers 404"), ("/page", "the address of a web page"),
     ("/empty", "it is empty"), ("/loop", "it cannot be downloaded"),
     ("/file", "it cannot be downloaded")],
)  # fmt: skip
def test_what_is_no_photo_is_a_sentence(web: str, path: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        read(f"{web}{path}")


def test_a_server_that_is_broken_or_gone_is_unavailable(web: str) -> None:
    for url in (f"{web}/broken", "http://127.0.0.1:1/a.jpg"):
        with pytest.raises(Unavailable, match="it could not be downloaded"):
            read(url)


def test_a_photo_above_the_limit_is_not_read_to_its_end(
    web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "LARGEST", 4)

    with pytest.raises(BadInput, match="it is larger than"):
        read(f"{web}/a.jpg")


def test_a_download_ends_when_the_command_is_stopped(web: str) -> None:
    stopping = threading.Event()
    stopping.set()

    with pytest.raises(Stopped):
        read(f"{web}/a.jpg", stopping)


def test_nothing_stays_on_the_disk(web: str, tmp_path: Path) -> None:
    with Sources(threading.Event()) as opened:
        with opened.file(Photo(f"{web}/a.jpg", Path("a"))) as file:
            folder = file.parent
        with pytest.raises(JobError), opened.file(Photo(f"{web}/page", Path("a"))):
            pass
        assert list(folder.iterdir()) == []

    assert not folder.exists()
