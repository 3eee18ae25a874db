"""What the embedded S3 leaves behind when it is killed in the middle of an upload, and who goes."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from stack import Stack

from deploy.local.servers import UNFINISHED, remove_unfinished
from storage.s3.objects import S3Objects

MIB = 2**20


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """An S3 of its own, to be killed."""
    with Stack(tmp_path) as stack:
        stack.start_s3()
        yield stack


@pytest.fixture
def objects(stack: Stack) -> S3Objects:
    url = stack.env["PIXELMILL_S3_URL"]
    return S3Objects(
        url, key="test-key", secret="test-secret", bucket="pixelmill", region="us-east-1"
    )


class Upload:
    """A PUT of 4 MiB, of which 3 MiB are sent."""

    def __init__(self, objects: S3Objects, key: str) -> None:
        url = urlsplit(objects.presign_put(key, "", "image/png", 4 * MIB))
        self.socket = socket.create_connection((url.hostname, url.port))
        head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\n"
        head += f"Content-Type: image/png\r\nContent-Length: {4 * MIB}\r\n\r\n"
        self.socket.sendall(head.encode() + bytes(3 * MIB))

    def finish(self) -> str:
        self.socket.sendall(bytes(MIB))
        return self.socket.recv(100).decode().partition("\r\n")[0]


@pytest.fixture
def begin(objects: S3Objects) -> Iterator[Callable[[str], Upload]]:
    """Begins an upload."""
    with ExitStack() as begun:

        def begin(key: str) -> Upload:
            upload = Upload(objects, key)
            begun.callback(upload.socket.close)
            return upload

        yield begin


def unfinished(stack: Stack) -> set[Path]:
    return set((stack.folder / "s3").rglob(f"{UNFINISHED}*"))


def wait_until_one_more(stack: Stack, known: set[Path]) -> Path:
    end = time.monotonic() + 10
    while not (new := unfinished(stack) - known):
        assert time.monotonic() < end
        time.sleep(0.02)
    return new.pop()


def test_what_a_killed_server_had_not_written_to_the_end_is_removed(
    stack: Stack, objects: S3Objects, begin: Callable[[str], Upload]
) -> None:
    objects.put("in/ada/whole", b"bytes", "image/png")
    cut_off = [begin("in/ada/half"), begin("in/grace/half")]
    left = {wait_until_one_more(stack, set())}
    left |= {wait_until_one_more(stack, left)}
    stack.kill("s3")
    before_s = time.time()
    stack.start_s3()
    going_on = begin("in/ada/other")
    wait_until_one_more(stack, left)

    removed = remove_unfinished(stack.folder / "s3", before_s)

    assert removed == len(cut_off)
    assert not unfinished(stack) & left
    assert not (stack.folder / "s3" / "pixelmill" / "in" / "grace").exists(), "it is empty"
    assert objects.get("in/ada/whole") == b"bytes"
    assert going_on.finish() == "HTTP/1.1 200 OK"
    assert objects.get("in/ada/other") == bytes(4 * MIB)


def test_listings_hide_what_is_unfinished(
    stack: Stack, objects: S3Objects, begin: Callable[[str], Upload]
) -> None:
    """Which is why the loop that deletes expired objects never sees it."""
    begin("in/ada/half")
    wait_until_one_more(stack, set())

    assert objects.page("in/", "", 10) == []


def test_a_client_that_breaks_off_leaves_nothing(
    stack: Stack, begin: Callable[[str], Upload]
) -> None:
    upload = begin("in/ada/half")
    wait_until_one_more(stack, set())

    upload.socket.close()

    end = time.monotonic() + 10
    while unfinished(stack) and time.monotonic() < end:
        time.sleep(0.05)
    assert unfinished(stack) == set()


def test_deleted_objects_leave_no_folders(stack: Stack, objects: S3Objects) -> None:
    for name in ("a/b/one", "a/b/two", "a/c/three"):
        objects.put(f"out/{name}", b"bytes", "image/png")

    objects.delete_all("out/a/")

    assert os.listdir(stack.folder / "s3" / "pixelmill") == []


def test_other_names_stay_and_no_folder_is_no_error(tmp_path: Path) -> None:
    kept = [tmp_path / "a" / name for name in (".hidden", "photo.png", f"x{UNFINISHED}")]
    for path in kept:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")

    assert remove_unfinished(tmp_path, time.time() + 10) == 0
    assert remove_unfinished(tmp_path / "nowhere", time.time()) == 0
    assert all(path.exists() for path in kept)
