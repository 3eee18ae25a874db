"""What preprocess makes of bytes that are not there, or not what they were said to be."""

import hashlib
import secrets

import pytest

from storage import object_keys
from storage.jobs.spec import RunRef, Spec
from storage.s3.objects import S3Objects
from tasks import uploads
from tasks.errors import WrongBytes
from tasks.preprocess import prepare
from tasks.results import cache_batch
from tasks.work import Work

pytest_plugins = ["inprocess"]


@pytest.fixture
def upload(in_process: None, s3: S3Objects) -> tuple[str, str]:
    """Id and ETag of five bytes."""
    upload_id = secrets.token_hex(8)
    return upload_id, s3.put(object_keys.upload_object("ada", upload_id), b"bytes", "image/png")


def work(upload: str, **facts: str) -> Work:
    key = secrets.token_hex(32)
    return Work(
        RunRef(key, 1), Spec(key, "ada", "matting", {}, ["alpha"], upload, "w", "c", **facts)
    )


def test_an_upload_that_is_gone_may_be_sent_again(upload: tuple[str, str], s3: S3Objects) -> None:
    s3.delete(object_keys.upload_object("ada", upload[0]))

    with pytest.raises(WrongBytes) as caught:
        prepare(work(upload[0], etag=upload[1]), cache_batch())

    assert (caught.value.code, caught.value.status, caught.value.lasting) == (
        "upload_gone", 422, False,
    )  # fmt: skip


def test_an_upload_that_s3_shows_only_a_moment_after_its_put_is_read(
    upload: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    get, looks = S3Objects.get, iter([False, True])

    def late(store: S3Objects, key: str, etag: str = "") -> bytes:
        if next(looks):
            return get(store, key, etag)
        raise FileNotFoundError(key)

    monkeypatch.setattr(S3Objects, "get", late)

    assert uploads.read(work(upload[0], etag=upload[1]).spec) == b"bytes"


def test_an_upload_that_was_changed_after_is_not_taken(
    upload: tuple[str, str], s3: S3Objects
) -> None:
    s3.put(object_keys.upload_object("ada", upload[0]), b"other", "image/png")

    with pytest.raises(WrongBytes):
        prepare(work(upload[0], etag=upload[1]), cache_batch())


def test_bytes_that_are_not_what_was_declared_may_be_sent_again(upload: tuple[str, str]) -> None:
    declared = hashlib.sha256(b"other").hexdigest()

    with pytest.raises(WrongBytes, match="do not have the SHA-256") as caught:
        prepare(work(upload[0], body_sha256=declared), cache_batch())

    assert (caught.value.code, caught.value.lasting) == ("hash_mismatch", False)
