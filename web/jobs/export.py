"""The files of a user: uploads that are still kept, and results, as they are in S3."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from storage import object_keys
from storage import uploads as stored_uploads
from storage.redis.calls import AsyncRedis
from storage.s3.asynchronous import AsyncObjects
from storage.s3.objects import Listed, Objects, Reader
from web.jobs import counters
from web.jobs.admission import Busy

AT_A_TIME = 2
"""Exports of one process: each holds a connection to S3 for as long as its client reads."""
PAGE = 250
PART = 1 << 18
"""Bytes that are read at a time."""


@dataclass(frozen=True)
class StoredFile:
    """A file of a user."""

    name: str
    """In the archive."""
    reader: Reader


class Exports:
    """Reads the files of users for one web process."""

    def __init__(self, state: AsyncRedis, objects: AsyncObjects) -> None:
        self._state, self._objects = state, objects
        self._under_way: set[str] = set()

    def begin(self, user: str) -> Callable[[], None]:
        """Count the user's export as under way; call what this returns when it is over.

        Raises Busy if too many are under way, or one of this user.
        """
        if user in self._under_way:
            raise _busy("an export of yours is under way", 1)
        if len(self._under_way) >= AT_A_TIME:
            raise _busy("too many exports are under way", AT_A_TIME)
        self._under_way.add(user)
        return lambda: self._under_way.discard(user)

    async def files(self, user: str) -> AsyncGenerator[StoredFile, None]:
        """All uploads and results of a user. Close the reader of each."""
        for prefix in (object_keys.uploads_folder(user), object_keys.results_folder(user)):
            async for key in self._listed(prefix):
                with suppress(FileNotFoundError):  # it has expired meanwhile
                    name = await self._name(user, key)
                    yield StoredFile(name, await self._objects.do(_opening(key)))

    async def parts(self, file: StoredFile) -> AsyncIterator[bytes]:
        """The content of a file. Raises StorageDown if S3 breaks off."""
        while part := await self._objects.do(lambda _: file.reader.read(PART)):
            yield part

    async def _listed(self, prefix: str) -> AsyncIterator[str]:
        after = ""
        while page := await self._objects.do(_listing(prefix, after)):
            for item in page:
                yield item.key
            after = page[-1].key

    async def _name(self, user: str, key: str) -> str:
        if not key.startswith(object_keys.UPLOADS):
            return file_name(user, key)
        upload_id = key.removeprefix(object_keys.uploads_folder(user))
        record = await self._state.do(stored_uploads.read(user, upload_id))
        ending = record.get("type", "").partition("/")[2]
        return f"uploads/{upload_id}.{ending}" if ending else f"uploads/{upload_id}"


def _busy(message: str, limit: int) -> Busy:
    counters.REFUSED.labels("", "exports").inc()
    return Busy(message, limit="exports", value=limit, retry_after_s=30)


def _opening(key: str) -> Callable[[Objects], Reader]:
    return lambda s3: s3.open(key)


def _listing(prefix: str, after: str) -> Callable[[Objects], Sequence[Listed]]:
    return lambda s3: s3.page(prefix, after, PAGE)


def file_name(user: str, key: str) -> str:
    """What an object of a result is called in the archive."""
    return f"results/{key.removeprefix(object_keys.results_folder(user))}"
