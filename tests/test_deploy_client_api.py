"""The client finds its server, waits while it is busy, and passes on what it says."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from stack import Stack

from deploy.client.api import Client, RunOptions, Stopped
from deploy.client.server import Server, find_server
from tasks.errors import BadInput, JobError, Unavailable
from tasks.settings import settings

JOB = {
    "id": "1", "state": "done", "stage": None, "progress": 1.0, "position": None, "cached": False,
    "error": None, "result": {"objects": {}},
}  # fmt: skip


@pytest.fixture
def own_var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A var folder without anything in it."""
    monkeypatch.setenv("PIXELMILL_VAR_DIR", str(tmp_path / "var"))
    (tmp_path / "var").mkdir()
    settings.cache_clear()
    yield tmp_path / "var"
    settings.cache_clear()


Answer = tuple[int, dict[str, str], Any]


@pytest.fixture
def fake() -> Iterator[Callable[..., Server]]:
    """Starts servers that give these answers, one after the other, the last one for ever."""
    servers = []

    def start(*answers: Answer) -> Server:
        left = list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                status, headers, body = left.pop(0) if len(left) > 1 else left[0]
                data = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET

            def log_message(self, *words: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return Server(f"http://127.0.0.1:{server.server_port}", "")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_wrong_key_is_said_in_the_servers_words(stack: Stack) -> None:
    with Client(Server(stack.url, "wrong")) as client, pytest.raises(JobError, match="API key"):
        client.models()


def test_no_server_found_is_a_sentence_with_a_way_out(own_var: Path) -> None:
    with pytest.raises(Unavailable, match="no server found") as caught:
        find_server("", "")

    assert "pixelmill up" in str(caught.value.hint)


def test_a_server_that_is_gone_is_a_sentence_with_a_way_out() -> None:
    with Client(Server("http://127.0.0.1:1", "")) as client, pytest.raises(Unavailable) as caught:
        client.models()

    assert str(caught.value).startswith("no server answers at http://127.0.0.1:1: ")
    assert "pixelmill up" in str(caught.value.hint)


def test_the_server_of_pixelmill_up_is_found_with_its_key(own_var: Path) -> None:
    (own_var / "run.json").write_text('{"url": "http://127.0.0.1:7860", "api_key": "pm_1"}')

    assert find_server("", "") == Server("http://127.0.0.1:7860", "pm_1")
    assert find_server("http://127.0.0.1:7860/", "") == Server("http://127.0.0.1:7860", "pm_1")
    assert find_server("", "mine") == Server("http://127.0.0.1:7860", "mine")


def test_the_key_of_pixelmill_up_goes_to_no_other_server(own_var: Path) -> None:
    (own_var / "run.json").write_text('{"url": "http://127.0.0.1:7860", "api_key": "pm_1"}')

    assert find_server("https://elsewhere.example", "").key == ""


def test_a_server_with_a_public_address_is_reached_by_loopback(own_var: Path) -> None:
    public, own = "https://mill.example.com", "http://127.0.0.1:7860"
    (own_var / "run.json").write_text(json.dumps({"url": public, "own_url": own, "api_key": "pm"}))

    for named in ("", public, f"{public}/", own):
        assert find_server(named, "") == Server(own, "pm", public)


def test_addresses_signed_for_the_public_host_are_fetched_by_loopback() -> None:
    server = Server("http://127.0.0.1:7860", "", "https://mill.example.com")

    assert server.reached("https://mill.example.com/pixelmill/a?b=c") == (
        "http://127.0.0.1:7860/pixelmill/a?b=c", {"Host": "mill.example.com"},
    )  # fmt: skip
    assert server.reached("https://s3.example.com/x") == ("https://s3.example.com/x", {})


def test_an_address_without_a_scheme_is_refused(own_var: Path) -> None:
    with pytest.raises(BadInput, match="'localhost:7860' is not an address"):
        find_server("localhost:7860", "")


def test_a_busy_server_is_asked_again(fake: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    busy = (503, {"retry-after": "0"}, {"error": {"message": "busy"}})

    with Client(fake(busy, (429, {"retry-after": "0"}, {}), (200, {}, JOB))) as client:
        assert client.predict(tmp_path / "a.jpg", RunOptions("noop", {}))["state"] == "done"


def test_a_server_that_stays_busy_is_given_up(fake: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    busy = {"error": {"message": "1000 runs wait already", "hint": "Try again."}}

    server = fake((429, {"retry-after": "0"}, busy))
    with Client(server) as client, pytest.raises(JobError, match="1000 runs wait already"):
        client.predict(tmp_path / "a.jpg", RunOptions("noop", {}))


@pytest.mark.parametrize("lighter", [True, False])
def test_a_server_hears_whether_something_lighter_will_do(
    fake: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lighter: bool
) -> None:
    (tmp_path / "a.jpg").touch()
    asked: list[Any] = []

    def post(client: httpx.Client, url: str, **request: Any) -> httpx.Response:
        asked.append(request["params"].get("lighter"))
        return httpx.Response(200, json=JOB)

    monkeypatch.setattr(httpx.Client, "post", post)
    with Client(fake((200, {}, JOB))) as client:
        client.predict(tmp_path / "a.jpg", RunOptions("noop", {}, lighter=lighter))

    assert asked == [None if lighter else "false"]


def test_a_job_is_followed_to_its_end(fake: Callable[..., Server]) -> None:
    queued = {**JOB, "state": "queued", "position": 2, "progress": 0.0}
    inferring = {**JOB, "state": "inferring", "stage": "inference", "progress": 0.5}
    seen: list[dict[str, Any]] = []

    with Client(fake((200, {}, inferring), (200, {}, JOB))) as client:
        assert client.follow(queued, seen.append)["state"] == "done"

    assert [job["state"] for job in seen] == ["queued", "inferring"]


def test_a_stopped_client_waits_for_nothing(fake: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()

    with Client(fake((503, {"retry-after": "30"}, {}))) as client, pytest.raises(Stopped):
        client.stopping.set()
        client.predict(tmp_path / "a.jpg", RunOptions("noop", {}))


def test_a_picture_is_written_to_a_file_after_tries(
    fake: Callable[..., Server], tmp_path: Path
) -> None:
    busy = (503, {"retry-after": "0"}, {})

    with Client(fake(busy, (200, {}, "picture"))) as client:
        size = client.download("/bucket/key?sign=1", tmp_path / "a.png")

    assert (tmp_path / "a.png").read_text() == '"picture"'
    assert size == 9


def test_a_server_may_be_away_for_seven_tries(fake: Callable[..., Server], tmp_path: Path) -> None:
    restarting = [(503, {"retry-after": "0"}, {})] * 7

    with Client(fake(*restarting, (200, {}, "picture"))) as client:
        size = client.download("/bucket/key?sign=1", tmp_path / "a.png")

    assert size == 9


@pytest.mark.parametrize("answer", [(200, {}, ["hello"]), (404, {}, {"error": {"message": "no"}})])
def test_what_is_not_pixelmill_is_said_to_be_something_else(
    fake: Callable[..., Server], answer: Answer
) -> None:
    with (
        Client(fake(answer)) as client,
        pytest.raises(BadInput, match="is not Pixelmill") as caught,
    ):
        client.models()

    assert "without a path" in str(caught.value.hint)
