import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from stack import REPOSITORY, Stack

from deploy.client import run
from deploy.client.run import Client, Order, Server
from tasks.errors import BadInput, JobError, Unavailable
from tasks.settings import settings

EXAMPLES = REPOSITORY / "examples"
JOB = {
    "id": "1", "state": "done", "stage": None, "progress": 1.0, "position": None, "cached": False,
    "error": None, "result": {"objects": {}},
}  # fmt: skip


def pixelmill(folder: Path, stack: Stack, *words: str) -> "subprocess.CompletedProcess[str]":
    """The command in a folder of its own, against the running server."""
    env = {**os.environ, "PIXELMILL_URL": stack.url, "PIXELMILL_API_KEY": stack.api_key}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "deploy.cli", *words],
        cwd=folder,
        env={**env, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photos of one name in two folders, and a text file that says it is one."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    shutil.copy(EXAMPLES / "astronaut.jpg", tmp_path / "in" / "one.jpg")
    shutil.copy(EXAMPLES / "coffee.jpg", tmp_path / "in" / "sub" / "one.JPG")
    (tmp_path / "in" / "letter.jpg").write_text("Dear mill, this is no photo.")
    (tmp_path / "in" / "notes.txt").write_text("not looked at")
    return tmp_path


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


def test_a_folder_comes_back_as_results_and_the_bad_file_is_named(
    stack: Stack, folder: Path
) -> None:
    done = pixelmill(folder, stack, "run", "in", "-m", "toy", "-p", "gain=2", "-o", "out")

    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["in/letter.jpg"]
    assert "2 done" in done.stdout
    assert "1 failed" in done.stdout
    written = {str(file.relative_to(folder / "out")) for file in (folder / "out").rglob("*.*")}
    assert written == {
        "one.json", "one.preview.png", "sub/one.json", "sub/one.preview.png",
    }  # fmt: skip
    assert (folder / "out" / "one.preview.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "out" / "one.json").read_text())["params"] == {"gain": 2}


def test_the_same_photo_again_is_counted_as_cached(stack: Stack, folder: Path) -> None:
    words = ("run", "in/one.jpg", "-m", "noop", "-p", "salt=4711", "-o", "out")
    pixelmill(folder, stack, *words)

    done = pixelmill(folder, stack, *words)

    assert done.returncode == 0, done.stderr
    assert "1 done, 1 of them cached, 0 failed" in done.stdout


def test_a_cut_out_of_a_person_is_written(stack: Stack, folder: Path) -> None:
    done = pixelmill(
        folder, stack, "run", "in/one.jpg", "-m", "matting", "-o", "out", "--objects", "cutout-png"
    )

    assert done.returncode == 0, done.stderr
    assert (folder / "out" / "one.cutout.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_key_all_files_are_of_one_visitor(stack: Stack, folder: Path) -> None:
    stranger = Server(stack.url, "")
    order = Order("noop", {"salt": "12"})

    code = run.main([folder / "in" / "one.jpg", folder / "in" / "sub"], folder, order, stranger, 4)

    assert code == 0


def test_a_wrong_parameter_is_said_in_the_servers_words(
    stack: Stack, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = Order("noop", {"salt": "x"})

    code = run.main([folder / "in" / "one.jpg"], folder, order, Server(stack.url, stack.api_key), 1)

    assert code == 1
    assert "salt" in capsys.readouterr().err


def test_an_unknown_model_is_refused_before_anything_is_sent(stack: Stack, folder: Path) -> None:
    with pytest.raises(BadInput, match="no model 'nope'; there are: .*noop"):
        run.main([folder], folder, Order("nope", {}), Server(stack.url, stack.api_key), 1)


def test_a_wrong_key_is_said_in_the_servers_words(stack: Stack) -> None:
    with Client(Server(stack.url, "wrong")) as client, pytest.raises(JobError, match="API key"):
        client.models()


def test_no_server_found_is_a_sentence_with_a_way_out(own_var: Path) -> None:
    with pytest.raises(Unavailable, match="no server found") as caught:
        run.find_server("", "")

    assert "pixelmill up" in str(caught.value.hint)


def test_a_server_that_is_gone_is_a_sentence_with_a_way_out() -> None:
    with Client(Server("http://127.0.0.1:1", "")) as client, pytest.raises(Unavailable) as caught:
        client.models()

    assert str(caught.value).startswith("no server answers at http://127.0.0.1:1: ")
    assert "pixelmill up" in str(caught.value.hint)


def test_the_server_of_pixelmill_up_is_found_with_its_key(own_var: Path) -> None:
    (own_var / "run.json").write_text('{"url": "http://127.0.0.1:7860", "api_key": "pm_1"}')

    assert run.find_server("", "") == Server("http://127.0.0.1:7860", "pm_1")
    assert run.find_server("http://127.0.0.1:7860/", "") == Server("http://127.0.0.1:7860", "pm_1")
    assert run.find_server("", "mine") == Server("http://127.0.0.1:7860", "mine")


def test_the_key_of_pixelmill_up_goes_to_no_other_server(own_var: Path) -> None:
    (own_var / "run.json").write_text('{"url": "http://127.0.0.1:7860", "api_key": "pm_1"}')

    assert run.find_server("https://elsewhere.example", "").key == ""


def test_an_address_without_a_scheme_is_refused(own_var: Path) -> None:
    with pytest.raises(BadInput, match="'localhost:7860' is no address"):
        run.find_server("localhost:7860", "")


def test_parameters_are_read_from_words() -> None:
    assert run.parameters(["gain=2", "note=a=b", "empty="]) == {
        "gain": "2", "note": "a=b", "empty": "",
    }  # fmt: skip


@pytest.mark.parametrize("word", ["gain", "=2", "wait=5", "output=alpha"])
def test_what_is_no_parameter_is_refused(word: str) -> None:
    with pytest.raises(BadInput, match="is no parameter of a model"):
        run.parameters([word])


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def targets(root: Path, *paths: str) -> dict[str, str]:
    found = run.files_of([root / path for path in paths], root / "out")
    return {str(file.relative_to(root)): str(target) for file, target in found.items()}


def test_photos_of_a_folder_are_found_in_order_and_keep_their_sub_folders(tmp_path: Path) -> None:
    touch(tmp_path, "in/b.PNG", "in/a.jpg", "in/sub/a.jpg", "in/text.txt", "in/c.avif")

    assert targets(tmp_path, "in") == {
        "in/a.jpg": "a", "in/b.PNG": "b", "in/c.avif": "c", "in/sub/a.jpg": "sub/a",
    }  # fmt: skip
    assert list(targets(tmp_path, "in")) == ["in/a.jpg", "in/b.PNG", "in/c.avif", "in/sub/a.jpg"]


def test_photos_that_differ_by_their_ending_are_kept_apart(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/a.png", "in/b.jpg")

    assert targets(tmp_path, "in") == {
        "in/a.jpg": "a.jpg", "in/a.png": "a.png", "in/b.jpg": "b",
    }  # fmt: skip


def test_photos_of_one_name_out_of_two_folders_are_kept_apart(tmp_path: Path) -> None:
    touch(tmp_path, "one/a.jpg", "two/a.jpg", "two/b.jpg")

    assert targets(tmp_path, "one", "two") == {
        "one/a.jpg": "one/a.jpg", "two/a.jpg": "two/a.jpg", "two/b.jpg": "b",
    }  # fmt: skip


def test_a_photo_that_is_named_twice_is_sent_once(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg")

    assert targets(tmp_path, "in", "in/a.jpg") == {"in/a.jpg": "a"}


def test_earlier_results_are_no_photos(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "out/a.alpha.png", "out/a.json")

    assert targets(tmp_path, "") == {"a.jpg": "a"}


def test_results_beside_the_photos_are_no_photos(tmp_path: Path) -> None:
    touch(tmp_path, "out/a.jpg", "out/a.alpha.png", "out/a.json", "out/b.edited.jpg")

    assert targets(tmp_path, "out") == {"out/a.jpg": "a", "out/b.edited.jpg": "b.edited"}


def test_even_odd_names_never_go_to_one_place(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/a.png", "in/a.jpg.png")

    assert len(set(targets(tmp_path, "in").values())) == 3


@pytest.mark.parametrize(("path", "said"), [("none", "no file or folder"), ("", "no photos in")])
def test_nothing_to_send_is_a_sentence(tmp_path: Path, path: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        targets(tmp_path, path)


def test_a_busy_server_is_asked_again(fake: Callable[..., Server], tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    busy = (503, {"retry-after": "0"}, {"error": {"message": "busy"}})

    with Client(fake(busy, (429, {"retry-after": "0"}, {}), (200, {}, JOB))) as client:
        assert client.predict(tmp_path / "a.jpg", Order("noop", {}))["state"] == "done"


def test_a_server_that_stays_busy_is_given_up(fake: Callable[..., Server], tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    busy = {"error": {"message": "1000 runs wait already", "hint": "Try again."}}

    server = fake((429, {"retry-after": "0"}, busy))
    with Client(server) as client, pytest.raises(JobError, match="1000 runs wait already"):
        client.predict(tmp_path / "a.jpg", Order("noop", {}))


def test_a_job_is_followed_to_its_end(fake: Callable[..., Server]) -> None:
    queued = {**JOB, "state": "queued", "position": 2, "progress": 0.0}
    inferring = {**JOB, "state": "inferring", "stage": "inference", "progress": 0.5}
    seen: list[dict[str, Any]] = []

    with Client(fake((200, {}, inferring), (200, {}, JOB))) as client:
        assert client.follow(queued, seen.append)["state"] == "done"

    assert [job["state"] for job in seen] == ["queued", "inferring"]


def test_an_object_with_a_path_for_a_name_is_not_written(
    fake: Callable[..., Server], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = {"url": "/x", "type": "image/png", "width": 1, "height": 1, "bytes": 1}
    job = {**JOB, "result": {"objects": {"../../evil": picture}}}
    models = {"models": [{"name": "noop", "live": True}]}
    touch(tmp_path, "in/a.jpg")
    server = fake((200, {}, models), (200, {}, job))

    code = run.main([tmp_path / "in"], tmp_path / "out", Order("noop", {}), server, 1)

    assert code == 1
    assert "odd name '../../evil'" in capsys.readouterr().err
    assert not [file for file in tmp_path.rglob("*") if "evil" in file.name]


def test_what_is_not_pixelmill_is_said_to_be_something_else(fake: Callable[..., Server]) -> None:
    with Client(fake((200, {}, ["hello"]))) as client, pytest.raises(BadInput, match="not Pixelm"):
        client.models()
