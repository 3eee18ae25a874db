"""Weights from a URL or a hub: checked by their SHA-256, and continued where they were cut off."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save
from structlog.testing import capture_logs

from tasks.errors import ModelFailure, Unavailable
from tasks.models import downloads, weights
from tasks.models.base import Weight

CONTENT = save({"values": torch.arange(100_000, dtype=torch.float32)})
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """Serves CONTENT under every path, and can be told to misbehave."""

    url: str = ""
    content: bytes = CONTENT
    knows_ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    """After so many bytes each of the next connections is cut."""
    status: int = 0
    """What is answered instead of the file."""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """(path, Range, Authorization) of each request."""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked, token = (handler.headers.get(name, "") for name in ("range", "authorization"))
        self.requests.append((handler.path, asked, token))
        if self.status:
            return handler.send_error(self.status)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.knows_ranges else 0
        if start >= len(self.content):
            return handler.send_error(416)
        rest = self.content[start:]
        handler.send_response(206 if start else 200)
        handler.send_header("content-length", str(len(rest)))
        handler.end_headers()
        handler.wfile.write(rest[: self.cuts.pop(0)] if self.cuts else rest)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(downloads, "PAUSES_S", (0.0, 0.0, 0.0))
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        server.url = f"http://127.0.0.1:{http.server_port}"
        yield server
        http.shutdown()
        thread.join()


@pytest.fixture
def weight(server: Server) -> Weight:
    return Weight(
        member="net.safetensors",
        url=f"{server.url}/net.safetensors",
        sha256=SHA256,
        licence="MIT",
        bytes=len(CONTENT),
    )


def test_weights_come_from_a_url_and_then_from_the_disk(
    weight: Weight, server: Server, tmp_path: Path
) -> None:
    file = weights.fetch(weight, tmp_path)
    again = weights.fetch(weight, tmp_path, download=False)

    assert again == file and file.read_bytes() == CONTENT
    assert load_file(file)["values"][-1] == 99_999
    assert len(server.requests) == 1
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".lock", ".safetensors"]


def test_a_url_may_lead_to_another_format_that_is_converted(
    weight: Weight, server: Server, tmp_path: Path
) -> None:
    server.content = b"\x01\x02\x03"

    def convert(data: bytes) -> dict[str, torch.Tensor]:
        return {"values": torch.tensor(list(data), dtype=torch.float32)}

    other = replace(
        weight, sha256=hashlib.sha256(server.content).hexdigest(), convert=convert, bytes=3
    )
    with capture_logs():  # no converted_sha256
        file = weights.fetch(other, tmp_path)

    assert load_file(file)["values"].tolist() == [1, 2, 3]


def test_progress_goes_up_to_the_size(weight: Weight, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []

    weights.fetch(weight, tmp_path, progress=lambda *progress: seen.append(progress))

    assert seen == sorted(seen) and seen[-1] == ("net.safetensors", len(CONTENT), len(CONTENT))


def test_a_download_that_is_cut_off_continues_behind_its_last_byte(
    weight: Weight, server: Server, tmp_path: Path
) -> None:
    server.cuts = [100_000, 50_000, 0, 70_000]

    with capture_logs():
        file = weights.fetch(weight, tmp_path)

    assert file.read_bytes() == CONTENT
    asked = [range for _, range, _ in server.requests]
    assert asked == ["", "bytes=100000-", "bytes=150000-", "bytes=150000-", "bytes=220000-"]


def test_a_download_whose_process_was_killed_continues_in_the_next(
    weight: Weight, server: Server, tmp_path: Path
) -> None:
    server.cuts = [100_000, 0, 0, 0, 0]
    with capture_logs(), pytest.raises(Unavailable, match="could not be downloaded"):
        weights.fetch(weight, tmp_path)
    server.cuts = []

    file = weights.fetch(weight, tmp_path)

    assert file.read_bytes() == CONTENT
    assert server.requests[-1][1] == "bytes=100000-"


def test_a_server_without_ranges_is_asked_for_everything_again(
    weight: Weight, server: Server, tmp_path: Path
) -> None:
    server.knows_ranges, server.cuts = False, [100_000]

    with capture_logs():
        file = weights.fetch(weight, tmp_path)

    assert file.read_bytes() == CONTENT


def test_a_beginning_of_another_file_is_not_continued_to_a_wrong_one(
    weight: Weight, server: Server, tmp_path: Path
) -> None:
    name = weights.fetch(weight, tmp_path / "other").with_suffix(".part").name
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / name).write_bytes(b"of an older version")

    with capture_logs():
        file = weights.fetch(weight, folder)

    assert file.read_bytes() == CONTENT


def test_another_file_than_named_is_refused_and_leaves_nothing(
    weight: Weight, server: Server, tmp_path: Path
) -> None:
    server.content = save({"values": torch.zeros(4)})

    with pytest.raises(ModelFailure, match="wrong weights at .*expected sha256") as caught:
        weights.fetch(weight, tmp_path)

    assert SHA256 in str(caught.value)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_what_is_no_safetensors_file_and_has_no_converter_is_refused(
    weight: Weight, server: Server, tmp_path: Path
) -> None:
    server.content = b"<html>not found</html>"
    page = replace(weight, sha256=hashlib.sha256(server.content).hexdigest(), bytes=0)

    with pytest.raises(ModelFailure, match="cannot be converted"):
        weights.fetch(page, tmp_path)


@pytest.mark.parametrize(("status", "says"), [(404, "status 404"), (403, "HF_TOKEN"), (500, "500")])
def test_a_server_that_refuses_is_unavailable(
    weight: Weight, server: Server, tmp_path: Path, status: int, says: str
) -> None:
    server.status = status

    with pytest.raises(Unavailable, match=says) as caught:
        weights.fetch(weight, tmp_path)

    assert weight.url in str(caught.value) and caught.value.hint


def test_neither_logs_nor_errors_repeat_a_token_of_an_address(
    weight: Weight, server: Server, tmp_path: Path
) -> None:
    server.cuts = [100_000]
    secret = replace(weight, url=f"{server.url}/net.safetensors?token=geheim")
    with capture_logs() as lines:
        weights.fetch(secret, tmp_path / "first")
    server.status = 403

    with pytest.raises(Unavailable) as error:
        weights.fetch(secret, tmp_path / "second")

    assert f"{server.url}/net.safetensors" in str(lines) and "geheim" not in str(lines)
    assert server.url in str(error.value) and "geheim" not in str(error.value)


def test_where_downloads_are_forbidden_nothing_is_asked(
    weight: Weight, server: Server, tmp_path: Path
) -> None:
    with pytest.raises(Unavailable, match="PIXELMILL_DOWNLOAD_WEIGHTS=false"):
        weights.fetch(weight, tmp_path, download=False)

    assert server.requests == []


def test_too_small_a_disk_is_reported_before_the_download(weight: Weight, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="MiB free; net.safetensors needs"):
        weights.fetch(replace(weight, bytes=2**60), tmp_path)


def test_a_file_on_a_hub_is_asked_for_by_repository_commit_and_token(
    weight: Weight, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("HF_TOKEN", "secret")
    on_hub = replace(weight, url="", hub="ada/net", version="0123abc")

    file = weights.fetch(on_hub, tmp_path)

    assert file.read_bytes() == CONTENT
    [(path, _, token)] = server.requests
    assert path == "/ada/net/resolve/0123abc/net.safetensors" and token == "Bearer secret"
