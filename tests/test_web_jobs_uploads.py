"""Records of uploads on real Redis."""

from storage import uploads as stored_uploads
from storage.redis.calls import SyncRedis
from web.jobs.service import JobService
from web.jobs.submission import Photo

pytest_plugins = ["job_service"]


async def test_an_upload_is_remembered_by_its_original(
    service: JobService, link: SyncRedis
) -> None:
    photo = Photo("abc:web-2048", 5, media_type="image/png")

    await service.uploads.record("ada", "u1", photo, '"etag"')

    assert link.do(stored_uploads.find("ada", "abc", "web-2048")) == "u1"
    record = link.do(stored_uploads.read("ada", "u1"))
    assert (record["size"], record["type"], record["etag"]) == ("5", "image/png", '"etag"')
