"""Both stores of objects keep one contract; what S3 signs admits exactly what was signed."""

import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from stack import Stack

from storage.errors import StorageDown
from storage.s3.folder import FolderObjects
from storage.s3.objects import PRESIGN_S, Objects, S3Objects

pytest_plugins = ["inprocess"]


@pytest.fixture(params=["folder", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "folder":
        return FolderObjects(tmp_path)
    server: S3Objects = request.getfixturevalue("s3")
    return server


@pytest.fixture
def key() -> str:
    return f"in/ada/{secrets.token_hex(8)}"


def s3_at(port: int) -> S3Objects:
    """S3 on another port, with little patience."""
    url = f"http://127.0.0.1:{port}"
    return S3Objects(
        url, key="test-key", secret="test-secret", bucket="pixelmill", region="r", timeout_s=1
    )


@pytest.fixture
def nobody() -> Iterator[S3Objects]:
    """S3 on a port that is taken and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield s3_at(taken.getsockname()[1])


def test_no_proxy_of_the_environment_leads_to_s3(
    servers: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    server = S3Objects(
        servers.env["PIXELMILL_S3_URL"],
        key=servers.env["PIXELMILL_S3_KEY"],
        secret=servers.env["PIXELMILL_S3_SECRET"],
        bucket="pixelmill",
        region="beside-a-proxy",  # a client that no other test has made
    )

    assert server.page("in/ada/nothing-", "", 10) == []


def test_s3_without_credentials_is_one_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    nobody = S3Objects("http://127.0.0.1:9", key="", secret="", bucket="b", region="us-east-1")

    with pytest.raises(StorageDown, match="credentials"):
        nobody.get("a key")


def test_what_was_put_is_got(objects: Objects, key: str) -> None:
    objects.put(key, b"\x00\xffbytes", "image/png")

    assert objects.get(key) == b"\x00\xffbytes"


def test_an_empty_object_is_an_object(objects: Objects, key: str) -> None:
    objects.put(key, b"", "image/png")

    assert objects.get(key) == b""
    assert objects.stat(key).size == 0


def test_a_second_put_replaces_the_first(objects: Objects, key: str) -> None:
    objects.put(key, b"first", "image/png")
    objects.put(key, b"second", "image/png")

    assert objects.get(key) == b"second"


def test_a_copy_has_the_same_bytes_and_outlives_its_source(objects: Objects, key: str) -> None:
    objects.put(key, b"bytes", "image/png")

    objects.copy(key, f"{key}-copy")
    objects.delete(key)

    assert objects.get(f"{key}-copy") == b"bytes"


def test_a_copy_keeps_the_type(s3: S3Objects, key: str) -> None:
    s3.put(key, b"bytes", "image/webp")

    s3.copy(key, f"{key}-copy")

    assert s3.stat(f"{key}-copy").type == "image/webp"


def test_a_missing_key_cannot_be_copied(objects: Objects, key: str) -> None:
    with pytest.raises(FileNotFoundError):
        objects.copy(key, f"{key}-copy")


def test_a_missing_key_is_file_not_found(objects: Objects, key: str) -> None:
    with pytest.raises(FileNotFoundError):
        objects.get(key)
    with pytest.raises(FileNotFoundError):
        objects.stat(key)


def test_stat_says_size_and_the_etag_that_put_answered(objects: Objects, key: str) -> None:
    etag = objects.put(key, b"12345", "image/png")

    stat = objects.stat(key)
    assert (stat.size, stat.etag) == (5, etag)


def test_s3_keeps_the_type(s3: S3Objects, key: str) -> None:
    s3.put(key, b"12345", "image/png")

    assert s3.stat(key).type == "image/png"


def test_equal_bytes_have_equal_etags_and_others_do_not(objects: Objects, key: str) -> None:
    etags = [objects.put(f"{key}-{i}", data, "a/b") for i, data in enumerate((b"x", b"x", b"y"))]

    assert etags[0] == etags[1] != etags[2]


def test_bytes_are_got_by_their_etag(objects: Objects, key: str) -> None:
    etag = objects.put(key, b"mine", "image/png")

    assert objects.get(key, etag) == b"mine"


def test_bytes_that_were_replaced_are_file_not_found_by_the_old_etag(
    objects: Objects, key: str
) -> None:
    etag = objects.put(key, b"mine", "image/png")
    objects.put(key, b"somebody else's", "image/png")

    with pytest.raises(FileNotFoundError):
        objects.get(key, etag)


def test_a_deleted_object_is_gone(objects: Objects, key: str) -> None:
    objects.put(key, b"mine", "image/png")

    objects.delete(key)

    with pytest.raises(FileNotFoundError):
        objects.get(key)


def test_deleting_what_is_not_there_is_no_error(objects: Objects, key: str) -> None:
    objects.delete(key)


def test_all_of_a_prefix_goes_however_deep_and_many_and_nothing_else(
    objects: Objects, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.s3.objects.PAGE", 2)
    for name in ("a", "b/c", "b/d/e", "f", "g"):
        objects.put(f"{key}/{name}", b"", "image/png")
    objects.put(f"{key}-other", b"", "image/png")

    objects.delete_all(f"{key}/")

    left = [item.key for item in objects.page("in/ada/", "", 1000) if item.key.startswith(key)]
    assert left == [f"{key}-other"]


def test_nothing_of_a_prefix_is_no_error(objects: Objects, key: str) -> None:
    objects.delete_all(f"{key}/")


def test_a_signed_address_reads_the_object(s3: S3Objects, key: str) -> None:
    s3.put(key, b"picture", "image/png")

    answer = httpx.get(s3.presign_get(key, "", "image/png"))

    assert (answer.status_code, answer.content) == (200, b"picture")
    assert answer.headers["content-type"] == "image/png"


def test_an_address_that_was_tampered_with_reads_nothing(s3: S3Objects, key: str) -> None:
    s3.put(key, b"picture", "image/png")
    s3.put(f"{key}-other", b"not yours", "image/png")

    url = s3.presign_get(key, "", "image/png").replace(key, f"{key}-other")

    assert httpx.get(url).status_code == 403


def test_without_a_signature_nothing_is_read(s3: S3Objects, key: str) -> None:
    s3.put(key, b"picture", "image/png")

    url = s3.presign_get(key, "", "image/png").partition("?")[0]

    assert httpx.get(url).status_code in (400, 403)


def test_an_address_is_signed_for_the_origin_that_asks(s3: S3Objects, key: str) -> None:
    url = urlsplit(s3.presign_get(key, "https://mill.example.com", "image/png"))

    assert (url.scheme, url.netloc) == ("https", "mill.example.com")
    assert url.path == f"/pixelmill/{key}"


def test_an_address_through_another_origin_is_honoured_with_its_host(
    s3: S3Objects, key: str, servers: Stack
) -> None:
    s3.put(key, b"picture", "image/png")
    url = urlsplit(s3.presign_get(key, "http://mill.example.com", "image/png"))

    answer = httpx.get(
        f"{servers.env['PIXELMILL_S3_URL']}{url.path}?{url.query}",
        headers={"Host": "mill.example.com"},
    )

    assert (answer.status_code, answer.content) == (200, b"picture")


def test_an_address_is_remembered_while_half_of_its_life_is_left(
    s3: S3Objects, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    clock = iter([now, now + PRESIGN_S / 2 - 1, now + PRESIGN_S / 2 + 1, now + PRESIGN_S])
    monkeypatch.setattr("storage.s3.objects.monotonic", lambda: next(clock))
    signed = iter(["first", "second"])
    monkeypatch.setattr(s3, "_presign", lambda *arguments: next(signed))

    given = [s3.presign_get(key, "", "image/png") for _ in range(3)]

    assert given == ["first", "first", "second"]


def test_a_signed_put_takes_exactly_what_was_signed(s3: S3Objects, key: str) -> None:
    url = s3.presign_put(key, "", "image/png", 5)

    answer = httpx.put(url, content=b"12345", headers={"Content-Type": "image/png"})

    assert answer.status_code == 200
    assert s3.get(key) == b"12345"
    assert s3.stat(key).type == "image/png"


@pytest.mark.parametrize(
    ("content", "media_type"),
    [(b"123456", "image/png"), (b"1234", "image/png"), (b"12345", "text/html")],
    ids=["too long", "too short", "other type"],
)
def test_a_signed_put_refuses_anything_else(
    s3: S3Objects, key: str, content: bytes, media_type: str
) -> None:
    url = s3.presign_put(key, "", "image/png", 5)

    answer = httpx.put(url, content=content, headers={"Content-Type": media_type})

    assert answer.status_code == 403
    with pytest.raises(FileNotFoundError):
        s3.stat(key)


def test_a_signed_put_cannot_read(s3: S3Objects, key: str) -> None:
    s3.put(key, b"picture", "image/png")

    assert httpx.get(s3.presign_put(key, "", "image/png", 5)).status_code == 403


def test_a_put_without_a_signed_size_takes_any(s3: S3Objects, key: str) -> None:
    url = s3.presign_put(key, "", "image/png", None)

    answer = httpx.put(url, content=b"any size", headers={"Content-Type": "image/png"})

    assert answer.status_code == 200
    assert s3.get(key) == b"any size"


def test_a_missing_bucket_is_created_once(servers: Stack) -> None:
    other = S3Objects(
        servers.env["PIXELMILL_S3_URL"],
        key="test-key",
        secret="test-secret",
        bucket=f"other-{secrets.token_hex(4)}",
        region="us-east-1",
    )

    assert [other.ensure_bucket() for _ in range(2)] == [True, False]


@pytest.mark.measures_time
def test_a_dead_s3_is_storage_down_within_three_seconds(nobody: S3Objects) -> None:
    began = time.monotonic()

    with pytest.raises(StorageDown, match="S3 did not answer GET in/ada"):
        nobody.get("in/ada/x")

    assert time.monotonic() - began < 3


def test_every_way_to_a_dead_s3_is_storage_down(nobody: S3Objects) -> None:
    with pytest.raises(StorageDown):
        nobody.put("in/ada/x", b"", "image/png")
    with pytest.raises(StorageDown):
        nobody.stat("in/ada/x")
    with pytest.raises(StorageDown):
        nobody.delete("in/ada/x")
    with pytest.raises(StorageDown):
        nobody.ensure_bucket()


def test_a_wrong_access_key_is_storage_down_not_a_missing_file(servers: Stack) -> None:
    wrong = S3Objects(
        servers.env["PIXELMILL_S3_URL"],
        key="other-key",
        secret="test-secret",
        bucket="pixelmill",
        region="us-east-1",
    )

    with pytest.raises(StorageDown, match="refused"):
        wrong.get("in/ada/x")


def test_an_answer_that_breaks_off_is_storage_down(key: str) -> None:
    """A proxy that promises ten bytes, sends three and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(4):
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    client.recv(65536)
                    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: x\r\n\r\nabc")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()

        with pytest.raises(StorageDown):
            s3_at(server.getsockname()[1]).get(key)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("name", ["a b", "a+b", "ä~(1)", "100%", "a=b&c"])
def test_a_key_may_have_any_characters(s3: S3Objects, key: str, name: str) -> None:
    s3.put(f"{key}-{name}", b"bytes", "image/png")

    assert s3.get(f"{key}-{name}") == b"bytes"
    assert s3.stat(f"{key}-{name}").size == 5


def test_a_busy_answer_is_asked_again(key: str) -> None:
    """What is no plain success goes to boto3, which retries."""
    answers = [b"503 Slow Down\r\nContent-Length: 0", b"200 OK\r\nETag: x\r\nContent-Length: 2"]
    bodies = [b"", b"ok"]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for head, body in zip(answers, bodies, strict=True):
                client, _ = server.accept()
                with client:
                    client.recv(65536)
                    client.sendall(b"HTTP/1.1 " + head + b"\r\nConnection: close\r\n\r\n" + body)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()

        assert s3_at(server.getsockname()[1]).get(key) == b"ok"
        thread.join()


@pytest.mark.measures_time
def test_a_server_that_is_silent_is_not_waited_for_twice(key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = S3Objects(
            f"http://127.0.0.1:{server.getsockname()[1]}",
            key="test-key",
            secret="test-secret",
            bucket="pixelmill",
            region="us-east-1",
            timeout_s=0.5,
        )
        began = time.monotonic()

        with pytest.raises(StorageDown, match="did not answer GET"):
            silent.get(key)

    assert time.monotonic() - began < 1
