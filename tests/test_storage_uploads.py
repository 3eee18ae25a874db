"""Records of uploads in the state Redis."""

from storage import uploads as stored_uploads
from storage.redis.calls import SyncRedis

pytest_plugins = ["inprocess"]


def test_an_upload_is_found_by_its_user_only(link: SyncRedis) -> None:
    link.do(stored_uploads.write("ada", "u1", {"size": 5, "etag": '"x"'}, ttl_s=60))

    assert link.do(stored_uploads.read("ada", "u1")) == {"size": "5", "etag": '"x"'}
    assert link.do(stored_uploads.read("bob", "u1")) == {}


def test_an_original_is_found_once_its_bytes_are_there(link: SyncRedis) -> None:
    link.do(stored_uploads.write("ada", "u1", {"state": "promised"}, ttl_s=60))
    before = link.do(stored_uploads.find("ada", "hash", "v1"))

    there = stored_uploads.write("ada", "u1", {"state": "there"}, ttl_s=60, original=("hash", "v1"))
    link.do(there)

    assert (before, link.do(stored_uploads.find("ada", "hash", "v1"))) == (None, "u1")
    assert link.do(stored_uploads.find("ada", "hash", "v2")) is None
    assert link.do(stored_uploads.find("bob", "hash", "v1")) is None
    assert link.do(stored_uploads.read("ada", "u1"))["state"] == "there"
