"""Removes objects for good: with all versions that a server keeps of them, many at a time.

In a bucket with versions (as AWS and others offer them), DELETE only hides an object.
"""

from collections.abc import Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from storage.errors import StorageDown

PAGE = 200
"""Objects that are removed at a time: a busy rclone takes some 10 ms for each."""
NO_VERSIONS = frozenset({"NotImplemented", "MethodNotAllowed", "AccessDenied"})
"""Codes of servers that keep no versions (rclone), or do not let us see them."""


def erase_page(client: Any, bucket: str, prefix: str) -> int:
    """Remove at most PAGE objects whose keys start so, and versions of them; answers how many.

    `client` is boto3's. Raises StorageDown.
    """
    try:
        page = _versions(client, bucket, prefix)
        if page is None:
            page = _objects(client, bucket, prefix)
        return _delete(client, bucket, page)
    except (ClientError, BotoCoreError, OSError) as error:
        raise StorageDown(f"S3 did not erase {prefix}: {error}") from error


def _versions(client: Any, bucket: str, prefix: str) -> Sequence[Any] | None:
    """Versions and the marks of deleted objects; None if the server has no versions."""
    try:
        page = client.list_object_versions(Bucket=bucket, Prefix=prefix, MaxKeys=PAGE)
    except ClientError as error:
        if error.response["Error"].get("Code") in NO_VERSIONS:
            return None
        raise
    listed = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
    return [{"Key": item["Key"], "VersionId": item["VersionId"]} for item in listed]


def _objects(client: Any, bucket: str, prefix: str) -> Sequence[Any]:
    page = client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=PAGE)
    return [{"Key": item["Key"]} for item in page.get("Contents", [])]


def _delete(client: Any, bucket: str, page: Sequence[Any]) -> int:
    if not page:
        return 0
    answer = client.delete_objects(Bucket=bucket, Delete={"Objects": list(page), "Quiet": True})
    if errors := answer.get("Errors"):
        raise StorageDown(f"S3 did not erase {len(errors)} objects: {errors[0].get('Message')}")
    return len(page)
