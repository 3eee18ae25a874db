"""Uploads of users: signed addresses, records, and bytes that came with a request."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from time import monotonic
from typing import Literal, TypedDict

from storage import object_keys
from storage import uploads as stored_uploads
from storage.errors import StorageDown
from storage.redis.calls import AsyncRedis
from storage.redis.connection import Word
from storage.s3.asynchronous import AsyncObjects
from storage.s3.objects import PRESIGN_S, SHOWN_S, Objects, Stat
from storage.uploads import Stored
from tasks.errors import BadInput
from tasks.imaging.volumes import kinds
from tasks.settings import MIB, settings
from web.jobs import counters
from web.jobs.quotas import Allowance, QuotaBook
from web.jobs.submission import Photo
from web.text import shown

MEDIA_TYPES = (
    "image/jpeg", "image/png", "image/webp", "image/avif", "image/heic", "image/heif",
    "image/tiff", "image/bmp", "image/gif", "image/jxl",
)  # fmt: skip
"""Types that a client may declare. What a file is, its bytes say alone."""
VOLUME_TYPES = kinds.MEDIA_TYPES
"""The same of volumes, which may be larger."""
ALIASES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png",
           "image/x-ms-bmp": "image/bmp", "image/x-bmp": "image/bmp"}  # fmt: skip
"""Other names that clients have for them. An address is signed for the name that they use."""
SIGNED_TTL_S = 4 * PRESIGN_S
"""How long the record of an upload lives that no job has named yet. Anybody may ask for addresses,
and each has a record in the state Redis."""
CACHED_S = 60.0
CACHED_UPLOADS = 10_000


@dataclass(frozen=True)
class FileToSend:
    """A file that a client is about to send."""

    size: int
    """Bytes."""
    media_type: str
    sha256: str | None
    variant: str


class SignedUpload(TypedDict):
    """Where and how to send the bytes: exactly this method and these headers."""

    id: str
    url: str
    method: Literal["PUT"]
    headers: Mapping[str, str]
    expires_s: int


class Uploads:
    """The uploads that pass through one web process."""

    def __init__(
        self,
        state: AsyncRedis,
        objects: AsyncObjects,
        check_room: Callable[[], Awaitable[None]],
        quotas: QuotaBook,
    ) -> None:
        """`check_room` raises Unavailable where nothing new is accepted."""
        self._state, self._objects, self._check_room = state, objects, check_room
        self._quotas = quotas
        self._cached: dict[tuple[str, str], tuple[float, Mapping[str, str]]] = {}

    async def sign(
        self, user: str, payer: str, file: FileToSend, origin: str
    ) -> tuple[SignedUpload, Sequence[Allowance]]:
        """A new upload of this user: a record, and an address under `origin` to PUT the file to.

        Also what is left of the payer's quotas. Raises BadInput, or Busy above a quota.
        """
        _check_size(file.size, file.media_type)
        if ALIASES.get(file.media_type, file.media_type) not in (*MEDIA_TYPES, *VOLUME_TYPES):
            raise not_accepted(file.media_type, (*MEDIA_TYPES, *VOLUME_TYPES))
        await self._check_room()
        upload_id = secrets.token_hex(16)
        fields: dict[str, Word] = {
            "size": file.size,
            "type": file.media_type,
            "sha256": file.sha256 or "",
            "variant": file.variant,
            "state": "signed",
        }
        ttl_s = min(SIGNED_TTL_S, settings().upload_ttl_s)
        used = await self._quotas.use_bytes(payer, file.size, ttl_s)
        stored = Stored(payer, file.size, is_counted=True)
        await self._state.do(
            stored_uploads.write(user, upload_id, fields, ttl_s=ttl_s, stored=stored)
        )
        key = object_keys.upload_object(user, upload_id)
        url = self._objects.objects.presign_put(key, origin, file.media_type, file.size)
        headers = {"Content-Type": file.media_type}
        signed: SignedUpload = {"id": upload_id, "url": url, "method": "PUT", "headers": headers,
                                "expires_s": PRESIGN_S}  # fmt: skip
        return signed, used.left

    async def photo(self, user: str, upload_id: str) -> Photo:
        """The photo in an upload whose bytes have arrived.

        Raises BadInput: 404 for an upload that this user does not have, 409 without its bytes.
        """
        record = await self._record(user, upload_id)
        if not record:
            raise no_upload(upload_id)
        identity = f"{record['sha256']}:{record['variant']}" if record.get("sha256") else upload_id
        # Only an unchanged original must hash to what was declared for it.
        declared = record.get("sha256", "") if record.get("variant") == "original" else ""
        photo = Photo(
            identity, int(record["size"]), upload_id, media_type=record["type"],
            body_sha256=declared, etag=record.get("etag", ""),
        )  # fmt: skip
        if record["state"] == "there":
            return photo
        return await self._confirmed(user, record.get("payer") or user, photo)

    async def start(self, user: str, upload_id: str) -> bytes:
        """The first bytes of an upload, by which a volume is known."""

        def read(s3: Objects) -> bytes:
            with closing(s3.open(object_keys.upload_object(user, upload_id))) as file:
                return file.read(kinds.START_BYTES)

        try:
            return await self._objects.do(read)
        except FileNotFoundError as error:
            raise no_upload(upload_id) from error

    async def find(self, user: str, sha256: str, variant: str) -> str | None:
        """The id of this user's upload of that original, if its bytes are there."""
        return await self._state.do(stored_uploads.find(user, sha256, variant))

    async def receive(self, user: str, payer: str, photo: Photo) -> str:
        """Store bytes that came before the job that will name them; returns the upload's id."""
        _check_size(photo.size, photo.media_type)
        await self._check_room()
        ttl_s = settings().upload_ttl_s
        used = await self._quotas.use_bytes(payer, photo.size, ttl_s)
        upload_id = secrets.token_hex(16)
        try:
            etag = await self._put(user, upload_id, photo)
        except StorageDown:
            await self._quotas.give_bytes_back(payer, photo.size, ttl_s, used)
            raise
        stored = Stored(payer, photo.size, is_counted=True)
        await self.record(user, upload_id, photo, etag, stored)
        return upload_id

    async def store(self, user: str, upload_id: str, photo: Photo, stored: Stored) -> None:
        """Store the bytes that came with a request where workers read them, and record that."""
        etag = await self._put(user, upload_id, photo)
        await self.record(user, upload_id, photo, etag, stored)

    async def record(
        self, user: str, upload_id: str, photo: Photo, etag: str, stored: Stored
    ) -> None:
        """Record an upload whose bytes are there."""
        sha256, _, variant = photo.identity.partition(":")
        original = (sha256, variant) if variant else None
        fields: dict[str, Word] = {
            "size": photo.size,
            "type": photo.media_type,
            "sha256": sha256 if variant else "",
            "variant": variant,
            "etag": etag,
            "state": "there",
        }
        ttl_s = settings().upload_ttl_s
        await self._state.do(
            stored_uploads.write(
                user, upload_id, fields, ttl_s=ttl_s, original=original, stored=stored
            )
        )
        counters.UPLOADS.inc()
        counters.UPLOADED_BYTES.inc(photo.size)

    async def delete(self, user: str, upload_id: str) -> None:
        """Delete the object of an upload whose record is gone already."""
        key = object_keys.upload_object(user, upload_id)
        await asyncio.to_thread(self._objects.objects.delete, key)
        self._cached.pop((user, upload_id), None)

    async def _put(self, user: str, upload_id: str, photo: Photo) -> str:
        """Store the bytes; their ETag."""
        key = object_keys.upload_object(user, upload_id)
        return await self._objects.do(lambda s3: s3.put(key, photo.data, photo.media_type))

    async def _record(self, user: str, upload_id: str) -> Mapping[str, str]:
        """An upload's record, empty if there is none. Once its bytes are there it never changes."""
        cached = self._cached.get((user, upload_id))
        if cached and cached[0] > monotonic():
            return cached[1]
        record = await self._state.do(stored_uploads.read(user, upload_id))
        if record.get("state") == "there":
            if len(self._cached) >= CACHED_UPLOADS:
                self._cached.clear()
            self._cached[(user, upload_id)] = (monotonic() + CACHED_S, record)
        return record

    async def _confirmed(self, user: str, payer: str, photo: Photo) -> Photo:
        """The photo with the size and ETag of its object in S3, which is recorded."""
        key = object_keys.upload_object(user, photo.upload)
        try:
            stat = await self._stat(key)
        except FileNotFoundError as error:
            raise BadInput(
                "the bytes of this upload have not arrived",
                code="not_uploaded",
                status=409,
                hint="PUT them to the upload's address first.",
            ) from error
        _check_size(stat.size, photo.media_type)
        confirmed = replace(photo, size=stat.size, etag=stat.etag)
        stored = Stored(payer, stat.size, is_counted=False)
        await self.record(user, photo.upload, confirmed, stat.etag, stored)
        return confirmed

    async def _stat(self, key: str) -> Stat:
        """What S3 knows of an object; one that seems to be missing is looked for twice."""
        try:
            return await self._objects.do(lambda s3: s3.stat(key))
        except FileNotFoundError:
            await asyncio.sleep(SHOWN_S)
            return await self._objects.do(lambda s3: s3.stat(key))


def no_upload(upload_id: str) -> BadInput:
    """The error for an upload that does not exist, or belongs to another user."""
    return BadInput(
        f"no upload {shown(upload_id)}",
        code="no_upload",
        status=404,
        hint="It has expired or is not yours: POST to /api/v1/uploads again.",
    )


def _check_size(size: int, media_type: str) -> None:
    """Raises BadInput for more bytes than any model takes of that type."""
    of_pictures = int(settings().max_upload_mib * MIB)
    most = settings().largest_upload_bytes if media_type in VOLUME_TYPES else of_pictures
    if size > most:
        raise too_large(most)


def not_accepted(media_type: str, accepted: Sequence[str]) -> BadInput:
    """The error for a file of another type than these."""
    return BadInput(
        f"{shown(media_type)} is not accepted; there are: {', '.join(accepted)}",
        code="unsupported_type",
        status=415,
    )


def too_large(most: int) -> BadInput:
    """The error for a file of more bytes than that."""
    size = f"{most / MIB:g} MiB"
    return BadInput(f"the file is larger than {size}", code="too_large", status=413)
