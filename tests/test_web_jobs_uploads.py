"""Records of uploads on real Redis and S3."""

import pytest

from storage import object_keys
from storage import uploads as stored_uploads
from storage.errors import StorageDown
from storage.redis.calls import SyncRedis
from storage.s3.objects import S3Objects, Stat
from storage.uploads import Stored
from web.jobs.service import JobService
from web.jobs.submission import Photo
from web.jobs.uploads import FileToSend

pytest_plugins = ["job_service"]


async def test_an_upload_is_remembered_by_its_original(
    service: JobService, link: SyncRedis
) -> None:
    photo = Photo("abc:web-2048", 5, media_type="image/png")

    await service.uploads.record("ada", "u1", photo, '"etag"', Stored("ada", 5, False))

    assert link.do(stored_uploads.find("ada", "abc", "web-2048")) == "u1"
    record = link.do(stored_uploads.read("ada", "u1"))
    assert (record["size"], record["type"], record["etag"]) == ("5", "image/png", '"etag"')


async def test_an_upload_that_s3_does_not_take_uses_nothing_of_the_quotas(
    service: JobService, s3: S3Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(key: str, data: bytes, media_type: str) -> str:
        raise StorageDown("S3 did not answer put_object")

    monkeypatch.setattr(s3, "put", fail)

    with pytest.raises(StorageDown):
        await service.uploads.receive("ada", "ada", Photo("", 5, data=b"bytes"))

    used = {item.name: item.used for item in await service.quotas.read("ada")}
    assert used["bytes_per_hour"] == used["bytes_per_day"] == used["stored_bytes"] == 0


async def test_an_object_that_s3_shows_only_a_moment_after_its_put_is_found(
    service: JobService, s3: S3Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = FileToSend(5, "image/png", None, "")
    place, _ = await service.uploads.sign("ada", "ada", file, s3.url)
    s3.put(object_keys.upload_object("ada", place["id"]), b"bytes", "image/png")
    look, looks = s3.stat, iter([False, True])

    def late(key: str) -> Stat:
        if next(looks):
            return look(key)
        raise FileNotFoundError(key)

    monkeypatch.setattr(s3, "stat", late)

    assert (await service.uploads.photo("ada", place["id"])).size == 5
