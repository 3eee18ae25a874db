"""Objects: uploads, results and weights, in any S3 server; in a folder: see folder.py."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import Any, Protocol
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from storage.errors import StorageDown
from storage.s3 import certificates, erasure
from storage.s3.fast_path import Direct

PRESIGN_S = 900
"""How long a signed address lives."""
PAGE = 1000
"""Most objects that a server lists at a time."""
SHOWN_S = 1.2
"""So soon after its PUT, an object may not be found: under load, rclone answered 404 for 2 of 500
that it had just taken. It knows folders by listings that live for a second."""


@dataclass(frozen=True)
class Stat:
    """Facts of one object."""

    size: int
    etag: str
    type: str


@dataclass(frozen=True)
class Listed:
    """One object of a listing."""

    key: str
    modified_s: float
    """When it was written, in seconds since 1970, by the server's clock."""


class Reader(Protocol):
    """An open object. Raises StorageDown if the server breaks off."""

    def read(self, size: int) -> bytes:
        """At most so many bytes; empty at the end."""

    def close(self) -> None:
        """Give up what has not been read."""


class Objects(Protocol):
    """A flat key -> bytes store. A missing key is FileNotFoundError, a dead one StorageDown."""

    def get(self, key: str, etag: str = "") -> bytes:
        """The bytes; with `etag`, FileNotFoundError when they are no longer those."""

    def open(self, key: str) -> Reader:
        """The object, to be read in parts and closed."""

    def put(self, key: str, data: bytes, content_type: str) -> str:
        """Store the bytes; answers their ETag."""

    def stat(self, key: str) -> Stat:
        """Size, ETag and type."""

    def copy(self, source: str, target: str) -> None:
        """Make `target` the same bytes and type as `source`, without reading them here.

        Its date in listings may be the source's (rclone) or that of the copy (AWS).
        """

    def delete(self, key: str) -> None:
        """Remove it; a missing one is no error."""

    def delete_all(self, prefix: str) -> None:
        """Remove every object whose key starts so."""

    def erase_page(self, prefix: str) -> int:
        """Remove some objects whose keys start so, and every earlier version of them that the
        server keeps; answers how many there were: 0 if none is left."""

    def page(self, prefix: str, after: str, most: int) -> list[Listed]:
        """The first `most` objects of `prefix` whose keys come after `after`, in order."""

    def presign_get(self, key: str, origin: str, content_type: str) -> str:
        """An address under `origin` that reads the object for a few minutes."""

    def presign_put(self, key: str, origin: str, content_type: str, size: int | None) -> str:
        """An address under `origin` that takes exactly this type and size for a few minutes."""


class S3Objects:
    """Objects in one bucket of any S3 server."""

    def __init__(
        self,
        url: str,
        *,
        key: str,
        secret: str,
        bucket: str,
        region: str,
        timeout_s: float = 10,
        ca_file: Path | None = None,
    ) -> None:
        """`ca_file`: see certificates.py."""
        self.url, self.bucket = url.rstrip("/"), bucket
        verify = certificates.trusted(ca_file)
        self._access = {"key": key, "secret": secret, "region": region, "timeout_s": timeout_s}
        self._client = _client(self.url, verify=verify, **self._access)
        self._direct = Direct(
            self.url,
            bucket,
            credentials=_session(key, secret).get_credentials(),
            region=region,
            timeout_s=timeout_s,
            verify=verify,
        )
        self._signed: dict[tuple[str, ...], tuple[float, str]] = {}

    def get(self, key: str, etag: str = "") -> bytes:
        """The bytes; with `etag`, FileNotFoundError when they are no longer those."""
        if answer := self._direct.get(key, etag):
            data, present_etag = answer
            if etag and present_etag != etag:  # rclone ignores If-Match
                raise FileNotFoundError(key)
            return data
        condition = {"IfMatch": etag} if etag else {}
        response = self._do("get_object", key, **condition)
        if etag and response["ETag"] != etag:
            response["Body"].close()
            raise FileNotFoundError(key)
        try:
            return bytes(response["Body"].read())
        except (BotoCoreError, OSError) as error:
            raise StorageDown(f"S3 broke off while reading {key}: {error}") from error

    def open(self, key: str) -> Reader:
        """The object, to be read in parts and closed."""
        return _Body(key, self._do("get_object", key)["Body"])

    def put(self, key: str, data: bytes, content_type: str) -> str:
        """Store the bytes; answers their ETag."""
        if etag := self._direct.put(key, data, content_type):
            return etag
        answer = self._do("put_object", key, Body=data, ContentType=content_type)
        return str(answer["ETag"])

    def stat(self, key: str) -> Stat:
        """Size, ETag and type."""
        head = self._do("head_object", key)
        return Stat(head["ContentLength"], head["ETag"], head.get("ContentType", ""))

    def copy(self, source: str, target: str) -> None:
        """Make `target` the same bytes and type as `source`; S3 does it, nothing passes here."""
        self._do("copy_object", target, CopySource={"Bucket": self.bucket, "Key": source})

    def delete(self, key: str) -> None:
        """Remove it; a missing one is no error."""
        self._do("delete_object", key)

    def delete_all(self, prefix: str) -> None:
        """Remove every object whose key starts so, however many there are."""
        after = ""
        while page := self.page(prefix, after, PAGE):
            for listed in page:
                self.delete(listed.key)
            after = page[-1].key

    def erase_page(self, prefix: str) -> int:
        """Remove some objects whose keys start so, and their versions; answers how many."""
        return erasure.erase_page(self._client, self.bucket, prefix)

    def page(self, prefix: str, after: str, most: int) -> list[Listed]:
        """The first `most` objects of `prefix` whose keys come after `after`, in order."""
        answer = self._do("list_objects_v2", Prefix=prefix, StartAfter=after, MaxKeys=most)
        return [
            Listed(entry["Key"], entry["LastModified"].timestamp())
            for entry in answer.get("Contents", [])
        ]

    def presign_get(self, key: str, origin: str, content_type: str) -> str:
        """An address under `origin` that reads the object for PRESIGN_S seconds at most."""
        known = self._signed.get((key, origin))
        if known and known[0] > monotonic():
            return known[1]
        params = {"ResponseContentType": content_type}
        url = self._presign("get_object", key, origin, params)
        if len(self._signed) > 20_000:
            self._signed.clear()
        # Handed out for half its life, so that whoever gets it has minutes left.
        self._signed[(key, origin)] = (monotonic() + PRESIGN_S / 2, url)
        return url

    def presign_put(self, key: str, origin: str, content_type: str, size: int | None) -> str:
        """An address under `origin` that takes exactly this type and size."""
        params: dict[str, Any] = {"ContentType": content_type}
        if size is not None:
            params["ContentLength"] = size
        return self._presign("put_object", key, origin, params)

    def ensure_bucket(self) -> bool:
        """Create the bucket if it is missing; True if it was."""
        try:
            self._do("head_bucket")
        except FileNotFoundError:
            self._do("create_bucket")
            return True
        return False

    def allow_origin(self, origin: str) -> None:
        """Let pages of this origin PUT to and GET from the bucket (CORS)."""
        rule = {
            "AllowedOrigins": [origin],
            "AllowedMethods": ["GET", "PUT", "HEAD"],
            "AllowedHeaders": ["Content-Type", "Content-Length"],
            "ExposeHeaders": ["ETag"],
            "MaxAgeSeconds": 3600,
        }
        self._do("put_bucket_cors", CORSConfiguration={"CORSRules": [rule]})

    def _presign(self, operation: str, key: str, origin: str, params: Mapping[str, Any]) -> str:
        """A path of `origin` is not signed: a proxy takes it off before S3 sees the request."""
        parts = urlsplit(origin or self.url)
        host = f"{parts.scheme}://{parts.netloc}"
        url: str = _client(host, verify=True, **self._access).generate_presigned_url(
            operation, Params={"Bucket": self.bucket, "Key": key, **params}, ExpiresIn=PRESIGN_S
        )
        return f"{host}{parts.path.rstrip('/')}{url.removeprefix(host)}"

    def _do(self, operation: str, key: str = "", **arguments: Any) -> Any:
        if key:
            arguments["Key"] = key
        try:
            return getattr(self._client, operation)(Bucket=self.bucket, **arguments)
        except ClientError as error:
            status = error.response["ResponseMetadata"].get("HTTPStatusCode", 500)
            if status in (404, 412):
                raise FileNotFoundError(key or self.bucket) from error
            raise StorageDown(f"S3 refused {operation} {key}: {error}") from error
        except (BotoCoreError, OSError) as error:
            raise StorageDown(f"S3 did not answer {operation} {key}: {error}") from error


class _Body:
    """The Reader of an answer of boto3."""

    def __init__(self, key: str, body: Any) -> None:
        self._key, self._body = key, body

    def read(self, size: int) -> bytes:
        try:
            return bytes(self._body.read(size))
        except (BotoCoreError, OSError) as error:
            raise StorageDown(f"S3 broke off while reading {self._key}: {error}") from error

    def close(self) -> None:
        self._body.close()


@lru_cache(maxsize=64)
def _client(
    url: str, *, key: str, secret: str, region: str, timeout_s: float, verify: str | bool
) -> Any:
    # when_required: S3-compatible servers refuse the checksum headers that AWS invented later.
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        connect_timeout=min(timeout_s, 2),
        read_timeout=timeout_s,
        retries={"max_attempts": 2, "mode": "standard"},
        max_pool_connections=32,
        proxies={},  # not those of the environment: the other clients of S3 ask none either
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = _session(key, secret)
    return session.create_client(
        "s3", endpoint_url=url, region_name=region, config=config, verify=verify
    )


@lru_cache(maxsize=64)
def _session(key: str, secret: str) -> Any:
    """Without a key of its own it takes the machine's: environment, profile, role.

    botocore's: boto3 would only add transfers in parts and resources, 0.1 s of CPU at import.
    """
    session: Any = Session()
    if key or secret:
        session.set_credentials(key, secret)
    return session
