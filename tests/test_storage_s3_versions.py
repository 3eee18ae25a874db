"""A bucket with versions: an erasure removes all of them, and the marks of deleted objects."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from stack import Stack, free_port

from storage.s3 import erasure
from storage.s3.objects import S3Objects

ACCESS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
BUCKET = "photos"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Moto, an S3 that keeps versions as AWS does."""
    port = free_port()
    with Stack(Path(tmp_path_factory.mktemp("versions"))) as own:
        own.start("moto", [sys.executable, "-m", "moto.server", "-p", str(port)])
        url = f"http://127.0.0.1:{port}"
        own.wait_for("moto", lambda: httpx.get(url).status_code == 200)
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Any:
    """Boto's own client, which shows what is really there."""
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **ACCESS)
    client.create_bucket(Bucket=BUCKET)
    versioning = {"Status": "Enabled"}
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=versioning)
    return client


@pytest.fixture(scope="module")
def objects(url: str, client: Any) -> S3Objects:
    return S3Objects(url, key="key", secret="secret", bucket=BUCKET, region="us-east-1")


def versions(client: Any, prefix: str) -> list[str]:
    """What the bucket has below a prefix: versions, then marks of deleted objects."""
    answer = client.list_object_versions(Bucket=BUCKET, Prefix=prefix)
    return [item["Key"] for kind in ("Versions", "DeleteMarkers") for item in answer.get(kind, [])]


def erase(objects: S3Objects, prefix: str) -> int:
    """Pages until nothing is left; answers how much there was."""
    count = 0
    while erased := objects.erase_page(prefix):
        count += erased
    return count


def test_all_versions_and_marks_of_a_user_go_and_no_others(objects: S3Objects, client: Any) -> None:
    for text in (b"first", b"second"):
        objects.put("in/ada/1", text, "image/png")
    objects.delete("in/ada/1")
    objects.put("in/ada/2", b"there", "image/png")
    objects.put("in/adam/1", b"another's", "image/png")
    assert len(versions(client, "in/ada/")) == 4
    assert objects.page("in/ada/", "", 10)[0].key == "in/ada/2", "a deleted object is only hidden"

    erased = erase(objects, "in/ada/")

    assert (erased, versions(client, "in/ada/")) == (4, [])
    assert versions(client, "in/adam/") == ["in/adam/1"]


def test_more_versions_than_a_page_has_go_too(
    objects: S3Objects, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "PAGE", 3)
    for number in range(8):
        objects.put(f"out/ada/{number % 2}", b"x", "image/png")

    assert erase(objects, "out/ada/") == 8
    assert versions(client, "out/ada/") == []
